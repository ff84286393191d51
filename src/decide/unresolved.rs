//! Leaders that hang on a DNS name. Kilo's agents look up the names in endpoints and count the public
//! addresses behind them; nobody looks them up here, so that the same Nodes give the same leader
//! wherever an arbiter runs. Which node leads is then the agents' word, or unknown.

use super::turn::View;
use crate::evidence::NodeName;
use crate::evidence::kilo;

/// Returns a node that may lead in the expected leader's place, unless every Ready member whose word
/// counts, and that tells whom its routes follow, names that leader.
pub(super) fn unresolved(view: &View<'_>) -> Option<NodeName> {
    let evidence = view.situation.evidence;
    let leader = view.leadership.leader.as_ref();
    let ready: Vec<_> =
        view.leadership.ready.iter().filter_map(|name| evidence.mesh.nodes.get(name)).collect();
    let rival = kilo::rivals(&ready).first().map(|node| node.name.clone())?;

    // The last word of a node that has died stands in its report for as long as its Node is there.
    let members = view.leadership.ready.iter().filter_map(|node| evidence.reporters.get(node));
    let members = members.filter(|member| member.abstains.is_none());
    let mut seen = members.filter_map(|member| member.leader_seen.as_ref()).peekable();
    let agreed = seen.peek().is_some() && seen.all(|seen| Some(seen) == leader);
    (!agreed).then_some(rival)
}

/// Says what to do about it.
pub(super) fn complaint(view: &View<'_>) -> Option<String> {
    let leader = view.leadership.leader.as_ref()?;
    let rival = unresolved(view)?;
    Some(format!(
        "who leads is not known: {rival} if the DNS name in its endpoint stands for a public \
         address, else {leader}; annotate the one that is to lead with kilo.squat.ai/leader, or \
         write the address into kilo.squat.ai/force-endpoint"
    ))
}
