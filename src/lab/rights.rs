//! What the mesh's processes may do where the API server asks for rights: what is shipped for an
//! installation of Tanist, and what Kilo's own manifests grant.

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client, ResourceExt as _};

use super::shape::Shape;

/// What Kilo's own manifests give its agent.
const KILO: &str = include_str!("rights.yaml");

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

/// Applies what is shipped for a shape of Tanist, and what Kilo has.
pub async fn grant(client: &Client, shape: Shape) -> Result<(), Error> {
    apply(client, &shape.manifests()).await?;
    apply(client, &[KILO]).await
}

/// Applies the objects of manifests, in their order.
pub async fn apply(client: &Client, manifests: &[&str]) -> Result<(), Error> {
    for object in objects(manifests)? {
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

fn objects(manifests: &[&str]) -> Result<Vec<DynamicObject>, Error> {
    let read = manifests.iter().map(|text| serde_saphyr::from_multiple::<DynamicObject>(text));
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

    fn named(objects: &[DynamicObject], kind: &str) -> BTreeSet<String> {
        let of_kind = objects.iter().filter(|o| o.types.as_ref().unwrap().kind == kind);
        of_kind.map(ResourceExt::name_any).collect()
    }

    #[test]
    fn every_role_is_bound_and_every_policy_too() {
        for (shape, accounts) in [
            (Shape::Agents, &["tanist-agent", "tanist-arbiter"][..]),
            (Shape::Sidecar, &["tanist-sidecar"][..]),
        ] {
            let objects = objects(&shape.manifests()).unwrap();
            let bound =
                objects.iter().filter(|o| o.types.as_ref().unwrap().kind.ends_with("RoleBinding"));
            let bound = bound.map(|o| o.data["roleRef"]["name"].as_str().unwrap().to_owned());
            let roles = &named(&objects, "ClusterRole") | &named(&objects, "Role");

            assert_eq!(bound.collect::<BTreeSet<_>>(), roles);
            let accounts = accounts.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(named(&objects, "ServiceAccount"), accounts);
            let policies = named(&objects, "ValidatingAdmissionPolicy");
            assert_eq!(named(&objects, "ValidatingAdmissionPolicyBinding"), policies);
            assert_eq!(policies.len(), 2);
        }
        let kilo = objects(&[KILO]).unwrap();
        assert_eq!(named(&kilo, "ClusterRole"), BTreeSet::from(["lab-kilo".to_owned()]));
        assert_eq!(named(&kilo, "ClusterRoleBinding"), named(&kilo, "ClusterRole"));
    }
}
