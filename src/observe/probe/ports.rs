//! Source ports, walked and not drawn.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// For how long a port rests: as long as connection tracking remembers a UDP flow.
const REST: Duration = Duration::from_secs(180);
/// Ports whose use is remembered as one.
const BLOCK: u32 = 64;
/// Below the kernel's ephemeral ports (32768 and up by default) and Kubernetes' NodePorts (30000
/// and up), to which some data planes redirect by port alone.
const USUAL: RangeInclusive<u16> = 10_000..=29_999;
/// Fewer ports than these would wrap too early: two witnesses' bursts.
const FEWEST: u32 = 4_096;

/// Goes round a range of ports, so that none is used again before the flow on it is forgotten.
#[derive(Debug)]
pub struct PortWalk {
    range: RangeInclusive<u16>,
    /// How many steps from the range's begin the next port is.
    next: u32,
    /// When the last port of each block was given out.
    left: Vec<Option<Instant>>,
}

impl PortWalk {
    /// Begins a walk somewhere in the range, so that a restarted process is not on the same ports.
    #[must_use]
    pub fn new(range: RangeInclusive<u16>, somewhere: u32) -> Self {
        let ports = u32::from(*range.end()) - u32::from(*range.start()) + 1;
        let blocks = ports.div_ceil(BLOCK);
        let next = somewhere % blocks * BLOCK;

        Self { range, next, left: vec![None; blocks as usize] }
    }

    /// Returns the next port; none if it was used too short a time ago.
    pub fn next(&mut self, now: Instant) -> Option<u16> {
        let block = (self.next / BLOCK) as usize;
        let rested = |left: Instant| now.duration_since(left) >= REST;
        if self.next.is_multiple_of(BLOCK) && !self.left[block].is_none_or(rested) {
            return None;
        }

        self.left[block] = Some(now);
        let port = u32::from(*self.range.start()) + self.next;
        let is_last = port == u32::from(*self.range.end());
        self.next = if is_last { 0 } else { self.next + 1 };
        u16::try_from(port).ok()
    }
}

/// Returns the ports to walk on this host: the usual ones as far as they lie outside the kernel's
/// ephemeral range, else those above it.
pub(super) fn free_range() -> RangeInclusive<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let ephemeral = text.ok().and_then(|text| parse(&text));
    let range = ephemeral.map_or(USUAL, outside);

    if ephemeral.is_some_and(|(low, high)| low <= *range.end() && *range.start() <= high) {
        tracing::warn!(
            ?ephemeral,
            "Probes share their source ports with the kernel's ephemeral ones"
        );
    }
    range
}

/// Returns the usual range cut to what lies outside the ephemeral one, or all of it if neither side
/// of that leaves enough.
fn outside((low, high): (u16, u16)) -> RangeInclusive<u16> {
    let below = *USUAL.start()..=low.saturating_sub(1).min(*USUAL.end());
    let above = high.saturating_add(1).max(*USUAL.start())..=u16::MAX;
    let enough = |range: &RangeInclusive<u16>| {
        (u32::from(*range.end()) + 1).saturating_sub(u32::from(*range.start())) >= FEWEST
    };

    [below, above].into_iter().find(enough).unwrap_or(USUAL)
}

fn parse(text: &str) -> Option<(u16, u16)> {
    let mut ports = text.split_whitespace().map(str::parse);
    Some((ports.next()?.ok()?, ports.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keeps_out_of_the_ephemeral_range() {
        let table = [
            ((32_768, 60_999), 10_000..=29_999),
            ((15_000, 60_999), 10_000..=14_999),
            ((12_000, 60_999), 60_999 + 1..=65_535),
            ((1_024, 65_535), 10_000..=29_999),
            ((1_024, 9_000), 10_000..=65_535),
        ];
        for (ephemeral, range) in table {
            assert_eq!(outside(ephemeral), range, "{ephemeral:?}");
        }
        assert_eq!(parse("32768\t60999\n"), Some((32_768, 60_999)));
        assert_eq!(parse("nonsense"), None);
    }

    proptest! {
        /// Whatever the pace: no port twice within the rest, and none is left out.
        #[test]
        fn never_uses_a_port_twice_within_the_rest(
            start in any::<u32>(),
            ports in 1..400_u16,
            waits in prop::collection::vec(0..2_000_u64, 1..1_000),
        ) {
            let range = 10_000..=10_000 + ports - 1;
            let mut walk = PortWalk::new(range.clone(), start);
            let mut used = std::collections::BTreeMap::new();
            let mut now = Instant::now();
            for wait in waits {
                now += Duration::from_millis(wait);
                let Some(port) = walk.next(now) else { continue };
                prop_assert!(range.contains(&port));
                if let Some(before) = used.insert(port, now) {
                    prop_assert!(now.duration_since(before) >= REST, "{port}");
                }
            }
        }

        #[test]
        fn uses_every_port_before_any_twice(start in any::<u32>(), ports in 1..400_u16) {
            let range = 10_000..=10_000 + ports - 1;
            let mut walk = PortWalk::new(range.clone(), start);
            let now = Instant::now();
            let mut lap: Vec<_> = std::iter::from_fn(|| walk.next(now)).collect();
            lap.sort_unstable();

            prop_assert_eq!(lap, range.collect::<Vec<_>>());
            prop_assert!(walk.next(now + REST).is_some());
        }
    }
}
