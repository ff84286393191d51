//! Replays the journal of an incident of the lab, and holds diagnosis and decision to what they
//! must make of it: nothing before the fault, the right part named with its reason, one move to a
//! fit heir, and rest once that has proven itself.
//!
//! `tests/journals/new-flows.jsonl` was recorded by `tanist lab --fast --without-tanist 0s --fault
//! new-flows --journal FILE`: `cloud-1` drops new flows, in a mesh of three by three.

#![expect(clippy::unwrap_used, reason = "a journal that does not parse fails the test")]

use std::path::Path;

use tanist::decide::{Health, LocationPlan, Move, Wish};
use tanist::diagnose::{Class, Finding};
use tanist::evidence::{Element, Epoch, Location, Moment, NodeName};
use tanist::journal::{self, What};
use tanist::judge::{Judge, Judgement};

/// Replays a journal, and shows each round to `see`.
fn replay(name: &str, mut see: impl FnMut(Moment, &Judgement)) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journals").join(name);
    let (header, entries) = journal::read(&file).unwrap();
    let mut judge = Judge::new(header.policy, header.thresholds, Epoch(header.epoch));

    let mut rounds = 0;
    for entry in entries {
        match entry.what {
            What::In(input) => judge.take(input, entry.at),
            What::Round(_) => {
                rounds += 1;
                see(entry.at, &judge.round(entry.at));
            }
        }
    }
    assert!(rounds > 50, "{rounds} rounds are no incident");
}

/// What the incident must come to, gathered while it is replayed.
#[derive(Default)]
struct Incident {
    convicted: Option<(Moment, Finding)>,
    wish: Option<(Moment, Move)>,
    wishes: Vec<(Location, NodeName)>,
    last: Option<LocationPlan>,
}

impl Incident {
    fn see(&mut self, at: Moment, judgement: &Judgement) {
        let here = Location::from("cloud");
        let plan = &judgement.plan.locations[&here];
        if plan.health == Health::Dark && self.convicted.is_none() {
            let finding = judgement.findings.iter().find(|finding| finding.culprit.is_some());
            self.convicted = finding.map(|finding| (at, finding.clone()));
        }
        for (location, plan) in &judgement.plan.locations {
            let Wish::Move(wanted) = &plan.wish else { continue };
            let wish = (location.clone(), wanted.to.clone());
            if !self.wishes.contains(&wish) {
                self.wishes.push(wish);
            }
            if self.wish.is_none() {
                self.wish = Some((at, wanted.clone()));
            }
        }
        self.last = Some(plan.clone());
    }
}

fn incident() -> Incident {
    let mut incident = Incident::default();
    replay("new-flows.jsonl", |at, judgement| incident.see(at, judgement));
    incident
}

#[test]
fn the_part_that_drops_new_flows_is_named_with_its_reason() {
    let (_, finding) = incident().convicted.unwrap();

    assert_eq!(finding.location, Location::from("cloud"));
    assert_eq!(finding.class, Class::NewFlowBlackhole);
    let forwards = |element: &Element| matches!(element, Element::Forward(node, _) if *node == NodeName::from("cloud-1"));
    assert!(finding.culprit.as_ref().is_some_and(forwards), "{finding:?}");
    assert!(finding.witnesses.len() > 1, "{finding:?}");
    assert!(finding.because.contains("cloud-1: 0 of "), "{}", finding.because);
    assert!(finding.fraction > 0.9, "{finding:?}");
}

#[test]
fn one_move_follows_to_a_fit_heir_for_that_reason() {
    let incident = incident();
    let (at, wanted) = incident.wish.unwrap();

    assert_eq!(incident.wishes.len(), 1, "{:?}", incident.wishes);
    assert_eq!(wanted.from, NodeName::from("cloud-1"));
    assert!(["cloud-2", "cloud-3"].map(NodeName::from).contains(&wanted.to), "{wanted:?}");
    assert!(wanted.automatic);
    assert!(wanted.why.contains("through cloud-1: 0 of "), "{}", wanted.why);
    assert!(wanted.serves.len() > wanted.served_before as usize, "{wanted:?}");
    let (convicted, _) = incident.convicted.unwrap();
    assert!(convicted <= at, "moved at {at:?}, convicted at {convicted:?}");
}

#[test]
fn once_the_new_leader_has_proven_itself_all_is_at_rest() {
    let incident = incident();
    let (_, wanted) = incident.wish.unwrap();
    let last = incident.last.unwrap();

    assert_eq!(last.leader, Some(wanted.to));
    assert_eq!(last.wish, Wish::Stay);
}
