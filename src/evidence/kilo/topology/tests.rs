//! What the recordings of the real Kilo do not show; `tests/recordings.rs` shows the rest.

use super::*;
use crate::evidence::kilo::{RawNode, TOPOLOGY_LABEL, key, read};
use crate::evidence::{NodeName, UnixTime};

/// A Ready node: its location, its number, and more annotations.
fn node(location: &str, number: u8, more: &[(&str, &str)]) -> Node {
    let endpoint = format!("198.51.100.{number}:51820");
    let internal = format!("10.1.0.{number}/24");
    let key = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, [number; 32]);
    let own = [
        (key::LOCATION, location),
        (key::ENDPOINT, &endpoint),
        (key::INTERNAL_IP, &internal),
        (key::KEY, &key),
        (key::LAST_SEEN, "0"),
    ];
    let annotations = own.iter().chain(more).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let raw = RawNode {
        name: format!("{location}-{number}"),
        annotations: annotations.collect(),
        pod_cidr: Some(format!("10.42.{number}.0/24")),
        ..RawNode::default()
    };
    read(&raw, TOPOLOGY_LABEL)
}

fn mesh(nodes: Vec<Node>) -> Mesh {
    let nodes = nodes.into_iter().map(|node| (node.name.clone(), node)).collect();
    Mesh { nodes, at: UnixTime::default() }
}

fn local(name: &str) -> Local {
    Local::new(NodeName::from(name))
}

fn vpn_peer(name: &str, seed: u8, allowed: &[&str]) -> VpnPeer {
    VpnPeer {
        name: name.to_owned(),
        key: [seed; 32],
        preshared_key: None,
        endpoint: None,
        keepalive: Duration::ZERO,
        allowed_ips: allowed.iter().map(|net| net.parse().unwrap()).collect(),
    }
}

fn nets(nets: impl IntoIterator<Item = IpNet>) -> Vec<String> {
    nets.into_iter().map(|net| net.to_string()).collect()
}

#[test]
fn a_learned_endpoint_counts_only_for_those_that_roam() {
    let learned = r#"{"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=":{"IP":"203.0.113.9","Port":4500,"Zone":""}}"#;
    let endpoint = |keepalive| {
        let mesh = mesh(vec![
            node("a", 1, &[]),
            node("b", 2, &[(key::PERSISTENT_KEEPALIVE, keepalive)]),
            node("c", 3, &[(key::DISCOVERED_ENDPOINTS, learned)]),
        ]);
        let tunnel = topology(&mesh, &[], &local("a-1")).unwrap().tunnel.unwrap();
        tunnel.peers[&[2; 32]].endpoint.unwrap().to_string()
    };
    assert_eq!(endpoint("0"), "198.51.100.2:51820");
    assert_eq!(endpoint("10"), "203.0.113.9:4500");
}

#[test]
fn the_own_keepalive_goes_to_all_peers() {
    let mesh = mesh(vec![node("a", 1, &[(key::PERSISTENT_KEEPALIVE, "7")]), node("b", 2, &[])]);
    let keepalive = |name: &str| {
        let tunnel = topology(&mesh, &[], &local(name)).unwrap().tunnel.unwrap();
        tunnel.peers.into_values().map(|peer| peer.keepalive.as_secs()).collect::<Vec<_>>()
    };
    assert_eq!((keepalive("a-1"), keepalive("b-2")), (vec![7], vec![0]));
}

#[test]
fn extra_prefixes_yield_to_what_others_have() {
    let extra = |list| [(key::ALLOWED_LOCATION_IPS, list)];
    let mesh = mesh(vec![
        node("a", 1, &[]),
        node("b", 2, &extra("192.168.7.0/24,192.168.8.0/24,10.42.1.0/28,10.5.0.0/16")),
        node("c", 3, &extra("192.168.8.0/25")),
    ]);
    let peers = [vpn_peer("laptop", 9, &["10.5.0.1/32"])];
    let tunnel = topology(&mesh, &peers, &local("a-1")).unwrap().tunnel.unwrap();

    let of = |seed: u8| nets(tunnel.peers[&[seed; 32]].allowed_ips.iter().copied());
    assert_eq!(of(2), ["10.1.0.2/32", "10.4.0.2/32", "10.42.2.0/24", "192.168.7.0/24"]);
    assert_eq!(
        of(3),
        ["10.1.0.3/32", "10.4.0.3/32", "10.42.3.0/24", "192.168.8.0/25"],
        "what b had of it was dropped before"
    );
}

#[test]
fn the_first_vpn_peer_by_name_keeps_what_two_claim() {
    let mesh = mesh(vec![node("a", 1, &[])]);
    let peers = [
        vpn_peer("z", 8, &["10.5.0.1/32", "10.5.0.2/32"]),
        vpn_peer("b", 9, &["10.5.0.1/32"]),
        vpn_peer("idle", 7, &[]),
        vpn_peer("keyless", 0, &["10.5.0.3/32"]),
    ];
    let wish = topology(&mesh, &peers, &local("a-1")).unwrap();

    let tunnel = wish.tunnel.unwrap();
    assert_eq!(tunnel.peers.len(), 2);
    assert_eq!(nets(tunnel.peers[&[9; 32]].allowed_ips.iter().copied()), ["10.5.0.1/32"]);
    assert_eq!(nets(tunnel.peers[&[8; 32]].allowed_ips.iter().copied()), ["10.5.0.2/32"]);
    assert_eq!(wish.routes.len(), 2);
    assert!(wish.routes.iter().all(|route| route.gateway.is_none()));
}

#[test]
fn a_node_reached_at_its_internal_address_is_not_routed_into_its_own_tunnel() {
    let mesh = mesh(vec![node("a", 1, &[]), node("b", 2, &[(key::ENDPOINT, "10.1.0.2:51820")])]);
    let wish = topology(&mesh, &[], &local("a-1")).unwrap();
    assert_eq!(nets(wish.routes.iter().map(|route| route.destination)), ["10.42.2.0/24"]);
}

#[test]
fn nothing_is_wished_without_the_own_node_or_enough_addresses() {
    let whole = mesh(vec![node("a", 1, &[]), node("b", 2, &[]), node("c", 3, &[])]);
    assert_eq!(topology(&whole, &[], &local("d-4")), None, "unknown");

    let stale = Mesh { at: UnixTime(60_000), ..whole.clone() };
    assert_eq!(topology(&stale, &[], &local("a-1")), None, "stale");

    let narrow = Local { subnet: "10.4.0.0/30".parse().unwrap(), ..local("a-1") };
    assert_eq!(topology(&whole, &[], &narrow), None, "three segments, two addresses");
}

#[test]
fn in_full_granularity_every_node_leads_itself() {
    let mesh = mesh(vec![node("a", 1, &[]), node("a", 2, &[])]);
    let full = Local { granularity: Granularity::Full, underlay_mtu: 1400, ..local("a-2") };
    let wish = topology(&mesh, &[], &full).unwrap();

    assert_eq!(wish.mtu, 1320);
    assert_eq!(wish.tunnel.unwrap().address.to_string(), "10.4.0.2/16");
    assert_eq!(wish.rules, BTreeSet::new());
}
