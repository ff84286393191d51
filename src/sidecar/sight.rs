//! What this node sees of itself, every few seconds: local causes, Kilo's agent, who relays for it.
//!
//! A change of plan is a reason to look at once, but not to judge what only time shows: counters,
//! an agent's silence and its restarts are judged once in each span, and stand until the next.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;

use super::plan::Plan;
use crate::evidence::{Assignment, LocalCause, LocalFinding, NodeName, Target};
use crate::metrics::ObserveMetrics;
use crate::observe::host::{AgentFacts, Host, HostFacts, Relay, agent};
use crate::observe::tunnel::Tunnel;

/// Between two looks that nothing else calls for.
const EVERY: Duration = Duration::from_secs(10);

/// Such looks in a row at which Kilo's agent may be silent: it may just be starting.
const SILENT_LOOKS: u32 = 1;

/// By how much the time at which a process started may seem to move: it is told in whole seconds,
/// and by a clock that is slewed.
const START_JITTER: Duration = Duration::from_secs(2);

/// Restarts of Kilo's agent within [`CRASH_SPAN`] that are no accident.
const CRASHES: usize = 3;
const CRASH_SPAN: Duration = Duration::from_secs(3600);

/// What this node sees of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Sight {
    /// What the host shows.
    pub(super) host: HostFacts,
    /// What Kilo's agent says.
    pub(super) agent: AgentFacts,
    /// What is wrong, all together.
    pub(super) findings: Vec<LocalFinding>,
    /// The node that its routes use as leader.
    pub(super) leader_seen: Option<NodeName>,
}

/// Looks again and again.
pub(super) struct Eyes {
    host: Host,
    tunnel: Option<Tunnel>,
    kilo_port: u16,
    /// When to judge next what only time shows.
    due: Instant,
    /// What was found then.
    lasting: Vec<LocalFinding>,
    silent: u32,
    /// When Kilo's agent started, by a clock that nobody sets.
    started: Option<Instant>,
    restarts: VecDeque<Instant>,
}

impl Eyes {
    /// Returns eyes that have seen nothing yet.
    pub(super) fn new(host: Host, tunnel: Option<Tunnel>, kilo_port: u16) -> Self {
        Self {
            host,
            tunnel,
            kilo_port,
            due: Instant::now(),
            lasting: Vec::new(),
            silent: 0,
            started: None,
            restarts: VecDeque::new(),
        }
    }

    /// Looks for ever, at each change of the plan too.
    pub(super) async fn watch(
        mut self,
        me: NodeName,
        mut plan: watch::Receiver<Plan>,
        metrics: ObserveMetrics,
        seen: watch::Sender<Sight>,
    ) {
        loop {
            let told = plan.borrow_and_update().clone();
            let sight = self.look(&me, &told).await;
            if let Some(tunnel) = &self.tunnel {
                metrics.tunnels(tunnel.peers().await.as_deref());
            }
            seen.send_if_modified(|known| {
                let changed = *known != sight;
                *known = sight;
                changed
            });
            tokio::select! {
                () = tokio::time::sleep_until(self.due) => {}
                changed = plan.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn look(&mut self, me: &NodeName, plan: &Plan) -> Sight {
        let host = self.host.look(plan.pod_range, plan.cni_address).await;
        let agent = agent(self.kilo_port).await;
        let leader_seen = match &plan.assignment {
            Some(assignment) => self.leader_seen(me, assignment).await,
            None => None,
        };
        if Instant::now() >= self.due {
            self.due = Instant::now() + EVERY;
            let of_agent = self.judge(agent, SystemTime::now());
            self.lasting = self.host.count().into_iter().chain(of_agent).collect();
        }
        let findings = host.local.iter().chain(&self.lasting).cloned().collect();
        Sight { host, agent, findings, leader_seen }
    }

    async fn leader_seen(&self, me: &NodeName, plan: &Assignment) -> Option<NodeName> {
        let far = plan.remote.iter().map(|remote| &remote.leader);
        let address =
            far.filter_map(|target| v4(target.pod_address.or(target.node_address)?)).next();
        match self.host.relay_to(address?).await? {
            Relay::Kilo => Some(me.clone()),
            Relay::Gateway(gateway) => {
                let member = plan.members.iter().find(|member| is_at(member, gateway.into()));
                member.map(|member| member.node.clone())
            }
        }
    }

    /// Judges Kilo's agent by what it says at `wall`, the time that its own start is told in.
    fn judge(&mut self, agent: AgentFacts, wall: SystemTime) -> Option<LocalFinding> {
        self.silent = if agent.answers { 0 } else { self.silent.saturating_add(1) };
        if self.silent > SILENT_LOOKS {
            let detail = format!("nothing answers as Kilo's agent on port {}", self.kilo_port);
            return Some(LocalFinding { cause: LocalCause::KiloAgentDown, detail });
        }
        let started = agent.started.and_then(|started| since_when(started, wall));
        if let (Some(before), Some(started)) = (self.started, started)
            && started > before + START_JITTER
        {
            self.restarts.push_back(Instant::now());
        }
        self.started = started.or(self.started);
        while self.restarts.front().is_some_and(|restart| restart.elapsed() > CRASH_SPAN) {
            self.restarts.pop_front();
        }
        (self.restarts.len() > CRASHES).then(|| LocalFinding {
            cause: LocalCause::KiloAgentCrashLoop,
            detail: format!("Kilo's agent restarted {} times in an hour", self.restarts.len()),
        })
    }
}

/// Returns when something began that began so many seconds after the Unix epoch: where the wall
/// clock is set, the start that a process tells moves with it.
fn since_when(started: i64, wall: SystemTime) -> Option<Instant> {
    let started = UNIX_EPOCH + Duration::from_secs(u64::try_from(started).ok()?);
    Instant::now().checked_sub(wall.duration_since(started).unwrap_or_default())
}

const fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn is_at(member: &Target, gateway: IpAddr) -> bool {
    let addresses = [member.overlay_gateway, member.pod_address, member.node_address];
    addresses.contains(&Some(gateway))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::host::Devices;

    fn eyes() -> Eyes {
        let devices = Devices { overlay: None, kilo: "kilo0".to_owned() };
        Eyes::new(Host::new(devices, None), None, 9)
    }

    fn facts(started: u64) -> AgentFacts {
        AgentFacts { answers: true, nodes: Some(3), started: i64::try_from(started).ok() }
    }

    fn wall(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_is_down_after_two_silent_looks() {
        let mut eyes = eyes();
        let mut judge = |facts| eyes.judge(facts, SystemTime::now()).map(|finding| finding.cause);
        assert_eq!(judge(facts(100)), None);
        assert_eq!(judge(AgentFacts::default()), None);
        assert_eq!(judge(AgentFacts::default()), Some(LocalCause::KiloAgentDown));
        assert_eq!(judge(facts(100)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn many_restarts_in_an_hour_are_a_crash_loop() {
        let mut eyes = eyes();
        let mut found = Vec::new();
        for start in 0..5 {
            let now = 1000 + 60 * start;
            found.push(eyes.judge(facts(now - 5), wall(now)).map(|finding| finding.cause));
            tokio::time::advance(Duration::from_secs(60)).await;
        }
        assert_eq!(found[3], None, "three restarts");
        assert_eq!(found[4], Some(LocalCause::KiloAgentCrashLoop), "four");

        tokio::time::advance(CRASH_SPAN).await;
        let (started, now) = (1235, 1300 + 3600);
        assert_eq!(eyes.judge(facts(started), wall(now)), None, "an hour later");
    }

    /// What an agent tells of its start is reckoned from the wall clock, so it moves when that is
    /// set.
    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_is_no_restart() {
        let mut eyes = eyes();
        for set_by in 0..20 {
            let shift = set_by * 7;
            eyes.judge(facts(100 + shift), wall(1000 + 10 * set_by + shift));
            tokio::time::advance(Duration::from_secs(10)).await;
        }
        assert_eq!(eyes.restarts.len(), 0);
    }

    /// Whoever asks often must not be told that all is well because he asks.
    #[tokio::test(start_paused = true)]
    async fn a_look_in_between_judges_nothing_that_takes_time() {
        let mut eyes = eyes();
        let (me, plan) = ("here".into(), Plan::default());
        eyes.silent = 1;
        let down = |sight: &Sight| {
            sight.findings.iter().any(|finding| finding.cause == LocalCause::KiloAgentDown)
        };
        assert!(down(&eyes.look(&me, &plan).await));
        let due = eyes.due;
        eyes.silent = 0;
        assert!(down(&eyes.look(&me, &plan).await), "it stands");
        assert_eq!((eyes.due, eyes.silent), (due, 0), "and is not asked again");
    }
}
