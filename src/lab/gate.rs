//! The way to a server that listens where not everybody reaches it: a TCP forwarder that can be shut,
//! and that can hold up what one client says.
//!
//! While it is shut, connections are refused, as if the server were gone; those that exist are reset.
//! What a client said that is gone meanwhile is not passed on: so whoever kills it knows that its next
//! request does not arrive.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Between two tries to listen again, or to accept while there are no file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Where a gate stands.
#[derive(Debug)]
pub enum Threshold {
    /// At an address of ours: while the gate is shut, nobody listens there.
    At(SocketAddr),
    /// At a listener that came from outside: while the gate is shut, what it accepts is reset.
    Given(TcpListener),
}

/// Whose words are held up, and for how long each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The client's address.
    pub from: IpAddr,
    /// How long.
    pub wait: Duration,
}

/// What forwards to one server, from any number of thresholds. It is gone when dropped.
#[derive(Debug)]
pub struct Gate {
    server: SocketAddr,
    open: watch::Sender<bool>,
    hold: watch::Sender<Option<Hold>>,
}

impl Gate {
    /// Makes an open gate to a server; nothing is forwarded yet.
    #[must_use]
    pub fn new(server: SocketAddr) -> Self {
        Self { server, open: watch::Sender::new(true), hold: watch::Sender::new(None) }
    }

    /// Forwards from here on, in the current runtime and in the current thread's network.
    pub async fn forward(&self, threshold: Threshold) -> io::Result<()> {
        let (open, hold) = (self.open.subscribe(), self.hold.subscribe());
        let porter = Porter { server: self.server, open, hold };
        match threshold {
            Threshold::At(address) => {
                let listener = TcpListener::bind(address).await?;
                tokio::spawn(porter.keep(listener, address));
            }
            Threshold::Given(listener) => {
                tokio::spawn(porter.guard(listener));
            }
        }
        Ok(())
    }

    /// Refuses whoever comes, and resets all connections.
    pub fn shut(&self) {
        self.open.send_replace(false);
    }

    /// Lets everybody through again.
    pub fn reopen(&self) {
        self.open.send_replace(true);
    }

    /// Holds up what a client says, on the connections that are too; or nobody any more.
    pub fn hold(&self, hold: Option<Hold>) {
        self.hold.send_replace(hold);
    }
}

/// Who stands at one threshold.
#[derive(Clone)]
struct Porter {
    server: SocketAddr,
    open: watch::Receiver<bool>,
    hold: watch::Receiver<Option<Hold>>,
}

impl Porter {
    /// Listens at an address whenever the gate is open.
    async fn keep(mut self, mut listener: TcpListener, address: SocketAddr) {
        loop {
            let porter = self.clone();
            tokio::select! {
                () = porter.admit(&listener) => {}
                _shut_or_gone = self.open.wait_for(|open| !*open) => {}
            }
            drop(listener);
            if self.open.wait_for(|open| *open).await.is_err() {
                return;
            }
            listener = listen(address).await;
        }
    }

    /// Serves a listener that is never closed.
    async fn guard(mut self, listener: TcpListener) {
        let porter = self.clone();
        tokio::select! {
            () = porter.admit(&listener) => {}
            () = async { while self.open.changed().await.is_ok() {} } => {}
        }
    }

    async fn admit(self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, from)) if *self.open.borrow() => {
                    tokio::spawn(self.clone().carry(stream, from.ip()));
                }
                Ok((stream, _from)) => reset(&stream),
                // Out of file descriptors, most likely: they come back as connections end.
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Carries one connection until it ends or the gate is shut.
    async fn carry(mut self, mut near: TcpStream, from: IpAddr) {
        let Ok(mut far) = TcpStream::connect(self.server).await else {
            return reset(&near);
        };
        // Watch events are small and must not wait for an acknowledgement.
        let _best_effort = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));

        let (mut hears, mut answers) = (near.split(), far.split());
        let holder = Holder { hold: self.hold.clone(), from };
        let carried = async {
            tokio::try_join!(holder.carry(&mut hears.0, &mut answers.1), async {
                copy(&mut answers.0, &mut hears.1).await?;
                hears.1.shutdown().await
            })
        };
        tokio::select! {
            // Whichever end failed, the other is told by the close.
            _ended = carried => {}
            _shut_or_gone = self.open.wait_for(|open| !*open) => {
                reset(&near);
                reset(&far);
            }
        }
    }
}

/// Who carries what one client says.
struct Holder {
    hold: watch::Receiver<Option<Hold>>,
    from: IpAddr,
}

impl Holder {
    async fn carry(mut self, near: &mut ReadHalf<'_>, far: &mut WriteHalf<'_>) -> io::Result<()> {
        let mut said = vec![0; 16 * 1024];
        loop {
            let length = near.read(&mut said).await?;
            if length == 0 {
                return far.shutdown().await;
            }
            let held = self.waited().await;
            if held && is_gone(near) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            far.write_all(&said[..length]).await?;
            // What came meanwhile has waited too: a request in two packets waits once.
            while held && let Ok(more @ 1..) = near.try_read(&mut said) {
                far.write_all(&said[..more]).await?;
            }
        }
    }

    /// Waits as long as this client is held up, and tells whether it was.
    async fn waited(&mut self) -> bool {
        // Seen, so that only what changes from here on ends the wait.
        let hold = *self.hold.borrow_and_update();
        let Some(hold) = hold.filter(|hold| hold.from == self.from) else { return false };
        tokio::select! {
            () = tokio::time::sleep(hold.wait) => {}
            _lifted_or_gone = self.hold.changed() => {}
        }
        true
    }
}

/// Tells whether the client has closed its end, even if not all that it said was read.
fn is_gone(near: &ReadHalf<'_>) -> bool {
    let stream: &TcpStream = near.as_ref();
    let mut asked = [PollFd::new(stream.as_fd(), PollFlags::from_bits_retain(libc::POLLRDHUP))];
    poll(&mut asked, PollTimeout::ZERO).is_ok_and(|said| said > 0)
}

async fn listen(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            // Somebody was quicker, which passes.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Makes the close of a stream a reset.
fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Answers each connection with one byte, and keeps it.
    async fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(b"!").await.unwrap();
                kept.push(stream);
            }
        });
        address
    }

    async fn answered(address: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address).await?;
        stream.read_u8().await?;
        Ok(stream)
    }

    #[tokio::test]
    async fn a_shut_gate_resets_what_is_refuses_what_comes_and_opens_again() {
        let gate = Gate::new(server().await);
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let given = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outside = given.local_addr().unwrap();
        gate.forward(Threshold::At(free)).await.unwrap();
        gate.forward(Threshold::Given(given)).await.unwrap();
        let mut kept = answered(free).await.unwrap();
        answered(outside).await.unwrap();

        gate.shut();
        assert_eq!(kept.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        while let Ok(_not_yet_shut) = answered(free).await {}
        let refused = TcpStream::connect(free).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        answered(outside).await.unwrap_err();

        gate.reopen();
        while answered(free).await.is_err() {
            tokio::task::yield_now().await;
        }
        answered(outside).await.unwrap();
    }

    /// Passes on what its one client says.
    async fn listener() -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Ok(byte) = stream.read_u8().await {
                tell.send(byte).unwrap();
            }
        });
        (address, told)
    }

    async fn held(wait: Duration) -> (Gate, TcpStream, tokio::sync::mpsc::UnboundedReceiver<u8>) {
        let (server, told) = listener().await;
        let gate = Gate::new(server);
        let given = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = given.local_addr().unwrap();
        gate.forward(Threshold::Given(given)).await.unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        gate.hold(Some(Hold { from: client.local_addr().unwrap().ip(), wait }));
        (gate, client, told)
    }

    #[tokio::test]
    async fn what_a_client_says_is_held_up_so_long_or_until_the_hold_is_lifted() {
        let wait = Duration::from_millis(50);
        let (gate, mut client, mut told) = held(wait).await;
        let from = client.local_addr().unwrap().ip();
        for byte in 1..=2 {
            let began = std::time::Instant::now();
            client.write_u8(byte).await.unwrap();
            assert_eq!(told.recv().await, Some(byte));
            assert!(began.elapsed() >= wait);
        }

        // Nothing but the lift lets this pass, and nothing holds up anybody else.
        gate.hold(Some(Hold { from, wait: Duration::from_secs(3600) }));
        client.write_u8(3).await.unwrap();
        gate.hold(Some(Hold { from: [192, 0, 2, 1].into(), wait: Duration::from_secs(3600) }));
        assert_eq!(told.recv().await, Some(3));
        client.write_u8(4).await.unwrap();
        assert_eq!(told.recv().await, Some(4));
    }

    #[tokio::test]
    async fn what_a_client_said_that_is_gone_is_not_passed_on() {
        let (_gate, mut client, mut told) = held(Duration::from_millis(50)).await;
        client.write_u8(7).await.unwrap();
        drop(client);
        assert_eq!(told.recv().await, None);
    }

    #[tokio::test]
    async fn without_a_server_connections_are_reset() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let gate = Gate::new(gone);
        let given = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outside = given.local_addr().unwrap();
        gate.forward(Threshold::Given(given)).await.unwrap();

        answered(outside).await.unwrap_err();
    }
}
