//! Whom a node reaches inside its own location, and who reaches it.

use std::collections::BTreeSet;

use super::Thresholds;
use crate::evidence::{Evidence, NodeName};

/// Returns the members of `node`'s location, itself left out, that exchange fresh flows with it
/// over the overlay.
#[must_use]
pub fn served(
    _evidence: &Evidence,
    _node: &NodeName,
    _thresholds: &Thresholds,
) -> BTreeSet<NodeName> {
    BTreeSet::new()
}
