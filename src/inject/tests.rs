use serde_json::Value;

use super::{Refused, Wish, inject};

/// What stands around a DaemonSet of Kilo: two documents, odd spellings, comments.
const BEFORE: &str = "\
# the operator's own words
apiVersion: v1
kind: ConfigMap
metadata: {name: odd}
data:
  script: |
    # no comment
    --- no marker
    yes
--- # behind this, Kilo
";

const KILO: &str = "\
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: kilo
  labels:
    app.kubernetes.io/name: kilo
    app.kubernetes.io/part-of: kilo
spec:
  template:
    spec:
      hostNetwork: yes # as YAML 1.1 says true
      containers:
      - name: kilo # the agent
        image: kilo:test
        command:
        - sh
        - -c
        - |
          echo 0755

          exec kg
        securityContext:
          privileged: true
          # a note below it
      # a note between
      tolerations:
      - operator: Exists
      volumes:
        - name: kilo-dir
          hostPath: {path: /var/lib/kilo}

        # the last one
        - hostPath:
            path: /var/run/wireguard/
          name: sockets
";

const AFTER: &str = "\
---
apiVersion: v1
kind: Namespace
metadata:
  name: last
";

fn wish() -> Wish {
    Wish { image: "registry.example/tanist:7".to_owned(), mode: "suggest".to_owned() }
}

fn manifest() -> String {
    format!("{BEFORE}{KILO}{AFTER}")
}

fn pod(manifest: &str, document: usize) -> Value {
    let documents: Vec<Value> = serde_saphyr::from_multiple(manifest).unwrap();
    documents[document].pointer("/spec/template/spec").unwrap().clone()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn the_container_and_its_volumes_come_last() {
    let injected = inject(&manifest(), &wish()).unwrap();
    let pod = pod(&injected, 1);
    assert_eq!(names(&pod["containers"]), ["kilo", "tanist"]);
    let volumes = ["kilo-dir", "sockets", "tanist-keys", "tanist-plan", "tanist-token"];
    assert_eq!(names(&pod["volumes"]), volumes);

    let ours = &pod["containers"][1];
    assert_eq!(ours["image"], "registry.example/tanist:7");
    let mode = ours["env"].as_array().unwrap().iter().find(|it| it["name"] == "TANIST_MODE");
    assert_eq!(mode.unwrap()["value"], "suggest");
    let mounted = names(&ours["volumeMounts"]);
    assert!(mounted.contains(&"sockets"), "WireGuard in user space can be asked: {mounted:?}");
}

#[test]
fn every_other_line_stays() {
    let before = manifest();
    let injected = inject(&before, &wish()).unwrap();
    let mut after = injected.lines();
    for line in before.lines() {
        assert!(after.any(|kept| kept == line), "`{line}` is gone or moved:\n{injected}");
    }
}

#[test]
fn doing_it_again_changes_nothing_but_what_is_wished_otherwise() {
    let once = inject(&manifest(), &wish()).unwrap();
    assert_eq!(inject(&once, &wish()).unwrap(), once);

    let other = Wish { mode: "act".to_owned(), ..wish() };
    let changed = inject(&once, &other).unwrap();
    assert_eq!(changed, once.replace("value: suggest", "value: act"));
    assert_eq!(inject(&changed, &wish()).unwrap(), once);
}

#[test]
fn a_pod_without_volumes_gets_them() {
    let without = KILO.split("      volumes:").next().unwrap();
    let injected = inject(without, &wish()).unwrap();
    let pod = pod(&injected, 0);
    assert_eq!(names(&pod["containers"]), ["kilo", "tanist"]);
    assert_eq!(names(&pod["volumes"]), ["tanist-keys", "tanist-plan", "tanist-token"]);
    assert_eq!(inject(&injected, &wish()).unwrap(), injected);
}

#[test]
fn a_last_line_without_an_end_is_no_obstacle() {
    let cut = KILO.trim_end();
    let injected = inject(cut, &wish()).unwrap();
    assert_eq!(injected, inject(KILO, &wish()).unwrap());
}

#[test]
fn all_of_kilos_daemonsets_get_it_and_nothing_else_does() {
    let userspace = KILO.replace("name: kilo\n    app", "name: kilo-userspace\n    app");
    let exporter = KILO.replace("name: kilo\n    app", "name: wg-exporter\n    app");
    let all = format!("{KILO}---\n{exporter}---\n{userspace}");
    let injected = inject(&all, &wish()).unwrap();
    let counts = [0, 1, 2].map(|document| names(&pod(&injected, document)["containers"]).len());
    assert_eq!(counts, [2, 1, 2]);
}

#[test]
fn what_is_not_understood_is_refused_where_it_stands() {
    let flow = KILO.replace(
        "      tolerations:\n      - operator: Exists\n      volumes:\n",
        "      volumes: [{name: all, emptyDir: {}}]\n      ignored:\n",
    );
    #[rustfmt::skip]
    let table = [
        // manifest                                             what the refusal says
        (AFTER.to_owned(),                                      "none of 1 documents is Kilo's"),
        (KILO.replace("hostNetwork: yes", "hostNetwork: no"),   "hostNetwork, line 11"),
        (KILO.replace("- name: kilo #", "- name: other #"),     "no container is called kilo"),
        (format!("{BEFORE}kind: List\nitems: []\n"),            "document 2, kind: List, line 11"),
        (flow,                                                  "volumes, line 26: not written as a list"),
        (format!("--- {{kind: X}}\n{KILO}"),                    "line 1: something stands behind ---"),
        (KILO.replace("      - name: kilo #", "      -\n        name: kilo #"), "containers, line 14"),
        (format!("{AFTER}---\na: [\n---\n{KILO}"),              "document 2 cannot be read"),
        (KILO.replace("containers:", "container:"),             "document 1 cannot be read"),
    ];
    for (manifest, said) in table {
        let refused = inject(&manifest, &wish()).expect_err(said);
        assert!(refused.to_string().contains(said), "{refused} instead of {said}");
    }
}

#[test]
fn a_manifest_that_would_change_otherwise_is_refused() {
    // The alias stands where the list would have to change, but its items are elsewhere.
    let aliased = KILO
        .replace("      volumes:\n", "      ignored: &them\n")
        .replace("          name: sockets\n", "          name: sockets\n      volumes: *them\n");
    let refused = inject(&aliased, &wish()).expect_err("an alias");
    assert!(matches!(refused, Refused::Unsafe { document: 1 }), "{refused:?}");
}
