use std::time::Duration;

use proptest::prelude::*;

use super::Attempt::{Back, First, Next, Only};
use super::Trust::{Doubted, Proving, Resting, Trusted};
use super::Word::{Converging, Curable, Incurable, Refused, Relapsed, Sound, Suspect, Unclear};
use super::*;

const SPANS: Spans = Spans {
    patience: Duration::from_secs(3),
    proof: Duration::from_secs(20),
    longest_proof: Duration::from_secs(40),
    rest: Duration::from_secs(600),
    retry: Duration::from_secs(10),
};

const fn at(second: u64) -> Moment {
    Moment::at(Duration::from_secs(second))
}

const fn proving(attempt: Attempt, since: u64) -> Trust {
    Proving { attempt, until: at(since + 20), limit: at(since + 40) }
}

const fn doubted(since: u64, dark: u64) -> Trust {
    Doubted { since: at(since), dark: Some(at(dark)) }
}

#[test]
fn who_takes_a_state_up_neither_judges_a_proof_unasked_nor_trusts_another_clock() {
    let policy = Policy::default();
    let last = |until, limit| Proving { attempt: First, until: at(until), limit: at(limit) };
    let after = at(1000);
    let table = [
        (Trusted, Trusted),
        (doubted(900, 950), doubted(900, 950)),
        (doubted(1900, 1950), doubted(1000, 1000)),
        (last(1010, 1030), last(1010, 1030)),
        // It ran out meanwhile: there is time to ask once more.
        (last(800, 820), last(1005, 1005)),
        (last(4000, 4020), last(1045, 1065)),
        (Resting { until: at(900) }, Resting { until: at(900) }),
        (Resting { until: at(99_000) }, Resting { until: after + policy.longest_rest }),
    ];
    for (before, taken_up) in table {
        assert_eq!(before.taken_up(after, &policy), taken_up, "{before:?}");
    }
}

#[test]
fn every_pair_of_state_and_word_has_one_answer() {
    use Action::{Alert, Inquire, Promote, Revert};
    let suspected = Doubted { since: at(0), dark: None };

    #[rustfmt::skip]
    let table = [
        // state                         word        at    next state                      action
        (Trusted,                        Sound,      0,    Trusted,                        None),
        (Trusted,                        Unclear,    0,    Trusted,                        None),
        (Trusted,                        Refused,    0,    Trusted,                        None),
        (Trusted,                        Suspect,    0,    suspected,                      Some(Inquire)),
        (Trusted,                        Incurable,  0,    doubted(0, 0),                  Some(Inquire)),
        (Trusted,                        Curable,    0,    doubted(0, 0),                  Some(Inquire)),
        (Trusted,                        Relapsed,   0,    proving(First, 0),              Some(Promote)),
        (suspected,                      Sound,      1,    Trusted,                        None),
        (suspected,                      Unclear,    1,    Trusted,                        None),
        (suspected,                      Suspect,    1,    suspected,                      None),
        (suspected,                      Curable,    1,    doubted(0, 1),                  None),
        (suspected,                      Incurable,  1,    doubted(0, 1),                  None),
        (doubted(0, 1),                  Suspect,    2,    suspected,                      None),
        (doubted(0, 1),                  Curable,    3,    doubted(0, 1),                  None),
        (doubted(0, 1),                  Incurable,  9,    doubted(0, 1),                  None),
        (doubted(0, 1),                  Curable,    4,    proving(First, 4),              Some(Promote)),
        (doubted(0, 1),                  Relapsed,   2,    proving(First, 2),              Some(Promote)),
        (proving(First, 0),              Sound,      5,    Resting { until: at(605) },     None),
        (proving(First, 0),              Refused,    5,    Resting { until: at(15) },      Some(Alert)),
        (proving(First, 0),              Unclear,    19,   proving(First, 0),              None),
        (proving(First, 0),              Curable,    19,   proving(First, 0),              None),
        (proving(First, 0),              Converging, 39,   proving(First, 0),              None),
        (proving(First, 0),              Converging, 40,   proving(Back, 40),              Some(Revert)),
        (proving(First, 0),              Curable,    20,   proving(Next, 20),              Some(Promote)),
        (proving(First, 0),              Incurable,  20,   proving(Back, 20),              Some(Revert)),
        (proving(First, 0),              Unclear,    20,   proving(Back, 20),              Some(Revert)),
        (proving(Next, 0),               Curable,    20,   proving(Back, 20),              Some(Revert)),
        (proving(Next, 0),               Sound,      20,   Resting { until: at(620) },     None),
        (proving(Only, 0),               Curable,    20,   Resting { until: at(620) },     Some(Alert)),
        (proving(Back, 0),               Unclear,    20,   Resting { until: at(620) },     Some(Alert)),
        (Resting { until: at(600) },     Curable,    599,  Resting { until: at(600) },     None),
        (Resting { until: at(600) },     Relapsed,   9,    proving(First, 9),              Some(Promote)),
        (Resting { until: at(600) },     Curable,    600,  Trusted,                        None),
        (Resting { until: at(600) },     Sound,      600,  Trusted,                        None),
    ];

    for (state, word, second, next, action) in table {
        let outcome = state.step(word, at(second), &SPANS);
        assert_eq!(outcome, (next, action), "{state:?} on {word:?} at {second} s");
    }
}

fn any_word() -> impl Strategy<Value = Word> {
    prop::sample::select(vec![
        Sound, Unclear, Converging, Refused, Suspect, Incurable, Curable, Relapsed,
    ])
}

/// Words that last, as real ones do, so that runs come through all states.
fn any_words() -> impl Strategy<Value = Vec<Word>> {
    prop::collection::vec((any_word(), 1_usize..60), 1..40).prop_map(|runs| {
        runs.into_iter().flat_map(|(word, length)| std::iter::repeat_n(word, length)).collect()
    })
}

proptest! {
    #[test]
    fn a_first_move_follows_an_unbroken_conviction(words in any_words()) {
        let mut trust = Trusted;
        let mut dark = 0;
        for (second, word) in (0..).zip(words) {
            dark = if matches!(word, Curable | Incurable) { dark + 1 } else { 0 };
            let was = trust;
            let (next, action) = trust.step(word, at(second), &SPANS);
            let first = !matches!(was, Proving { .. }) && word != Relapsed;
            if action == Some(Action::Promote) && first {
                prop_assert!(dark > 3, "after {dark} s at {second} s");
            }
            trust = next;
        }
    }

    #[test]
    fn two_incidents_are_a_rest_apart(words in any_words()) {
        let mut trust = Trusted;
        let mut last: Option<u64> = None;
        let mut refused = false;
        for (second, word) in (0..).zip(words) {
            let was = trust;
            let (next, action) = trust.step(word, at(second), &SPANS);
            refused |= matches!(was, Proving { .. }) && word == Refused;
            let first = !matches!(was, Proving { .. }) && word != Relapsed;
            if action == Some(Action::Promote) && first {
                if let Some(last) = last.filter(|_| !refused) {
                    prop_assert!(second - last >= 600, "{last} s, then {second} s");
                }
                refused = false;
            }
            if matches!(was, Proving { .. }) && !matches!(next, Proving { .. }) {
                last = Some(second);
            }
            trust = next;
        }
    }

    #[test]
    fn every_proof_ends(words in any_words()) {
        let mut trust = Trusted;
        let mut since = None;
        for (second, word) in (0_u64..).zip(words) {
            let relapsed = word == Relapsed && !matches!(trust, Proving { .. });
            trust = trust.step(word, at(second), &SPANS).0;
            since = match trust {
                Proving { .. } if relapsed => Some(second),
                Proving { .. } => since.or(Some(second)),
                Trusted | Doubted { .. } | Resting { .. } => None,
            };
            // The first heir, the next one, and back.
            prop_assert!(since.is_none_or(|since| second - since <= 3 * 40));
        }
    }
}
