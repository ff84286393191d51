//! The record of convictions in a location's status: what was wished for, what held it, how it
//! ended. In observe mode it tells an operator whether acting would have been right.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::cluster::objects::{IncidentEnd, PastIncident};
use crate::decide::{Health, LocationPlan, Wish};
use crate::evidence::NodeName;

/// How many incidents are kept: a bad week's, in an object that every agent reads.
const KEPT: usize = 10;

/// Returns the record after one round.
pub(super) fn after(before: &[PastIncident], plan: &LocationPlan, now: &Time) -> Vec<PastIncident> {
    let mut record = before.to_vec();
    if let Some(last) = record.first_mut().filter(|last| last.end.is_none())
        && let Some(end) = end(last, plan)
    {
        last.ended = Some(now.clone());
        last.end = Some(end);
    }
    match (plan.health, &plan.leader, &plan.incident) {
        // What is being moved is no new incident, whatever name the move goes by.
        (Health::Dark, Some(leader), Some(incident)) if !is_moving(plan, leader) => {
            note(&mut record, leader, incident, plan, now);
        }
        (Health::Dark | Health::Impaired | Health::Unclear | Health::Forwards, ..) => {}
    }
    record.truncate(KEPT);
    record
}

fn is_moving(plan: &LocationPlan, leader: &NodeName) -> bool {
    matches!(&plan.wish, Wish::Move(wanted) if wanted.from == *leader)
}

/// Says how an incident ended, if this round shows that it has.
fn end(last: &PastIncident, plan: &LocationPlan) -> Option<IncidentEnd> {
    let leader = plan.leader.as_ref()?;
    let ours = is_moving(plan, &last.leader);
    if *leader != last.leader {
        return Some(if ours { IncidentEnd::Moved } else { IncidentEnd::LedByAnother });
    }
    match plan.health {
        // A flash between two convictions is told as one: the incident keeps its name.
        Health::Dark if plan.incident.as_ref() != Some(&last.incident) && !ours => {
            Some(IncidentEnd::Superseded)
        }
        Health::Forwards if !ours => Some(IncidentEnd::Healed),
        Health::Dark | Health::Impaired | Health::Unclear | Health::Forwards => None,
    }
}

/// Opens the incident at hand, opens it again if it had only seemed to be over, and notes what
/// would have been done.
fn note(
    record: &mut Vec<PastIncident>,
    leader: &NodeName,
    incident: &str,
    plan: &LocationPlan,
    now: &Time,
) {
    if !record.first().is_some_and(|last| last.incident == incident && last.leader == *leader) {
        record.insert(
            0,
            PastIncident {
                incident: incident.to_owned(),
                leader: leader.clone(),
                because: plan.because.clone(),
                began: now.clone(),
                would_move: None,
                held: None,
                ended: None,
                end: None,
            },
        );
    }
    let Some(last) = record.first_mut() else { return };
    last.ended = None;
    last.end = None;
    if let (Some(heir), Some(rail)) = (&plan.would_move, &plan.held)
        && last.would_move.is_none()
    {
        last.would_move = Some(heir.clone());
        last.held = Some(rail.to_string());
    } else if last.would_move.is_none() {
        last.held = plan.held.as_ref().map(ToString::to_string);
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::act::tests::bed::wish;
    use crate::decide::{Mode, Rail};

    fn plan(leader: &str, health: Health) -> LocationPlan {
        LocationPlan {
            leader: Some(leader.into()),
            health,
            because: "it drops new flows".to_owned(),
            incident: Some("a-1".to_owned()),
            ..LocationPlan::default()
        }
    }

    fn held(leader: &str, rail: Rail) -> LocationPlan {
        LocationPlan {
            held: Some(rail),
            would_move: Some("b".into()),
            ..plan(leader, Health::Dark)
        }
    }

    fn moving(leader: &str, health: Health) -> LocationPlan {
        let wish = Wish::Move(wish("a-1", "a", "b"));
        LocationPlan { wish, ..plan(leader, health) }
    }

    fn run(rounds: &[LocationPlan]) -> Vec<PastIncident> {
        let step = |record: Vec<PastIncident>, (second, plan): (i64, &LocationPlan)| {
            after(&record, plan, &Time(Timestamp::from_second(second).unwrap()))
        };
        (0..).zip(rounds).fold(Vec::new(), step)
    }

    #[test]
    fn every_incident_ends_as_it_did() {
        use Health::{Dark, Forwards, Impaired, Unclear};
        use IncidentEnd::{Healed, LedByAnother, Moved, Superseded};
        let asked = |leader, health| LocationPlan {
            incident: Some("a-7".to_owned()),
            ..moving(leader, health)
        };
        let another = LocationPlan { incident: Some("a-9".to_owned()), ..plan("a", Dark) };
        let table = [
            (vec![plan("a", Forwards)], vec![]),
            (vec![plan("a", Dark)], vec![None]),
            (vec![plan("a", Dark), plan("a", Unclear), plan("a", Impaired)], vec![None]),
            (vec![plan("a", Dark), plan("a", Unclear), plan("a", Forwards)], vec![Some(Healed)]),
            (vec![plan("a", Dark), plan("a", Forwards), plan("a", Dark)], vec![None]),
            (vec![plan("a", Dark), plan("b", Unclear)], vec![Some(LedByAnother)]),
            (vec![plan("a", Dark), moving("a", Forwards)], vec![None]),
            (vec![plan("a", Dark), moving("a", Dark), moving("b", Unclear)], vec![Some(Moved)]),
            (vec![plan("a", Dark), asked("a", Dark), asked("b", Unclear)], vec![Some(Moved)]),
            (vec![plan("a", Dark), another], vec![None, Some(Superseded)]),
        ];
        for (rounds, ends) in table {
            let record = run(&rounds);
            let told: Vec<_> = record.iter().map(|past| past.end).collect();
            assert_eq!(told, ends, "{rounds:#?}");
            assert!(record.iter().all(|past| past.end.is_some() == past.ended.is_some()));
        }
    }

    #[test]
    fn what_would_have_been_done_stays_on_record() {
        let record = run(&[
            held("a", Rail::Mode(Mode::Observe)),
            plan("a", Health::Dark),
            held("a", Rail::Storm),
            plan("a", Health::Forwards),
        ]);
        assert_eq!(record.len(), 1);
        assert_eq!(record[0].would_move, Some("b".into()));
        assert_eq!(record[0].held.as_deref(), Some("the mode is observe"));
        assert_eq!(record[0].end, Some(IncidentEnd::Healed));
    }

    #[test]
    fn the_record_is_bounded() {
        let rounds: Vec<_> = (0..30)
            .map(|n| LocationPlan { incident: Some(format!("a-{n}")), ..plan("a", Health::Dark) })
            .collect();
        let record = run(&rounds);
        assert_eq!(record.len(), KEPT);
        assert_eq!(record[0].incident, "a-29");
    }
}
