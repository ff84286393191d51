//! How often a node probes, and how much at most.

use std::time::Duration;

/// The cadence of one sidecar. The defaults are the budget of the design: at most 1 GB of probes
/// a month from one node, whatever the size of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rates {
    /// Between two fresh UDP flows of a witness, before jitter of 0.75 to 1.
    pub fresh: Duration,
    /// Between two fresh UDP flows of all other members of a location together.
    pub others: Duration,
    /// Between two fresh TCP flows of a witness.
    pub tcp: Duration,
    /// Between two visits to kept flows, and between two probes of the own leader.
    pub kept: Duration,
    /// Between two probes of the same heir over the overlay.
    pub heirs: Duration,
    /// Between two hairpin tests.
    pub hairpin: Duration,
    /// Between two of the rare kinds: large, ping, control. They must have worked once to mean
    /// anything when they fail.
    pub rare: Duration,
    /// Between two nudges of one target.
    pub nudge: Duration,
    /// Between two flows of a burst to one target.
    pub burst_gap: Duration,
    /// The span of a steady window.
    pub steady_window: Duration,
    /// The span of a burst window, and of the cap on burst flows.
    pub burst_window: Duration,
    /// How long a path's background loss is remembered.
    pub background: Duration,
    /// The least reply timeout.
    pub least_timeout: Duration,
    /// Burst flows through one leader within `burst_window`, at most.
    pub burst_cap: usize,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            // Three witnesses see a fault within some 0.4 s, at 80 B/s each.
            fresh: Duration::from_millis(1330),
            // However many they are, a leader relays one flow a second for them.
            others: Duration::from_secs(1),
            // TCP only adds the class of a fault; UDP finds it.
            tcp: Duration::from_secs(20),
            // Well below the 30 s after which conntrack forgets an idle UDP flow.
            kept: Duration::from_secs(10),
            heirs: Duration::from_secs(30),
            hairpin: Duration::from_secs(60),
            rare: Duration::from_secs(60),
            // WireGuard answers a first packet within a round trip or not for five seconds.
            nudge: Duration::from_millis(100),
            // Sixteen flows in 300 ms.
            burst_gap: Duration::from_millis(20),
            steady_window: Duration::from_secs(60),
            burst_window: Duration::from_secs(10),
            background: Duration::from_secs(600),
            // Below this a busy node's own delays would count as loss.
            least_timeout: Duration::from_millis(100),
            burst_cap: 64,
        }
    }
}

impl Rates {
    /// Returns the same cadence, `times` as fast: for tests and demonstrations that cannot wait.
    /// Timeouts and the gaps within a burst stay, since they measure the network, not patience.
    #[must_use]
    pub fn hastened(&self, times: u32) -> Self {
        let times = times.max(1);
        Self {
            fresh: self.fresh / times,
            others: self.others / times,
            tcp: self.tcp / times,
            kept: self.kept / times,
            heirs: self.heirs / times,
            hairpin: self.hairpin / times,
            rare: self.rare / times,
            steady_window: self.steady_window / times,
            background: self.background / times,
            ..self.clone()
        }
    }
}
