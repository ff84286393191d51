//! The only way from the mesh to the API server: sees every write, and may kill somebody before it
//! is passed on, or after it was answered and before the client hears of it.
//!
//! ```text
//! client ── TLS ── line ── pass ── TLS ──▶ kube-apiserver
//!                    ▲       │ a write that an ambush waits for
//!                    └─ cut ─┴─▶ whoever set the ambush kills, and says how it goes on
//! ```

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use kube::{Client, Config};
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::writes::{Step, Write};

/// Requests are small: reports and statuses.
const LARGEST: usize = 4 << 20;

/// How much of a connection may be under way.
const UNDER_WAY: usize = 64 << 10;

/// On which side of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// It is not passed on yet.
    Before,
    /// It is answered, and the client does not know.
    After,
}

/// How a write goes on after somebody was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// As if nothing had happened.
    Passes,
    /// It goes no further: the client's connection is cut.
    Lost,
}

/// Waits for one write.
pub(crate) struct Ambush {
    /// The step.
    pub(crate) step: Step,
    /// The object, if it must be a certain one.
    pub(crate) object: Option<String>,
    /// On which side.
    pub(crate) side: Side,
    /// Is told when it happens, and answers how it goes on.
    pub(crate) strike: mpsc::UnboundedSender<(Write, oneshot::Sender<Fate>)>,
}

/// What all connections share.
#[derive(Clone)]
pub(crate) struct Proxy {
    upstream: Client,
    state: Arc<Mutex<Watch>>,
}

#[derive(Default)]
struct Watch {
    writes: Vec<Write>,
    ambush: Option<Ambush>,
}

impl Proxy {
    /// Stands at an address before a server whose certificate it uses, too.
    pub(crate) async fn start(
        at: SocketAddr,
        server: &str,
        certificates: &Path,
    ) -> anyhow::Result<Self> {
        let (certificate, key) =
            (certificates.join("apiserver.crt"), certificates.join("apiserver.key"));
        let chain: Vec<_> =
            CertificateDer::pem_file_iter(&certificate)?.collect::<Result<_, _>>()?;
        let mut config = Config::new(server.parse()?);
        config.root_cert = Some(chain.iter().map(|part| part.to_vec()).collect());
        config.default_retry = false;
        config.read_timeout = None;
        let proxy = Self { upstream: Client::try_from(config)?, state: Arc::default() };

        let tls = ServerConfig::builder().with_no_client_auth();
        let tls = tls.with_single_cert(chain, PrivateKeyDer::from_pem_file(&key)?)?;
        let listener = TcpListener::bind(at).await.with_context(|| format!("listen at {at}"))?;
        let (tell, lines) = mpsc::channel(16);
        tokio::spawn(admit(listener, TlsAcceptor::from(Arc::new(tls)), tell));
        let pages = Router::new().fallback(pass).with_state(proxy.clone());
        let pages = pages.into_make_service_with_connect_info::<Line>();
        tokio::spawn(async move { axum::serve(Lines(lines), pages).await });
        Ok(proxy)
    }

    /// Waits for a write from now on, instead of any other.
    pub(crate) fn lay(&self, ambush: Ambush) {
        self.lock().ambush = Some(ambush);
    }

    /// Waits for nothing any more; tells whether it did.
    pub(crate) fn lift(&self) -> bool {
        self.lock().ambush.take().is_some()
    }

    /// Returns all writes since the last call.
    pub(crate) fn writes(&self) -> Vec<Write> {
        std::mem::take(&mut self.lock().writes)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Watch> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever waits for a write on this side of it, and returns how it goes on.
    async fn pause(&self, write: &Write, side: Side) -> Fate {
        let Some(ambush) = self.due(write, side) else { return Fate::Passes };
        let (answer, answered) = oneshot::channel();
        if ambush.strike.send((write.clone(), answer)).is_err() {
            return Fate::Passes;
        }
        answered.await.unwrap_or(Fate::Lost)
    }

    fn due(&self, write: &Write, side: Side) -> Option<Ambush> {
        let mut watch = self.lock();
        let ambush = watch.ambush.as_ref()?;
        let is_it = ambush.object.as_ref().is_none_or(|object| *object == write.object);
        let is_due = ambush.step == write.step && ambush.side == side && is_it;
        if is_due { watch.ambush.take() } else { None }
    }

    async fn forward(&self, request: Request<Vec<u8>>) -> kube::Result<Response> {
        let answer = self.upstream.send(request.map(kube::client::Body::from)).await?;
        let (mut parts, body) = answer.into_parts();
        parts.headers.remove(TRANSFER_ENCODING);
        parts.headers.remove(CONNECTION);
        Ok(Response::from_parts(parts, Body::new(body)))
    }

    /// Passes a write on; none if its client is not to hear of it.
    async fn write(&self, request: Request<Vec<u8>>, write: &Write) -> Option<Response> {
        self.lock().writes.push(write.clone());
        if self.pause(write, Side::Before).await == Fate::Lost {
            return None;
        }
        let (parts, body) = self.forward(request).await.ok()?.into_parts();
        // Answered is what has arrived whole.
        let body = axum::body::to_bytes(body, LARGEST).await.ok()?;
        match self.pause(write, Side::After).await {
            Fate::Passes => Some(Response::from_parts(parts, Body::from(body))),
            Fate::Lost => None,
        }
    }
}

async fn pass(
    State(proxy): State<Proxy>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
) -> Response {
    let answer = async {
        let (mut parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, LARGEST).await.ok()?.to_vec();
        parts.headers.remove(HOST);
        let write = Write::of((&parts.method, parts.uri.path()), &parts.headers, &body);
        let request = Request::from_parts(parts, body);
        match write {
            Some(write) => proxy.write(request, &write).await,
            None => proxy.forward(request).await.ok(),
        }
    };
    match answer.await {
        Some(answer) => answer,
        // The server is not there, or is not to be: no answer, not even a bad one.
        None => line.cut().await,
    }
}

/// A client's connection.
#[derive(Debug, Clone)]
struct Line(CancellationToken);

impl Line {
    async fn cut(&self) -> Response {
        self.0.cancel();
        std::future::pending().await
    }
}

/// Where connections come from once they are encrypted.
struct Lines(mpsc::Receiver<(TlsStream<DuplexStream>, Line)>);

impl Listener for Lines {
    type Io = TlsStream<DuplexStream>;
    type Addr = Line;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.0.recv().await {
            Some(line) => line,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(Line(CancellationToken::new()))
    }
}

impl Connected<IncomingStream<'_, Lines>> for Line {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.remote_addr().clone()
    }
}

async fn admit(
    listener: TcpListener,
    tls: TlsAcceptor,
    tell: mpsc::Sender<(TlsStream<DuplexStream>, Line)>,
) {
    while let Ok((stream, _from)) = listener.accept().await {
        let (near, far) = duplex(UNDER_WAY);
        let line = Line(CancellationToken::new());
        tokio::spawn(carry(stream, near, line.clone()));
        let (tls, tell) = (tls.clone(), tell.clone());
        tokio::spawn(async move {
            // A client that goes away in the middle of the greeting is nobody's loss.
            if let Ok(stream) = tls.accept(far).await {
                let _over = tell.send((stream, line)).await;
            }
        });
    }
}

/// Carries a connection's bytes until an end closes it or it is cut.
async fn carry(mut stream: TcpStream, mut near: DuplexStream, line: Line) {
    let _best_effort = stream.set_nodelay(true);
    tokio::select! {
        _ended = copy_bidirectional(&mut stream, &mut near) => {}
        () = line.0.cancelled() => {
            let _reset = socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO));
        }
    }
}
