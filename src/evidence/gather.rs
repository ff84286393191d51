//! Folds what arrives, Node objects and reports, into [`Evidence`].
//!
//! The arbiter, the simulator and the replay of a journal all gather here, so that the same inputs
//! always make the same evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{
    Abstention, Epoch, Evidence, Flow, HairpinSeen, Heard, Leadership, Location, Mesh, Moment,
    Node, NodeName, Observation, Pace, Path, PathReport, Report, Reporter, UnixTime, Window,
    WindowReport, kilo,
};

/// A clock further off than this makes its node abstain: Kilo's readiness shifts with it.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// What has arrived so far.
#[derive(Debug, Clone)]
pub struct Gathered {
    epoch: Epoch,
    mesh: Mesh,
    leaders: BTreeMap<Location, Leadership>,
    reports: BTreeMap<NodeName, Received>,
    /// Nodes that came, went, or came back with another key or address since the last refresh.
    redefined: BTreeSet<NodeName>,
}

/// A report and when it arrived.
#[derive(Debug, Clone)]
struct Received {
    report: Report,
    at: Moment,
    /// How far its writer's clock is from ours, if it was fresh when it arrived.
    skew: Option<Duration>,
}

impl Gathered {
    /// Starts with nothing; `epoch` is the wall time of [`Moment::START`].
    #[must_use]
    pub const fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            mesh: Mesh { nodes: BTreeMap::new(), at: UnixTime(0) },
            leaders: BTreeMap::new(),
            reports: BTreeMap::new(),
            redefined: BTreeSet::new(),
        }
    }

    /// Takes a Node as it is now.
    pub fn see(&mut self, node: Node) {
        let definition = |node: &Node| {
            (
                node.key,
                node.endpoint.clone(),
                node.internal_ip,
                node.pod_cidr,
                node.location.clone(),
            )
        };
        let before = self.mesh.nodes.get(&node.name);
        if before.map(definition) != Some(definition(&node)) {
            self.redefined.insert(node.name.clone());
        }
        self.mesh.nodes.insert(node.name.clone(), node);
    }

    /// Drops a Node that is gone, and its word.
    pub fn lose(&mut self, name: &NodeName) {
        if self.mesh.nodes.remove(name).is_some() {
            self.redefined.insert(name.clone());
        }
        self.reports.remove(name);
    }

    /// Judges anew who is Ready and who leads, and notes where either has changed.
    pub fn refresh(&mut self, now: Moment) {
        self.mesh.at = self.epoch.unix(now);
        let redefined = std::mem::take(&mut self.redefined);
        let leaderships = leaderships(&self.mesh).into_iter().map(|(location, found)| {
            let before = self.leaders.get(&location);
            let leadership = carry_over(before, found, &redefined, now);
            (location, leadership)
        });
        self.leaders = leaderships.collect();
    }

    /// Remembers since when a location has had its leader, from before this process began.
    pub fn remember_leader(&mut self, location: &Location, leader: &NodeName, since: UnixTime) {
        if let Some(leadership) = self.leaders.get_mut(location)
            && leadership.leader.as_ref() == Some(leader)
        {
            leadership.since = leadership.since.min(self.epoch.moment(since));
            // What this process sees for the first time has not changed just now: a successor must
            // not wait where its predecessor would have acted.
            leadership.changed = leadership.changed.min(leadership.since);
        }
    }

    /// Takes a report that has just arrived.
    pub fn hear(&mut self, report: Report, now: Moment) {
        let skew = self.epoch.unix(now).0.abs_diff(report.written_ms);
        let skew = Some(Duration::from_millis(skew));
        self.reports.insert(report.node.clone(), Received { report, at: now, skew });
    }

    /// Takes a report that was there before this process began: as old as it says it is.
    pub fn find(&mut self, report: Report, now: Moment) {
        let at = self.epoch.moment(UnixTime(report.written_ms)).min(now);
        self.reports.insert(report.node.clone(), Received { report, at, skew: None });
    }

    /// Returns the present Nodes.
    #[must_use]
    pub const fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// Returns who leads which location.
    #[must_use]
    pub const fn leaders(&self) -> &BTreeMap<Location, Leadership> {
        &self.leaders
    }

    /// Returns each node's last report.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        self.reports.values().map(|received| &received.report)
    }

    /// Returns all that is known at `now`.
    #[must_use]
    pub fn evidence(&self, now: Moment) -> Evidence {
        let mut evidence = Evidence {
            now,
            mesh: self.mesh.clone(),
            leaders: self.leaders.clone(),
            ..Evidence::default()
        };
        for (node, received) in &self.reports {
            evidence.reporters.insert(node.clone(), reporter(received, self.epoch));
            for path in &received.report.paths {
                evidence.observations.extend(self.observe(received, path));
            }
            let seen = received.report.hairpins.iter().map(|result| HairpinSeen {
                prober: node.clone(),
                result: result.clone(),
                at: received.at - millis(result.age_ms),
            });
            evidence.hairpins.extend(seen);
        }
        evidence
    }

    fn observe(&self, received: &Received, path: &PathReport) -> Vec<Observation> {
        let windows = [(Pace::Burst, path.burst), (Pace::Steady, Some(path.steady))];
        let windows = windows.into_iter().filter_map(|(pace, window)| Some((pace, window?)));
        windows
            .filter(|(_, window)| window.sent > 0)
            .map(|(pace, window)| {
                let window = unfold(window, received.at);
                Observation {
                    path: Path {
                        from: received.report.node.clone(),
                        to: path.to.clone(),
                        address: path.address,
                        flow: path.flow,
                    },
                    pace,
                    window,
                    heard: self.heard(&received.report.node, path, &window),
                    background: f64::from(path.background_permille) / 1000.0,
                    never_worked: path.never_worked,
                }
            })
            .collect()
    }

    /// Returns how many of a window's requests the far end got, if it has reported since and
    /// counted over that time.
    fn heard(&self, from: &NodeName, path: &PathReport, window: &Window) -> Option<u32> {
        let far = self.reports.get(&path.to)?;
        if far.at < window.newest {
            return None;
        }
        let entries = far.report.heard.iter();
        let entry = entries.into_iter().find(|h| h.from == *from && h.flow == path.flow);
        let Some(entry) = entry else {
            // Only new UDP flows are told, and only those of the last seconds.
            let told = path.flow == Flow::NewUdp && far.at - Heard::SPAN <= window.oldest;
            return told.then_some(0);
        };
        let newest = far.at - millis(entry.newest_ms);
        if newest < window.oldest {
            return Some(0);
        }
        (far.at - millis(entry.span_ms) <= window.oldest).then(|| entry.received.min(window.sent))
    }
}

fn millis(count: u32) -> Duration {
    Duration::from_millis(u64::from(count))
}

fn unfold(window: WindowReport, arrived: Moment) -> Window {
    // Who does not say when it lost may have lost just now.
    let last_lost = window.last_lost_ms.or_else(|| (window.lost > 0).then_some(window.newest_ms));
    Window {
        sent: window.sent,
        lost: window.lost,
        oldest: arrived - millis(window.oldest_ms),
        newest: arrived - millis(window.newest_ms),
        last_lost: last_lost.map(|age| arrived - millis(age)),
        round_trip: window.round_trip_us.map(|us| Duration::from_micros(u64::from(us))),
    }
}

fn reporter(received: &Received, epoch: Epoch) -> Reporter {
    let report = &received.report;
    let clock_off = received.skew.is_some_and(|skew| skew > CLOCK_TOLERANCE);
    let written = UnixTime(report.written_ms);
    let kilo_up = report.kilo_started.map(|started| {
        let started = epoch.moment(UnixTime(started.saturating_mul(1000)));
        epoch.moment(written).since(started)
    });
    Reporter {
        received: received.at,
        inquest: report.inquest,
        abstains: report.abstains.or_else(|| clock_off.then_some(Abstention::ClockOff)),
        local: report.local.clone(),
        kilo_nodes: report.kilo_nodes,
        kilo_up,
        leader_seen: report.leader_seen.clone(),
    }
}

/// Who leads and who belongs to each location, by Kilo's rules.
struct Found {
    leader: Option<NodeName>,
    members: BTreeSet<NodeName>,
    ready: BTreeSet<NodeName>,
}

fn leaderships(mesh: &Mesh) -> BTreeMap<Location, Found> {
    let names = |nodes: &[&Node]| nodes.iter().map(|node| node.name.clone()).collect();
    let locations: BTreeSet<&Location> = mesh.nodes.values().map(|node| &node.location).collect();
    let found = locations.into_iter().map(|location| {
        let members = kilo::members(mesh, location);
        let ready: Vec<_> =
            members.iter().copied().filter(|node| kilo::is_ready(node, mesh.at)).collect();
        let leader = kilo::find_leader(&ready).map(|node| node.name.clone());
        (location.clone(), Found { leader, members: names(&members), ready: names(&ready) })
    });
    found.filter(|(_, found)| !found.members.is_empty()).collect()
}

fn carry_over(
    before: Option<&Leadership>,
    found: Found,
    redefined: &BTreeSet<NodeName>,
    now: Moment,
) -> Leadership {
    let Found { leader, members, ready } = found;
    let Some(before) = before else {
        return Leadership { leader, since: now, members, ready, changed: now };
    };
    let since = if before.leader == leader { before.since } else { now };
    let same = before.members == members
        && before.ready == ready
        && !redefined.iter().any(|node| members.contains(node));
    let changed = if same { before.changed } else { now };
    Leadership { leader, since, members, ready, changed }
}

#[cfg(test)]
mod tests;
