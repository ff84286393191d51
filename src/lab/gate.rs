//! The way to a server that listens where not everybody reaches it: a TCP forwarder that can be shut.
//!
//! While it is shut, connections are refused, as if the server were gone; those that exist are reset.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::copy_bidirectional;
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

/// What forwards to one server, from any number of thresholds. It is gone when dropped.
#[derive(Debug)]
pub struct Gate {
    server: SocketAddr,
    open: watch::Sender<bool>,
}

impl Gate {
    /// Makes an open gate to a server; nothing is forwarded yet.
    #[must_use]
    pub fn new(server: SocketAddr) -> Self {
        Self { server, open: watch::Sender::new(true) }
    }

    /// Forwards from here on, in the current runtime and in the current thread's network.
    pub async fn forward(&self, threshold: Threshold) -> io::Result<()> {
        let porter = Porter { server: self.server, open: self.open.subscribe() };
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
}

/// Who stands at one threshold.
#[derive(Clone)]
struct Porter {
    server: SocketAddr,
    open: watch::Receiver<bool>,
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
                Ok((stream, _from)) if *self.open.borrow() => {
                    tokio::spawn(self.clone().carry(stream));
                }
                Ok((stream, _from)) => reset(&stream),
                // Out of file descriptors, most likely: they come back as connections end.
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Carries one connection until it ends or the gate is shut.
    async fn carry(mut self, mut near: TcpStream) {
        let Ok(mut far) = TcpStream::connect(self.server).await else {
            return reset(&near);
        };
        // Watch events are small and must not wait for an acknowledgement.
        let _best_effort = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));

        tokio::select! {
            // Whichever end failed, the other is told by the close.
            _ended = copy_bidirectional(&mut near, &mut far) => {}
            _shut_or_gone = self.open.wait_for(|open| !*open) => {
                reset(&near);
                reset(&far);
            }
        }
    }
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
