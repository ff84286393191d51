//! What one round says of a location's leader, in the terms of the state machine, and who would take
//! over.

use super::case::Case;
use super::heirs::Heir;
use super::ledger;
use super::memory::End;
use super::plan::Progress;
use super::proof::{Proof, proof};
use super::rails::Rail;
use super::readded::readded;
use super::trust::Word;
use super::turn::{Standing, View, choose, needed_gain};
use crate::diagnose::Verdict;
use crate::evidence::Moment;

impl Standing {
    /// Says what the new leader has shown so far, and who would be next.
    pub(super) fn word_of_proof<'h>(
        &self,
        until: Moment,
        heirs: &'h [Heir],
        view: &View<'_>,
    ) -> (Word, Option<&'h Heir>) {
        let Some(moving) = &self.memory.moving else { return (Word::Refused, None) };
        let refused = matches!(
            view.situation.progress.get(view.location),
            Some(Progress::Refused { to, decided, .. })
                if *to == moving.to && *decided == moving.at
        );
        if refused {
            return (self.given_up(), None);
        }

        let others = heirs.iter().filter(|heir| heir.node != moving.to);
        let in_time = view.now() < until;
        let need = needed_gain(view);
        let mut shown = self.written.map_or(Proof::Lacking, |written| {
            proof(view.location, moving, written, need, view.situation.evidence)
        });
        if self.written.is_some() && view.leadership.leader.as_ref() != Some(&moving.to) {
            // What passes does so through somebody else. Ready, the new leader would lead, had not a
            // person chosen otherwise; and who serves well is not moved for this one's sake.
            let is_served = matches!(shown, Proof::Complete | Proof::Better);
            if !in_time && (is_served || view.is_ready(&moving.to)) {
                return (Word::Stranded, None);
            }
            shown = Proof::Lacking;
        }
        match shown {
            Proof::Complete => (Word::Sound, None),
            Proof::Converging => (Word::Converging, None),
            Proof::Better | Proof::Lacking if in_time => (Word::Unclear, None),
            Proof::Better => (Word::Sound, None),
            Proof::Lacking if view.mesh.api_returns => (self.given_up(), None),
            // Who pauses the location wants it as it was, and no further move.
            Proof::Lacking if view.intent.pause.is_some() => (Word::Incurable, None),
            Proof::Lacking if !readded(view).is_empty() => (Word::Incurable, None),
            Proof::Lacking => match choose(others, moving.served_before, need) {
                Some(next) => (Word::Curable, Some(next)),
                None => (Word::Incurable, None),
            },
        }
    }

    /// Says how a move ended that goes no further. Once anything of its incident was written, a
    /// move was made, with all that follows for rest and budget.
    fn given_up(&self) -> Word {
        let here = self.memory.moving.as_ref().map(|moving| &*moving.incident);
        let mut past = self.memory.moves.iter();
        let made = past.any(|past| Some(&*past.incident) == here && past.end != End::Refused);
        if made || self.written.is_some() { Word::Stranded } else { Word::Refused }
    }

    /// Says how the leader stands, and who would take over.
    pub(super) fn word_of_case<'h>(
        &mut self,
        case: &Case,
        heirs: &'h [Heir],
        held: &[Rail],
        view: &View<'_>,
    ) -> (Word, Option<&'h Heir>) {
        let need = needed_gain(view);
        let relapsed = (case.is_dark() || case.suspect) && ledger::was_brought_back(self, view);
        if relapsed && !self.relapse_asked {
            self.relapse_asked = true;
            self.inquire(view.now());
            self.inquest.first = self.inquest.number;
            return (Word::Unclear, None);
        }
        if relapsed
            && let Some(heir) = choose(heirs, 1, need)
            && held.iter().all(Rail::yields_to_relapse)
        {
            return (Word::Relapsed, Some(heir));
        }

        match case.verdict {
            Verdict::Dark(_) => match choose(heirs, case.served, need) {
                Some(heir) if held.is_empty() => (Word::Curable, Some(heir)),
                Some(_) | None => (Word::Incurable, None),
            },
            Verdict::Forwards => (Word::Sound, None),
            Verdict::Unclear(_) if case.suspect => (Word::Suspect, None),
            Verdict::Unclear(_) => (Word::Unclear, None),
        }
    }
}
