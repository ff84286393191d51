use super::*;
use crate::lab::traffic::Carrier;

/// Makes flows 50 ms apart: `+` is answered, `-` is lost.
fn flows(start: Instant, picture: &str) -> Vec<Fresh> {
    let pair = Pair { from: "a-1".into(), to: "b-1".into() };
    let flow = |(turn, sign)| Fresh {
        pair: pair.clone(),
        carrier: Carrier::Udp,
        at: start + Duration::from_millis(50) * turn,
        answer: (sign == '+').then_some(Duration::from_millis(1)),
    };

    (0..).zip(picture.chars()).map(flow).collect()
}

#[test]
fn service_is_back_at_the_first_flow_after_the_last_loss_that_is_no_stray() {
    let start = Instant::now();
    let at = |turn| Some(start + Duration::from_millis(50) * turn);

    for (picture, back) in [
        ("++++----++++++++", at(8)),
        ("++-++-+++++++++", at(6)),
        ("++----++++++++++-+++++++++", at(6)),
        ("+++-++++++++", at(4)),
        ("++++++++", None),
        ("+++-----", None),
        ("+++-----++", None),
        ("+--+--+--+--+--+", None),
        ("", None),
    ] {
        let flows = flows(start, picture);
        assert_eq!(restored(&flows.iter().collect::<Vec<_>>()), back, "{picture}");
    }
}

#[test]
fn the_first_loss_is_the_one_opened_first() {
    let start = Instant::now();
    let mut flows = flows(start, "++-+-");
    flows.reverse();

    assert_eq!(first_lost(&flows), Some(start + Duration::from_millis(100)));
    assert_eq!(first_lost(&flows[1..2]), None);
}

#[test]
fn a_flow_concerns_whoever_must_relay_it() {
    let topology = Topology::new(3, 3).unwrap();
    let struck = Struck { location: "cloud".into(), leader: "cloud-1".into() };

    for (from, to, concern) in [
        ("onprem-1", "cloud-2", Concern::Relayed),
        ("cloud-3", "edge-1", Concern::Relayed),
        ("cloud-1", "edge-1", Concern::Own),
        ("onprem-2", "cloud-1", Concern::Own),
        ("onprem-2", "edge-3", Concern::Elsewhere),
    ] {
        let pair = Pair { from: from.into(), to: to.into() };
        assert_eq!(struck.concern(&pair, &topology), concern, "{from} to {to}");
    }
}
