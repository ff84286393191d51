//! The TCP side: packets of 64 bytes, one after the other; trailing bytes have no place here.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{BindError, Desk};
use crate::observe::wire::LENGTH;

/// How many connections may be open at a time; a node holds one kept connection per leader.
const CONNECTIONS: usize = 512;
/// How many of these from one address.
const PER_SOURCE: usize = 32;
/// How long a connection may be silent before its first request: only ours get longer.
const FIRST: Duration = Duration::from_secs(3);
/// How long a kept connection may be silent: some rounds of the slowest prober.
const NEXT: Duration = Duration::from_secs(120);

/// Listens on the port, or on any for 0, on all IPv4 addresses.
pub(super) fn listen_v4(port: u16) -> Result<(TcpListener, u16), BindError> {
    let listen = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        let listener = finish(socket, (Ipv4Addr::UNSPECIFIED, port).into())?;
        let port = listener.local_addr()?.port();
        Ok((listener, port))
    };
    listen().map_err(|source| BindError { transport: "TCP", port, source })
}

/// Listens on the port on all IPv6 addresses; none if the kernel has no IPv6.
pub(super) fn listen_v6(port: u16) -> Result<Option<TcpListener>, BindError> {
    let listen = || {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_only_v6(true)?;
        finish(socket, (Ipv6Addr::UNSPECIFIED, port).into())
    };
    super::unless_absent(listen()).map_err(|source| BindError {
        transport: "TCP (IPv6)",
        port,
        source,
    })
}

fn finish(socket: Socket, address: SocketAddr) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    // A restart must not wait for what the old process left in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(CONNECTIONS as i32)?;
    TcpListener::from_std(socket.into())
}

/// Answers until the task is dropped, and all connections with it.
pub(super) async fn serve(listener: TcpListener, desk: Arc<Desk>) {
    let open = Arc::new(Open::default());
    let mut connections = JoinSet::new();

    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, from)) => match Open::add(&open, from.ip()) {
                Some(place) => {
                    connections.spawn(converse(stream, from, Arc::clone(&desk), place));
                }
                None => desk.hung_up(),
            },
            // Out of descriptors, or the caller is gone already: no reason to spin.
            Err(error) => {
                tracing::debug!(%error, "TCP responder cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(mut stream: TcpStream, from: SocketAddr, desk: Arc<Desk>, _place: Place) {
    let mut patience = FIRST;
    loop {
        let mut bytes = [0; LENGTH];
        match timeout(patience, stream.read_exact(&mut bytes)).await {
            Ok(Ok(_)) if desk.answer(&mut bytes, from) => {}
            // The prober is done: it resets the connection.
            Ok(Err(_)) => return,
            Ok(Ok(_)) | Err(_) => return desk.hung_up(),
        }
        if stream.write_all(&bytes).await.is_err() {
            return desk.unsent();
        }
        patience = NEXT;
    }
}

/// The open connections by source.
#[derive(Debug, Default)]
struct Open(Mutex<BTreeMap<IpAddr, usize>>);

impl Open {
    /// Takes a place for a connection; none if there are too many.
    fn add(open: &Arc<Self>, source: IpAddr) -> Option<Place> {
        let mut places = open.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = places.get(&source).copied().unwrap_or(0);
        if of_source >= PER_SOURCE || places.values().sum::<usize>() >= CONNECTIONS {
            return None;
        }
        places.insert(source, of_source + 1);

        Some(Place { open: Arc::clone(open), source })
    }
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
struct Place {
    open: Arc<Open>,
    source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.open.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_source) = places.get_mut(&self.source) {
            *of_source -= 1;
            if *of_source == 0 {
                places.remove(&self.source);
            }
        }
    }
}
