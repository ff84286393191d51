//! What the mesh's processes may do where the API server asks for rights: the shipped roles, and who
//! gets them here.

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client, ResourceExt as _};

/// Objects of any kinds, in the order in which they are applied.
const MANIFESTS: [&str; 2] =
    [include_str!("../../deploy/shared/roles.yaml"), include_str!("rights.yaml")];

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
    let read = MANIFESTS.into_iter().map(serde_saphyr::from_multiple::<DynamicObject>);
    let read = read.collect::<Result<Vec<_>, _>>();
    read.map(|read| read.concat()).map_err(|source| Error::Manifest(Box::new(source)))
}

fn kind(object: &DynamicObject) -> Result<GroupVersionKind, Error> {
    let types = object.types.as_ref();
    let kind = types.and_then(|types| GroupVersionKind::try_from(types).ok());
    kind.ok_or_else(|| Error::Kind { name: object.name_any() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kube::ResourceExt;

    use super::*;

    #[test]
    fn every_role_is_bound_and_every_binding_has_its_role() {
        let objects = objects().unwrap();
        let named = |kind: &str| -> BTreeSet<String> {
            let of_kind = objects.iter().filter(|o| o.types.as_ref().unwrap().kind == kind);
            of_kind.map(ResourceExt::name_any).collect()
        };

        let shipped = ["tanist-agent", "tanist-arbiter", "lab-kilo"].map(str::to_owned);
        assert_eq!(named("ClusterRole"), BTreeSet::from(shipped));
        assert_eq!(named("ClusterRoleBinding"), named("ClusterRole"));
        assert_eq!(named("RoleBinding"), named("Role"));
        assert!(objects.iter().all(|object| kind(object).is_ok()));
    }
}
