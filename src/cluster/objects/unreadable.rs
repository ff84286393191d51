//! Annotations of Kilo's that are there and mean nothing: Kilo takes them for absent without a
//! word, so a person is told.

use super::SlimNode;
use crate::evidence::kilo::{key, parse_endpoint, parse_net};
use crate::evidence::{Granularity, Node};

/// An annotation, and whether Kilo understands its text. What a forced value overrides does not make
/// the forced one any better.
type Check = (&'static str, fn(&str, &Node) -> bool);

const CHECKS: [Check; 8] = [
    (key::FORCE_ENDPOINT, |text, _| parse_endpoint(text).is_some()),
    (key::ENDPOINT, |text, _| parse_endpoint(text).is_some()),
    (key::KEY, |_, node| node.key.is_some()),
    (key::FORCE_INTERNAL_IP, |text, _| text == "-" || parse_net(text).is_some()),
    (key::INTERNAL_IP, |text, _| parse_net(text).is_some()),
    (key::LAST_SEEN, |_, node| node.last_seen.is_some()),
    (key::WIREGUARD_IP, |_, node| node.wireguard_ip.is_some()),
    (key::GRANULARITY, |_, node| node.granularity != Granularity::Unknown),
];

/// Returns complaints about annotations of Kilo's that cannot be read.
#[must_use]
pub fn unreadable_annotations(object: &SlimNode, node: &Node) -> Vec<String> {
    // Kilo itself writes the empty text for none.
    let means_nothing = |(name, understood): &Check| {
        let text = object.annotation(name).filter(|text| !text.is_empty())?;
        (!understood(text, node)).then(|| {
            format!("{name} {text:?} of {} cannot be read; Kilo takes it for absent", node.name)
        })
    };
    CHECKS.iter().filter_map(means_nothing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::kilo::TOPOLOGY_LABEL;

    fn told(annotations: &[(&str, &str)]) -> Vec<String> {
        let annotations = annotations.iter().copied().collect::<std::collections::BTreeMap<_, _>>();
        let metadata = serde_json::json!({ "name": "n", "annotations": annotations });
        let object = serde_json::from_value(serde_json::json!({ "metadata": metadata }));
        let object: SlimNode = object.unwrap();
        unreadable_annotations(&object, &object.read(TOPOLOGY_LABEL))
    }

    #[test]
    fn what_kilo_takes_for_absent_is_told_and_what_is_absent_is_not() {
        for (name, good, bad) in [
            (key::ENDPOINT, "198.51.100.1:51820", "198.51.100.1"),
            (key::KEY, "GARLLbpcxSdsAVBtBpUlRIUSJbX4PBXreJzPbGxKMj4=", "AAAA"),
            (key::INTERNAL_IP, "10.1.0.11/24", "10.1.0.11"),
            (key::FORCE_INTERNAL_IP, "10.1.0.11/24", "ten"),
            (key::LAST_SEEN, "1700000000", "yesterday"),
            (key::WIREGUARD_IP, "10.4.0.1/16", "x"),
            (key::GRANULARITY, "location", "village"),
        ] {
            assert_eq!(told(&[(name, good)]), [""; 0], "{name}");
            assert_eq!(told(&[(name, "")]), [""; 0], "{name}");
            let told = told(&[(name, bad)]);
            assert!(told.len() == 1 && told[0].contains(name) && told[0].contains(bad), "{told:?}");
        }
        assert_eq!(told(&[]), [""; 0]);
        let [forced, endpoint] = [key::FORCE_ENDPOINT, key::ENDPOINT];
        let overridden = [(forced, "nowhere"), (endpoint, "198.51.100.1:51820")];
        assert_eq!(
            told(&overridden),
            [
                "kilo.squat.ai/force-endpoint \"nowhere\" of n cannot be read; Kilo takes it for absent"
            ]
        );
        let away = [(key::FORCE_INTERNAL_IP, "-"), (key::INTERNAL_IP, "10.1.0.11/24")];
        assert_eq!(told(&away), [""; 0]);
    }
}
