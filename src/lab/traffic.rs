//! The users of the mesh: pods that open fresh flows to pods of other locations, and keep old ones.
//!
//! A fresh flow is a new socket and a new port, walked and not drawn, so that neither conntrack
//! nor the overlay's outer port has seen it. The rate is low on purpose: together the pods of a
//! location open [`PER_LOCATION`] flows a second, and as many come in, so that outer ports do not
//! repeat within the time that a wedge remembers them.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::namespace;
use super::network::{Host, Network};
use crate::evidence::NodeName;

/// How many fresh flows the pods of a location open each second, together.
pub const PER_LOCATION: u32 = 20;

/// Where pods answer, by UDP and TCP.
const PORT: u16 = 7000;

/// A flow without an answer after this is lost. It is shorter than the first retry of a SYN.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often a kept flow says something.
const BEAT: Duration = Duration::from_millis(200);

/// How a flow is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carrier {
    /// One datagram there and back.
    Udp,
    /// A connection, one byte there and back.
    Tcp,
}

/// A pod's node and another's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// Who opens the flow.
    pub from: NodeName,
    /// Who answers.
    pub to: NodeName,
}

/// What became of one fresh flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// Between whom.
    pub pair: Pair,
    /// How.
    pub carrier: Carrier,
    /// When it was opened.
    pub at: Instant,
    /// How long the answer took, if there was one.
    pub answer: Option<Duration>,
}

/// A flow that was opened once and is used all the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// When it was last answered.
    pub last: Instant,
    /// The longest time without an answer, until the last one.
    pub stall: Duration,
    /// Whether the connection was refused, reset or closed.
    pub broken: bool,
}

/// All that the users have seen.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Fresh flows in the order in which they ended.
    pub fresh: Vec<Fresh>,
    /// Kept flows.
    pub kept: BTreeMap<(Pair, Carrier), Kept>,
}

/// The running users. They stop when this is dropped.
#[derive(Debug)]
pub struct Traffic {
    seen: Arc<Mutex<Seen>>,
    tasks: Vec<AbortHandle>,
}

impl Traffic {
    /// Lets every pod answer, and open flows to the pods of other locations.
    pub async fn start(network: &Network) -> Result<Self, namespace::Error> {
        let mut traffic = Self { seen: Arc::default(), tasks: Vec::new() };

        for host in network.hosts.values() {
            traffic.tasks.push(host.pod.start(answer).await?);
        }
        for host in network.hosts.values() {
            let user = User::new(host, network, &traffic.seen);
            traffic.tasks.push(host.pod.start(async move || user.live().await).await?);
        }

        Ok(traffic)
    }

    /// Returns what reads along what the users see.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader { seen: Arc::clone(&self.seen) }
    }

    /// Returns the fresh flows that were opened since then and have ended.
    #[must_use]
    pub fn since(&self, then: Instant) -> Vec<Fresh> {
        self.reader().since(then)
    }

    /// Ends all users for good: from now on nobody but Tanist and Kilo says anything.
    pub fn stop(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }

    /// Tells whether they have ended.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.tasks.iter().all(AbortHandle::is_finished)
    }

    /// Forgets the fresh flows seen so far.
    pub fn forget(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.fresh.clear();
        for kept in seen.kept.values_mut() {
            kept.stall = Duration::ZERO;
        }
    }
}

/// Reads along what the users see.
#[derive(Debug, Clone)]
pub struct Reader {
    seen: Arc<Mutex<Seen>>,
}

impl Reader {
    /// Returns a copy of all that was seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the fresh flows that were opened since then and have ended.
    #[must_use]
    pub fn since(&self, then: Instant) -> Vec<Fresh> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // They stand in the order of their ends, and none lasts longer than our patience.
        let recent = seen.fresh.iter().rev().take_while(|flow| flow.at + PATIENCE >= then);
        recent.filter(|flow| flow.at >= then).cloned().collect()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One pod that opens flows.
struct User {
    name: NodeName,
    address: Ipv4Addr,
    period: Duration,
    /// Whom it talks to, in turn: all pods of other locations, location by location.
    others: Vec<(NodeName, SocketAddrV4)>,
    /// One pod of each other location, to which a flow is kept.
    friends: Vec<(NodeName, SocketAddrV4)>,
    seen: Arc<Mutex<Seen>>,
    next_port: AtomicU16,
}

impl User {
    fn new(host: &Host, network: &Network, seen: &Arc<Mutex<Seen>>) -> Self {
        let (topology, place) = (&network.topology, &host.place);
        let index = topology.members(&place.location).position(|member| member == place);
        let index = index.unwrap_or_default();
        let members = u32::try_from(topology.members(&place.location).count()).unwrap_or(1);
        let entry = |to: &super::topology::Place| {
            (to.name.clone(), SocketAddrV4::new(to.pod().addr(), PORT))
        };

        let locations = topology.locations();
        let elsewhere = locations.iter().filter(|location| **location != place.location);
        let elsewhere = elsewhere.map(|location| topology.members(location).collect::<Vec<_>>());
        let elsewhere = elsewhere.collect::<Vec<_>>();

        // Turn by turn another location, and in each turn another member; pods of one location
        // start with different ones.
        let turns = elsewhere.iter().map(Vec::len).max().unwrap_or_default();
        let others = (0..turns).flat_map(|turn| {
            elsewhere.iter().map(move |members| entry(members[(turn + index) % members.len()]))
        });

        Self {
            name: place.name.clone(),
            address: place.pod().addr(),
            period: Duration::from_secs(1) * members / PER_LOCATION,
            others: others.collect(),
            friends: elsewhere
                .iter()
                .map(|members| entry(members[index % members.len()]))
                .collect(),
            seen: Arc::clone(seen),
            next_port: AtomicU16::new(20_000 + 37 * u16::from(place.number)),
        }
    }

    async fn live(self) {
        if self.others.is_empty() {
            return;
        }
        let user = Arc::new(self);

        // Dropped with us, and all that runs in it too.
        let mut flows = JoinSet::new();
        for friend in user.friends.clone() {
            flows.spawn_local(Arc::clone(&user).keep(friend.clone(), Carrier::Udp));
            flows.spawn_local(Arc::clone(&user).keep(friend, Carrier::Tcp));
        }

        let mut ticks = ticks(user.period);
        for turn in 0_usize.. {
            ticks.tick().await;
            let other = user.others[turn % user.others.len()].clone();
            // Three of four by UDP; the turns of a location are odd and even in turn too.
            let carrier = if turn % 4 == 3 { Carrier::Tcp } else { Carrier::Udp };
            flows.spawn_local(Arc::clone(&user).open(other, carrier));
            while flows.try_join_next().is_some() {}
        }
    }

    async fn open(self: Arc<Self>, (to, address): (NodeName, SocketAddrV4), carrier: Carrier) {
        let at = Instant::now();

        let answered = timeout(PATIENCE, async {
            match carrier {
                Carrier::Udp => one_datagram(&self.datagrams(address).await?).await,
                Carrier::Tcp => one_byte(&mut self.connect(address).await?).await,
            }
        });
        let answer = matches!(answered.await, Ok(Ok(()))).then(|| at.elapsed());

        let pair = Pair { from: self.name.clone(), to };
        self.seen().fresh.push(Fresh { pair, carrier, at, answer });
    }

    async fn keep(self: Arc<Self>, (to, address): (NodeName, SocketAddrV4), carrier: Carrier) {
        let key = (Pair { from: self.name.clone(), to }, carrier);
        let mut line = self.line(address, carrier).await;

        let mut ticks = ticks(BEAT);
        loop {
            ticks.tick().await;
            let answered = line.say().await;

            match self.note(&key, answered) {
                Next::Go => {}
                Next::Open => line = self.line(address, carrier).await,
                Next::Stop => return,
            }
        }
    }

    /// Notes what became of one beat of a kept flow.
    fn note(&self, key: &(Pair, Carrier), answered: io::Result<()>) -> Next {
        let mut seen = self.seen();

        match (answered, seen.kept.get_mut(key)) {
            (Ok(()), None) => {
                let kept = Kept { last: Instant::now(), stall: Duration::ZERO, broken: false };
                seen.kept.insert(key.clone(), kept);
                Next::Go
            }
            (Ok(()), Some(kept)) => {
                kept.stall = kept.stall.max(kept.last.elapsed());
                kept.last = Instant::now();
                Next::Go
            }
            // It never worked: it is opened again until it does.
            (Err(_), None) => Next::Open,
            (Err(error), Some(kept)) if key.1 == Carrier::Tcp => {
                kept.broken = error.kind() != io::ErrorKind::TimedOut;
                if kept.broken { Next::Stop } else { Next::Go }
            }
            (Err(_), Some(_)) => Next::Go,
        }
    }

    async fn line(&self, address: SocketAddrV4, carrier: Carrier) -> Line {
        let opened = timeout(PATIENCE, async {
            Ok::<_, io::Error>(match carrier {
                Carrier::Udp => Line::Udp(self.datagrams(address).await?),
                Carrier::Tcp => Line::Tcp(self.connect(address).await?),
            })
        });
        opened.await.ok().and_then(Result::ok).unwrap_or(Line::None)
    }

    async fn datagrams(&self, to: SocketAddrV4) -> io::Result<UdpSocket> {
        let socket = loop {
            match UdpSocket::bind((self.address, self.port())).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                bound => break bound?,
            }
        };
        socket.connect(to).await?;

        Ok(socket)
    }

    async fn connect(&self, to: SocketAddrV4) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        // No trace of it stays behind, neither here nor in conntrack.
        socket.set_zero_linger()?;
        while let Err(error) = socket.bind(SocketAddrV4::new(self.address, self.port()).into()) {
            if error.kind() != io::ErrorKind::AddrInUse {
                return Err(error);
            }
        }

        socket.connect(to.into()).await
    }

    /// Returns the next port of the walk.
    fn port(&self) -> u16 {
        20_000 + self.next_port.fetch_add(1, Ordering::Relaxed) % 40_000
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What to do with a kept flow next.
enum Next {
    Go,
    Open,
    Stop,
}

/// A kept flow's socket.
enum Line {
    None,
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Line {
    async fn say(&mut self) -> io::Result<()> {
        let said = async {
            match self {
                Self::None => Err(io::ErrorKind::NotConnected.into()),
                Self::Udp(socket) => one_datagram(socket).await,
                Self::Tcp(stream) => one_byte(stream).await,
            }
        };
        timeout(PATIENCE, said).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

async fn one_datagram(socket: &UdpSocket) -> io::Result<()> {
    socket.send(b"?").await?;
    socket.recv(&mut [0; 1]).await.map(|_| ())
}

async fn one_byte(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"?").await?;
    stream.read_exact(&mut [0; 1]).await.map(|_| ())
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);

    ticks
}

/// Sends everything back that comes in.
async fn answer() {
    let (Ok(datagrams), Ok(connections)) = (
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).await,
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await,
    ) else {
        tracing::error!("A pod cannot answer");
        return;
    };

    let mut lines = JoinSet::new();
    lines.spawn_local(async move {
        let mut packet = [0; 1500];
        loop {
            if let Ok((length, from)) = datagrams.recv_from(&mut packet).await {
                // A lost answer is a lost flow, which the asker counts.
                let _sent = datagrams.send_to(&packet[..length], from).await;
            }
        }
    });
    loop {
        if let Ok((mut stream, _)) = connections.accept().await {
            lines.spawn_local(async move {
                let (mut read, mut write) = stream.split();
                let _ended = tokio::io::copy(&mut read, &mut write).await;
            });
            while lines.try_join_next().is_some() {}
        }
    }
}
