//! Kilo's rules against the vectors that were tested on Kilo itself, and what must always hold.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::evidence::{Endpoint, Location, Mesh, NodeName};

const NOW: UnixTime = UnixTime(1_795_254_307_000);

/// A Ready node of the location `l`, by its annotations.
fn raw(name: &str, endpoint: &str) -> RawNode {
    let annotations = [
        (key::ENDPOINT, endpoint),
        (key::INTERNAL_IP, "10.1.0.11/24"),
        (key::KEY, "GARLLbpcxSdsAVBtBpUlRIUSJbX4PBXreJzPbGxKMj4="),
        (key::LAST_SEEN, "1795254300"),
        (key::LOCATION, "l"),
    ];
    RawNode {
        name: name.to_owned(),
        annotations: annotations.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        pod_cidr: Some("10.42.1.0/24".to_owned()),
        ..RawNode::default()
    }
}

fn with(mut node: RawNode, key: &str, value: &str) -> RawNode {
    node.annotations.insert(key.to_owned(), value.to_owned());
    node
}

fn without(mut node: RawNode, key: &str) -> RawNode {
    node.annotations.remove(key);
    node
}

fn node(raw: &RawNode) -> Node {
    read(raw, TOPOLOGY_LABEL)
}

fn mesh(nodes: impl IntoIterator<Item = Node>) -> Mesh {
    Mesh { nodes: nodes.into_iter().map(|node| (node.name.clone(), node)).collect(), at: NOW }
}

/// `name` or `name*` (annotated), and its endpoint's host.
fn member((name, host): (&str, &str)) -> Node {
    let endpoint =
        if host.contains("::") { format!("[{host}]:51820") } else { format!("{host}:51820") };
    let base = raw(name.trim_end_matches('*'), &endpoint);
    node(&if name.ends_with('*') { with(base, key::LEADER, "false") } else { base })
}

#[test]
fn leaders_are_those_that_kilo_finds() {
    const PUB: &str = "198.51.100.1";
    const PRIV: &str = "10.0.0.1";
    #[rustfmt::skip]
    let table = [
        ([("a", PUB), ("b", PUB)],                "a"),
        ([("a", PUB), ("b*", PUB)],               "b"),
        ([("a*", PUB), ("b", PUB)],               "a"),
        ([("a*", PUB), ("b*", PUB)],              "a"),
        ([("a*", PRIV), ("b*", PUB)],             "b"),
        ([("a*", PRIV), ("b", PUB)],              "a"),
        ([("a", PRIV), ("b", PUB)],               "b"),
        ([("a", PRIV), ("b", PRIV)],              "a"),
        ([("a", PRIV), ("b", "100.64.0.1")],      "b"),
        ([("a", PRIV), ("b", "fd00::1")],         "a"),
        ([("a", PRIV), ("b", "fd12::1")],         "b"),
        ([("a", PRIV), ("b", "example.com")],     "a"),
        ([("node-9", PUB), ("node-10", PUB)],     "node-10"),
    ];

    for (nodes, leader) in table {
        let mesh = mesh(nodes.map(member));
        let found = leaders(&mesh);
        assert_eq!(found[&Location::from("l")].name, NodeName::from(leader), "{nodes:?}");
        assert_eq!(leader_of(&mesh, &"l".into()).map(|node| &node.name.0[..]), Some(leader));
    }
    assert_eq!(find_leader(&[]), None);
}

#[test]
fn public_is_what_kilo_takes_for_it() {
    #[rustfmt::skip]
    let table = [
        ("10.255.255.255", false), ("172.16.0.1", false), ("172.31.255.1", false),
        ("172.32.0.1", true), ("192.168.1.1", false), ("192.169.0.1", true),
        ("100.64.0.1", true), ("169.254.1.1", true), ("198.18.0.1", true), ("127.0.0.1", true),
        ("fd00::1", false), ("fd00:1234::1", false), ("fd01::1", true), ("fd12::1", true),
        ("fe80::1", true), ("2001:db8::1", true),
    ];
    for (address, public) in table {
        assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
    }
}

#[test]
fn readiness_needs_endpoint_key_pod_cidr_and_a_fresh_check_in() {
    let whole = raw("a", "198.51.100.1:51820");
    let seen = |seconds: i64| with(whole.clone(), key::LAST_SEEN, &seconds.to_string());
    let now = NOW.seconds();
    let zero_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    #[rustfmt::skip]
    let table = [
        (whole.clone(),                                          true,  "whole"),
        (seen(now - 59),                                         true,  "59 s old"),
        (seen(now - 60),                                         false, "60 s old"),
        (seen(now + 3600),                                       true,  "from a clock ahead"),
        (with(whole.clone(), key::LAST_SEEN, "soon"),            false, "unparsable check-in"),
        (without(whole.clone(), key::LAST_SEEN),                 false, "no check-in"),
        (without(whole.clone(), key::ENDPOINT),                  false, "no endpoint"),
        (with(whole.clone(), key::ENDPOINT, "a.example:51820"),  true,  "DNS endpoint"),
        (without(whole.clone(), key::KEY),                       false, "no key"),
        (with(whole.clone(), key::KEY, zero_key),                false, "key of zeros"),
        (with(whole.clone(), key::KEY, "GARL"),                  false, "short key"),
        (RawNode { pod_cidr: None, ..whole.clone() },            false, "no pod CIDR"),
        (RawNode { pod_cidr: Some("10.42.1.0".into()), ..whole.clone() }, false, "bad pod CIDR"),
        (without(whole.clone(), key::INTERNAL_IP),               true,  "no internal address"),
        (RawNode { ready: Some(false), ..whole.clone() },        true,  "Kubernetes is not asked"),
    ];
    for (raw, ready, what) in table {
        assert_eq!(is_ready(&node(&raw), NOW), ready, "{what}");
    }
}

#[test]
fn location_is_the_annotation_or_else_the_label() {
    let labelled = |mut node: RawNode| {
        node.labels.insert(TOPOLOGY_LABEL.to_owned(), "west".to_owned());
        node
    };
    let bare = without(raw("a", "198.51.100.1:51820"), key::LOCATION);
    #[rustfmt::skip]
    let table = [
        (bare.clone(),                                      ""),
        (labelled(bare.clone()),                            "west"),
        (with(labelled(bare.clone()), key::LOCATION, "x"),  "x"),
        (with(labelled(bare), key::LOCATION, ""),           ""),
    ];
    for (raw, location) in table {
        assert_eq!(node(&raw).location, Location::from(location), "{raw:?}");
    }
}

#[test]
fn segments_are_locations_unless_a_node_stands_alone() {
    let whole = raw("a", "198.51.100.1:51820");
    let alone = Segment::Node("a".into());
    let shared = Segment::Location("l".into());
    #[rustfmt::skip]
    let table = [
        (whole.clone(),                                         Granularity::Location, &shared),
        (whole.clone(),                                         Granularity::Full,     &alone),
        (whole.clone(),                                         Granularity::Cross,    &alone),
        (without(whole.clone(), key::INTERNAL_IP),              Granularity::Location, &alone),
        (with(whole.clone(), key::FORCE_INTERNAL_IP, ""),       Granularity::Location, &alone),
        (with(whole.clone(), key::FORCE_INTERNAL_IP, "-"),      Granularity::Location, &alone),
        (with(whole, key::FORCE_INTERNAL_IP, "bad"),            Granularity::Location, &shared),
    ];
    for (raw, granularity, expected) in table {
        assert_eq!(segment(&node(&raw), granularity), *expected, "{raw:?}");
    }
    assert!(shared < alone, "Kilo sorts `location:` before `node:`");
}

#[test]
fn endpoints_are_read_as_kilo_reads_them() {
    let at = |text: &str| Some(Endpoint::Address(text.parse().unwrap()));
    #[rustfmt::skip]
    let table = [
        ("10.0.0.1:100",           at("10.0.0.1:100")),
        ("[fd00::1]:100",          at("[fd00::1]:100")),
        ("[::ffff:10.0.0.1]:100",  at("10.0.0.1:100")),
        ("example.com:100",        Some(Endpoint::Name("example.com".into(), 100, None))),
        ("fd00::1:100",            None),
        ("Example.com:100",        None),
        ("-a.com:100",             None),
        ("example.com:0",          None),
        ("example.com:65536",      None),
        ("example.com",            None),
        (":100",                   None),
        ("",                       None),
    ];
    for (text, endpoint) in table {
        assert_eq!(parse_endpoint(text), endpoint, "{text:?}");
    }

    let base = raw("a", "198.51.100.1:51820");
    let forced = |text: &str| node(&with(base.clone(), key::FORCE_ENDPOINT, text)).endpoint;
    assert_eq!(forced("198.51.100.9:1"), at("198.51.100.9:1"));
    assert_eq!(forced("nonsense"), at("198.51.100.1:51820"), "a bad one is ignored");
}

#[test]
fn all_other_annotations_are_read() {
    let discovered = r#"{"GARLLbpcxSdsAVBtBpUlRIUSJbX4PBXreJzPbGxKMj4=":{"IP":"203.0.113.5","Port":4500,"Zone":""}}"#;
    let mut raw = raw("a", "198.51.100.1:51820");
    for (key, value) in [
        (key::PERSISTENT_KEEPALIVE, "10"),
        (key::ALLOWED_LOCATION_IPS, "192.168.77.0/24, 10.0.0.0/8,bad,192.168.78.5/32"),
        (key::WIREGUARD_IP, "10.4.0.1/16"),
        (key::GRANULARITY, "location"),
        (key::DISCOVERED_ENDPOINTS, discovered),
        (key::CNI_COMPATIBILITY_IP, "10.0.1.5/32"),
        ("tanist.dev/pin", "true"),
        ("other.dev/pin", "true"),
    ] {
        raw = with(raw, key, value);
    }
    raw.labels.insert("topology.kubernetes.io/zone".into(), "z1".into());

    let read = node(&raw);
    assert_eq!(read.keepalive, Duration::from_secs(10));
    let allowed: Vec<_> = read.allowed_location_ips.iter().map(ToString::to_string).collect();
    assert_eq!(allowed, ["192.168.77.0/24", "192.168.78.5/32"], "no space is tolerated");
    assert_eq!(read.wireguard_ip.unwrap().to_string(), "10.4.0.1/16");
    assert_eq!(read.granularity, Granularity::Location);
    let endpoints: Vec<_> = read.discovered_endpoints.values().map(ToString::to_string).collect();
    assert_eq!(endpoints, ["203.0.113.5:4500"]);
    assert_eq!(read.cni_compatibility_ip.unwrap().to_string(), "10.0.1.5/32");
    assert_eq!(read.intent, BTreeMap::from([("pin".to_owned(), "true".to_owned())]));
    assert_eq!(read.failure_domain.as_deref(), Some("z1"));
    assert_eq!(node(&with(raw, key::PERSISTENT_KEEPALIVE, "-3")).keepalive, Duration::ZERO);
}

/// Writes a promotion as `+b -a`.
fn told(changes: &[AnnotationChange]) -> String {
    let word = |change: &AnnotationChange| match change.change {
        Change::Add => format!("+{}", change.node),
        Change::Remove => format!("-{}", change.node),
    };
    changes.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn promotion_adds_first_and_removes_the_present_leader_last() {
    const PUB: &str = "198.51.100.1";
    const PRIV: &str = "10.0.0.1";
    type Row = (&'static [(&'static str, &'static str)], &'static str, &'static str);
    #[rustfmt::skip]
    let table: [Row; 8] = [
        (&[("a", PUB), ("b", PUB), ("c", PUB)], "b", "+b"),
        (&[("a*", PUB), ("b", PUB), ("c*", PUB)], "b", "+b -a"),
        (&[("a*", PUB), ("b*", PUB), ("c", PUB)], "c", "+c -b -a"),
        (&[("a", PUB), ("b*", PUB), ("c", PUB)], "a", "+a"),
        (&[("a*", PRIV), ("b*", PUB), ("c", PRIV)], "c", "+c -a -b"),
        (&[("a*", PRIV), ("b", PUB)], "b", "+b"),
        (&[("a*", PUB), ("b*", PUB)], "b", "-a"),
        (&[("a*", PUB), ("b", PUB)], "a", ""),
    ];
    for (nodes, candidate, expected) in table {
        let mesh = mesh(nodes.iter().copied().map(member));
        assert_eq!(told(&promotion(&mesh, &candidate.into())), expected, "{nodes:?}");
    }
    assert_eq!(promotion(&Mesh::default(), &"nobody".into()), []);
}

#[test]
fn promotion_minds_a_stopped_node_that_may_return() {
    let stopped = [key::ENDPOINT, key::INTERNAL_IP, key::KEY, key::LAST_SEEN]
        .into_iter()
        .fold(with(raw("a", ""), key::LEADER, ""), without);
    let forced = with(stopped, key::FORCE_ENDPOINT, "198.51.100.1:51820");
    let mesh = mesh([node(&forced), member(("b", "198.51.100.2")), member(("c", "198.51.100.3"))]);
    assert_eq!(told(&promotion(&mesh, &"c".into())), "+c -a");
    assert_eq!(members(&mesh, &"l".into()).len(), 3);
}

fn any_member() -> impl Strategy<Value = Node> {
    let host = prop::sample::select(vec!["198.51.100.1", "10.0.0.1", "fd12::1", "a.example"]);
    ("[a-z]{1,2}[0-9]{0,2}", any::<bool>(), host, any::<bool>()).prop_map(
        |(name, annotated, host, fresh)| {
            let name = if annotated { format!("{name}*") } else { name };
            let mut node = member((&name, host));
            node.last_seen = Some(NOW.seconds() - if fresh { 5 } else { 90 });
            node
        },
    )
}

#[test]
fn a_name_in_an_endpoint_may_decide_who_leads() {
    const PUB: &str = "198.51.100.1";
    const PRIV: &str = "10.0.0.1";
    const NAME: &str = "edge.dyn.example";
    type Row = (&'static [(&'static str, &'static str)], &'static str, &'static [&'static str]);
    #[rustfmt::skip]
    let table: [Row; 8] = [
        (&[("a", PRIV), ("b", NAME)],             "a", &["b"]),
        (&[("a", PRIV), ("b", NAME), ("c", NAME)], "a", &["b", "c"]),
        (&[("a", NAME), ("b", PRIV)],             "a", &[]),
        (&[("a", NAME), ("b", PUB)],              "b", &["a"]),
        (&[("a", PUB), ("b", NAME)],              "a", &[]),
        // An annotation settles it, unless there are two.
        (&[("a*", PRIV), ("b", NAME)],            "a", &[]),
        (&[("a", PRIV), ("b*", NAME)],            "b", &[]),
        (&[("a*", PRIV), ("b*", NAME)],           "a", &["b"]),
    ];
    for (nodes, leader, rivals_expected) in table {
        let mesh = mesh(nodes.iter().copied().map(member));
        let ready: Vec<_> = mesh.nodes.values().collect();
        assert_eq!(find_leader(&ready).unwrap().name.0, leader, "{nodes:?}");
        let rivals: Vec<_> = rivals(&ready).iter().map(|node| node.name.0.as_str()).collect();
        assert_eq!(rivals, rivals_expected, "{nodes:?}");
    }
}

/// Returns the mesh as Kilo's agents see it once they have looked the names up.
fn looked_up(mesh: &Mesh, public: bool) -> Mesh {
    let mut seen = mesh.clone();
    for node in seen.nodes.values_mut() {
        if let Some(Endpoint::Name(_, _, address)) = &mut node.endpoint {
            *address = if public { "198.51.100.9" } else { "10.0.0.9" }.parse().ok();
        }
    }
    seen
}

proptest! {
    #[test]
    fn what_names_stand_for_changes_no_move_from_a_leader_that_is_known(
        nodes in prop::collection::vec(any_member(), 1..8),
        pick in any::<prop::sample::Index>(),
        public in any::<bool>(),
    ) {
        let mut mesh = mesh(nodes);
        let location = Location::from("l");
        let leads = |mesh: &Mesh| leader_of(&looked_up(mesh, public), &location).map(|n| n.name.clone());
        let ready: Vec<_> = mesh.nodes.values().filter(|node| is_ready(node, NOW)).collect();
        prop_assume!(!ready.is_empty());
        let old = find_leader(&ready).unwrap().name.clone();
        if rivals(&ready).is_empty() {
            prop_assert_eq!(leads(&mesh), Some(old.clone()));
        }
        prop_assume!(leads(&mesh) == Some(old.clone()));
        let candidate = pick.get(&ready).name.clone();

        for change in promotion(&mesh, &candidate) {
            mesh.nodes.get_mut(&change.node).unwrap().leader = change.change == Change::Add;
            let leader = leads(&mesh).unwrap();
            prop_assert!(leader == old || leader == candidate, "{leader} leads");
        }
        prop_assert_eq!(leads(&mesh), Some(candidate));
    }

    #[test]
    fn no_third_node_leads_at_any_prefix_of_a_promotion(
        nodes in prop::collection::vec(any_member(), 1..8),
        pick in any::<prop::sample::Index>(),
    ) {
        let mut mesh = mesh(nodes);
        let location = Location::from("l");
        let ready: Vec<_> =
            mesh.nodes.values().filter(|node| is_ready(node, NOW)).map(|n| n.name.clone()).collect();
        prop_assume!(!ready.is_empty());
        let candidate = pick.get(&ready).clone();
        let old = leader_of(&mesh, &location).unwrap().name.clone();

        for change in promotion(&mesh, &candidate) {
            mesh.nodes.get_mut(&change.node).unwrap().leader = change.change == Change::Add;
            let leader = &leader_of(&mesh, &location).unwrap().name;
            prop_assert!(*leader == old || *leader == candidate, "{leader} leads");
        }
        prop_assert_eq!(&leader_of(&mesh, &location).unwrap().name, &candidate);

        // Nobody who returns takes the lead from it either.
        for node in mesh.nodes.values_mut() {
            node.last_seen = Some(NOW.seconds());
        }
        prop_assert_eq!(&leader_of(&mesh, &location).unwrap().name, &candidate);
    }

    #[test]
    fn no_annotation_whatever_panics(
        values in prop::collection::vec(any::<String>(), 14),
        pod_cidr in prop::option::of(any::<String>()),
        at in any::<i64>(),
    ) {
        let keys = [
            key::LEADER, key::LOCATION, key::FORCE_ENDPOINT, key::FORCE_INTERNAL_IP,
            key::PERSISTENT_KEEPALIVE, key::ALLOWED_LOCATION_IPS, key::ENDPOINT, key::INTERNAL_IP,
            key::KEY, key::LAST_SEEN, key::WIREGUARD_IP, key::DISCOVERED_ENDPOINTS,
            key::GRANULARITY, key::CNI_COMPATIBILITY_IP,
        ];
        let annotations = keys.map(str::to_owned).into_iter().zip(values).collect();
        let node = node(&RawNode { annotations, pod_cidr, ..RawNode::default() });
        let mesh = Mesh { at: UnixTime(at), ..mesh([node]) };
        let _ = leaders(&mesh);
        let _ = promotion(&mesh, &"".into());
    }

    #[test]
    fn no_text_that_looks_like_an_annotation_panics(
        endpoint in r"\[?[a-z0-9.:-]{0,12}\]?:?[0-9+-]{0,6}",
        net in r"[0-9a-f.:]{0,16}/[0-9]{0,3}",
        seconds in "[+-]?[0-9]{0,22}",
        discovered in r#"\{"[A-Za-z0-9+/=]{0,44}":\{"IP":"[0-9.]{0,9}","Port":-?[0-9]{0,6}\}\}"#,
    ) {
        let mut raw = raw("a", &endpoint);
        for (key, value) in [
            (key::FORCE_ENDPOINT, &endpoint), (key::INTERNAL_IP, &net), (key::LAST_SEEN, &seconds),
            (key::PERSISTENT_KEEPALIVE, &seconds), (key::DISCOVERED_ENDPOINTS, &discovered),
            (key::ALLOWED_LOCATION_IPS, &net), (key::WIREGUARD_IP, &net),
        ] {
            raw = with(raw, key, value);
        }
        raw.pod_cidr = Some(net);
        let _ = leaders(&mesh([node(&raw)]));
    }
}
