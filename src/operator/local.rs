//! What can be seen on a node itself, by whoever runs the command there.

use std::path::Path;

use super::doctor::{Examination, Level, Line};

/// Where to look, and for which devices.
#[derive(Debug, Clone)]
pub struct Node<'a> {
    /// Where `/proc` is.
    pub proc: &'a Path,
    /// Where `/sys` is.
    pub sys: &'a Path,
    /// Kilo's WireGuard device.
    pub kilo: &'a str,
    /// The overlay's device; none: whichever is there.
    pub overlay: Option<&'a str>,
    /// What `iptables -S FORWARD` printed; none if it could not be asked.
    pub forward: Option<&'a str>,
}

/// What to do where nothing can be seen.
const HERE: &str = "run it in the node's own network namespace, with its /proc";

/// Overlay devices by name, in the order in which one is taken for ours.
const OVERLAYS: [&str; 3] = ["flannel.", "cilium_vxlan", "tunl0"];

impl Node<'_> {
    /// Looks at everything.
    #[must_use]
    pub fn examine(&self) -> Examination {
        let overlay = self.overlay();
        let devices: Vec<&str> =
            [Some(self.kilo).filter(|kilo| self.has(kilo)), overlay.as_deref()]
                .into_iter()
                .flatten()
                .collect();
        let mut lines = vec![self.forwarding(&devices), self.policy()];
        lines.push(self.reverse_path(&devices));
        lines.push(self.conntrack());
        lines.push(self.mtus(overlay.as_deref()));
        Examination::of(lines)
    }

    fn forwarding(&self, devices: &[&str]) -> Line {
        let off: Vec<_> = ["all"]
            .iter()
            .chain(devices)
            .filter(|device| self.switch(device, "forwarding") == Some(0))
            .map(|device| format!("net.ipv4.conf.{device}.forwarding"))
            .collect();
        let known = self.switch("all", "forwarding").is_some();
        let (level, seen, advice) = match (known, off.as_slice()) {
            (false, _) => (Level::Warning, "it could not be read".to_owned(), HERE),
            (true, []) => (Level::Fine, format!("1 for all, {}", devices.join(", ")), ""),
            (true, off) => (
                Level::Broken,
                format!("{} is 0", off.join(", ")),
                "sysctl -w it to 1, and find out who sets it to 0",
            ),
        };
        line("ip_forward", level, seen, "1: a leader relays", advice)
    }

    /// A policy of DROP is usual with Docker and firewalls; then rules must let Kilo's traffic pass.
    fn policy(&self) -> Line {
        let expected = "ACCEPT, or rules that let the pod ranges pass";
        let Some(rules) = self.forward else {
            let seen = "iptables -S FORWARD could not be run; it needs root".to_owned();
            return line("FORWARD policy", Level::Warning, seen, expected, "run it as root");
        };
        let drops = rules.lines().any(|rule| rule.trim() == "-P FORWARD DROP");
        let kilo = rules.lines().any(|rule| rule.starts_with("-A") && rule.contains("KILO"));
        let (level, seen, advice) = match (drops, kilo) {
            (false, _) => (Level::Fine, "ACCEPT".to_owned(), ""),
            (true, true) => (Level::Fine, "DROP, with rules of Kilo's".to_owned(), ""),
            (true, false) => (
                Level::Warning,
                "DROP, and no rule of Kilo's".to_owned(),
                "see that rules accept forwarded packets of the pod ranges and of kilo0",
            ),
        };
        line("FORWARD policy", level, seen, expected, advice)
    }

    fn reverse_path(&self, devices: &[&str]) -> Line {
        let all = self.switch("all", "rp_filter");
        let strict: Vec<&str> = devices
            .iter()
            .copied()
            .filter(|device| all.max(self.switch(device, "rp_filter")) == Some(1))
            .collect();
        let (level, seen, advice) = match (all, strict.as_slice()) {
            (None, _) => (Level::Warning, "it could not be read".to_owned(), HERE),
            (Some(_), []) => (Level::Fine, format!("not strict on {}", devices.join(", ")), ""),
            (Some(_), strict) => (
                Level::Warning,
                format!("1 (strict) on {}", strict.join(", ")),
                "set net.ipv4.conf.all.rp_filter and theirs to 0 or 2",
            ),
        };
        line("rp_filter", level, seen, "0 or 2, so that a change of leader drops nothing", advice)
    }

    fn conntrack(&self) -> Line {
        let used = self.number("sys/net/netfilter/nf_conntrack_count");
        let room = self.number("sys/net/netfilter/nf_conntrack_max");
        let (level, seen, advice) = match (used, room) {
            (Some(used), Some(room)) if used * 10 < room * 8 => {
                (Level::Fine, format!("{used} of {room} entries are used"), "")
            }
            (Some(used), Some(room)) => (
                Level::Warning,
                format!("{used} of {room} entries are used"),
                "raise net.netfilter.nf_conntrack_max: a full table drops what is new",
            ),
            (None, _) | (_, None) => (Level::Fine, "not in use here".to_owned(), ""),
        };
        line("conntrack", level, seen, "less than four fifths full", advice)
    }

    fn mtus(&self, overlay: Option<&str>) -> Line {
        let of = |device: &str| {
            let mtu = std::fs::read_to_string(self.sys.join("class/net").join(device).join("mtu"));
            let mtu: u32 = mtu.ok()?.trim().parse().ok()?;
            Some((device.to_owned(), mtu))
        };
        let known: Vec<_> =
            [Some(self.kilo), overlay].into_iter().flatten().filter_map(of).collect();
        let told: Vec<_> = known.iter().map(|(device, mtu)| format!("{device} {mtu}")).collect();
        let (level, seen, advice) = if known.is_empty() {
            (Level::Warning, "neither device is here".to_owned(), "is this a node of the mesh?")
        } else {
            (Level::Fine, told.join(", "), "compare with the other nodes: tanist doctor does")
        };
        line("MTU", level, seen, "the same on all nodes", advice)
    }

    fn overlay(&self) -> Option<String> {
        if let Some(named) = self.overlay {
            return Some(named.to_owned());
        }
        let entries = std::fs::read_dir(self.sys.join("class/net")).ok()?;
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        OVERLAYS
            .iter()
            .find_map(|prefix| names.iter().find(|name| name.starts_with(prefix)).cloned())
    }

    fn has(&self, device: &str) -> bool {
        self.sys.join("class/net").join(device).exists()
    }

    fn switch(&self, device: &str, name: &str) -> Option<u64> {
        self.number(&format!("sys/net/ipv4/conf/{device}/{name}"))
    }

    fn number(&self, path: &str) -> Option<u64> {
        std::fs::read_to_string(self.proc.join(path)).ok()?.trim().parse().ok()
    }
}

fn line(
    check: &'static str,
    level: Level,
    seen: String,
    expected: &'static str,
    advice: &str,
) -> Line {
    Line { level, check, place: "this node".to_owned(), seen, expected, advice: advice.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes files of a made-up node.
    fn node(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    const WELL: [(&str, &str); 9] = [
        ("sys/net/ipv4/conf/all/forwarding", "1\n"),
        ("sys/net/ipv4/conf/all/rp_filter", "0\n"),
        ("sys/net/ipv4/conf/kilo0/forwarding", "1\n"),
        ("sys/net/ipv4/conf/kilo0/rp_filter", "2\n"),
        ("sys/net/ipv4/conf/flannel.1/rp_filter", "0\n"),
        ("sys/net/netfilter/nf_conntrack_count", "10\n"),
        ("sys/net/netfilter/nf_conntrack_max", "1000\n"),
        ("class/net/kilo0/mtu", "1420\n"),
        ("class/net/flannel.1/mtu", "1450\n"),
    ];

    fn look(files: &[(&str, &str)], forward: Option<&str>) -> Vec<(Level, String)> {
        let lines = examine(files, forward);
        for line in &lines {
            assert!(!line.seen.is_empty() && !line.expected.is_empty(), "{line:?}");
            assert!(line.level == Level::Fine || !line.advice.is_empty(), "{line:?}");
        }
        lines.into_iter().map(|line| (line.level, line.seen)).collect()
    }

    fn examine(files: &[(&str, &str)], forward: Option<&str>) -> Vec<Line> {
        let root = node(files);
        let node =
            Node { proc: root.path(), sys: root.path(), kilo: "kilo0", overlay: None, forward };
        node.examine().lines
    }

    #[test]
    fn where_nothing_can_be_seen_it_is_said_and_not_taken_for_well() {
        let levels: Vec<_> = look(&[], None).into_iter().map(|(level, _)| level).collect();
        let Level::Warning = levels[0] else { panic!("{levels:?}") };
        assert_eq!(levels[4], Level::Warning, "neither device is here");
    }

    #[test]
    fn a_node_that_is_well_is_fine_in_every_line() {
        let lines = look(&WELL, Some("-P FORWARD ACCEPT\n"));
        assert!(lines.iter().all(|(level, _)| *level == Level::Fine), "{lines:#?}");
        assert_eq!(lines[4].1, "kilo0 1420, flannel.1 1450");
    }

    #[test]
    fn each_fault_is_seen() {
        let drop = Some("-P FORWARD DROP\n-A FORWARD -j DOCKER\n");
        let kilo = Some(
            "-P FORWARD DROP\n-A FORWARD -s 10.42.0.0/16 -m comment --comment \"KILO\" -j ACCEPT\n",
        );
        let accept = Some("-P FORWARD ACCEPT\n");
        #[rustfmt::skip]
        let table = [
            (("sys/net/ipv4/conf/all/forwarding", "0"), accept, 0, Level::Broken, "net.ipv4.conf.all.forwarding is 0"),
            (("sys/net/ipv4/conf/flannel.1/forwarding", "0"), accept, 0, Level::Broken, "net.ipv4.conf.flannel.1.forwarding is 0"),
            (("x", ""), drop, 1, Level::Warning, "DROP, and no rule of Kilo's"),
            (("x", ""), kilo, 1, Level::Fine, "DROP, with rules of Kilo's"),
            (("x", ""), None, 1, Level::Warning, "iptables -S FORWARD could not be run; it needs root"),
            (("sys/net/ipv4/conf/all/rp_filter", "1"), accept, 2, Level::Warning, "1 (strict) on flannel.1"),
            (("sys/net/netfilter/nf_conntrack_count", "900"), accept, 3, Level::Warning, "900 of 1000 entries are used"),
        ];
        for (file, forward, line, level, seen) in table {
            let files: Vec<_> =
                WELL.into_iter().filter(|(path, _)| *path != file.0).chain([file]).collect();
            assert_eq!(look(&files, forward)[line], (level, seen.to_owned()), "{file:?}");
        }
    }
}
