use k8s_openapi::api::events::v1::Event as Written;

use super::*;
use crate::act::tests::bed::{Bed, HERE};

#[tokio::test]
async fn an_event_is_found_on_the_node_and_on_the_location() {
    let bed = Bed::with(&["a*", "b"]).await;
    let mut writes = bed.server.subscribe();
    let events = Events::start(bed.client.clone(), "test");

    events.tell(Telling {
        reason: Reason::LeaderDark,
        location: HERE.into(),
        node: Some("a".into()),
        note: "x".repeat(3000),
    });
    while [writes.recv().await.unwrap(), writes.recv().await.unwrap()]
        .iter()
        .any(|write| !write.resource.starts_with("events"))
    {}

    let api = Api::<Written>::namespaced(bed.client.clone(), "default");
    let found = api.list(&Default::default()).await.unwrap().items;
    let object = bed.locations().get(&mesh_location_name(&HERE.into())).await.unwrap();
    let about: Vec<_> = found
        .iter()
        .map(|event| {
            let about = event.regarding.as_ref().unwrap();
            (about.kind.as_deref().unwrap(), about.uid.as_deref().unwrap())
        })
        .collect();
    assert!(about.contains(&("Node", "a")), "{about:?}");
    assert!(about.contains(&("MeshLocation", &object.uid().unwrap())), "{about:?}");
    for event in &found {
        assert_eq!(event.reason.as_deref(), Some("LeaderDark"));
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        assert_eq!(event.note.as_ref().unwrap().len(), LONGEST_NOTE);
    }
}
