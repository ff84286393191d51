//! What the mesh's processes may do where the API server asks for rights: one manifest, granted
//! before anything else.

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client, ResourceExt as _};

/// Objects of any kinds.
const MANIFEST: &str = include_str!("rights.yaml");

/// What went wrong with rights.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The manifest is not understood.
    #[error("could not read the manifest of rights")]
    Manifest(#[source] Box<serde_saphyr::Error>),
    /// An object of it names no kind.
    #[error("{name} in the manifest of rights is of no kind")]
    Kind {
        /// Its name.
        name: String,
    },
    /// A request.
    #[error("could not grant {name}")]
    Grant {
        /// The object.
        name: String,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
}

/// Grants all of them.
pub async fn grant(client: &Client) -> Result<(), Error> {
    for object in objects()? {
        let failed = |source| Error::Grant { name: object.name_any(), source: Box::new(source) };
        let (resource, capabilities) =
            pinned_kind(client, &kind(&object)?).await.map_err(failed)?;
        let api = match (capabilities.scope, object.namespace()) {
            (Scope::Namespaced, Some(namespace)) => {
                Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource)
            }
            (Scope::Namespaced | Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
        };
        let params = PatchParams::apply("tanist-lab").force();
        let granted = api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await;
        granted.map_err(failed)?;
    }
    Ok(())
}

fn objects() -> Result<Vec<DynamicObject>, Error> {
    serde_saphyr::from_multiple(MANIFEST).map_err(|source| Error::Manifest(Box::new(source)))
}

fn kind(object: &DynamicObject) -> Result<GroupVersionKind, Error> {
    let types = object.types.as_ref();
    let kind = types.and_then(|types| GroupVersionKind::try_from(types).ok());
    kind.ok_or_else(|| Error::Kind { name: object.name_any() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_is_bound() {
        let objects = objects().unwrap();
        let named = |kind: &str| -> Vec<String> {
            let of_kind = objects.iter().filter(|o| o.types.as_ref().unwrap().kind == kind);
            of_kind.map(ResourceExt::name_any).collect()
        };

        assert_eq!(named("ClusterRole"), ["lab-tanist", "lab-kilo"]);
        assert_eq!(named("ClusterRoleBinding"), named("ClusterRole"));
        assert!(objects.iter().all(|object| kind(object).is_ok()));
    }
}
