//! The vocabulary of the daemon: what can be known about a mesh, as plain values.
//!
//! No clock, no IO: time is an argument ([`Moment`], [`UnixTime`]). Everything here is ordered
//! and iterates in one order, so that the same evidence always gives the same answer.

use std::collections::{BTreeMap, BTreeSet};

mod assignment;
mod gather;
pub mod kilo;
mod mesh;
mod moment;
mod path;
mod report;
mod window;

pub use assignment::{Assignment, Nudge, RemoteTargets, Target};
pub use gather::Gathered;
pub use mesh::{Endpoint, Granularity, Location, Mesh, Node, NodeName, Segment, Taint};
pub use moment::{Epoch, Moment, UnixTime};
pub use path::{AddressKind, Direction, Element, Flow, Path};
pub use report::{
    Abstention, Hairpin, Heard, HostSettings, LocalCause, LocalFinding, PathReport, Report,
    WindowReport,
};
pub use window::Window;

/// Everything that can be known at one time: what [`diagnose`](crate::diagnose) judges by.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    /// The time of judgement.
    pub now: Moment,
    /// All nodes.
    pub mesh: Mesh,
    /// Who leads each location, by Kilo's own rules.
    pub leaders: BTreeMap<Location, Leadership>,
    /// What was probed, burst and steady windows apart.
    pub observations: Vec<Observation>,
    /// What heirs forwarded.
    pub hairpins: Vec<HairpinSeen>,
    /// Whose word it is, and whether it counts.
    pub reporters: BTreeMap<NodeName, Reporter>,
}

/// Who leads a location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    /// The leader by Kilo's rules; none if no node is Ready.
    pub leader: Option<NodeName>,
    /// Since when it leads, as far as this process knows.
    pub since: Moment,
    /// All nodes of the location, Ready or not, the leader included.
    pub members: BTreeSet<NodeName>,
    /// Of these, the nodes that Kilo counts as Ready.
    pub ready: BTreeSet<NodeName>,
    /// The last time anything but the leader changed in it (a node came, went, changed its key).
    pub changed: Moment,
}

/// Whether a window is a burst (sharp, since the first loss or an inquest) or steady probing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pace {
    /// Some 16 flows within 300 ms.
    Burst,
    /// The last minute.
    Steady,
}

/// One window over one path.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The path.
    pub path: Path,
    /// Burst or steady.
    pub pace: Pace,
    /// Its counts.
    pub window: Window,
    /// How many requests the far end says it got in the same time, where it said so.
    pub heard: Option<u32>,
    /// The path's own background loss, 0 to 1.
    pub background: f64,
    /// True if no flow on it was ever answered.
    pub never_worked: bool,
}

/// One hairpin test, and who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HairpinSeen {
    /// Who sent.
    pub prober: NodeName,
    /// What came of it.
    pub result: Hairpin,
    /// When it ended.
    pub at: Moment,
}

/// A node's standing as a source of evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reporter {
    /// When its last report arrived here.
    pub received: Moment,
    /// The last inquest it answered.
    pub inquest: u64,
    /// Why its word does not count, if so.
    pub abstains: Option<Abstention>,
    /// What it found wrong on itself.
    pub local: Vec<LocalFinding>,
    /// How many Ready nodes its Kilo agent counts.
    pub kilo_nodes: Option<u32>,
    /// How long its Kilo agent has been up, where known.
    pub kilo_up: Option<std::time::Duration>,
    /// The leader that its routes use.
    pub leader_seen: Option<NodeName>,
}
