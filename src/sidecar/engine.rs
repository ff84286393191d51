//! The loop of one node: plans and outcomes in, flows and reports out. Nothing here waits for the
//! API server: probing goes on without it, and of several unwritten reports only the last counts.
//!
//! ```text
//!  plan ──┐                    ┌─▶ flows, hairpins ─┐
//!         ├─▶ Schedule ─ turn ─┤                    │ outcomes
//!  sight ─┘      ▲             └─▶ report           │
//!                └──────────────────────────────────┘
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::clock::{Clock, Pulse};
use super::hands::Hands;
use super::pen::{Pen, Urgency};
use super::plan::Plan;
use super::report::{fit, size};
use super::sight::Sight;
use crate::admin::Admin;
use crate::evidence::{
    Abstention, AddressKind, Assignment, Flow, Hairpin, Heard, LocalCause, LocalFinding, Moment,
    NodeName, Report,
};
use crate::metrics::ObserveMetrics;
use crate::observe::schedule::{Condition, Event, Outcome, Role, Schedule, Shot};
use crate::observe::wire::ProberId;

/// A process younger than this has seen too little.
const YOUNG: Duration = Duration::from_secs(10);

/// How often those report that see most, if nothing happens; and the others.
const REPORT: Duration = Duration::from_secs(60);
const REPORT_SELDOM: Duration = Duration::from_secs(600);

/// The loop turns at least this often, to show that it lives.
const IDLE: Duration = Duration::from_secs(5);

/// A loss that is told this much later than its timeout was not told in time to mean anything.
const LATE_WORD: Duration = Duration::from_millis(250);

/// Who runs, and since when.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) node: NodeName,
    pub(super) incarnation: u32,
    pub(super) clock: Clock,
    pub(super) kilo_settle: Duration,
}

/// What comes in.
#[derive(Debug, Clone)]
pub(super) struct Inputs {
    pub(super) plan: watch::Receiver<Plan>,
    pub(super) sight: watch::Receiver<Sight>,
}

/// The loop's state.
pub(super) struct Engine<H: Hands> {
    identity: Identity,
    hands: Arc<H>,
    inputs: Inputs,
    plan: Plan,
    sight: Sight,
    schedule: Schedule,
    pen: Pen,
    pulse: Pulse,
    abstains: Option<Abstention>,
    /// Whether the responder has its port.
    listens: bool,
    sequence: u64,
    names: BTreeMap<ProberId, NodeName>,
    tasks: JoinSet<Done<H::Overdue>>,
    metrics: ObserveMetrics,
    admin: Admin,
}

/// What became of something the hands did.
enum Done<O> {
    Shot(Shot, Outcome, Option<O>),
    Late(Shot, Option<Outcome>),
    Hairpin(Option<Hairpin>),
    Told { written: bool },
}

impl<H: Hands> Engine<H> {
    /// Returns an engine that has done nothing yet.
    pub(super) fn new(
        identity: Identity,
        (schedule, hands): (Schedule, H),
        inputs: Inputs,
        (admin, metrics): (Admin, ObserveMetrics),
    ) -> Self {
        let abstains = Some(Abstention::NoPlan);
        metrics.abstaining(abstains);
        Self {
            identity,
            hands: Arc::new(hands),
            inputs,
            plan: Plan::default(),
            sight: Sight::default(),
            schedule,
            pen: Pen::default(),
            pulse: Pulse::start(),
            abstains,
            listens: false,
            sequence: 0,
            names: BTreeMap::new(),
            tasks: JoinSet::new(),
            metrics,
            admin,
        }
    }

    /// Turns until cancelled, or until nobody is left to tell it anything.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        self.follow_plan();
        self.see();
        loop {
            let planned = self.next_turn();
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                () = tokio::time::sleep_until(self.identity.clock.instant(planned)) => {
                    self.pulse.rang(planned, self.now());
                }
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => self.take(done.ok()),
                Ok(()) = self.inputs.plan.changed() => self.follow_plan(),
                Ok(()) = self.inputs.sight.changed() => self.see(),
            }
            while let Some(done) = self.tasks.try_join_next() {
                self.take(done.ok());
            }
            self.turn();
        }
        self.admin.rest("sidecar");
    }

    fn now(&self) -> Moment {
        self.identity.clock.now()
    }

    fn next_turn(&self) -> Moment {
        let probe = self.schedule.next_deadline().map(|(at, _)| at);
        let report = self.report_due();
        let now = self.now();
        let next = [probe, report].into_iter().flatten().min().unwrap_or(now + IDLE);
        // Never in a tight loop, whatever a deadline says.
        next.clamp(now + Duration::from_millis(1), now + IDLE)
    }

    fn turn(&mut self) {
        let now = self.now();
        self.admin.beat("sidecar");
        self.see_responder(now);
        for shot in self.schedule.poll(now) {
            let (hands, source) = (Arc::clone(&self.hands), self.source(shot.path.address));
            self.tasks.spawn(async move {
                let (outcome, overdue) = hands.shoot(&shot, source).await;
                Done::Shot(shot, outcome, overdue)
            });
        }
        for test in self.schedule.poll_hairpins(now) {
            let (hands, overlay) = (Arc::clone(&self.hands), self.sight.host.overlay.clone());
            let Some(overlay) = overlay else { continue };
            self.tasks.spawn(async move { Done::Hairpin(hands.hairpin(&test, overlay).await) });
        }
        while let Some(event) = self.schedule.poll_event() {
            self.hear(event, now);
        }
        self.reconsider(now);
        if self.report_due().is_some_and(|due| due <= now) {
            self.report(now);
        }
    }

    fn take(&mut self, done: Option<Done<H::Overdue>>) {
        let now = self.now();
        match done {
            // Only a bug ends a task otherwise; its burst ends by its own deadline.
            None => tracing::error!("A probe's task died"),
            Some(Done::Shot(shot, outcome, overdue)) => {
                let outcome = self.trust(&shot, outcome, now);
                self.schedule.handle_outcome(&shot, outcome, now);
                if let Some(overdue) = overdue.filter(|_| outcome == Outcome::Lost) {
                    self.await_late(shot, overdue);
                }
            }
            Some(Done::Late(shot, late)) => {
                if let Some(outcome) = late {
                    self.schedule.handle_outcome(&shot, outcome, now);
                }
            }
            Some(Done::Hairpin(None)) => {}
            Some(Done::Hairpin(Some(result))) => {
                self.schedule.handle_hairpin(&result, now);
                self.pen.ask(Urgency::Soon, now);
            }
            Some(Done::Told { written }) => self.pen.end(written),
        }
    }

    fn await_late(&mut self, shot: Shot, overdue: H::Overdue) {
        let hands = Arc::clone(&self.hands);
        self.tasks.spawn(async move {
            let late = hands.late_answer(&shot, overdue).await;
            Done::Late(shot, late)
        });
    }

    /// A loss that we may have slept through is none.
    fn trust(&self, shot: &Shot, outcome: Outcome, now: Moment) -> Outcome {
        let late = now.since(shot.opened) > shot.timeout + LATE_WORD;
        let lost = outcome == Outcome::Lost;
        if lost && (late || self.pulse.is_late(now)) { Outcome::Unsent } else { outcome }
    }

    fn follow_plan(&mut self) {
        let plan = self.inputs.plan.borrow_and_update().clone();
        let now = self.now();
        if plan.assignment != self.plan.assignment || plan.location != self.plan.location {
            self.follow_assignment(&plan, now);
        }
        if plan.inquest != self.plan.inquest {
            tracing::debug!(inquest = plan.inquest, "Inquest");
            self.schedule.handle_inquest(plan.inquest, now);
        }
        self.schedule.handle_look(&plan.look, now);
        self.schedule.handle_nudge(&plan.nudges, self.identity.clock.epoch(), now);
        self.plan = plan;
    }

    fn follow_assignment(&mut self, plan: &Plan, now: Moment) {
        let assignment = plan.assignment.clone().unwrap_or_default();
        let before = (self.plan.leader().cloned(), self.schedule.role());
        self.schedule.handle_assignment(&assignment, now);
        self.names = names(&assignment);
        self.hands.keep(&addresses(&assignment));
        self.pen.ask(Urgency::Soon, now);

        let after = (assignment.leader, self.schedule.role());
        if before != after {
            let name = |leader: Option<NodeName>| leader.map_or(String::new(), |leader| leader.0);
            let location = plan.location.as_ref().map_or("", |location| &location.0);
            let (from, to) = (name(before.0), name(after.0));
            tracing::info!(location, from, to, role = ?after.1, "Leader or role changed");
        }
    }

    fn see(&mut self) {
        self.sight = self.inputs.sight.borrow_and_update().clone();
        self.metrics.findings(&self.findings());
        let now = self.now();
        self.pen.ask(Urgency::Soon, now);
    }

    /// Shows what the responder counts, and whether it has its port.
    fn see_responder(&mut self, now: Moment) {
        let counts = self.hands.counts();
        if let Some(counts) = &counts {
            self.metrics.responder(counts);
        }
        if self.listens != counts.is_some() {
            self.listens = counts.is_some();
            self.metrics.findings(&self.findings());
            self.pen.ask(Urgency::Soon, now);
        }
    }

    /// Returns what is wrong on this node.
    fn findings(&self) -> Vec<LocalFinding> {
        let unbound = (!self.listens).then(|| LocalFinding {
            cause: LocalCause::ResponderUnbound,
            detail: "the responder could not bind its port".to_owned(),
        });
        self.sight.findings.iter().cloned().chain(unbound).collect()
    }

    fn hear(&mut self, event: Event, now: Moment) {
        match event {
            Event::Changed { path, from, to } => {
                let (node, address, flow) = (&path.to.0, path.address, path.flow);
                if from == Condition::Unknown && to == Condition::Well {
                    tracing::debug!(node, ?address, ?flow, ?from, ?to, "Path changed");
                } else {
                    tracing::info!(node, ?address, ?flow, ?from, ?to, "Path changed");
                }
                let dark = [from, to].contains(&Condition::Dark);
                let urgent = dark && flow == Flow::NewUdp;
                self.pen.ask(if urgent { Urgency::AtOnce } else { Urgency::Soon }, now);
                self.metrics.paths(self.schedule.conditions().map(|(_, condition)| condition));
            }
            Event::BurstDark(_) => self.pen.ask(Urgency::AtOnce, now),
            Event::BurstEnded(inquest) => {
                self.metrics.burst(inquest);
                self.pen.ask(Urgency::AtOnce, now);
            }
        }
    }

    fn reconsider(&mut self, now: Moment) {
        let abstains = self.abstention(now);
        if abstains != self.abstains {
            tracing::info!(from = ?self.abstains, to = ?abstains, "Abstention changed");
            self.abstains = abstains;
            self.metrics.abstaining(abstains);
            // Who just found itself late may be the reason for what others saw.
            self.pen.ask(Urgency::AtOnce, now);
        }
    }

    fn abstention(&self, now: Moment) -> Option<Abstention> {
        let kilo_age = self.sight.agent.started.map(|start| Clock::unix().seconds() - start);
        if self.plan.assignment.is_none() {
            return Some(Abstention::NoPlan);
        }
        if now.since(Moment::START) < YOUNG {
            return Some(Abstention::JustStarted);
        }
        if self.pulse.is_late(now) {
            return Some(Abstention::RoundLate);
        }
        let young = |age: &i64| {
            u64::try_from(*age).is_ok_and(|age| age < self.identity.kilo_settle.as_secs())
        };
        kilo_age.filter(young).map(|_| Abstention::KiloJustStarted)
    }

    const fn period(&self) -> Duration {
        match self.schedule.role() {
            Role::Leader | Role::Witness => REPORT,
            Role::Other(_) => REPORT_SELDOM,
        }
    }

    /// Returns the address of ours of the same kind, if the host still owns it.
    fn source(&self, kind: AddressKind) -> Option<IpAddr> {
        let address = match kind {
            AddressKind::Node => self.plan.node_address,
            AddressKind::Pod => self.sight.host.pod_address,
        };
        address.filter(|address| self.sight.host.addresses.contains(address))
    }

    /// Returns when to report next; never before it is known for which location.
    fn report_due(&self) -> Option<Moment> {
        self.plan.location.as_ref().and_then(|_known| self.pen.due(self.period()))
    }

    fn report(&mut self, now: Moment) {
        let Some(location) = self.plan.location.clone() else { return };
        self.sequence += 1;
        self.pen.begin(now);

        let heard = self.hands.heard().unwrap_or_default();
        let sight = &self.sight;
        let mut report = Report {
            node: self.identity.node.clone(),
            location,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            incarnation: self.identity.incarnation,
            sequence: self.sequence,
            inquest: self.schedule.answered(),
            written_ms: Clock::unix().0,
            abstains: self.abstains,
            pod_address: sight.host.pod_address,
            overlay_mac: sight.host.overlay_mac.clone(),
            leader_seen: sight.leader_seen.clone(),
            paths: self.schedule.report_paths(now),
            hairpins: self.schedule.report_hairpins(now),
            heard: self.name(heard),
            local: self.findings(),
            host: sight.host.settings.clone(),
            kilo_started: sight.agent.started,
            kilo_nodes: sight.agent.nodes,
        };
        let omitted = fit(&mut report);
        tracing::debug!(sequence = self.sequence, bytes = size(&report), omitted, "Reports");

        let hands = Arc::clone(&self.hands);
        self.tasks.spawn(async move { Done::Told { written: hands.tell(report).await } });
    }

    /// Names those heard. Who stands in no plan of ours is nobody to us.
    fn name(&self, heard: Vec<crate::observe::echo::HeardCount>) -> Vec<Heard> {
        let millis = |age: Duration| u32::try_from(age.as_millis()).unwrap_or(u32::MAX);
        let named = heard.into_iter().filter(|count| count.class.flow() == Some(Flow::NewUdp));
        named
            .filter_map(|count| {
                Some(Heard {
                    from: self.names.get(&count.prober)?.clone(),
                    flow: Flow::NewUdp,
                    received: count.received,
                    span_ms: millis(Heard::SPAN),
                    newest_ms: millis(count.age),
                })
            })
            .collect()
    }
}

fn names(plan: &Assignment) -> BTreeMap<ProberId, NodeName> {
    let far = plan
        .remote
        .iter()
        .flat_map(|remote| std::iter::once(&remote.leader).chain(&remote.members));
    let all = plan.members.iter().chain(far);
    all.map(|target| (ProberId::from(&target.node), target.node.clone())).collect()
}

fn addresses(plan: &Assignment) -> Vec<IpAddr> {
    let far = plan
        .remote
        .iter()
        .flat_map(|remote| std::iter::once(&remote.leader).chain(&remote.members));
    let all = plan.members.iter().chain(far);
    all.flat_map(|target| [target.node_address, target.pod_address]).flatten().collect()
}

#[cfg(test)]
mod tests;
