//! What one node says of the mesh, as it stands in its `RelayReport`.
//!
//! Silence is never evidence: a report names every path that its node probed, well or not, and
//! says how old each count is. Ages are relative to the writing, so clocks need not agree.

use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AddressKind, Flow, Location, NodeName};

/// Counts of one path over one span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WindowReport {
    /// Flows opened whose outcome is known.
    pub sent: u32,
    /// Of these, lost.
    pub lost: u32,
    /// How long before the writing the first flow was opened, in milliseconds.
    pub oldest_ms: u32,
    /// How long before the writing the last flow was opened, in milliseconds.
    pub newest_ms: u32,
    /// How long before the writing the last lost flow was opened, in milliseconds; none if none was
    /// lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_lost_ms: Option<u32>,
    /// The least round trip, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<u32>,
}

/// One path as its prober sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathReport {
    /// Who was asked to answer.
    pub to: NodeName,
    /// At which of its addresses.
    pub address: AddressKind,
    /// By which kind of flow.
    pub flow: Flow,
    /// The burst since the last first loss or inquest, if there was one in the last ten seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<WindowReport>,
    /// The last sixty seconds of steady probing, the burst left out; less if the path went dark or
    /// came back since.
    pub steady: WindowReport,
    /// Loss in permille over the last ten minutes in which the path worked: its background.
    #[serde(default)]
    pub background_permille: u32,
    /// True if no flow on it was ever answered: a misconfiguration, not a failure.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub never_worked: bool,
}

/// Requests that arrived from one prober, so that one-way loss is known even where no answer
/// arrives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Heard {
    /// Who asked.
    pub from: NodeName,
    /// By which kind of flow.
    pub flow: Flow,
    /// How many requests of it arrived in the last `span_ms`.
    pub received: u32,
    /// The span counted, in milliseconds before the writing.
    pub span_ms: u32,
    /// How long before the writing the last one arrived, in milliseconds.
    pub newest_ms: u32,
}

impl Heard {
    /// The span that every report counts over. A prober that is not named was not heard in it.
    pub const SPAN: Duration = Duration::from_secs(10);
}

/// A one-way test of an heir's forwarding: frames sent through it, counted at the far end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hairpin {
    /// The node asked to forward.
    pub heir: NodeName,
    /// The node that counted.
    pub counter: NodeName,
    /// Frames sent.
    pub sent: u32,
    /// Frames counted.
    pub counted: u32,
    /// How long before the writing the test ended, in milliseconds.
    pub age_ms: u32,
    /// True if this heir ever passed from this node: some firewalls let only the leader forward.
    pub ever_passed: bool,
}

/// What a node found wrong on itself.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum LocalCause {
    /// The connection tracking table is (nearly) full: new flows are dropped.
    ConntrackFull,
    /// `ip_forward` is off for the node or for an interface on the way.
    ForwardingOff,
    /// The neighbour table is (nearly) full.
    NeighboursFull,
    /// The overlay device is missing or down.
    OverlayMissing,
    /// Strict reverse-path filtering dropped packets.
    ReversePathFilter,
    /// The responder could not bind its port.
    ResponderUnbound,
    /// Kilo's agent does not answer on its port.
    KiloAgentDown,
    /// Kilo's agent restarted more than three times in an hour.
    KiloAgentCrashLoop,
    /// The kernel dropped received packets for want of CPU.
    SoftirqDrops,
}

/// One local finding with its figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalFinding {
    /// What is wrong.
    pub cause: LocalCause,
    /// The figures, for people: what was seen, what was expected.
    pub detail: String,
}

/// How a node is set, for whom it must suit: no finding by itself. What could not be read is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HostSettings {
    /// The largest packet that Kilo's WireGuard device carries; a leader only has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kilo_mtu: Option<u32>,
    /// The largest packet that the overlay's device carries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay_mtu: Option<u32>,
    /// Those of the two devices whose reverse-path filter is strict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_reverse_path: Option<Vec<String>>,
}

/// Why a node's word does not count at present.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Abstention {
    /// It started less than ten seconds ago.
    JustStarted,
    /// Its own rounds run late: it was suspended, throttled or starved.
    RoundLate,
    /// Its Kilo agent started less than sixty seconds ago.
    KiloJustStarted,
    /// Its clock is more than five seconds off.
    ClockOff,
    /// It has no plan to follow.
    NoPlan,
}

/// All that one node says, written by that node only.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whose word this is.
    pub node: NodeName,
    /// The location that the node believes to be in.
    pub location: Location,
    /// Tanist's version.
    pub version: String,
    /// Drawn anew at each start of the process.
    pub incarnation: u32,
    /// Grows by one with each report of this incarnation.
    pub sequence: u64,
    /// The last inquest that this report answers.
    #[serde(default)]
    pub inquest: u64,
    /// Wall time of the writing by the node's own clock, Unix milliseconds.
    pub written_ms: i64,
    /// Why this node's word does not count at present, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abstains: Option<Abstention>,
    /// The address that the host owns inside its pod CIDR, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_address: Option<IpAddr>,
    /// The link-layer address of the node's overlay device, as `aa:bb:cc:dd:ee:ff`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay_mac: Option<String>,
    /// The node that this node's routes use as leader, itself included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_seen: Option<NodeName>,
    /// Every path probed.
    #[serde(default)]
    pub paths: Vec<PathReport>,
    /// Every heir tested.
    #[serde(default)]
    pub hairpins: Vec<Hairpin>,
    /// Who was heard.
    #[serde(default)]
    pub heard: Vec<Heard>,
    /// What is wrong on the node itself.
    #[serde(default)]
    pub local: Vec<LocalFinding>,
    /// How the node is set, where that could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostSettings>,
    /// When its Kilo agent started, Unix seconds, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kilo_started: Option<i64>,
    /// How many Ready nodes its Kilo agent counts, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kilo_nodes: Option<u32>,
}
