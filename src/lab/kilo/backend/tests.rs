//! What the agent writes, beside what Kilo wrote in the recordings, and how VPN peers are read.

use serde_json::{Value, json};

use super::*;
use crate::evidence::kilo::{TOPOLOGY_LABEL, read};

const RECORDINGS: [&str; 3] = [
    include_str!("../../../../tests/recordings/three-by-three.json"),
    include_str!("../../../../tests/recordings/agents-stop.json"),
    include_str!("../../../../tests/recordings/lone-and-four.json"),
];

#[test]
fn it_writes_what_kilo_wrote() {
    let mut compared = 0;
    for recording in RECORDINGS {
        let recording: Value = serde_json::from_str(recording).unwrap();
        let steps = recording["steps"].as_array().unwrap().iter();
        for node in steps.flat_map(|step| step["nodes"].as_array().unwrap()) {
            let recorded: BTreeMap<String, String> =
                serde_json::from_value(node["annotations"].clone()).unwrap();
            if !recorded.contains_key(key::LAST_SEEN) {
                continue;
            }

            let raw = RawNode { annotations: recorded.clone(), ..RawNode::default() };
            let written = annotations(&read(&raw, TOPOLOGY_LABEL));
            for (key, value) in written {
                assert_eq!(recorded.get(key), Some(&value), "{key} of {}", node["name"]);
                compared += 1;
            }
        }
    }
    assert!(compared > 500, "only {compared} annotations compared");
}

#[test]
fn learned_endpoints_are_read_as_they_were_written() {
    let endpoints = BTreeMap::from([([7; 32], "203.0.113.5:4500".parse().unwrap())]);
    let annotations =
        BTreeMap::from([(key::DISCOVERED_ENDPOINTS.to_owned(), discovered(&endpoints))]);
    let raw = RawNode { annotations, ..RawNode::default() };
    assert_eq!(read(&raw, TOPOLOGY_LABEL).discovered_endpoints, endpoints);
}

fn peer(name: &str, spec: &Value) -> DynamicObject {
    let object = json!({
        "apiVersion": "kilo.squat.ai/v1alpha1", "kind": "Peer",
        "metadata": { "name": name }, "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

#[test]
fn vpn_peers_are_read_or_do_not_exist() {
    let key = "GY5aT1N9dTR/nJnT1N2f4ClZWVj0jOAld0r8ysWLyjg=";
    let read = vpn_peer(&peer(
        "laptop",
        &json!({
            "allowedIPs": ["10.5.0.1/32", "nonsense"], "publicKey": key,
            "persistentKeepalive": 10,
            "endpoint": { "dnsOrIP": { "ip": "203.0.113.5" }, "port": 51820 },
        }),
    ))
    .unwrap();
    assert_eq!(read.keepalive, Duration::from_secs(10));
    assert_eq!(read.allowed_ips, ["10.5.0.1/32".parse().unwrap()]);
    assert_eq!(read.endpoint.unwrap().ip(), Some("203.0.113.5".parse().unwrap()));

    assert_eq!(vpn_peer(&peer("keyless", &json!({ "allowedIPs": [] }))), None);
    assert_eq!(vpn_peer(&peer("short", &json!({ "publicKey": "GY5a" }))), None);
}

#[test]
fn a_list_tells_all_that_is_there_and_what_is_gone() {
    let key = "GY5aT1N9dTR/nJnT1N2f4ClZWVj0jOAld0r8ysWLyjg=";
    let good = json!({ "allowedIPs": ["10.5.0.1/32"], "publicKey": key });
    let mut known = BTreeSet::from(["old".to_owned()]);
    let told = translate(&mut known, Change::All(vec![peer("new", &good)]));
    assert!(matches!(&told[..], [Event::VpnPeerGone(old), Event::VpnPeer(new)]
        if old == "old" && new.name == "new"));
    assert_eq!(known, BTreeSet::from(["new".to_owned()]));
}
