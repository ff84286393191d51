//! The standard conditions of a location's object: what `kubectl describe` and `kubectl wait` read.
//!
//! | type           | True                     | False                               | Unknown |
//! |----------------|--------------------------|-------------------------------------|---------|
//! | `Forwarding`   | fresh flows pass         | the leader, or something else, fails| unclear |
//! | `HeirReady`    | somebody could lead next | nobody is fit                       |         |
//! | `Acting`       | a verdict would be acted on | the mode, a pause or a rail holds|         |
//! | `SpecAccepted` | all that was set is understood | a value is not, and how it is read |    |

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::decide::{Health, Intent, LocationPlan, Mode, Rail};

/// What conditions are made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    /// The plan of the location.
    pub(super) plan: &'a LocationPlan,
    /// The mode in force.
    pub(super) mode: Mode,
    /// What the operator wants, as far as it was understood.
    pub(super) intent: &'a Intent,
    /// The generation of the object's spec that it was read from.
    pub(super) generation: Option<i64>,
    /// The present.
    pub(super) now: &'a Time,
}

/// What one condition says now.
struct Said {
    about: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Subject<'_> {
    /// Returns all conditions; one whose status is as it was before keeps its transition time.
    pub(super) fn conditions(&self, before: &[Condition]) -> Vec<Condition> {
        let said = [self.forwarding(), self.heir_ready(), self.acting(), self.spec_accepted()];
        said.into_iter().map(|said| self.condition(said, before)).collect()
    }

    fn condition(&self, said: Said, before: &[Condition]) -> Condition {
        let was = before.iter().find(|was| was.type_ == said.about && was.status == said.status);
        Condition {
            last_transition_time: was.map_or(self.now, |was| &was.last_transition_time).clone(),
            message: said.message,
            observed_generation: self.generation,
            reason: said.reason.to_owned(),
            status: said.status.to_owned(),
            type_: said.about.to_owned(),
        }
    }

    fn forwarding(&self) -> Said {
        let (status, reason) = match self.plan.health {
            Health::Forwards => ("True", "FreshFlowsPass"),
            Health::Impaired => ("False", "NotTheLeadersFault"),
            Health::Dark => ("False", "LeaderConvicted"),
            Health::Unclear => ("Unknown", "Unclear"),
        };
        Said { about: "Forwarding", status, reason, message: self.plan.because.clone() }
    }

    fn heir_ready(&self) -> Said {
        let about = "HeirReady";
        let mut heirs = self.plan.heirs.iter();
        match (heirs.clone().find(|heir| heir.is_fit()), heirs.next()) {
            (Some(fit), _) => Said {
                about,
                status: "True",
                reason: "Fit",
                message: format!("{} could lead next", fit.node),
            },
            (None, Some(best)) => {
                let failed = best.failed.iter().map(|(check, why)| format!("{check}: {why}"));
                let failed = failed.collect::<Vec<_>>().join("; ");
                let count = self.plan.heirs.len();
                let message = format!("none of {count} members is fit; {}: {failed}", best.node);
                Said { about, status: "False", reason: "NoneFit", message }
            }
            (None, None) => Said {
                about,
                status: "False",
                reason: "NoMembers",
                message: "the location has no other node".to_owned(),
            },
        }
    }

    fn acting(&self) -> Said {
        let about = "Acting";
        let held = self.plan.held.as_ref();
        let (reason, message) = match (&self.intent.pause, self.mode, held) {
            (Some(why), ..) => ("Paused", format!("paused: {why}")),
            (None, Mode::Observe, _) => {
                ("ModeObserve", "mode observe: what would be done is only told".to_owned())
            }
            (None, Mode::Suggest, _) => {
                ("ModeSuggest", "mode suggest: a person has to do it".to_owned())
            }
            (None, Mode::Act, Some(rail)) => (reason_of(rail), rail.to_string()),
            (None, Mode::Act, None) => {
                let message = "a convicted leader is replaced".to_owned();
                return Said { about, status: "True", reason: "ModeAct", message };
            }
        };
        Said { about, status: "False", reason, message }
    }

    fn spec_accepted(&self) -> Said {
        let about = "SpecAccepted";
        let complaints = &self.intent.complaints;
        if complaints.is_empty() {
            let message = "all that is set here and on the nodes is understood".to_owned();
            return Said { about, status: "True", reason: "Understood", message };
        }
        let message = complaints.join("; ");
        Said { about, status: "False", reason: "UnknownValue", message }
    }
}

/// Tells whether two lists of conditions say the same, their wording aside.
pub(super) fn agree(before: &[Condition], after: &[Condition]) -> bool {
    let essence = |conditions: &[Condition]| {
        let of = |said: &Condition| {
            let Condition { type_, status, reason, observed_generation, .. } = said.clone();
            (type_, status, reason, observed_generation)
        };
        conditions.iter().map(of).collect::<Vec<_>>()
    };
    essence(before) == essence(after)
}

const fn reason_of(rail: &Rail) -> &'static str {
    match rail {
        Rail::Paused(_) => "Paused",
        Rail::Granularity(_) => "Granularity",
        Rail::OneReady => "OneReadyNode",
        Rail::Unresolved(_) => "UnresolvedEndpoint",
        Rail::ApiReturn => "ApiReturn",
        Rail::Storm => "Storm",
        Rail::Pinned => "Pinned",
        Rail::Readded(_) => "AnnotationReadded",
        Rail::NoHeir => "NoHeir",
        Rail::NoGain { .. } => "NoGain",
        Rail::Mode(_) => "Mode",
        Rail::KiloPeers => "KiloPeers",
        Rail::AnotherMove(_) => "AnotherMove",
        Rail::Resting { .. } => "Resting",
        Rail::Budget(_) => "Budget",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Heir;

    fn plan() -> LocationPlan {
        LocationPlan {
            leader: Some("a".into()),
            health: Health::Forwards,
            because: "well".to_owned(),
            heirs: vec![Heir {
                node: "b".into(),
                failed: Default::default(),
                serves: Default::default(),
            }],
            ..LocationPlan::default()
        }
    }

    fn at(second: i64) -> Time {
        Time(jiff::Timestamp::from_second(second).unwrap())
    }

    fn said(plan: &LocationPlan, mode: Mode, intent: &Intent) -> Vec<(String, String, String)> {
        let subject = Subject { plan, mode, intent, generation: Some(3), now: &at(1) };
        let conditions = subject.conditions(&[]);
        assert!(conditions.iter().all(|said| said.observed_generation == Some(3)));
        conditions.into_iter().map(|said| (said.type_, said.status, said.reason)).collect()
    }

    #[test]
    fn every_state_is_said_in_one_word() {
        let well = plan();
        let dark = |held| LocationPlan { health: Health::Dark, held, ..plan() };
        let without = LocationPlan { heirs: Vec::new(), ..plan() };
        let impaired = LocationPlan { health: Health::Impaired, ..plan() };
        let unclear = LocationPlan { health: Health::Unclear, ..plan() };
        let paused = Intent { pause: Some("repair".to_owned()), ..Intent::default() };
        let mut nonsense = Intent::default();
        nonsense.read_mode("akt");
        let plain = Intent::default();

        #[rustfmt::skip]
        let table = [
            (&well,                          Mode::Act,     &plain,    ["True FreshFlowsPass", "True Fit", "True ModeAct", "True Understood"]),
            (&well,                          Mode::Observe, &plain,    ["True FreshFlowsPass", "True Fit", "False ModeObserve", "True Understood"]),
            (&well,                          Mode::Suggest, &plain,    ["True FreshFlowsPass", "True Fit", "False ModeSuggest", "True Understood"]),
            (&well,                          Mode::Act,     &paused,   ["True FreshFlowsPass", "True Fit", "False Paused", "True Understood"]),
            (&well,                          Mode::Observe, &nonsense, ["True FreshFlowsPass", "True Fit", "False ModeObserve", "False UnknownValue"]),
            (&dark(None),                    Mode::Act,     &plain,    ["False LeaderConvicted", "True Fit", "True ModeAct", "True Understood"]),
            (&dark(Some(Rail::Budget(3))),   Mode::Act,     &plain,    ["False LeaderConvicted", "True Fit", "False Budget", "True Understood"]),
            (&impaired,                      Mode::Act,     &plain,    ["False NotTheLeadersFault", "True Fit", "True ModeAct", "True Understood"]),
            (&unclear,                       Mode::Act,     &plain,    ["Unknown Unclear", "True Fit", "True ModeAct", "True Understood"]),
            (&without,                       Mode::Act,     &plain,    ["True FreshFlowsPass", "False NoMembers", "True ModeAct", "True Understood"]),
        ];
        let types = ["Forwarding", "HeirReady", "Acting", "SpecAccepted"];
        for (plan, mode, intent, expected) in table {
            let said = said(plan, mode, intent);
            let words = said.iter().map(|(_, status, reason)| format!("{status} {reason}"));
            assert_eq!(words.collect::<Vec<_>>(), expected, "{plan:?} {mode:?}");
            assert_eq!(said.iter().map(|(about, ..)| about).collect::<Vec<_>>(), types);
        }
    }

    #[test]
    fn an_unfit_heir_and_an_unknown_value_are_explained() {
        let mut plan = plan();
        plan.heirs[0].failed.insert(crate::decide::Check::Hairpin, "0 of 16 arrived".to_owned());
        let mut intent = Intent::default();
        intent.read_mode("akt");
        let subject = Subject {
            plan: &plan,
            mode: Mode::Observe,
            intent: &intent,
            generation: None,
            now: &at(1),
        };
        let conditions = subject.conditions(&[]);
        let heirs = &conditions[1];
        assert_eq!((&*heirs.status, &*heirs.reason), ("False", "NoneFit"));
        assert!(heirs.message.contains("b: Hairpin: 0 of 16 arrived"), "{}", heirs.message);
        assert!(conditions[3].message.contains("\"akt\" is not observe"), "{conditions:?}");
    }

    #[test]
    fn a_transition_time_changes_with_the_status_only() {
        let intent = Intent::default();
        let say = |plan: &LocationPlan, second, before: &[Condition]| {
            let now = at(second);
            let subject = Subject {
                plan,
                mode: Mode::Act,
                intent: &intent,
                generation: Some(second),
                now: &now,
            };
            subject.conditions(before)
        };
        let first = say(&plan(), 10, &[]);
        let worded = say(&LocationPlan { because: "still well".to_owned(), ..plan() }, 20, &first);
        let dark = say(&LocationPlan { health: Health::Dark, ..plan() }, 30, &worded);
        let impaired = say(&LocationPlan { health: Health::Impaired, ..plan() }, 40, &dark);

        let forwarding = |said: &[Condition]| said[0].last_transition_time.0.as_second();
        let heirs = |said: &[Condition]| said[1].last_transition_time.0.as_second();
        assert_eq!(
            [&first, &worded, &dark, &impaired].map(|said| forwarding(said)),
            [10, 10, 30, 30]
        );
        assert_eq!(heirs(&impaired), 10);
        assert_eq!(worded[0].message, "still well");
        assert_eq!(worded[0].observed_generation, Some(20));
        assert!(!agree(&worded, &dark) && agree(&dark, &dark));
    }
}
