use super::*;
use crate::act::leader::Nudges;
use crate::act::tests::bed::{Bed, HERE, wish};

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
