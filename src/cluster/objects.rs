//! The objects that Tanist reads and writes: its own two kinds, and slim readings of Kilo's.
//!
//! Times in `status` that people read are RFC 3339; times that machines compare are Unix
//! milliseconds (`...Ms`).

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use sha2::{Digest as _, Sha256};

use crate::evidence::Location;

mod location;
mod node;
mod peer;
mod report;
mod unreadable;

pub use location::{
    HeirStatus, IncidentEnd, MeshLocation, MeshLocationSpec, MeshLocationStatus, MoveOutcome,
    MovePhase, MoveRecord, PastIncident, PastMove, RequestAnswer, Served, WrittenBefore,
};
pub use node::{NodeSpec, NodeStatus, SlimNode, unread_annotations};
pub use peer::{Peer, PeerSpec};
pub use report::{RelayReport, RelayReportSpec};
pub use unreadable::unreadable_annotations;

/// The API group of Tanist's objects and the prefix of its annotations.
pub const GROUP: &str = "tanist.dev";

/// Returns the definitions of Tanist's own kinds.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![MeshLocation::crd(), RelayReport::crd()]
}

/// Returns the name of the MeshLocation of a Kilo location: what is legible of it, and a hash of
/// all of it, since a location may be empty or hold any characters.
#[must_use]
pub fn mesh_location_name(location: &Location) -> String {
    let mut slug = String::new();
    for character in location.0.chars() {
        match character.to_ascii_lowercase() {
            legible @ ('a'..='z' | '0'..='9') => slug.push(legible),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
        if slug.len() == LONGEST_SLUG {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');

    let mut name = if slug.is_empty() { "none".to_owned() } else { slug.to_owned() };
    name.push('-');
    for byte in Sha256::digest(location.0.as_bytes()).iter().take(4) {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// Leaves room for the hash within the 63 characters that a label value may have.
const LONGEST_SLUG: usize = 40;

#[cfg(test)]
mod tests;
