//! Get, list, selectors, the forms of an answer, discovery.

use serde_json::{Value, json};

use super::client::{LEASES, MERGE, NODES, cluster, custom, lease, node};

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn discovery_names_what_is_served() {
    let cluster = cluster().await;
    cluster.define("maps").await;

    let core = cluster.get("/api/v1").await.expect(200);
    let nodes = core["resources"].as_array().unwrap().iter().find(|r| r["name"] == "nodes");
    assert_eq!(nodes.unwrap()["kind"], "Node");
    assert_eq!(nodes.unwrap()["namespaced"], false);
    let custom = cluster.get("/apis/conformance.tanist.dev/v1").await.expect(200);
    let listed: Vec<_> =
        custom["resources"].as_array().unwrap().iter().map(|r| &r["name"]).collect();
    assert!(listed.contains(&&json!("maps")) && listed.contains(&&json!("maps/status")));
    let groups = cluster.get("/apis").await.expect(200);
    let groups: Vec<_> = groups["groups"].as_array().unwrap().iter().map(|g| &g["name"]).collect();
    for group in ["coordination.k8s.io", "events.k8s.io", "conformance.tanist.dev"] {
        assert!(groups.contains(&&json!(group)), "{group} in {groups:?}");
    }

    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                  application/json";
    let aggregated = cluster.get_as("/apis", accept).await;
    assert_eq!(aggregated["kind"], "APIGroupDiscoveryList");
    let version = cluster.get("/version").await.expect(200);
    assert_eq!(version["major"], "1");
    for path in ["/healthz", "/readyz", "/livez"] {
        assert_eq!(cluster.get(path).await.expect(200), json!("ok"));
    }
    assert_eq!(cluster.get("/apis/nobody.example").await.code, 404);
    assert_eq!(cluster.get("/api/v1/nonsense").await.code, 404);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let cluster = cluster().await;

    let path = format!("{NODES}/nobody");
    let message = cluster.get(&path).await.refused(404, "NotFound");
    assert_eq!(message, r#"nodes "nobody" not found"#);
    cluster.delete(&path).await.refused(404, "NotFound");
    let patch = json!({"metadata": {"labels": {"a": "b"}}});
    cluster.patch(&path, MERGE, &patch).await.refused(404, "NotFound");
    cluster.put(&path, &node("nobody")).await.refused(404, "NotFound");
    let elsewhere = LEASES.replace("kube-system", "nowhere");
    let message = cluster.post(&elsewhere, &lease("a", "b")).await.refused(404, "NotFound");
    assert_eq!(message, r#"namespaces "nowhere" not found"#);
}

#[tokio::test]
async fn label_selectors_select() {
    let cluster = cluster().await;
    for (name, place) in [("sel-a", "edge"), ("sel-b", "cloud"), ("sel-c", "")] {
        cluster.node(name).await;
        let place = if place.is_empty() { json!(null) } else { json!(place) };
        let patch = json!({"metadata": {"labels": {"suite": "sel", "place": place}}});
        cluster.patch(&format!("{NODES}/{name}"), MERGE, &patch).await.expect(200);
    }

    #[rustfmt::skip]
    let table = [
        ("place=edge",                vec!["sel-a"]),
        ("place==edge",               vec!["sel-a"]),
        ("place!=edge",               vec!["sel-b", "sel-c"]),
        ("place%20in%20(edge,cloud)", vec!["sel-a", "sel-b"]),
        ("place%20notin%20(edge)",    vec!["sel-b", "sel-c"]),
        ("place",                     vec!["sel-a", "sel-b"]),
        ("!place",                    vec!["sel-c"]),
    ];
    for (selector, wanted) in table {
        let path = format!("{NODES}?labelSelector=suite=sel,{selector}");
        let list = cluster.get(&path).await.expect(200);
        assert_eq!(names(&list), wanted, "{selector}");
    }
    let bad = cluster.get(&format!("{NODES}?labelSelector=a%20b")).await;
    bad.refused(400, "BadRequest");
}

#[tokio::test]
async fn field_selectors_select() {
    let cluster = cluster().await;
    cluster.node("field-a").await;
    cluster.node("field-b").await;

    let one =
        cluster.get(&format!("{NODES}?fieldSelector=metadata.name=field-b")).await.expect(200);
    assert_eq!(names(&one), ["field-b"]);
    let path = format!("{NODES}?fieldSelector=metadata.name!=field-b,spec.unschedulable=false");
    let others = cluster.get(&path).await.expect(200);
    assert!(names(&others).contains(&"field-a") && !names(&others).contains(&"field-b"));
    let bad = cluster.get(&format!("{NODES}?fieldSelector=spec.podCIDR=x")).await;
    bad.refused(400, "BadRequest");
}

#[tokio::test]
async fn custom_resources_are_selected_like_others() {
    let cluster = cluster().await;
    let path = cluster.define("chosens").await;
    for (name, side) in [("left", "l"), ("right", "r")] {
        let mut object = custom("chosens", name, &json!({"place": "edge"}));
        object["metadata"]["labels"] = json!({"side": side});
        cluster.post(&path, &object).await.expect(201);
    }

    for query in ["labelSelector=side=r", "fieldSelector=metadata.name=right"] {
        let list = cluster.get(&format!("{path}?{query}")).await.expect(200);
        assert_eq!(names(&list), ["right"], "{query}");
    }
    let bad = cluster.get(&format!("{path}?fieldSelector=spec.place=edge")).await;
    bad.refused(400, "BadRequest");
}

#[tokio::test]
async fn a_page_that_was_never_given_is_refused() {
    let cluster = cluster().await;
    cluster.get(&format!("{NODES}?limit=1&continue=nonsense")).await.refused(400, "BadRequest");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let cluster = cluster().await;
    let path = cluster.define("pages").await;
    for name in ["a", "b", "c"] {
        let page = custom("pages", name, &json!({"place": "edge"}));
        cluster.post(&path, &page).await.expect(201);
    }

    let first = cluster.get(&format!("{path}?limit=2")).await.expect(200);
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = cluster.get(&format!("{path}?limit=2&continue={token}")).await.expect(200);
    assert_eq!(names(&second), ["c"]);
    assert!(second["metadata"].get("continue").is_none_or(|token| token == ""));
}

#[tokio::test]
async fn a_list_at_a_revision() {
    let cluster = cluster().await;
    let made = cluster.node("revised").await;
    let revision = made["metadata"]["resourceVersion"].as_str().unwrap();

    for query in ["", "?resourceVersion=0", &format!("?resourceVersion={revision}")] {
        let list = cluster.get(&format!("{NODES}{query}")).await.expect(200);
        assert!(names(&list).contains(&"revised"), "{query}");
        let listed: u64 = list["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        assert!(listed >= revision.parse().unwrap(), "{query}");
    }
    let bad = cluster.get(&format!("{NODES}?resourceVersion=x")).await;
    assert!(matches!(bad.code, 400 | 422 | 500), "{}", bad.body);
}

#[tokio::test]
async fn tables_have_the_columns_of_the_kind() {
    let cluster = cluster().await;
    cluster.node("tabled").await;
    let path = cluster.define("rows").await;
    cluster.post(&path, &custom("rows", "one", &json!({"place": "edge"}))).await.expect(201);
    let status = json!({"status": {"conditions": [{"type": "Well", "status": "True"}]}});
    cluster.patch(&format!("{path}/one/status"), MERGE, &status).await.expect(200);
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

    let table =
        cluster.get_as(&format!("{NODES}?fieldSelector=metadata.name=tabled"), accept).await;
    assert_eq!(table["kind"], "Table");
    let heads: Vec<_> = table["columnDefinitions"].as_array().unwrap().iter().collect();
    assert_eq!(heads[0]["name"], "Name");
    assert_eq!(heads[1]["name"], "Status");
    assert_eq!(table["rows"][0]["cells"][0], "tabled");
    assert_eq!(table["rows"][0]["cells"][1], "Ready");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");

    let table = cluster.get_as(&path, accept).await;
    let heads = table["columnDefinitions"].as_array().unwrap().iter();
    let heads: Vec<_> = heads.map(|head| head["name"].as_str().unwrap()).collect();
    assert_eq!(heads, ["Name", "Place", "Well", "Age"]);
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells[..3], [json!("one"), json!("edge"), json!("True")]);
    assert!(cells[3].as_str().unwrap().ends_with('s'), "an age: {}", cells[3]);
}

#[tokio::test]
async fn metadata_alone_can_be_had() {
    let cluster = cluster().await;
    cluster.node("partial").await;

    let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let one = cluster.get_as(&format!("{NODES}/partial"), accept).await;
    assert_eq!(one["kind"], "PartialObjectMetadata");
    assert_eq!(one["metadata"]["labels"]["place"], "edge");
    assert!(one.get("spec").is_none());
    let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = cluster.get_as(NODES, accept).await;
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert!(names(&list).contains(&"partial"));
}
