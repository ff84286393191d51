//! CPU time and memory of a process, as the kernel accounts for them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

/// What went wrong with a process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none.
    #[error("it does not run")]
    Gone,
    /// A file of it cannot be read.
    #[error("could not read {file} of it")]
    Read {
        /// Which file.
        file: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A file of it says something else than it should.
    #[error("could not understand {file} of it")]
    Strange {
        /// Which file.
        file: &'static str,
    },
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// What is resident.
    pub resident: u64,
    /// The most that ever was.
    pub peak: u64,
    /// What is resident, pages that others use too counted in part.
    pub proportional: Option<u64>,
}

impl Usage {
    fn and(self, other: Self) -> Self {
        let proportional = self.proportional.zip(other.proportional);
        Self {
            resident: self.resident + other.resident,
            peak: self.peak + other.peak,
            proportional: proportional.map(|(one, two)| one + two),
        }
    }
}

/// Returns the process ids of our own pid namespace with those by which `/proc` knows them: the
/// lab's processes live in a namespace of their own, and `/proc` is the machine's.
pub(super) fn outer() -> BTreeMap<u32, u32> {
    let ours = fs::read_link("/proc/self/ns/pid").ok();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let inside = |outer: &u32| fs::read_link(format!("/proc/{outer}/ns/pid")).ok() == ours;
    numbers.filter(inside).filter_map(|outer| Some((inner(outer)?, outer))).collect()
}

/// Returns the id of a process in the innermost namespace.
fn inner(outer: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{outer}/status")).ok()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    ids.split_whitespace().last()?.parse().ok()
}

/// Returns the CPU time and the memory of processes together.
pub(super) fn sum(pids: &[Option<u32>]) -> Result<(Duration, Usage), Error> {
    let mut read = pids.iter().map(|pid| read(*pid));
    let first = read.next().ok_or(Error::Gone)??;
    read.try_fold(first, |(cpu, memory), next| {
        let (more, beside) = next?;
        Ok((cpu + more, memory.and(beside)))
    })
}

/// Returns the CPU time and the memory of a process.
fn read(pid: Option<u32>) -> Result<(Duration, Usage), Error> {
    let folder = format!("/proc/{}", pid.ok_or(Error::Gone)?);
    let read = |file: &'static str| {
        let text = fs::read_to_string(Path::new(&folder).join(file));
        text.map_err(|source| Error::Read { file, source })
    };

    let cpu = cpu(&read("stat")?).ok_or(Error::Strange { file: "stat" })?;
    let status = read("status")?;
    let line = |key| kibibytes(&status, key).ok_or(Error::Strange { file: "status" });
    // Some kernels and containers do not tell it.
    let rollup = read("smaps_rollup").ok();
    let memory = Usage {
        resident: line("VmRSS:")?,
        peak: line("VmHWM:")?,
        proportional: rollup.and_then(|rollup| kibibytes(&rollup, "Pss:")),
    };
    Ok((cpu, memory))
}

/// Reads user and system time of all threads, in hundredths of a second.
fn cpu(stat: &str) -> Option<Duration> {
    // The name stands in brackets and may hold anything.
    let fields = stat.rsplit_once(')')?.1.split_whitespace().collect::<Vec<_>>();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(1024 * line.split_whitespace().next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 900 0 3 0 120 45 0 0 20 0 4 0 99 1 2";
        assert_eq!(cpu(stat), Some(Duration::from_millis(1650)));
        assert_eq!(cpu("nonsense"), None);
    }

    #[test]
    fn our_own_process_is_found_and_has_memory() {
        let me = std::process::id();
        let (_, memory) = sum(&[outer().get(&me).copied()]).unwrap();
        assert!(memory.resident > 1 << 20, "{memory:?}");
        assert!(memory.peak >= memory.resident, "{memory:?}");
        assert!(matches!(sum(&[None]), Err(Error::Gone)));
        assert!(matches!(sum(&[]), Err(Error::Gone)));
    }

    #[test]
    fn processes_of_one_node_count_together() {
        let one = Usage { resident: 1, peak: 2, proportional: Some(3) };
        let both = Usage { resident: 2, peak: 4, proportional: Some(6) };
        assert_eq!(one.and(one), both);
        assert_eq!(one.and(Usage::default()).proportional, None);
    }
}
