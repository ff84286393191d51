use proptest::prelude::*;
use serde_json::json;

use super::*;

fn shape() -> Shape {
    Shape::default().with_keyed("list", "k").with_set("set").with_metadata()
}

/// Any object of our shape: lists by key have distinct keys, sets distinct elements.
fn object() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![any::<bool>().prop_map(Value::from), "[ab]?".prop_map(Value::from)];
    let map = prop::collection::btree_map("[a-c]", leaf, 0..3);
    let list = prop::collection::btree_map("[x-z]", map.clone(), 0..3);
    let set = prop::collection::btree_set("[p-r]", 0..3);
    (map.clone(), map, list, set).prop_map(|(plain, spec, list, set)| {
        let element = |(key, mut map): (String, BTreeMap<String, Value>)| {
            map.insert("k".to_owned(), json!(key));
            json!(map)
        };
        let list: Vec<_> = list.into_iter().map(element).collect();
        json!({"metadata": {"annotations": plain}, "spec": spec, "list": list, "set": set})
    })
}

proptest! {
    #[test]
    fn a_set_of_fields_survives_the_wire(object in object()) {
        let set = FieldSet::of(&object, &shape());
        prop_assert_eq!(FieldSet::decode(&set.encode()), set);
    }

    #[test]
    fn a_field_that_a_write_changed_has_one_owner(
        states in prop::collection::vec((object(), 0..3_usize), 1..6),
    ) {
        let mut managed = Managed::default();
        let mut old = Value::Null;
        for (new, writer) in states {
            let manager = Manager {
                name: format!("writer-{writer}"),
                operation: "Update",
                api_version: "v1".to_owned(),
                subresource: "",
            };
            let delta = Delta::between(&old, &new, &shape());
            managed.record(&manager, &delta, "now");
            let owned = managed.owned_by(&manager);
            prop_assert!(delta.set.0.is_subset(&owned.0));
            for other in managed.others(&manager) {
                prop_assert!(other.fields.0.is_disjoint(&delta.set.0));
                prop_assert!(other.fields.0.is_disjoint(&delta.removed.0));
            }
            old = new;
        }
    }
}

#[test]
fn fields_are_written_as_kubernetes_writes_them() {
    let old = json!({"metadata": {"name": "n", "annotations": {"a": "1", "b": "1"}}});
    let new = json!({
        "metadata": {"name": "n", "resourceVersion": "7", "annotations": {"a": "2"}},
        "list": [{"k": "x", "v": [1]}],
        "set": ["p"],
    });

    let delta = Delta::between(&old, &new, &shape());
    assert_eq!(
        delta.set.encode(),
        json!({
            "f:metadata": {"f:annotations": {"f:a": {}}},
            "f:list": {".": {}, "k:{\"k\":\"x\"}": {".": {}, "f:k": {}, "f:v": {}}},
            "f:set": {".": {}, "v:\"p\"": {}},
        })
    );
    assert_eq!(delta.removed.encode(), json!({"f:metadata": {"f:annotations": {"f:b": {}}}}));
}
