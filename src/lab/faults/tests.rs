use super::*;
use crate::lab::topology::Topology;

#[test]
fn every_fault_is_read_back_as_it_is_written() {
    for text in [
        "new-flows",
        "rejected",
        "vxlan-wedge",
        "partial:5",
        "forward-off",
        "one-way",
        "one-way:onprem,cloud",
        "mtu:1200",
        "mtu:1200,onprem,cloud",
        "node-dead",
        "member-dead",
        "agent-dead",
        "agent-restart",
        "rollout",
        "tanist-rollout",
        "wan-cut:onprem,cloud",
        "api-down:180",
        "cpu-starved",
        "probes-dropped",
        "port-blocked",
    ] {
        let fault = text.parse::<Fault>().unwrap();
        assert_eq!(fault.to_string(), text);
        assert!(text.starts_with(fault.name()));
    }
}

#[test]
fn an_order_may_name_a_node() {
    let order = "partial:25@cloud-1".parse::<Order>().unwrap();
    assert_eq!(order, Order { fault: Fault::Partial(25), place: Where::Node("cloud-1".into()) });
    assert_eq!("new-flows".parse::<Order>().unwrap().place, Where::Usual);
    assert_eq!("node-dead@lease".parse::<Order>().unwrap().place, Where::Holder);
}

#[test]
fn nonsense_is_told_what_would_make_sense() {
    for (text, hint) in [
        ("no-flows", "there are new-flows, rejected"),
        ("", "there is no fault «»"),
        ("partial:0", "a percentage, 1 to 99"),
        ("partial:100", "a percentage, 1 to 99"),
        ("mtu:12", "at least 68"),
        ("wan-cut", "two locations"),
        ("wan-cut:onprem,onprem", "two locations"),
        ("mtu:1200,onprem", "or SIZE,A,B"),
        ("one-way:onprem", "two locations"),
        ("one-way:onprem,cloud,edge", "two locations"),
        ("api-down:soon", "a number of seconds"),
        ("rollout:3", "no value"),
        ("no-flows:3", "there is no fault «no-flows:3»"),
    ] {
        let error = text.parse::<Fault>().unwrap_err().to_string();
        assert!(error.contains(hint), "{text}: {error}");
    }
}

#[test]
fn a_cut_names_the_far_side_on_each() {
    let topology = Topology::new(3, 1).unwrap();
    let cut = "wan-cut:onprem,edge".parse::<Fault>().unwrap();

    let near = cut.rules(&topology.places[0], &topology).unwrap();
    assert!(near.set.contains("ip saddr { 198.51.100.3 }"), "{}", near.set);
    let far = cut.rules(&topology.places[2], &topology).unwrap();
    assert!(far.set.contains("ip saddr { 198.51.100.1 }"), "{}", far.set);
}

#[test]
fn a_way_broken_in_one_direction_leaves_the_other_alone() {
    let topology = Topology::new(3, 1).unwrap();
    let one_way = "one-way:onprem,edge".parse::<Fault>().unwrap();

    assert_eq!(one_way.rules(&topology.places[0], &topology), None);
    let far = one_way.rules(&topology.places[2], &topology).unwrap();
    assert!(far.set.contains("ip saddr { 198.51.100.1 }"), "{}", far.set);
    assert!(!far.set.contains("daddr"), "{}", far.set);
}
