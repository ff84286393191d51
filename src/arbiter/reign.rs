//! One reign: from taking the lease to losing it. Looks, judges, tells, hands moves to the actor.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::{Api, Client};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::actor::{Actor, Order, Orders};
use super::clock::Clock;
use super::conditions::Subject;
use super::intake::Intake;
use super::publish::{self, Composition, is_due};
use super::stopwatch::Stopwatch;
use super::transitions;
use crate::act::Statuses;
use crate::act::leader::{Mover, Nudges};
use crate::act::tell::Events;
use crate::cluster::lease::AWAY;
use crate::cluster::objects::{MeshLocation, MoveOutcome, Peer, RelayReport, SlimNode};
use crate::cluster::watch::{Renewal, Watch};
use crate::config::Config;
use crate::decide::{
    Api as ApiState, End, Intent, LocationPlan, Plan, Policy, Wish, assign, target,
};
use crate::diagnose::Thresholds;
use crate::evidence::{Assignment, Location, Moment, NodeName, Nudge, Target, kilo};
use crate::journal::{Header, Journal};
use crate::judge::{Input, Judge, Judgement};
use crate::metrics::ArbiterMetrics;

/// How often evidence is judged although nothing came in: it ages.
const TICK: Duration = Duration::from_millis(500);

/// How long after the decision sessions are brought up from both sides: as long as the slowest
/// handshake takes that was measured.
const NUDGE: Duration = Duration::from_secs(20);

/// What one reign knows.
pub(super) struct Reign<'a> {
    config: &'a Config,
    clock: Clock,
    judge: Judge,
    journal: Option<Journal>,
    intake: Intake,
    nodes: Watch<SlimNode>,
    reports: Watch<RelayReport>,
    locations: Watch<MeshLocation>,
    peers: Watch<Peer>,
    api: ApiState,
    actor: Actor,
    statuses: Statuses,
    events: Events,
    written: BTreeMap<Location, Moment>,
    stopwatch: Stopwatch,
    metrics: ArbiterMetrics,
    last: Plan,
}

impl<'a> Reign<'a> {
    /// Begins a reign: opens the watches, remembers nothing yet but since when the API server is
    /// back, if it was away: the reign before ended long before it could say so.
    pub(super) fn begin(
        config: &'a Config,
        client: &Client,
        (mover, returned): (Mover, Option<Instant>),
        metrics: ArbiterMetrics,
    ) -> Self {
        let clock = Clock::start();
        let judge = Judge::new(policy(config), thresholds(config), clock.epoch());
        Self {
            config,
            clock,
            judge,
            journal: open_journal(config, clock),
            intake: Intake::default(),
            nodes: Watch::all(Api::all(client.clone()), Renewal::Often),
            reports: Watch::all(Api::all(client.clone()), Renewal::Often),
            locations: Watch::all(Api::all(client.clone()), Renewal::Often),
            peers: Watch::all(Api::all(client.clone()), Renewal::Often),
            api: known_api(returned.map(|returned| returned.elapsed()), clock.now(), config),
            actor: Actor::start(mover, clock.epoch()),
            statuses: Statuses::start(client.clone()),
            events: Events::start(client.clone(), config.node.as_deref().unwrap_or("arbiter")),
            written: BTreeMap::new(),
            stopwatch: Stopwatch::default(),
            metrics,
            last: Plan::default(),
        }
    }

    /// Looks, judges and acts until the wall clock is set; whoever runs it drops it when the lease is
    /// lost.
    pub(super) async fn rule(mut self) {
        self.take(Input::Mode(self.config.mode));
        self.take(Input::Api(self.api));
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.nodes.changed() => {}
                () = self.reports.changed() => {}
                () = self.locations.changed() => {}
                () = self.peers.changed() => {}
                (location, progress) = self.actor.done() => {
                    transitions::acted(&location, &progress, &self.events);
                    self.metrics.acted(&location, &progress);
                    self.take(Input::Progress(location, progress));
                }
                _ = tick.tick() => {}
            }
            if let Some(by) = self.clock.was_set() {
                tracing::warn!(
                    ?by,
                    "The wall clock was set: this reign dates by the old one and ends"
                );
                return;
            }
            // Until the first lists are here, nothing is known; silence is not evidence.
            if self.nodes.is_synced() && self.reports.is_synced() && self.locations.is_synced() {
                self.look();
                self.round();
            }
        }
    }

    /// Takes in whatever the watches hold that is new.
    fn look(&mut self) {
        let mut inputs = Vec::new();
        if let Some(nodes) = &*self.nodes.objects() {
            inputs.extend(self.intake.nodes(nodes, &self.config.topology_label));
        }
        if let Some(locations) = &*self.locations.objects() {
            inputs.extend(self.intake.locations(locations, self.clock.epoch()));
        }
        self.intake.unreadable(self.locations.health().unreadable);
        if let Some(reports) = &*self.reports.objects() {
            inputs.extend(self.intake.reports(reports));
        }
        if let Some(peers) = &*self.peers.objects() {
            inputs.extend(self.intake.peers(peers.len()));
        }
        inputs.extend(self.intake.intents());
        inputs.extend(self.api_state());
        for input in inputs {
            self.take(input);
        }
    }

    /// Returns whether the API server answers, if that has changed.
    fn api_state(&mut self) -> Option<Input> {
        let age = self.nodes.age()?;
        let state = match self.api {
            _ if age > AWAY => ApiState::Away,
            ApiState::Away => ApiState::Back { since: self.clock.now() },
            state @ (ApiState::Steady | ApiState::Back { .. }) => state,
        };
        let changed = state != self.api;
        self.api = state;
        changed.then_some(Input::Api(state))
    }

    fn take(&mut self, input: Input) {
        let now = self.clock.now();
        self.record(|journal| journal.input(now, &input));
        self.judge.take(input, now);
        if self.journal.as_ref().is_some_and(Journal::is_full) {
            let standing = self.judge.standing();
            self.record(|journal| journal.begin_anew(now, &standing));
        }
    }

    fn round(&mut self) {
        let now = self.clock.now();
        let judgement = self.judge.round(now);
        self.record(|journal| journal.round(now, &judgement.plan));
        let took = self.clock.now().since(now);
        self.metrics.round(took, &self.last, &judgement.plan, &judgement.findings);
        self.metrics.abstaining(&judgement.evidence.reporters);
        let past = |location: &Location| self.judge.memory(location).moves;
        transitions::tell(&self.last, &judgement, past, &self.events);
        self.time(&judgement);
        self.publish(&judgement, now);
        self.actor.order(self.orders(&judgement.plan));
        self.last = judgement.plan;
    }

    /// Returns what is to be done about each location's leader: the moves that are wished for, and
    /// the end of those on record that are not any more.
    fn orders(&self, plan: &Plan) -> Orders {
        let order = |location: &Location, plan: &LocationPlan| match &plan.wish {
            Wish::Move(wanted) => {
                Some(Order::Hold(Box::new(wanted.clone()), self.nudges(location, &wanted.to)))
            }
            Wish::Stay => {
                let record = self.intake.object(location)?.status.as_ref()?.moving.as_ref()?;
                let past = self.judge.memory(location).moves;
                let end = past.iter().rev().find(|past| past.incident == record.incident);
                Some(Order::Close(end.map_or(MoveOutcome::Abandoned, |past| outcome(past.end))))
            }
        };
        let orders = plan.locations.iter();
        orders.filter_map(|(at, plan)| Some((at.clone(), order(at, plan)?))).collect()
    }

    /// Returns who shall bring up new sessions when `heir` becomes leader: it and every other
    /// leader, towards each other, since a handshake that only one side begins may take 5 s.
    fn nudges(&self, location: &Location, heir: &NodeName) -> Nudges {
        let gathered = self.judge.gathered();
        let leaders = gathered.leaders().iter().filter(|(other, _)| *other != location);
        let leaders: Vec<(&Location, &NodeName)> =
            leaders.filter_map(|(other, found)| Some((other, found.leader.as_ref()?))).collect();
        let reports: BTreeMap<_, _> = gathered.reports().map(|r| (&r.node, r)).collect();
        let target = |name: &NodeName| {
            let node = gathered.mesh().nodes.get(name)?;
            Some(target(node, reports.get(name).copied()))
        };
        let heir_there: Vec<Target> = target(heir).into_iter().collect();
        let until_ms = self.clock.epoch().unix(self.begun(location) + NUDGE).0;
        let nudge = |who: &NodeName, targets| Nudge { who: who.clone(), targets, until_ms };

        let towards = leaders.iter().filter_map(|(_, leader)| target(leader)).collect();
        let inside = (location.clone(), vec![nudge(heir, towards)]);
        let outside = leaders
            .iter()
            .map(|(other, leader)| ((*other).clone(), vec![nudge(leader, heir_there.clone())]));
        outside.chain([inside]).collect()
    }

    /// Returns when the move that is under way in a location was decided.
    fn begun(&self, location: &Location) -> Moment {
        let moving = self.judge.memory(location).moving;
        moving.map_or_else(|| self.clock.now(), |moving| self.clock.epoch().moment(moving.at))
    }

    /// Times the moves.
    fn time(&mut self, judgement: &Judgement) {
        let known = (&judgement.evidence, self.clock.epoch());
        for (location, plan) in &judgement.plan.locations {
            let object = self.intake.object(location);
            let status = object.and_then(|object| object.status.as_ref());
            for (part, took) in self.stopwatch.look((location, plan), status, known) {
                self.metrics.took(part, took);
            }
        }
    }

    /// Writes every location's status that has to be written now.
    fn publish(&mut self, judgement: &Judgement, now: Moment) {
        let gathered = self.judge.gathered();
        let assignments =
            assign(gathered.mesh(), gathered.leaders(), gathered.reports(), &judgement.plan);
        let unasked = Assignment::default();
        let (present, unsaid) = (publish::time(self.clock.epoch().unix(now)), Intent::default());
        for (location, plan) in &judgement.plan.locations {
            let Some(object) = self.intake.object(location) else {
                if !self.intake.is_unreadable(location) {
                    self.statuses.create(location);
                }
                continue;
            };
            let before = object.status.clone().unwrap_or_default();
            let subject = Subject {
                plan,
                mode: self.intake.mode(location, self.config.mode),
                intent: self.intake.intent(location).unwrap_or(&unsaid),
                generation: object.metadata.generation,
                now: &present,
            };
            let composition = Composition {
                location,
                subject,
                stopwatch: &self.stopwatch,
                memory: &self.judge.memory(location),
                assignment: assignments.get(location).unwrap_or(&unasked),
                why: why_kilo_chose(gathered, plan.leader.as_ref()),
                epoch: self.clock.epoch(),
                look: &judgement.plan.looks(location),
            };
            let after = composition.status(&before);
            if is_due(&before, &after, self.written.get(location).copied(), now) {
                self.statuses.write(object, &after);
                self.written.insert(location.clone(), now);
            }
        }
    }

    /// Writes to the journal, if one is kept; a journal that fails is given up and said so, since
    /// judging goes on without it.
    fn record(&mut self, write: impl FnOnce(&mut Journal) -> Result<(), crate::journal::Error>) {
        let Some(journal) = &mut self.journal else { return };
        if let Err(error) = write(journal) {
            tracing::warn!(error = %crate::telemetry::Chain(&error), "The journal is given up");
            self.journal = None;
        }
    }
}

/// Returns what is to be thought of an API server that came back so long ago, after all that could
/// follow from it is over, as of any other.
fn known_api(returned: Option<Duration>, now: Moment, config: &Config) -> ApiState {
    let Policy { longest_return, settle, .. } = policy(config);
    let lately = returned.filter(|ago| *ago < longest_return + settle);
    lately.map_or(ApiState::Steady, |ago| ApiState::Back { since: now - ago })
}

const fn outcome(end: End) -> MoveOutcome {
    match end {
        End::Proven | End::Better => MoveOutcome::Verified,
        End::Unproven => MoveOutcome::Reverted,
        End::Refused => MoveOutcome::Abandoned,
    }
}

/// Says by which of Kilo's rules the leader leads.
fn why_kilo_chose(gathered: &crate::evidence::Gathered, leader: Option<&NodeName>) -> &'static str {
    let Some(node) = leader.and_then(|leader| gathered.mesh().nodes.get(leader)) else {
        return "no node is Ready";
    };
    match (node.leader, kilo::has_public_endpoint(node)) {
        (true, true) => "annotated, with a public endpoint",
        (true, false) => "annotated; no annotated node has a public endpoint",
        (false, true) => "first by name with a public endpoint; no node is annotated",
        (false, false) => "first by name; no node is annotated or has a public endpoint",
    }
}

fn policy(config: &Config) -> Policy {
    Policy {
        rest: config.rest,
        longest_rest: config.rest_most,
        daily_moves: config.daily_moves,
        proof: config.proof,
        longest_proof: config.proof * 2,
        settle: config.return_quiet,
        ..Policy::default()
    }
}

fn thresholds(config: &Config) -> Thresholds {
    Thresholds { quiet: config.quiet, ..Thresholds::default() }
}

fn open_journal(config: &Config, clock: Clock) -> Option<Journal> {
    let file = config.journal.as_deref()?;
    let header = Header::new(clock.epoch(), policy(config), thresholds(config));
    Journal::begin(file, config.journal_bytes, header)
        .inspect_err(|error| {
            let error = crate::telemetry::Chain(error).to_string();
            tracing::warn!(error, "No journal is kept");
        })
        .ok()
}

#[cfg(test)]
mod tests;
