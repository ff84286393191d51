//! Watches one fault from its start to its end: flows, objects and interfaces, told on the
//! timeline as they are seen.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::chronicle::{Chronicle, DARK, IMPAIRED, What};
use super::figures::{self, Concern, Deed, Deeds, Figures, Moments, Mover, Struck, Tally};
use super::mesh::{Error, Mesh};
use super::station::TUNNEL;
use super::timeline::Timeline;
use super::topology::Topology;
use super::traffic::{Fresh, Reader};
use super::tunnels::Tunnels;
use super::vigil::Vigil;
use crate::cluster::objects::MoveOutcome;
use crate::evidence::{Location, NodeName};
use crate::lab::faults::Fault;

/// How long service is watched after it is back.
const AFTERGLOW: Duration = Duration::from_secs(2);

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
    /// When the location has been said to be impaired, and nothing more came of it for a while; or
    /// when this has passed.
    Reported(Duration),
}

/// How long after a report we wait for what else may come.
const AFTER_REPORT: Duration = Duration::from_secs(15);

/// A fault that is being watched.
pub struct Watch<'a> {
    vigil: &'a Vigil<'a>,
    timeline: &'a Timeline,
    topology: Topology,
    traffic: Reader,
    struck: Struck,
    fault: (Fault, Option<NodeName>),
    began: Instant,
    heirs: Vec<NodeName>,
    fit: bool,
    held_lease: bool,
    moments: BTreeMap<Moment, Instant>,
    to: Option<NodeName>,
    mover: Mover,
    deeds: Deeds,
    open: BTreeSet<Location>,
    tunnels: Tunnels,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    FirstLost,
    Reported,
    Verdict,
    Written,
    TunnelUp,
    Restored,
    Verified,
}

impl<'a> Watch<'a> {
    /// Starts to watch; call it just before the fault is set. `mover` is who moves the leader.
    pub async fn start(
        (mesh, vigil, timeline): (&Mesh, &'a Vigil<'a>, &'a Timeline),
        struck: Struck,
        fault: (Fault, Option<NodeName>),
        mover: Mover,
    ) -> Result<Self, Error> {
        let heirs = fit_heirs(&vigil.chronicle, &struck.location);
        let holder = vigil.chronicle.holder();
        let tunnels = Tunnels::start(mesh, &struck).await?;
        vigil.look();
        let deeds = Deeds { led: vec![struck.leader.clone()], ..Deeds::default() };
        let began = Instant::now();
        timeline.count_from(Some(began));

        Ok(Self {
            vigil,
            timeline,
            topology: mesh.network.topology.clone(),
            traffic: mesh.traffic.reader(),
            struck,
            held_lease: holder.is_some() && holder == fault.1,
            fault,
            began,
            heirs,
            fit: false,
            moments: BTreeMap::new(),
            to: None,
            mover,
            deeds,
            open: BTreeSet::new(),
            tunnels,
        })
    }

    /// Watches while something is being done, until it is done.
    pub async fn during<T>(&mut self, deed: impl Future<Output = T>) -> T {
        let mut deed = std::pin::pin!(deed);
        loop {
            tokio::select! {
                done = &mut deed => {
                    self.look();
                    return done;
                }
                () = sleep(GLANCE) => self.look(),
            }
        }
    }

    /// Watches until then, counted from now on.
    pub async fn watch(&mut self, until: Until) {
        let since = Instant::now();
        loop {
            self.look();

            let passed = since.elapsed();
            let done = match until {
                Until::Passed(most) => passed >= most,
                Until::Healed(most) => passed >= most || self.healed(),
                Until::Reported(most) => passed >= most || self.reported(),
            };
            if done {
                break;
            }
            sleep(GLANCE).await;
        }
        if matches!(until, Until::Healed(_)) {
            // What is back shall stay back.
            self.during(sleep(AFTERGLOW)).await;
        }
    }

    /// Notes whose arbiter was killed.
    pub fn killed(&mut self, node: NodeName) {
        self.deeds.killed = Some(node);
    }

    fn healed(&self) -> bool {
        let told = self.mover != Mover::Tanist || self.moments.contains_key(&Moment::Verified);
        self.to.is_some() && told && self.moments.contains_key(&Moment::Restored)
    }

    fn reported(&self) -> bool {
        let at = self.moments.get(&Moment::Reported);
        at.is_some_and(|at| at.elapsed() >= AFTER_REPORT)
    }

    fn look(&mut self) {
        for happening in self.vigil.look() {
            self.record(&happening.what);
            self.note(happening.at, &happening.what);
        }

        for (node, at) in self.tunnels.up() {
            self.timeline.at(at, &format!("{node}: {TUNNEL} is up"));
            self.moments.entry(Moment::TunnelUp).or_insert(at);
        }
        self.look_at_flows();
    }

    /// Writes down what Tanist did, here and elsewhere.
    fn record(&mut self, what: &What) {
        match what {
            What::Move(location, record) => {
                let deed = Deed { location: location.clone(), to: record.to.clone() };
                self.deeds.moves.push(deed);
                self.open.insert(location.clone());
                self.deeds.at_once = self.deeds.at_once.max(self.open.len());
            }
            What::Reverting(..) => self.deeds.undone += 1,
            What::Ended(location, _) => {
                self.open.remove(location);
            }
            What::Verdict(location, verdict, _) if verdict == DARK => {
                self.deeds.convicted.push(location.clone());
            }
            What::Attention(note) => self.deeds.told.push(note.clone()),
            What::Leads(location, node) if *location == self.struck.location => {
                self.deeds.led.push(node.clone());
            }
            What::Annotated(_)
            | What::Unannotated(_)
            | What::Leads(..)
            | What::Verdict(..)
            | What::Written(_)
            | What::Holder(_) => {}
        }
    }

    fn note(&mut self, at: Instant, what: &What) {
        let here = self.struck.location.clone();
        match what {
            What::Verdict(location, verdict, _) if *location == here => {
                if verdict == DARK {
                    self.first(Moment::Verdict, at);
                }
                if verdict == DARK || verdict == IMPAIRED {
                    self.first(Moment::Reported, at);
                }
            }
            What::Move(location, record) if *location == here => {
                // The list is not rewritten for every change, so that before the fault counts too.
                let mut heirs = fit_heirs(&self.vigil.chronicle, location);
                heirs.extend(self.heirs.iter().cloned());
                self.fit = heirs.contains(&record.to);
                self.first(Moment::Verdict, at);
                self.first(Moment::Reported, at);
            }
            What::Leads(location, node) if *location == here => {
                self.to = (*node != self.struck.leader).then(|| node.clone());
                self.first(Moment::Written, at);
            }
            What::Ended(location, past)
                if *location == here && past.outcome == MoveOutcome::Verified =>
            {
                self.first(Moment::Verified, at);
            }
            What::Annotated(_)
            | What::Unannotated(_)
            | What::Leads(..)
            | What::Verdict(..)
            | What::Move(..)
            | What::Written(_)
            | What::Reverting(..)
            | What::Ended(..)
            | What::Holder(_)
            | What::Attention(_) => {}
        }
    }

    fn first(&mut self, moment: Moment, at: Instant) {
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
        let mut flows = self.traffic.since(self.began);
        flows.retain(|flow| self.struck.concern(&flow.pair, &self.topology) == Concern::Relayed);
        flows.sort_by_key(|flow| flow.at);

        flows
    }

    /// Ends the watch and sums up. Call it before the fault is lifted.
    #[must_use]
    pub fn figures(self) -> Figures {
        let concern = |pair: &_| self.struck.concern(pair, &self.topology);
        let after = |moment| {
            let at = self.moments.get(&moment).copied();
            at.map(|at: Instant| at.saturating_duration_since(self.began))
        };

        let relayed = self.relayed();
        let restored = figures::restored(&relayed.iter().collect::<Vec<_>>());
        let restored = restored.map(|at| at.saturating_duration_since(self.began));
        let all = self.traffic.since(self.began);
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
            held_lease: self.held_lease,
            by: self.by(),
            deeds: self.deeds.clone(),
            moments: Moments {
                first_lost: after(Moment::FirstLost),
                reported: after(Moment::Reported),
                verdict: after(Moment::Verdict),
                written: after(Moment::Written),
                tunnel_up: after(Moment::TunnelUp),
                restored,
                verified: after(Moment::Verified),
            },
            flows: figures::tally(&all, concern),
            course: figures::course(&all, self.began, concern),
            own_after_move,
            kept_died: figures::died(&self.traffic.seen(), Instant::now(), concern),
            to: self.to,
        }
    }

    fn moved_to(&self, node: &NodeName) -> bool {
        let here = |deed: &&Deed| deed.location == self.struck.location;
        self.deeds.moves.iter().filter(here).any(|deed| deed.to == *node)
    }

    fn by(&self) -> Mover {
        match (&self.to, self.mover) {
            (None, _) => Mover::Nobody,
            (Some(_), Mover::Nobody) => Mover::Kilo,
            (Some(to), Mover::Tanist) if !self.moved_to(to) => Mover::Kilo,
            (Some(_), mover) => mover,
        }
    }
}

/// Returns the nodes that Tanist shows as fit to lead a location.
fn fit_heirs(chronicle: &Chronicle, location: &Location) -> Vec<NodeName> {
    let status = chronicle.locations().remove(location).unwrap_or_default();
    status.heirs.into_iter().filter(|heir| heir.fit).map(|heir| heir.node).collect()
}
