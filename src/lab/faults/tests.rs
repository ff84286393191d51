use super::*;

#[test]
fn every_fault_is_read_back_as_it_is_written() {
    for text in [
        "new-flows",
        "vxlan-wedge",
        "partial:5",
        "forward-off",
        "one-way",
        "mtu:1200",
        "node-dead",
        "member-dead",
        "agent-dead",
        "agent-restart",
        "wan-cut:onprem,cloud",
        "api-down",
        "cpu-starved",
        "probes-dropped",
    ] {
        let fault = text.parse::<Fault>().unwrap();
        assert_eq!(fault.to_string(), text);
        assert!(text.starts_with(fault.name()));
    }
}

#[test]
fn an_order_may_name_a_node() {
    let order = "partial:25@cloud-1".parse::<Order>().unwrap();
    assert_eq!(order, Order { fault: Fault::Partial(25), node: Some("cloud-1".into()) });
    assert_eq!("new-flows".parse::<Order>().unwrap().node, None);
}

#[test]
fn nonsense_is_told_what_would_make_sense() {
    for (text, hint) in [
        ("no-flows", "there are new-flows, vxlan-wedge"),
        ("", "there is no fault «»"),
        ("partial:0", "a percentage, 1 to 99"),
        ("partial:100", "a percentage, 1 to 99"),
        ("mtu:12", "at least 68"),
        ("wan-cut", "two locations"),
        ("wan-cut:onprem,onprem", "two locations"),
        ("api-down:3", "no value"),
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
    assert!(near.set.contains("ip daddr { 198.51.100.3 }"), "{}", near.set);
    let far = cut.rules(&topology.places[2], &topology).unwrap();
    assert!(far.set.contains("ip saddr { 198.51.100.1 }"), "{}", far.set);
}
