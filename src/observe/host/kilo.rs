//! What Kilo's agent on this host says of itself, in its metrics.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The agent is on this host: an answer that takes longer is none.
const DEADLINE: Duration = Duration::from_secs(1);

/// Its metrics take some 20 KiB; more than this is something else.
const LONGEST: u64 = 1 << 20;

/// What the agent says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AgentFacts {
    /// Whether it answered at all.
    pub answers: bool,
    /// How many Ready nodes it counts.
    pub nodes: Option<u32>,
    /// When its process started, Unix seconds.
    pub started: Option<i64>,
}

/// Asks the agent on this host.
pub async fn agent(port: u16) -> AgentFacts {
    let asked = tokio::time::timeout(DEADLINE, metrics((Ipv4Addr::LOCALHOST, port).into()));
    match asked.await {
        Ok(Ok(text)) => read(&text),
        Ok(Err(_)) | Err(_) => AgentFacts::default(),
    }
}

/// HTTP 1.0, so that the answer comes in one piece and ends with the connection.
async fn metrics(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;

    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Reads an answer. A process that serves something else on that port is not Kilo's agent.
pub(super) fn read(answer: &str) -> AgentFacts {
    let value = |name: &str| {
        let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse::<f64>().ok().filter(|value| value.is_finite())
    };
    let ok = answer.lines().next().is_some_and(|status| status.contains(" 200"));
    AgentFacts {
        answers: ok,
        nodes: value("kilo_nodes").filter(|_| ok).map(|nodes| nodes as u32),
        started: value("process_start_time_seconds").filter(|_| ok).map(|time| time as i64),
    }
}
