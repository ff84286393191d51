//! What this node sees of itself, every few seconds: local causes, Kilo's agent, who relays for it.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::plan::Plan;
use crate::evidence::{Assignment, LocalCause, LocalFinding, NodeName, Target};
use crate::metrics::ObserveMetrics;
use crate::observe::host::{AgentFacts, Host, HostFacts, Relay, agent};
use crate::observe::tunnel::Tunnel;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);

/// Looks in a row at which Kilo's agent may be silent: it may just be starting.
const SILENT_LOOKS: u32 = 1;

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
    silent: u32,
    started: Option<i64>,
    restarts: VecDeque<Instant>,
}

impl Eyes {
    /// Returns eyes that have seen nothing yet.
    pub(super) const fn new(host: Host, tunnel: Option<Tunnel>, kilo_port: u16) -> Self {
        Self { host, tunnel, kilo_port, silent: 0, started: None, restarts: VecDeque::new() }
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
                () = tokio::time::sleep(EVERY) => {}
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
        let findings = host.local.iter().cloned().chain(self.judge(agent)).collect();
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

    fn judge(&mut self, agent: AgentFacts) -> Option<LocalFinding> {
        self.silent = if agent.answers { 0 } else { self.silent.saturating_add(1) };
        if self.silent > SILENT_LOOKS {
            let detail = format!("nothing answers as Kilo's agent on port {}", self.kilo_port);
            return Some(LocalFinding { cause: LocalCause::KiloAgentDown, detail });
        }
        if agent.started.is_some() && self.started.is_some() && agent.started != self.started {
            self.restarts.push_back(Instant::now());
        }
        self.started = agent.started.or(self.started);
        while self.restarts.front().is_some_and(|restart| restart.elapsed() > CRASH_SPAN) {
            self.restarts.pop_front();
        }
        (self.restarts.len() > CRASHES).then(|| LocalFinding {
            cause: LocalCause::KiloAgentCrashLoop,
            detail: format!("Kilo's agent restarted {} times in an hour", self.restarts.len()),
        })
    }
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
        Eyes::new(Host::new(devices, None), None, 1107)
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_is_down_after_two_silent_looks() {
        let mut eyes = eyes();
        let up = AgentFacts { answers: true, nodes: Some(3), started: Some(100) };
        let mut judge = |facts| eyes.judge(facts).map(|finding| finding.cause);
        assert_eq!(judge(up), None);
        assert_eq!(judge(AgentFacts::default()), None);
        assert_eq!(judge(AgentFacts::default()), Some(LocalCause::KiloAgentDown));
        assert_eq!(judge(up), None);
    }

    #[tokio::test(start_paused = true)]
    async fn many_restarts_in_an_hour_are_a_crash_loop() {
        let mut eyes = eyes();
        let mut found = Vec::new();
        for start in 0..5 {
            let facts = AgentFacts { answers: true, nodes: None, started: Some(start) };
            found.push(eyes.judge(facts).map(|finding| finding.cause));
            tokio::time::advance(Duration::from_secs(60)).await;
        }
        assert_eq!(found[3], None, "three restarts");
        assert_eq!(found[4], Some(LocalCause::KiloAgentCrashLoop), "four");

        tokio::time::advance(CRASH_SPAN).await;
        let facts = AgentFacts { answers: true, nodes: None, started: Some(4) };
        assert_eq!(eyes.judge(facts), None, "an hour later");
    }
}
