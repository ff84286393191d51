use super::*;
use crate::act::leader::Nudges;
use crate::act::tests::bed::{Bed, HERE, wish};

#[tokio::test]
async fn a_move_that_is_being_written_is_let_end_first() {
    // Without any annotation c would lead.
    let mut bed = Bed::with(&["a*", "b", "c+"]).await;
    let marks = bed.marks().await;
    let (mover, gate, _term) = bed.arbiter(1);
    // Two reads, the record and the new leader's annotation: what follows takes the old one's away.
    gate.close_after(4);
    let moving = tokio::spawn(async move {
        mover.hold(&HERE.into(), &wish("i1", "a", "b"), &Nudges::new()).await
    });
    gate.arrival().await;
    let before = bed.nodes().list(&ListParams::default()).await.unwrap().items;
    bed.leaders(&before);

    let restoring = tokio::spawn(restore(bed.client.clone(), "region"));
    let name = crate::cluster::objects::mesh_location_name(&HERE.into());
    while bed.locations().get(&name).await.unwrap().spec.pause.is_none() {}
    gate.open();

    let moved = moving.await.unwrap();
    restoring.await.unwrap().unwrap();
    assert_eq!(bed.marks().await, marks, "{moved:?}");
    let leaders = bed.leaders(&before);
    assert!(leaders.iter().all(|leader| *leader != Some("c".into())), "{moved:?}: {leaders:?}");
}

#[tokio::test]
async fn what_the_operator_had_is_put_back_without_an_arbiter() {
    for members in [&["a", "b", "c"][..], &["a*", "b", "c"], &["a*+", "b*+", "c*+"]] {
        let mut bed = Bed::with(members).await;
        let marks = bed.marks().await;
        let (mover, _gate, term) = bed.arbiter(1);
        mover.take_over().await.unwrap();
        for (incident, from, to) in [("i1", "a", "c"), ("i2", "c", "b")] {
            let wish = wish(incident, from, to);
            mover.hold(&HERE.into(), &wish, &Nudges::new()).await.unwrap();
        }
        term.end();
        // A successor leaves its fence behind.
        let (mover, _gate, _term) = bed.arbiter(2);
        mover.take_over().await.unwrap();
        let before = bed.nodes().list(&ListParams::default()).await.unwrap().items;
        bed.leaders(&before);

        let restored = restore(bed.client.clone(), "region").await.unwrap();

        assert!(!restored.is_empty());
        assert_eq!(bed.marks().await, marks, "{members:?}");
        let mut leaders = bed.leaders(&before);
        leaders.dedup();
        assert_eq!(leaders, [Some("b".into()), Some("a".into())], "{members:?}");
        let object = bed.locations().list(&ListParams::default()).await.unwrap().items.remove(0);
        assert_eq!(object.spec.pause.as_deref(), Some("tanist restore"));

        assert_eq!(restore(bed.client.clone(), "region").await.unwrap(), []);
    }
}
