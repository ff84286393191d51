//! Watches one fault from its start to its end: flows, objects and interfaces, told on the
//! timeline as they are seen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::chronicle::{Chronicle, DARK, What};
use super::figures::{self, Concern, Figures, Moments, Mover, Struck, Tally};
use super::mesh::{Error, Mesh};
use super::station::TUNNEL;
use super::timeline::Timeline;
use super::traffic::Fresh;
use crate::cluster::objects::MoveOutcome;
use crate::evidence::{Location, NodeName};
use crate::lab::faults::Fault;
use crate::net::Netlink;

/// How often we look.
const GLANCE: Duration = Duration::from_millis(50);

/// So many answered flows in a row mean that service is back.
const ROW: usize = 8;

/// When to stop watching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// When this has passed.
    Passed(Duration),
    /// When service is back under a new leader and, if Tanist moved, it has said so; or when this
    /// has passed.
    Healed(Duration),
}

/// A fault that is being watched.
pub struct Watch<'a> {
    mesh: &'a Mesh,
    chronicle: &'a Chronicle,
    timeline: &'a Timeline,
    struck: Struck,
    fault: (Fault, Option<NodeName>),
    began: Instant,
    heirs: Vec<NodeName>,
    fit: bool,
    known: usize,
    moments: BTreeMap<Moment, Instant>,
    to: Option<NodeName>,
    mover: Mover,
    tunnels: Tunnels,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    FirstLost,
    Verdict,
    Written,
    TunnelUp,
    Restored,
    Verified,
}

impl<'a> Watch<'a> {
    /// Starts to watch; call it just before the fault is set. `mover` is who moves the leader.
    pub async fn start(
        (mesh, chronicle, timeline): (&'a Mesh, &'a Chronicle, &'a Timeline),
        struck: Struck,
        fault: (Fault, Option<NodeName>),
        mover: Mover,
    ) -> Result<Self, Error> {
        let heirs = fit_heirs(chronicle, &struck.location);
        let tunnels = Tunnels::start(mesh, &struck).await?;
        let began = Instant::now();
        timeline.count_from(Some(began));

        Ok(Self {
            mesh,
            chronicle,
            timeline,
            struck,
            fault,
            began,
            heirs,
            fit: false,
            known: chronicle.after(0).len(),
            moments: BTreeMap::new(),
            to: None,
            mover,
            tunnels,
        })
    }

    /// Watches until then.
    pub async fn watch(&mut self, until: Until) {
        loop {
            self.look();

            let passed = self.began.elapsed();
            let done = match until {
                Until::Passed(most) => passed >= most,
                Until::Healed(most) => passed >= most || self.healed(),
            };
            if done {
                return;
            }
            sleep(GLANCE).await;
        }
    }

    fn healed(&self) -> bool {
        let told = self.mover != Mover::Tanist || self.moments.contains_key(&Moment::Verified);
        self.to.is_some() && told && self.moments.contains_key(&Moment::Restored)
    }

    fn look(&mut self) {
        let news = self.chronicle.after(self.known);
        self.known += news.len();
        for happening in news {
            self.timeline.at(happening.at, &happening.what.to_string());
            self.note(happening.at, &happening.what);
        }

        for (node, at) in self.tunnels.up() {
            self.timeline.at(at, &format!("{node}: {TUNNEL} is up"));
            self.moments.entry(Moment::TunnelUp).or_insert(at);
        }
        self.look_at_flows();
    }

    fn note(&mut self, at: Instant, what: &What) {
        let here = self.struck.location.clone();
        let moment = match what {
            What::Verdict(location, verdict, _) if *location == here && verdict == DARK => {
                Moment::Verdict
            }
            What::Move(location, record) if *location == here => {
                // The list is not rewritten for every change, so that before the fault counts too.
                let mut heirs = fit_heirs(self.chronicle, location);
                heirs.append(&mut self.heirs);
                self.fit = heirs.contains(&record.to);
                Moment::Verdict
            }
            What::Leads(location, node) if *location == here => {
                self.to = (*node != self.struck.leader).then(|| node.clone());
                Moment::Written
            }
            What::Ended(location, past)
                if *location == here && past.outcome == MoveOutcome::Verified =>
            {
                Moment::Verified
            }
            What::Annotated(_)
            | What::Unannotated(_)
            | What::Leads(..)
            | What::Verdict(..)
            | What::Move(..)
            | What::Written(_)
            | What::Ended(..) => return,
        };
        self.moments.entry(moment).or_insert(at);
    }

    fn look_at_flows(&mut self) {
        let flows = self.relayed();

        if let Some(lost) = figures::first_lost(&flows).filter(|_| self.is_news(Moment::FirstLost))
        {
            let flow = flows.iter().find(|flow| flow.at == lost);
            let who = flow.map(|flow| format!(": {} to {}", flow.pair.from, flow.pair.to));
            self.timeline
                .at(lost, &format!("the first fresh flow is lost{}", who.unwrap_or_default()));
            self.moments.insert(Moment::FirstLost, lost);
        }

        let written = self.moments.get(&Moment::Written).copied();
        let Some(written) = written.filter(|_| self.is_news(Moment::Restored)) else { return };
        let since = flows.iter().filter(|flow| flow.at >= written).collect::<Vec<_>>();
        let row = since.windows(ROW).find(|row| row.iter().all(|flow| flow.answer.is_some()));
        if let Some(first) = row.and_then(|row| row.first()) {
            self.timeline.at(first.at, "fresh flows pass again");
            self.moments.insert(Moment::Restored, first.at);
        }
    }

    fn is_news(&self, moment: Moment) -> bool {
        !self.moments.contains_key(&moment)
    }

    /// Returns the flows that need the relay, in the order in which they were opened.
    fn relayed(&self) -> Vec<Fresh> {
        let topology = &self.mesh.network.topology;
        let mut flows = self.mesh.traffic.since(self.began);
        flows.retain(|flow| self.struck.concern(&flow.pair, topology) == Concern::Relayed);
        flows.sort_by_key(|flow| flow.at);

        flows
    }

    /// Ends the watch and sums up. Call it before the fault is lifted.
    #[must_use]
    pub fn figures(self) -> Figures {
        let topology = &self.mesh.network.topology;
        let concern = |pair: &_| self.struck.concern(pair, topology);
        let after = |moment| {
            let at = self.moments.get(&moment).copied();
            at.map(|at: Instant| at.saturating_duration_since(self.began))
        };

        let relayed = self.relayed();
        let restored = figures::restored(&relayed.iter().collect::<Vec<_>>());
        let restored = restored.map(|at| at.saturating_duration_since(self.began));
        let all = self.mesh.traffic.since(self.began);
        let moved = self.moments.get(&Moment::Restored).copied();
        let mut own_after_move = Tally::default();
        let own = all.iter().filter(|flow| concern(&flow.pair) == Concern::Own);
        for flow in own.filter(|flow| moved.is_some_and(|moved| flow.at > moved)) {
            own_after_move.count(flow);
        }

        Figures {
            fault: self.fault.0.to_string(),
            node: self.fault.1.clone(),
            location: self.struck.location.clone(),
            from: self.struck.leader.clone(),
            fit: self.fit,
            by: self.by(),
            moments: Moments {
                first_lost: after(Moment::FirstLost),
                verdict: after(Moment::Verdict),
                written: after(Moment::Written),
                tunnel_up: after(Moment::TunnelUp),
                restored,
                verified: after(Moment::Verified),
            },
            flows: figures::tally(&all, concern),
            course: figures::course(&all, self.began, concern),
            own_after_move,
            kept_died: figures::died(&self.mesh.traffic.seen(), Instant::now(), concern),
            to: self.to,
        }
    }

    fn by(&self) -> Mover {
        match (&self.to, self.mover) {
            (None, _) => Mover::Nobody,
            (Some(_), Mover::Nobody) => Mover::Kilo,
            (Some(_), Mover::Tanist) if self.is_news(Moment::Verdict) => Mover::Kilo,
            (Some(_), mover) => mover,
        }
    }
}

/// Returns the nodes that Tanist shows as fit to lead a location.
fn fit_heirs(chronicle: &Chronicle, location: &Location) -> Vec<NodeName> {
    let status = chronicle.locations().remove(location).unwrap_or_default();
    status.heirs.into_iter().filter(|heir| heir.fit).map(|heir| heir.node).collect()
}

/// Looks at the tunnel of every node of a location, and notices which comes up.
struct Tunnels {
    seen: Arc<Mutex<Vec<(NodeName, Instant)>>>,
    told: usize,
    watches: Vec<AbortHandle>,
}

impl Tunnels {
    async fn start(mesh: &Mesh, struck: &Struck) -> Result<Self, Error> {
        let mut tunnels = Self { seen: Arc::default(), told: 0, watches: Vec::new() };

        for place in mesh.network.topology.members(&struck.location) {
            let Some(host) = mesh.network.hosts.get(&place.name) else { continue };
            let (seen, node) = (Arc::clone(&tunnels.seen), place.name.clone());
            let watch = host.host.start(async move || watch_tunnel(&seen, &node).await).await?;
            tunnels.watches.push(watch);
        }
        Ok(tunnels)
    }

    /// Returns which have come up since we were last asked.
    fn up(&mut self) -> Vec<(NodeName, Instant)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let news = seen[self.told..].to_vec();
        self.told += news.len();

        news
    }
}

impl Drop for Tunnels {
    fn drop(&mut self) {
        for watch in &self.watches {
            watch.abort();
        }
    }
}

async fn watch_tunnel(seen: &Mutex<Vec<(NodeName, Instant)>>, node: &NodeName) {
    let Ok(net) = Netlink::open() else { return };

    let mut up = true;
    loop {
        let is_up = net.link(TUNNEL).await.is_ok_and(|link| link.up);
        if is_up && !up {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push((node.clone(), Instant::now()));
        }
        up = is_up;
        sleep(Duration::from_millis(20)).await;
    }
}
