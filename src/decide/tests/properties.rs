//! What no table can list: over any course of events the decider keeps to its rules.

use std::time::Duration;

use proptest::prelude::*;

use super::bench::{Bench, EPOCH};
use crate::decide::*;
use crate::evidence::{Moment, NodeName};

/// Something that happens between two rounds.
#[derive(Debug, Clone, Copy)]
enum Event {
    Nothing,
    Convict(u8),
    Acquit,
    Obey,
    Refuse,
    Pass,
    Lose,
    KiloMoves(u8),
    Cordon(u8),
    Free,
    ApiAway,
    ApiSteady,
    Successor,
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Nothing),
        4 => (1_u8..=3).prop_map(Event::Convict),
        1 => Just(Event::Acquit),
        4 => Just(Event::Obey),
        1 => Just(Event::Refuse),
        2 => Just(Event::Pass),
        2 => Just(Event::Lose),
        1 => (1_u8..=3).prop_map(Event::KiloMoves),
        1 => (1_u8..=3).prop_map(Event::Cordon),
        1 => Just(Event::Free),
        1 => Just(Event::ApiAway),
        1 => Just(Event::ApiSteady),
        1 => Just(Event::Successor),
    ]
}

fn apply(bench: &mut Bench, event: Event, plan: &Plan, second: u64) {
    let name = |number: u8| NodeName(format!("a{number}"));
    match event {
        Event::Nothing => {}
        Event::Convict(number) => {
            bench.findings.clear();
            bench.convict(&name(number).0);
        }
        Event::Acquit => bench.findings.clear(),
        Event::Obey => bench.obey(plan, second),
        Event::Refuse => bench.refuse(plan),
        Event::Pass => bench.burst("a", second, 0),
        Event::Lose => bench.burst("a", second, 16),
        Event::KiloMoves(number) => {
            let at = Moment::at(Duration::from_secs(second));
            bench.lead(&"a".into(), &name(number), at);
        }
        Event::Cordon(number) => bench.node(&name(number).0).cordoned = true,
        Event::Free => (1..=3).for_each(|number| bench.node(&name(number).0).cordoned = false),
        Event::ApiAway => bench.api = Api::Away,
        Event::ApiSteady => bench.api = Api::Steady,
        Event::Successor => {
            let memory = bench.decider.memory(&"a".into());
            bench.decider = Decider::new(Policy::default(), EPOCH);
            let now = Moment::at(Duration::from_secs(second));
            bench.decider.resume("a".into(), memory, now);
        }
    }
}

/// Holds one new automatic move to the rules.
fn check(plan: &LocationPlan, moving: &Move, mode: Mode) -> Result<(), TestCaseError> {
    if !moving.automatic || moving.cause == Cause::Revert {
        return Ok(());
    }
    prop_assert_eq!(mode, Mode::Act, "moved in {}", mode);
    let heir = plan.heirs.iter().find(|heir| heir.node == moving.to);
    prop_assert!(heir.is_some_and(Heir::is_fit), "{:?} is unfit: {:?}", moving.to, heir);
    prop_assert!(
        moving.serves.len() > moving.served_before as usize,
        "no gain: {} to {:?}",
        moving.served_before,
        moving.serves
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_rules_hold_whatever_happens(
        events in prop::collection::vec((any_event(), 1_u64..15), 1..80),
        act in prop::sample::select(vec![Mode::Act, Mode::Act, Mode::Suggest, Mode::Observe]),
    ) {
        let mut bench = Bench::new();
        bench.mode = act;
        let mut plan = bench.at(0);
        let mut second = 0;
        let mut last: Option<Move> = None;
        let mut counted: Vec<Move> = Vec::new();
        let mut proving = None;
        let mut obeyed = false;
        for (event, pause) in events {
            apply(&mut bench, event, &plan, second);
            obeyed |= matches!(event, Event::Obey);
            for _ in 0..pause {
                second += 1;
                plan = bench.at(second);
                let here = &plan.locations[&"a".into()];
                let wish = match &here.wish {
                    Wish::Move(moving) => Some(moving.clone()),
                    Wish::Stay => None,
                };
                if wish != last
                    && let Some(moving) = &wish
                {
                    check(here, moving, bench.mode)?;
                    let first = moving.cause == Cause::Verdict && !moving.why.contains("did not prove");
                    if first {
                        if let Some(before) = counted.last() {
                            let apart = moving.at.0 - before.at.0;
                            prop_assert!(apart >= 600_000, "{apart} ms after {before:?}: {moving:?}");
                        }
                        counted.push(moving.clone());
                        obeyed = false;
                    }
                }
                // A move refused before it was written was never made.
                let refused = !obeyed && bench.decider.memory(&"a".into()).moves.last().is_some_and(|past| {
                    past.end == End::Refused && counted.last().is_some_and(|one| one.at == past.at)
                });
                if refused {
                    counted.pop();
                }
                last = wish;

                proving = match here.trust {
                    Trust::Proving { .. } => proving.or(Some(second)),
                    Trust::Trusted | Trust::Doubted { .. } | Trust::Resting { .. } => None,
                };
                let so_far = proving.map_or(0, |since| second - since);
                prop_assert!(so_far <= 3 * 61, "proving for {so_far} s");
                prop_assert!(plan.locations.values().filter(|p| p.wish != Wish::Stay).count() <= 1);
            }
        }
    }
}
