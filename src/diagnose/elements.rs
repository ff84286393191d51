//! What a path crosses, by Kilo's topology: members reach other locations through their leader,
//! over the overlay; leaders reach each other directly; inside a location only the pod range
//! crosses the overlay.

use std::collections::BTreeMap;

use crate::evidence::{Element, Leadership, Location, Mesh, Path};

/// Returns the elements that a path crosses, there and back; none if its way is unknown.
#[must_use]
pub fn elements(
    _path: &Path,
    _mesh: &Mesh,
    _leaders: &BTreeMap<Location, Leadership>,
) -> Vec<Element> {
    Vec::new()
}
