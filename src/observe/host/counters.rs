//! The kernel's counters, as text and as differences.

/// A counter that only grows, and what it was at the last count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counter(Option<u64>);

impl Counter {
    /// Returns how much it grew since the last count; 0 at the first, or where it is unreadable.
    pub(super) fn grown(&mut self, now: Option<u64>) -> u64 {
        let before = std::mem::replace(&mut self.0, now);
        now.zip(before).map_or(0, |(now, before)| now.saturating_sub(before))
    }
}

/// All that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counters {
    pub(super) softnet: Counter,
    pub(super) reverse_path: Counter,
    pub(super) neighbour_overflows: Counter,
}

/// Returns the packets dropped for want of CPU, of all CPUs: the second column of
/// `/proc/net/softnet_stat`, in hexadecimal.
pub(super) fn softnet_drops(text: &str) -> u64 {
    let dropped = |line: &str| u64::from_str_radix(line.split_ascii_whitespace().nth(1)?, 16).ok();
    text.lines().filter_map(dropped).sum()
}

/// Returns a counter of `/proc/net/netstat`, where each line of names stands above its values.
pub(super) fn ip_counter(text: &str, name: &str) -> Option<u64> {
    let lines: Vec<_> = text.lines().collect();
    lines.chunks_exact(2).find_map(|pair| {
        let at = pair[0].split_ascii_whitespace().position(|column| column == name)?;
        pair[1].split_ascii_whitespace().nth(at)?.parse().ok()
    })
}

/// Returns how often the neighbour table was full, of all CPUs: `/proc/net/stat/arp_cache`.
pub(super) fn table_fulls(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let at = lines.next()?.split_ascii_whitespace().position(|column| column == "table_fulls")?;
    let of_cpu = |line: &str| u64::from_str_radix(line.split_ascii_whitespace().nth(at)?, 16).ok();
    Some(lines.filter_map(of_cpu).sum())
}

/// Returns the neighbours that count towards the limit: those of `/proc/net/arp` without the flag
/// of a permanent one.
pub(super) fn neighbours(text: &str) -> u64 {
    const PERMANENT: u32 = 0x4;
    let counts = |line: &&str| {
        let flags = line.split_ascii_whitespace().nth(2).and_then(|flags| flags.strip_prefix("0x"));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags, 16).ok());
        flags.is_some_and(|flags| flags & PERMANENT == 0)
    };
    text.lines().skip(1).filter(counts).count() as u64
}
