//! Who leads, since when, is it well, who is next: one line per location.

use serde::Serialize;

use super::table::table;
use super::view::{Arbiter, View};
use super::words;
use crate::cluster::objects::{MeshLocationStatus, MovePhase, Served};
use crate::decide::Trust;
use crate::evidence::{Location, NodeName, UnixTime};

/// The whole mesh at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Who holds the lease.
    pub arbiter: Arbiter,
    /// The locations, by name.
    pub locations: Vec<LocationStatus>,
    /// How many Kilo Peers there are.
    pub kilo_peers: usize,
    /// What could not be read.
    pub missing: Vec<String>,
    /// When this was read, Unix milliseconds.
    pub at_ms: i64,
}

/// One location at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LocationStatus {
    /// Kilo's name of it; it may be empty.
    pub location: Location,
    /// The name of its MeshLocation.
    pub object: String,
    /// Who leads.
    pub leader: Option<NodeName>,
    /// Since when, Unix milliseconds.
    pub since_ms: Option<i64>,
    /// What the evidence says; `unknown` where no arbiter ever said anything.
    pub health: String,
    /// By which facts.
    pub because: String,
    /// The first fit heir.
    pub next: Option<NodeName>,
    /// How many heirs are fit.
    pub fit_heirs: usize,
    /// How many members Kilo counts as Ready.
    pub ready: usize,
    /// How many members there are.
    pub members: usize,
    /// How many nodes are served.
    pub served: Option<Served>,
    /// The mode in force.
    pub mode: Option<String>,
    /// Why it is left alone, if it is.
    pub paused: Vec<String>,
    /// The nodes pinned in it.
    pub pins: Vec<NodeName>,
    /// What the arbiter wants a person to know.
    pub complaints: Vec<String>,
    /// What goes on, for people.
    pub note: String,
}

impl Status {
    /// Returns the status of the mesh, or of one location.
    #[must_use]
    pub fn of(view: &View, only: Option<&Location>) -> Self {
        let places = view.places();
        let wanted = places.iter().filter(|at| only.is_none_or(|only| *at == only));
        let unreadable = view.unreadable.iter();
        let unreadable = unreadable.map(|(name, why)| format!("{name} cannot be read: {why}"));
        Self {
            arbiter: view.arbiter.clone(),
            locations: wanted.map(|location| LocationStatus::of(view, location)).collect(),
            kilo_peers: view.peers.len(),
            missing: view.missing.iter().cloned().chain(unreadable).collect(),
            at_ms: view.at.0,
        }
    }

    /// Returns it for people.
    #[must_use]
    pub fn text(&self, width: u16) -> String {
        if self.locations.is_empty() {
            return "there is no location: no node is Ready for Kilo".to_owned();
        }
        let rows = self.locations.iter().map(|location| location.row(self.at_ms)).collect();
        let header = ["LOCATION", "LEADER", "SINCE", "HEALTH", "NEXT", "SERVED", "MODE", "NOTE"];
        let mut lines = vec![table(header, rows, width)];
        lines.extend(self.remark());
        lines.extend(self.missing.iter().cloned());
        lines.join("\n")
    }

    /// Says what makes the table doubtful.
    fn remark(&self) -> Option<String> {
        match &self.arbiter {
            Arbiter::Holds { .. } | Arbiter::Unknown => None,
            Arbiter::Nobody => Some(
                "No arbiter holds the lease: what stands here is what the last one knew, and \
                 nobody would move a leader."
                    .to_owned(),
            ),
            Arbiter::Lapsed { holder, renewed_ms } => Some(format!(
                "The lease of {holder} was last renewed {} ago: what stands here may be as old.",
                words::ago(UnixTime(*renewed_ms), UnixTime(self.at_ms))
            )),
        }
    }
}

impl LocationStatus {
    fn of(view: &View, location: &Location) -> Self {
        let unsaid = MeshLocationStatus::default();
        let status = view.status(location).unwrap_or(&unsaid);
        let by_rules = view.leader(location).map(|node| node.name.clone());
        let fit = || status.heirs.iter().filter(|heir| heir.fit);
        let spec = view.locations.get(location).map(|object| &object.spec);
        Self {
            location: location.clone(),
            object: crate::cluster::objects::mesh_location_name(location),
            leader: status.leader.clone().or(by_rules),
            since_ms: status.since.as_ref().map(|since| since.0.as_millisecond()),
            health: status.verdict.clone().unwrap_or_else(|| "unknown".to_owned()),
            because: status.because.clone().unwrap_or_default(),
            next: fit().next().map(|heir| heir.node.clone()),
            fit_heirs: fit().count(),
            ready: view.ready(location).len(),
            members: view.members(location).len(),
            served: status.served,
            mode: status.mode.clone().or_else(|| spec?.mode.clone()),
            paused: view.pauses(location),
            pins: view.pins(location).into_iter().cloned().collect(),
            complaints: status.complaints.clone(),
            note: note(view, location, status),
        }
    }

    fn row(&self, at_ms: i64) -> [String; 8] {
        let now = UnixTime(at_ms);
        let since = self.since_ms.map(|since| words::ago(UnixTime(since), now));
        let served = self.served.map(|served| format!("{}/{}", served.now, self.members));
        let next = self.next.as_ref().map_or_else(|| "none fit".to_owned(), |next| next.0.clone());
        [
            words::place(&self.location),
            words::node(self.leader.as_ref()).to_owned(),
            since.unwrap_or_default(),
            self.health.clone(),
            if self.health == "unknown" { String::new() } else { next },
            served.unwrap_or_default(),
            self.mode.clone().unwrap_or_default(),
            self.note.clone(),
        ]
    }
}

/// Shortens a reason to what was counted first and what is done about it; `why` has all of it.
fn brief(because: &str) -> String {
    let mut parts = because.split("; ");
    let first = parts.next().unwrap_or_default();
    let done = parts.last();
    let done = done.filter(|done| done.starts_with("would move") || done.starts_with("no move"));
    done.map_or_else(|| first.to_owned(), |done| format!("{first}; {done}"))
}

/// Says what goes on: the first of these that is so.
fn note(view: &View, location: &Location, status: &MeshLocationStatus) -> String {
    if let Some(why) = view.pauses(location).first() {
        return format!("paused: {why}");
    }
    if let Some(record) = &status.moving {
        return match record.phase {
            MovePhase::Recorded => format!("moving to {}", record.to),
            MovePhase::Written => format!("{} proves itself", record.to),
            MovePhase::Reverting | MovePhase::Reverted => format!("back from {}", record.to),
        };
    }
    let pins = view.pins(location);
    let complaint = status.complaints.first();
    let well = status.verdict.as_deref() == Some("forwards");
    let trust = status.remembered().map(|memory| memory.trust);
    match (status.because.as_deref(), pins.as_slice(), trust) {
        (None, ..) => "no arbiter has spoken yet".to_owned(),
        (Some(because), ..) if !well => brief(because),
        (Some(_), ..) if complaint.is_some() => complaint.cloned().unwrap_or_default(),
        (_, [], Some(Trust::Resting { until })) if until > view.at => {
            format!("rests for {} after a move", words::ago(view.at, until))
        }
        (_, [], _) => String::new(),
        (_, [pinned], _) => format!("{pinned} is pinned"),
        (_, several, _) => {
            let names = words::some_of(several.iter().map(|pinned| pinned.0.as_str()));
            format!("{names} are pinned: none is followed")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_shortened_to_the_counts_and_what_is_done() {
        let table = [
            ("fresh flows pass", "fresh flows pass"),
            ("0 of 8; kept 4 of 4; inside 2 of 2", "0 of 8"),
            (
                "0 of 8; kept 4 of 4; would move to b, but the mode is observe",
                "0 of 8; would move to b, but the mode is observe",
            ),
            ("0 of 8; no move: no heir is fit", "0 of 8; no move: no heir is fit"),
            ("", ""),
        ];
        for (because, told) in table {
            assert_eq!(brief(because), told);
        }
    }
}
