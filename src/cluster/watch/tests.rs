//! The watch on the embedded API server: what comes, goes, breaks and cannot be read.

use kube::Client;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::json;

use super::*;
use crate::act::tests::bed::Bed;
use crate::cluster::objects::{MeshLocation, SlimNode};
use crate::lab::apiserver::Fault;

/// Waits until the names of all objects are these.
async fn until<K: Watched>(watch: &mut Watch<K>, names: &[&str]) {
    loop {
        let found = watch.objects().as_ref().map(|known| known.keys().cloned().collect::<Vec<_>>());
        if found.as_deref().is_some_and(|found| found == names) {
            return;
        }
        watch.changed().await;
    }
}

fn nodes(bed: &Bed) -> Watch<SlimNode> {
    Watch::all(bed.nodes(), Renewal::Often)
}

#[tokio::test]
async fn objects_come_and_go() {
    let bed = Bed::with(&["a", "b"]).await;
    let mut all = nodes(&bed);
    let mut one = Watch::one(bed.nodes(), "b", Renewal::Seldom);
    assert_eq!(all.age(), None);
    until(&mut all, &["a", "b"]).await;
    until(&mut one, &["b"]).await;
    assert!(all.is_synced() && all.age().is_some());

    bed.annotate("b", "tanist.dev/pin", Some("true")).await;
    for watch in [&mut all, &mut one] {
        while watch.objects().as_ref().unwrap()["b"].annotation("tanist.dev/pin").is_none() {
            watch.changed().await;
        }
    }

    bed.nodes().delete("b", &DeleteParams::default()).await.unwrap();
    until(&mut all, &["a"]).await;
    until(&mut one, &[]).await;
}

#[tokio::test]
async fn a_watch_outlives_cut_connections_and_forgotten_versions() {
    let bed = Bed::with(&["a", "b"]).await;
    let mut watch = nodes(&bed);
    until(&mut watch, &["a", "b"]).await;

    bed.server.faults().set(Fault::Refuse);
    while watch.health().error.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bed.server.faults().lift();
    // While nobody watched, one node went, and the server forgot which.
    bed.nodes().delete("b", &DeleteParams::default()).await.unwrap();
    bed.server.compact();

    until(&mut watch, &["a"]).await;
    assert_eq!(watch.health().error, None);
}

#[tokio::test]
async fn a_second_list_makes_no_news_of_what_has_not_changed() {
    let bed = Bed::with(&["a", "b"]).await;
    let mut watch = nodes(&bed);
    until(&mut watch, &["a", "b"]).await;
    let before = watch.objects().clone().unwrap();

    bed.server.faults().set(Fault::Refuse);
    while watch.health().error.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bed.server.faults().lift();
    bed.annotate("b", "tanist.dev/pin", Some("true")).await;
    bed.server.compact();

    while watch.objects().as_ref().unwrap()["b"].annotation("tanist.dev/pin").is_none() {
        watch.changed().await;
    }
    let after = watch.objects().clone().unwrap();
    assert!(Arc::ptr_eq(&before["a"], &after["a"]));
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_hides_nothing_else() {
    let bed = Bed::with(&[]).await;
    let api = Api::<DynamicObject>::all_with(
        bed.client.clone(),
        &ApiResource::erase::<MeshLocation>(&()),
    );
    let good = bed.locations().list(&ListParams::default()).await.unwrap().items.remove(0);
    let bad = json!({
        "apiVersion": "tanist.dev/v1alpha1", "kind": "MeshLocation",
        "metadata": { "name": "bad" }, "spec": { "location": "bad" },
    });
    api.create(&Default::default(), &serde_json::from_value(bad).unwrap()).await.unwrap();
    loosen_schema(&bed.client).await;
    let nonsense = Patch::Merge(json!({ "status": { "inquest": "many" } }));
    api.patch_status("bad", &PatchParams::default(), &nonsense).await.unwrap();

    let mut watch = Watch::<MeshLocation>::all(bed.locations(), Renewal::Often);
    until(&mut watch, &[&good.name_any()]).await;
    let unreadable = watch.health().unreadable;
    assert!(unreadable["bad"].contains("many"), "{unreadable:?}");

    // It changes and still cannot be read: nobody else waits for that.
    let nonsense = Patch::Merge(json!({ "status": { "inquest": "more" } }));
    api.patch_status("bad", &PatchParams::default(), &nonsense).await.unwrap();
    let fence = Patch::Merge(json!({ "status": { "fence": "x/1" } }));
    let name = good.name_any();
    bed.locations().patch_status(&name, &PatchParams::default(), &fence).await.unwrap();
    let fenced = |known: &Objects<MeshLocation>| {
        known[&name].status.as_ref().is_some_and(|status| status.fence.is_some())
    };
    while !watch.objects().as_ref().is_some_and(fenced) {
        watch.changed().await;
    }
    assert!(watch.health().unreadable["bad"].contains("more"));

    // Once it is mended, it is there.
    let mended = Patch::Merge(json!({ "status": { "inquest": 1 } }));
    api.patch_status("bad", &PatchParams::default(), &mended).await.unwrap();
    until(&mut watch, &["bad", &good.name_any()]).await;
    assert_eq!(watch.health().unreadable, [].into());
}

/// Takes the schema of MeshLocations away, as a definition of a later version might differ.
async fn loosen_schema(client: &Client) {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as ext;

    let definitions = Api::<ext::CustomResourceDefinition>::all(client.clone());
    let name = "meshlocations.tanist.dev";
    let mut definition = definitions.get(name).await.unwrap();
    let loose = json!({ "openAPIV3Schema": {
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
    }});
    definition.spec.versions[0].schema = serde_json::from_value(loose).unwrap();
    definitions.replace(name, &Default::default(), &definition).await.unwrap();
}
