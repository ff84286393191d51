//! What Kilo's agent tells of itself by HTTP: that it runs, and its metrics.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{Error, HTTP_PORT};

/// How long a request may take to arrive.
const PATIENCE: Duration = Duration::from_secs(1);

/// The events that Kilo counts failures of.
const EVENTS: [&str; 5] = ["run", "checkin", "local", "apply", "cleanUp"];

/// The agent's metrics. Clones are the same metrics.
#[derive(Clone)]
pub(super) struct Metrics(Rc<RefCell<Counts>>);

struct Counts {
    started: Duration,
    nodes: usize,
    peers: usize,
    leads: bool,
    reconciles: u64,
    errors: BTreeMap<&'static str, u64>,
}

impl Metrics {
    pub(super) fn start() -> Self {
        Self(Rc::new(RefCell::new(Counts {
            started: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            nodes: 0,
            peers: 0,
            leads: false,
            reconciles: 0,
            errors: EVENTS.map(|event| (event, 0)).into(),
        })))
    }

    pub(super) fn reconciled(&self) {
        self.0.borrow_mut().reconciles += 1;
    }

    /// Notes how many nodes and VPN peers are Ready, whether or not this is acted on.
    pub(super) fn see(&self, nodes: usize, peers: usize) {
        let mut counts = self.0.borrow_mut();
        (counts.nodes, counts.peers) = (nodes, peers);
    }

    pub(super) fn lead(&self, leads: bool) {
        self.0.borrow_mut().leads = leads;
    }

    pub(super) fn failed(&self, event: &'static str) {
        *self.0.borrow_mut().errors.entry(event).or_default() += 1;
    }

    fn text(&self) -> String {
        let counts = self.0.borrow();
        let mut text = String::new();
        let mut metric = |name: &str, kind: &str, values: &[(String, String)]| {
            // Writing to a text cannot fail.
            let _written = writeln!(text, "# TYPE {name} {kind}");
            for (labels, value) in values {
                let _written = writeln!(text, "{name}{labels} {value}");
            }
        };
        let single = |value: String| [(String::new(), value)];

        let errors = counts.errors.iter();
        let errors: Vec<_> = errors
            .map(|(event, count)| (format!("{{event=\"{event}\"}}"), count.to_string()))
            .collect();
        metric("kilo_errors_total", "counter", &errors);
        metric("kilo_leader", "gauge", &single(u8::from(counts.leads).to_string()));
        metric("kilo_nodes", "gauge", &single(counts.nodes.to_string()));
        metric("kilo_peers", "gauge", &single(counts.peers.to_string()));
        metric("kilo_reconciles_total", "counter", &single(counts.reconciles.to_string()));
        let started = format!("{:.2}", counts.started.as_secs_f64());
        metric("process_start_time_seconds", "gauge", &single(started));

        text
    }
}

pub(super) async fn listen() -> Result<TcpListener, Error> {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, HTTP_PORT)).await.map_err(Error::Listen)
}

/// Answers one request after the other, each on a connection of its own: an agent that is killed
/// must not go on answering on one that was open.
pub(super) async fn serve(listener: TcpListener, metrics: Metrics) -> ! {
    loop {
        if let Ok((stream, _from)) = listener.accept().await {
            // Who goes away before the answer does not want it.
            let _answered = timeout(PATIENCE, answer(stream, &metrics)).await;
        }
    }
}

async fn answer(mut stream: TcpStream, metrics: &Metrics) -> std::io::Result<()> {
    let mut lines = BufReader::new(&mut stream).lines();
    let request = lines.next_line().await?.unwrap_or_default();
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}

    let (status, body) = match request.split(' ').nth(1) {
        Some("/health") => ("200 OK", String::new()),
        Some("/metrics") => ("200 OK", metrics.text()),
        _ => ("404 Not Found", String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}
