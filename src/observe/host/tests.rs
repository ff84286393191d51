use std::fs;
use std::path::Path;

use super::*;

fn host(proc: &Path) -> Host {
    let devices = Devices { overlay: Some("flannel.1".to_owned()), kilo: "kilo0".to_owned() };
    Host { proc: proc.to_owned(), ..Host::new(devices, None) }
}

fn write(proc: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = proc.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

async fn causes(host: &mut Host) -> Vec<LocalCause> {
    host.look(None, None).await.local.into_iter().map(|finding| finding.cause).collect()
}

#[tokio::test]
async fn what_cannot_be_read_is_no_finding() {
    let proc = tempfile::tempdir().unwrap();
    assert_eq!(host(proc.path()).look(None, None).await, HostFacts::default());
}

#[tokio::test]
async fn each_cause_is_found_and_passes() {
    use LocalCause::{ConntrackFull, ForwardingOff, NeighboursFull};
    const COUNT: &str = "sys/net/netfilter/nf_conntrack_count";
    const FORWARDING: &str = "sys/net/ipv4/conf/kilo0/forwarding";
    let proc = tempfile::tempdir().unwrap();
    let arp = "IP address HW type Flags HW address Mask Device\n\
               10.0.0.1 0x1 0x2 aa * eth0\n10.0.0.2 0x1 0x6 aa * flannel.1\n";
    write(
        proc.path(),
        &[
            ("sys/net/netfilter/nf_conntrack_max", "1000\n"),
            ("sys/net/ipv4/conf/all/forwarding", "1\n"),
            ("net/arp", arp),
        ],
    );
    #[rustfmt::skip]
    let table: [(&str, &str, &[LocalCause]); 8] = [
        (COUNT,      "949\n",  &[]),
        (COUNT,      "950\n",  &[ConntrackFull]),
        (COUNT,      "nonsense", &[]),
        (FORWARDING, "0\n",    &[ForwardingOff]),
        (FORWARDING, "1\n",    &[]),
        ("sys/net/ipv4/neigh/default/gc_thresh3", "2\n", &[]), // one of the two is permanent
        ("sys/net/ipv4/neigh/default/gc_thresh3", "1\n", &[NeighboursFull]),
        ("sys/net/ipv4/neigh/default/gc_thresh3", "0\n", &[]),
    ];
    let mut host = host(proc.path());
    for (file, text, expected) in table {
        write(proc.path(), &[(file, text)]);
        assert_eq!(causes(&mut host).await, expected, "{file} = {text}");
    }
}

#[tokio::test]
async fn counters_count_from_the_last_count() {
    use LocalCause::{NeighboursFull, ReversePathFilter, SoftirqDrops};
    let proc = tempfile::tempdir().unwrap();
    let set = |softnet: u64, reverse: u64, fulls: u64| {
        let netstat =
            format!("TcpExt: A IPReversePathFilter\nTcpExt: 1 {reverse}\nIpExt: B\nIpExt: 2\n");
        let softnet = format!("0000ffff {softnet:08x} 0\n0000ffff 00000001 0\n");
        let arp = format!("entries table_fulls\n00000005 {fulls:08x}\n00000005 00000000\n");
        write(
            proc.path(),
            &[
                ("net/netstat", &netstat),
                ("net/softnet_stat", &softnet),
                ("net/stat/arp_cache", &arp),
            ],
        );
    };
    let mut host = host(proc.path());
    let count = |host: &mut Host| host.count().into_iter().map(|found| found.cause).collect();
    let mut counts: Vec<Vec<_>> = Vec::new();
    for (softnet, reverse, fulls) in
        [(5000, 5000, 50), (5099, 5009, 50), (5199, 5019, 51), (5199, 5019, 51)]
    {
        set(softnet, reverse, fulls);
        counts.push(count(&mut host));
    }
    assert_eq!(counts[0], [], "old drops are none of ours");
    assert_eq!(counts[1], [], "few are no finding");
    assert_eq!(counts[2], [NeighboursFull, SoftirqDrops, ReversePathFilter]);
    assert_eq!(counts[3], [], "it passed");
}

#[test]
fn an_overlay_is_missing_once_it_was_named_or_seen_up() {
    let link = |name: &str, up| Link { name: name.to_owned(), up, ..Link::default() };
    let (up, down) = (link("tunl0", true), link("tunl0", false));
    #[rustfmt::skip]
    let table = [
        // named,       the looks,                     missing at the last
        (None,          vec![None],                    false),
        (None,          vec![Some(&down)],             false), // the module's own device
        (None,          vec![Some(&up), Some(&down)],  true),
        (None,          vec![Some(&up), None],         true),
        (Some("tunl0"), vec![Some(&down)],             true),
        (Some("tunl0"), vec![None],                    true),
    ];
    for (named, looks, missing) in table {
        let devices = Devices { overlay: named.map(str::to_owned), kilo: "kilo0".to_owned() };
        let mut host = Host::new(devices, None);
        let last = looks.iter().map(|found| host.missing(*found)).last().flatten();
        assert_eq!(last.is_some(), missing, "{named:?} {looks:?}");
    }
}

#[test]
fn the_hosts_own_address_within_its_pod_range() {
    let chosen = |addresses: &[&str], preferred: Option<&str>| {
        let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let preferred = preferred.map(|address| address.parse().unwrap());
        own(&addresses, "10.42.7.0/24".parse().unwrap(), preferred)
            .map(|address| address.to_string())
    };
    #[rustfmt::skip]
    let table: [(&[&str], Option<&str>, Option<&str>); 7] = [
        (&["10.0.0.9", "127.0.0.1"],              None,               None),
        (&["10.42.7.0"],                          None,               Some("10.42.7.0")),
        (&["10.42.7.0", "10.42.7.1"],             None,               Some("10.42.7.1")),
        (&["10.42.7.0", "10.42.7.99"],            None,               Some("10.42.7.99")),
        (&["10.42.7.1", "10.42.7.99"],            Some("10.42.7.99"), Some("10.42.7.99")),
        (&["10.42.7.1"],                          Some("10.42.7.99"), Some("10.42.7.1")), // not ours
        (&["10.99.0.5", "10.42.7.1"],             Some("10.99.0.5"),  Some("10.99.0.5")),
    ];
    for (addresses, preferred, expected) in table {
        assert_eq!(
            chosen(addresses, preferred).as_deref(),
            expected,
            "{addresses:?} {preferred:?}"
        );
    }
}

#[test]
fn an_agent_is_read_from_its_metrics() {
    let answer = "HTTP/1.0 200 OK\r\n\r\n# HELP kilo_nodes Number of nodes.\nkilo_nodes 9\n\
                  kilo_nodes_total 4\nprocess_start_time_seconds 1.763700012e+09\n";
    let facts = AgentFacts { answers: true, nodes: Some(9), started: Some(1_763_700_012) };
    assert_eq!(kilo::read(answer), facts);

    let silent = AgentFacts::default();
    for answer in ["", "HTTP/1.0 500 Oops\r\n\r\nkilo_nodes 9\n", "SSH-2.0-OpenSSH\r\n"] {
        assert_eq!(kilo::read(answer), silent, "{answer}");
    }
    let other = "HTTP/1.0 200 OK\r\n\r\nkilo_nodes many\n";
    assert_eq!(kilo::read(other), AgentFacts { answers: true, ..silent });
}
