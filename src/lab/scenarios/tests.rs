use std::collections::BTreeSet;

use super::*;
use crate::lab::faults::Order;

#[test]
fn every_scenario_has_a_name_of_its_own_and_a_fault_that_is_understood() {
    let mut names = BTreeSet::new();
    for (name, arguments) in SCENARIOS {
        assert!(names.insert(name), "{name} is there twice");
        let ["--fault", fault, ..] = arguments else { panic!("{name} names no fault") };
        assert!(fault.parse::<Order>().is_ok(), "{name}: {fault}");
    }
}

#[test]
fn a_scenario_without_a_report_has_failed() {
    let outcome = |exited_well, seen| Outcome {
        name: "new-flows",
        exited_well,
        took: Duration::from_secs(90),
        seen,
        log: PathBuf::from("/tmp/new-flows.log"),
    };
    let report = |failures: &str| {
        let text = format!(
            r#"{{"expected":"moved","faults":[],"changes":[],"failures":[{failures}],"version":"x"}}"#
        );
        serde_json::from_str::<Seen>(&text).unwrap()
    };

    assert!(!outcome(true, None).is_ok());
    assert!(!outcome(false, Some(report(""))).is_ok());
    assert!(!outcome(true, Some(report("\"moved twice\""))).is_ok());
    assert!(outcome(true, Some(report(""))).is_ok());
    assert!(outcome(true, Some(report("\"moved twice\""))).line().contains("moved twice"));
}

#[test]
fn the_lab_writes_what_the_table_reads() {
    let text = r#"{
        "expected": "moved", "failures": [],
        "faults": [{
            "fault": "new-flows", "from": "a-1", "to": "a-2", "by": "tanist",
            "deeds": { "moves": [{"location": "a", "to": "a-2"}], "told": [], "killed": null },
            "moments": { "reported": null, "verdict": {"secs": 0, "nanos": 500000000},
                         "written": null, "restored": null }
        }],
        "changes": [{ "expected": true }]
    }"#;
    let seen = serde_json::from_str::<Seen>(text).unwrap();

    assert_eq!(seen.faults[0].words(), "a-1 → a-2 by tanist");
    assert_eq!(seen.faults[0].moments.verdict, Some(Duration::from_millis(500)));
}
