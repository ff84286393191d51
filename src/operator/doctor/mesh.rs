//! What concerns the mesh and its locations.

use std::collections::{BTreeMap, BTreeSet};

use super::super::cost::Cost;
use super::super::status::Status;
use super::super::view::{Arbiter, View};
use super::super::words;
use super::facts::Facts;
use super::{Level, Line, Round};
use crate::act::leader::LEADER_BEFORE;
use crate::cluster::objects::unread_annotations;
use crate::decide::Readded;
use crate::evidence::{Granularity, Location, UnixTime};

pub(super) fn examine(view: &View, facts: &Facts) -> Vec<Line> {
    let mut lines = vec![arbiter(view)];
    lines.extend(versions(facts));
    lines.extend(granularity(view));
    lines.extend(heirs(view));
    lines.extend(intent(view));
    lines.extend(told(view));
    lines.extend(readded(view));
    lines.extend(unread(view));
    lines
}

fn arbiter(view: &View) -> Line {
    let (level, seen, advice) = match &view.arbiter {
        Arbiter::Holds { holder } => (Level::Fine, format!("{holder} holds the lease"), ""),
        Arbiter::Lapsed { holder, renewed_ms } => {
            let ago = words::ago(UnixTime(*renewed_ms), view.at);
            let seen = format!("{holder} last renewed it {ago} ago");
            (Level::Broken, seen, "look at the arbiters' pods and their way to the API server")
        }
        Arbiter::Nobody => (
            Level::Broken,
            "nobody holds the lease".to_owned(),
            "start an arbiter, or an agent with --with-arbiter",
        ),
        Arbiter::Unknown => {
            (Level::Warning, "the lease could not be read".to_owned(), "allow to list leases")
        }
    };
    Line {
        level,
        check: "arbiter",
        place: "mesh".to_owned(),
        seen,
        expected: "one process holds the lease",
        advice: advice.to_owned(),
    }
}

fn versions(facts: &Facts) -> Vec<Line> {
    let kubernetes = facts.kubernetes.as_ref().map(|version| Line {
        level: Level::Fine,
        check: "Kubernetes",
        place: "mesh".to_owned(),
        seen: version.clone(),
        expected: "1.30 or newer for the admission policy",
        advice: String::new(),
    });
    let (level, seen, advice) = match &facts.kilo {
        None => {
            let advice = "ask for the right to list pods, or compare the images by hand";
            (Level::Warning, "pods could not be listed".to_owned(), advice)
        }
        Some(images) if images.is_empty() => (
            Level::Warning,
            "no pod is labelled app.kubernetes.io/name=kilo".to_owned(),
            "if Kilo runs under another label, nothing is wrong",
        ),
        Some(images) => {
            let told: Vec<_> = images.iter().map(|(image, n)| format!("{image} ({n})")).collect();
            let level = if images.len() == 1 { Level::Fine } else { Level::Warning };
            let advice = if images.len() == 1 {
                ""
            } else {
                "finish the rollout of Kilo before you let Tanist act"
            };
            (level, told.join(", "), advice)
        }
    };
    let kilo = Line {
        level,
        check: "Kilo",
        place: "mesh".to_owned(),
        seen,
        expected: "one version everywhere",
        advice: advice.to_owned(),
    };
    kubernetes.into_iter().chain([kilo]).collect()
}

fn granularity(view: &View) -> Vec<Line> {
    let mut round = Round::new("granularity", "location: one leader per location");
    for node in view.mesh.nodes.values().filter(|node| node.key.is_some()) {
        if node.granularity == Granularity::Location {
            round.fine();
        } else {
            let advice = "run kg with --mesh-granularity=location: only there a leader relays";
            let seen = format!("{:?}", node.granularity).to_lowercase();
            round.line(Level::Broken, node.name.0.clone(), seen, advice.to_owned());
        }
    }
    round.end("node", "location")
}

fn heirs(view: &View) -> Vec<Line> {
    let mut round = Round::new("heirs", "at least one node could take over");
    for location in Status::of(view, None).locations {
        let place = words::place(&location.location);
        if location.fit_heirs > 0 {
            round.fine();
        } else if location.members < 2 {
            let advice = "add a node: nobody could take over".to_owned();
            round.line(Level::Warning, place, "it has one node".to_owned(), advice);
        } else {
            let heirs = view.status(&location.location).map(|status| status.heirs.as_slice());
            let why = heirs.unwrap_or_default().first();
            let why = why.map_or_else(
                || "no arbiter has vetted anybody".to_owned(),
                |heir| format!("{}: {}", heir.node, heir.failed.join("; ")),
            );
            let advice = format!("tanist why {place} tells what each failed");
            round.line(Level::Warning, place, format!("none is fit; {why}"), advice);
        }
    }
    round.end("location", "a fit heir is known")
}

/// What the operator said and cannot be understood, or contradicts itself.
fn intent(view: &View) -> Vec<Line> {
    let mut round = Round::new("intent", "values that are understood and agree");
    for location in view.places() {
        let complaints = complaints(view, &location);
        if complaints.is_empty() {
            round.fine();
        }
        for complaint in complaints {
            let advice = "correct it; docs/operating.md has the values".to_owned();
            round.line(Level::Warning, words::place(&location), complaint, advice);
        }
    }
    round.end("location", "understood")
}

fn complaints(view: &View, location: &Location) -> Vec<String> {
    let spec = view.locations.get(location).map(|object| object.spec.intent());
    let mut intent = spec.unwrap_or_default();
    for node in view.members(location) {
        intent.read_node(node);
        intent.complaints.extend(unread_annotations(node));
    }
    if intent.pins.len() > 1 {
        let names: Vec<_> = intent.pins.iter().map(|pinned| pinned.0.as_str()).collect();
        let names = names.join(" and ");
        intent.complaints.push(format!("{names} are pinned: none of them is followed"));
    }
    intent.complaints
}

/// What the arbiter wants a person to know, and is not seen by a check of its own.
fn told(view: &View) -> Vec<Line> {
    let mut lines = Vec::new();
    for location in view.places() {
        let seen = complaints(view, &location);
        let readded = view.members(&location).into_iter().filter_map(Readded::of);
        let readded: Vec<_> = readded.map(|readded| readded.to_string()).collect();
        let misread = || view.misread.values().flatten();
        let status = view.status(&location);
        let said = status.map(|status| status.complaints.as_slice()).unwrap_or_default();
        let fresh = said.iter().filter(|said| {
            !seen.contains(said)
                && !readded.iter().any(|readded| said.starts_with(readded))
                && !misread().any(|misread| misread == *said)
        });
        let place = words::place(&location);
        lines.extend(fresh.map(|said| Line {
            level: Level::Warning,
            check: "attention",
            place: place.clone(),
            seen: said.clone(),
            expected: "nothing that a person should know",
            advice: format!("tanist why {place}; docs/operating.md says what follows from it"),
        }));
    }
    lines
}

fn readded(view: &View) -> Vec<Line> {
    let line = |readded: Readded| Line {
        level: Level::Warning,
        check: "re-added annotation",
        place: readded.node.0.clone(),
        seen: readded.to_string(),
        expected: "nobody fights over an annotation",
        advice: format!(
            "take it out of what {} applies, or leave it there and unset {LEADER_BEFORE} to let \
             Tanist move again",
            readded.by.as_deref().unwrap_or("they")
        ),
    };
    view.mesh.nodes.values().filter_map(Readded::of).map(line).collect()
}

fn unread(view: &View) -> Vec<Line> {
    let line = |missing: &String| Line {
        level: Level::Warning,
        check: "reading",
        place: "mesh".to_owned(),
        seen: missing.clone(),
        expected: "all objects can be read",
        advice: "ask for the right to list them".to_owned(),
    };
    let nonsense = |(name, why): (&String, &String)| Line {
        level: Level::Broken,
        check: "reading",
        place: name.clone(),
        seen: format!("it cannot be read: {why}"),
        expected: "all objects can be read",
        advice:
            "mend it, or delete it: a MeshLocation is made again, without its spec; until then \
                 its location is left alone"
                .to_owned(),
    };
    view.missing.iter().map(line).chain(view.unreadable.iter().map(nonsense)).collect()
}

/// What a failover of each location would cost.
pub(super) fn costs(view: &View) -> Vec<Line> {
    let cost = |location: Location| {
        let heirs = &view.status(&location)?.heirs;
        let heir = heirs.iter().find(|heir| heir.fit)?;
        let cost = Cost::of(view, &location, &heir.node, None);
        let peers = match cost.peers.len() {
            0 => String::new(),
            peers => format!("; {} may have to be told", words::count(peers, "Kilo Peer")),
        };
        Some(Line {
            level: Level::Fine,
            check: "cost of a failover",
            place: words::place(&location),
            seen: format!(
                "to {}: {} must start anew, {} of {} nodes are served{peers}",
                heir.node,
                words::count(cost.sessions, "WireGuard session"),
                heir.serves,
                view.ready(&location).len()
            ),
            expected: "known before it happens",
            advice: String::new(),
        })
    };
    view.places().into_iter().filter_map(cost).collect()
}

/// Returns the counts of Ready nodes that Kilo's agents believe in, each with who does.
pub(super) fn kilo_views(view: &View) -> BTreeMap<u32, BTreeSet<&str>> {
    let mut views: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
    for (node, told) in &view.reports {
        if let Some(count) = told.report.kilo_nodes {
            views.entry(count).or_default().insert(&node.0);
        }
    }
    views
}
