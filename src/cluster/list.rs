//! Lists of which one object that cannot be read, edited to nonsense or of a later version, hides no
//! other.

use std::collections::BTreeMap;
use std::fmt::Debug;

use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

/// What a list holds.
#[derive(Debug, Clone)]
pub struct Listed<K> {
    /// The objects that could be read.
    pub objects: Vec<K>,
    /// The names of those that could not, each with why.
    pub unreadable: BTreeMap<String, String>,
    /// The version of the whole.
    pub version: String,
}

/// Reads all pages of a list. If one object cannot be read, all are read one by one.
///
/// # Errors
/// If the API server does not answer with a list.
pub async fn list<K>(api: &Api<K>, params: &ListParams) -> Result<Listed<K>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    match pages(api, params).await {
        Ok((objects, version)) => Ok(Listed { objects, unreadable: BTreeMap::new(), version }),
        Err(kube::Error::SerdeError(_)) => one_by_one(api, params).await,
        Err(error) => Err(error),
    }
}

async fn one_by_one<K>(api: &Api<K>, params: &ListParams) -> Result<Listed<K>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let kind = ApiResource::erase::<K>(&());
    let untyped = Api::<DynamicObject>::all_with(api.clone().into_client(), &kind);
    let (items, version) = pages(&untyped, params).await?;

    let mut listed = Listed { objects: Vec::new(), unreadable: BTreeMap::new(), version };
    for item in items {
        let name = item.name_any();
        match item.try_parse::<K>() {
            Ok(object) => listed.objects.push(object),
            Err(error) => drop(listed.unreadable.insert(name, error.to_string())),
        }
    }
    Ok(listed)
}

async fn pages<K>(api: &Api<K>, params: &ListParams) -> Result<(Vec<K>, String), kube::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    let mut params = params.clone();
    let mut items = Vec::new();
    loop {
        let page = api.list(&params).await?;
        items.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok((items, page.metadata.resource_version.unwrap_or_default())),
        }
    }
}
