//! TCP: connect, one packet out, one back, reset.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::future::{Either, FutureExt as _, select};
use socket2::{Protocol, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::refusal::is_refusal;
use super::{Aim, ProbeResult, Prober, Unsent};
use crate::evidence::Flow;
use crate::observe::wire::{Body, LENGTH, Packet, Seen, encode};

impl Prober {
    /// Opens a connection, asks once, and resets it.
    pub(super) async fn new_tcp(&self, aim: &Aim, wait: Duration) -> Result<ProbeResult, Unsent> {
        let opened = Instant::now();
        let stream = self.start_tcp(aim)?;
        let whole = async {
            let mut connection = Connection::new(established(stream, aim.address).await?);
            self.converse(&mut connection, &self.request(Flow::NewTcp)).await
        };

        Ok(match timeout(wait, whole).await {
            Ok(Ok(seen)) => {
                ProbeResult::Answered { round_trip: opened.elapsed(), seen: Some(seen) }
            }
            Ok(Err(error)) => without_answer(&error),
            Err(_elapsed) => ProbeResult::Lost,
        })
    }

    /// Opens a connection to each of two ports that are not ours, both at once, and is answered as
    /// soon as one of them is reached: a firewall may close either, and that is no fault.
    pub async fn reach(&self, aims: [Aim; 2], wait: Duration) -> ProbeResult {
        let [one, other] = aims.map(|aim| async move { self.control(&aim, wait).await });
        let (one, other) = (pin!(one), pin!(other));
        let (first, second) = match select(one, other).await {
            Either::Left((first, second)) => (first, second.left_future()),
            Either::Right((first, second)) => (first, second.right_future()),
        };
        let first = first.unwrap_or_else(ProbeResult::Unsent);
        if matches!(first, ProbeResult::Answered { .. }) {
            return first;
        }

        // Where nothing was sent, nothing is told.
        second.await.unwrap_or(first)
    }

    /// Opens a connection to a port that is not ours, and resets it. To be refused by the far end is
    /// an answer.
    pub(super) async fn control(&self, aim: &Aim, wait: Duration) -> Result<ProbeResult, Unsent> {
        let opened = Instant::now();
        let connected = match self.start_tcp(aim) {
            Ok(stream) => timeout(wait, established(stream, aim.address)).await,
            Err(Unsent::Local { source, .. }) if is_refused(&source) => Ok(Err(source)),
            Err(unsent) => return Err(unsent),
        };
        let answered = ProbeResult::Answered { round_trip: opened.elapsed(), seen: None };

        Ok(match connected {
            Ok(Ok(_stream)) => answered,
            Ok(Err(error)) if is_refused(&error) => answered,
            Ok(Err(_)) | Err(_) => ProbeResult::Lost,
        })
    }

    /// Begins to connect from a port of its own. The connection ends by reset, which leaves nothing
    /// behind at either end nor, for long, on the way.
    pub(super) fn start_tcp(&self, aim: &Aim) -> Result<TcpStream, Unsent> {
        let socket = self.open(aim, Type::STREAM, Protocol::TCP)?;
        socket.set_linger(Some(Duration::ZERO)).map_err(Unsent::local("prepare the socket"))?;
        match socket.connect(&aim.address.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
                return Err(Unsent::local("find a route")(error));
            }
            Ok(()) | Err(_) => {}
        }

        TcpStream::from_std(socket.into()).map_err(Unsent::local("register the socket"))
    }

    /// Asks once and waits for the answer to that and nothing else.
    pub(super) async fn converse(
        &self,
        connection: &mut Connection,
        request: &Packet,
    ) -> io::Result<Seen> {
        connection.stream.write_all(&encode(request, &self.keys())).await?;
        loop {
            let bytes = connection.next().await?;
            if let Some(Body::Answer(seen)) = self.answer_to(request, &bytes) {
                return Ok(seen);
            }
        }
    }
}

/// A connection, and what was read of a packet when the time was up.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    bytes: [u8; LENGTH],
    filled: usize,
}

impl Connection {
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self { stream, bytes: [0; LENGTH], filled: 0 }
    }

    /// Returns the next whole packet; loses nothing if it is dropped half-way.
    async fn next(&mut self) -> io::Result<[u8; LENGTH]> {
        while self.filled < LENGTH {
            match self.stream.read(&mut self.bytes[self.filled..]).await? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                more => self.filled += more,
            }
        }
        self.filled = 0;

        Ok(self.bytes)
    }
}

/// Waits until the connection is made, or is known not to be. What rejects it on the way is an error
/// like that of a router without a way.
pub(super) async fn established(stream: TcpStream, to: SocketAddr) -> io::Result<TcpStream> {
    stream.writable().await?;
    match stream.take_error()? {
        Some(error) if is_refused(&error) && !is_refusal(&error, &stream, to) => {
            Err(ErrorKind::HostUnreachable.into())
        }
        Some(error) => Err(error),
        None => Ok(stream),
    }
}

/// Returns what an error on the way means: the far end refused, or a router gave up.
fn without_answer(error: &io::Error) -> ProbeResult {
    let hung_up = matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof
    );
    if hung_up || is_refused(error) { ProbeResult::Refused } else { ProbeResult::Lost }
}

fn is_refused(error: &io::Error) -> bool {
    error.kind() == ErrorKind::ConnectionRefused
}
