use super::facts::Policy;
use super::rights::{AGENT, ARBITER, Account, Answer, CALLER, Right};
use super::*;
use crate::evidence::kilo::key;
use crate::evidence::{
    Abstention, AddressKind, Flow, Granularity, HostSettings, LocalCause, LocalFinding, PathReport,
    UnixTime,
};
use crate::operator::tests::mesh::{NOW, annotate, heard, heir, node, path, status, told, view};
use crate::operator::view::Arbiter;

fn account(name: &str, patch_nodes: Answer, needs: &[Right]) -> Account {
    let needs = needs.iter().map(|right| (*right, Answer::Allowed)).collect();
    Account { name: name.to_owned(), patch_nodes, needs }
}

fn facts() -> Facts {
    Facts {
        kubernetes: Some("v1.33.1".to_owned()),
        kilo: Some([("squat/kilo:0.6.0".to_owned(), 5)].into()),
        caller: CALLER.map(|right| (right, Answer::Allowed)).into(),
        accounts: vec![
            account("tanist:tanist-agent", Answer::Denied, &AGENT),
            account("tanist:tanist-arbiter", Answer::Allowed, &ARBITER),
        ],
        policy: Policy::Bound(vec!["tanist-nodes".to_owned(), "tanist-reports".to_owned()]),
        port: 1108,
    }
}

#[test]
fn a_healthy_mesh_is_fine_in_every_line() {
    let examination = examine(&view(), &facts(), &Scope::Mesh);
    let unwell: Vec<_> =
        examination.lines.iter().filter(|line| line.level != Level::Fine).collect();
    assert_eq!(unwell, Vec::<&Line>::new());
    assert_eq!(examination.level, Level::Fine);
    let costs = examination.lines.iter().filter(|line| line.check == "cost of a failover");
    assert_eq!(costs.count(), 2);
    assert!(
        examination.text(400).ends_with("20 fine, 0 to know, 0 broken"),
        "{}",
        examination.text(400)
    );
}

type Change = fn(&mut View, &mut Facts);

fn report<'v>(view: &'v mut View, node: &str) -> &'v mut crate::evidence::Report {
    &mut view.reports.get_mut(&NodeName::from(node)).unwrap().report
}

fn spoil(view: &mut View, node: &str) -> &'static str {
    report(view, node).abstains = Some(Abstention::RoundLate);
    ""
}

fn readd(view: &mut View, node: &str, by: Option<&str>) {
    annotate(view, node, "leader-before", "=");
    view.mesh.nodes.get_mut(&NodeName::from(node)).unwrap().leader_writer = by.map(str::to_owned);
}

fn grow_old(view: &mut View, node: &str) {
    let told = view.reports.get_mut(&NodeName::from(node)).unwrap();
    told.report.written_ms = NOW.0 - 3_600_000;
    told.received = Some(UnixTime(NOW.0 - 3_600_000));
}

#[test]
fn each_fault_is_told_with_its_place_and_what_to_do() {
    use Level::{Broken, Warning};
    #[rustfmt::skip]
    let table: Vec<(Change, Level, &str, &str, &str)> = vec![
        (|v, _| v.arbiter = Arbiter::Nobody, Broken, "arbiter", "mesh", "nobody holds the lease"),
        (|v, _| v.arbiter = Arbiter::Lapsed { holder: "x".to_owned(), renewed_ms: NOW.0 - 130_000 }, Broken, "arbiter", "mesh", "x last renewed it 2 min ago"),
        (|v, _| v.arbiter = Arbiter::Unknown, Warning, "arbiter", "mesh", "the lease could not be read"),
        (|v, _| v.mesh.nodes.get_mut(&"a1".into()).unwrap().granularity = Granularity::Full, Broken, "granularity", "a1", "full"),
        (|_, f| { f.kilo.as_mut().unwrap().insert("squat/kilo:0.5.0".to_owned(), 1); }, Warning, "Kilo", "mesh", "squat/kilo:0.5.0 (1), squat/kilo:0.6.0 (5)"),
        (|_, f| f.kilo = None, Warning, "Kilo", "mesh", "pods could not be listed"),
        (|v, _| { v.reports.remove(&NodeName::from("a2")); }, Broken, "Tanist agent", "a2", "it never reported"),
        (|v, _| grow_old(v, "a2"), Warning, "Tanist agent", "a2", "its last report is 60 min old"),
        (|v, _| report(v, "a2").written_ms += 60_000, Warning, "clock", "a2", "about 60 s ahead"),
        (|v, _| report(v, "a2").written_ms -= 60_000, Warning, "clock", "a2", "about 60 s behind"),
        (|v, _| { spoil(v, "a2"); }, Warning, "witness", "a2", "its own rounds run late"),
        (|v, _| report(v, "a2").leader_seen = Some("a3".into()), Warning, "routes", "a2", "they use a3, and a1 leads"),
        (|v, _| report(v, "a2").kilo_nodes = Some(1), Warning, "Kilo's view", "mesh", "1 nodes (a2), 5 nodes (a1, a3, b1 and 1 more)"),
        (|v, _| report(v, "a2").local.push(LocalFinding { cause: LocalCause::ForwardingOff, detail: "net.ipv4.conf.all.forwarding is 0, it should be 1".to_owned() }), Warning, "node", "a2", "net.ipv4.conf.all.forwarding is 0, it should be 1"),
        (|v, _| v.mesh.nodes.get_mut(&"b2".into()).unwrap().last_seen = Some(NOW.seconds() - 300), Warning, "Kilo agent", "b2", "last check-in 5 min ago"),
        (|v, _| status(v, "").heirs = vec![heir("b2", &["Proven: not tested"])], Warning, "heirs", "\"\"", "none is fit; b2: Proven: not tested"),
        (|v, _| annotate(v, "a2", "promotion", "always"), Warning, "intent", "a", "promotion \"always\" of a2 is not prefer, neutral, prefer-not or must-not; read as must-not"),
        (|v, _| annotate(v, "a2", "pined", "true"), Warning, "intent", "a", "annotation tanist.dev/pined of a2 means nothing; there are promotion, pin and pause"),
        (|v, _| { annotate(v, "a2", "pin", "true"); annotate(v, "a3", "pin", "true"); }, Warning, "intent", "a", "a2 and a3 are pinned: none of them is followed"),
        (|v, _| status(v, "a").complaints.push("a2 did not prove itself; a1 is put back".to_owned()), Warning, "attention", "a", "a2 did not prove itself; a1 is put back"),
        (|v, _| { v.misread.insert("a2".into(), vec!["kilo.squat.ai/key \"x\" of a2 cannot be read; Kilo takes it for absent".to_owned()]); }, Warning, "Kilo's annotations", "a2", "kilo.squat.ai/key \"x\" of a2 cannot be read; Kilo takes it for absent"),
        (|v, _| { readd(v, "a1", None); status(v, "a").complaints.push("somebody put the leader annotation of a1 back after Tanist took it away; and so on".to_owned()); }, Warning, "re-added annotation", "a1", "somebody put the leader annotation of a1 back after Tanist took it away"),
        (|v, _| readd(v, "a1", Some("argocd")), Warning, "re-added annotation", "a1", "argocd put the leader annotation of a1 back after Tanist took it away"),
        (|v, _| readd(v, "a1", None), Warning, "re-added annotation", "a1", "somebody put the leader annotation of a1 back after Tanist took it away"),
        (|_, f| f.caller[2].1 = Answer::Denied, Warning, "your rights", "you", "no right to patch nodes"),
        (|_, f| f.accounts[0].patch_nodes = Answer::Allowed, Broken, "accounts", "tanist:tanist-agent", "it may patch Nodes"),
        (|_, f| f.accounts[1].patch_nodes = Answer::Denied, Broken, "accounts", "tanist:tanist-arbiter", "it may not patch Nodes, so it cannot move a leader"),
        (|_, f| f.accounts.clear(), Warning, "accounts", "mesh", "no ServiceAccount is labelled app.kubernetes.io/part-of=tanist"),
        (|_, f| f.accounts.push(account("kube-system:tanist-sidecar", Answer::Allowed, &[])), Warning, "accounts", "kube-system:tanist-sidecar", "it may, from every node; its token names no node, so the policy cannot hold it to the report of its own"),
        (|_, f| f.accounts[1].needs[3].1 = Answer::Denied, Broken, "accounts", "tanist:tanist-arbiter", "it may not patch meshlocations/status"),
        (|_, f| { f.accounts[0].needs[2].1 = Answer::Denied; f.accounts[0].needs[3].1 = Answer::Denied; }, Broken, "accounts", "tanist:tanist-agent", "it may not create relayreports, update relayreports"),
        (|_, f| f.accounts[0].patch_nodes = Answer::Unknown("no answer".to_owned()), Warning, "accounts", "tanist:tanist-agent", "its rights are not known: no answer"),
        (|_, f| f.caller[0].1 = Answer::Unknown("no answer".to_owned()), Warning, "your rights", "you", "not known (list relayreports): no answer"),
        (|_, f| f.policy = Policy::Bound(vec!["tanist-nodes".to_owned()]), Warning, "admission policy", "mesh", "only tanist-nodes; there should be tanist-nodes and tanist-reports"),
        (|_, f| f.policy = Policy::Unknown("forbidden".to_owned()), Warning, "admission policy", "mesh", "forbidden"),
        (|_, f| f.policy = Policy::Absent, Warning, "admission policy", "mesh", "there is none: RBAC alone binds Tanist's accounts"),
        (|_, f| f.policy = Policy::Unsupported, Warning, "admission policy", "mesh", "this server knows no such policies: RBAC alone binds Tanist's accounts"),
        (|_, f| f.policy = Policy::Unbound(vec!["p".to_owned()]), Warning, "admission policy", "mesh", "p has no binding"),
        (|v, _| { v.unreadable.insert("MeshLocation a-1".to_owned(), "no inquest".to_owned()); }, Broken, "reading", "MeshLocation a-1", "it cannot be read: no inquest"),
        (|v, _| v.missing.push("RelayReports could not be read".to_owned()), Warning, "reading", "mesh", "RelayReports could not be read"),
    ];
    for (change, level, check, place, seen) in table {
        let (mut view, mut facts) = (view(), facts());
        change(&mut view, &mut facts);
        let examination = examine(&view, &facts, &Scope::Mesh);
        let bad: Vec<_> =
            examination.lines.iter().filter(|line| line.level != Level::Fine).collect();
        let [line] = bad.as_slice() else { panic!("one line for {check}: {bad:#?}") };
        let told = (line.level, line.check, line.place.as_str(), line.seen.as_str());
        assert_eq!(told, (level, check, place, seen));
        assert!(!line.advice.is_empty(), "{check}: what is to be done?");
        assert!(examination.lines.iter().all(|line| !line.expected.is_empty()));
        assert_eq!(examination.level, level);
    }
}

fn never(to: &str, address: AddressKind, flow: Flow) -> PathReport {
    PathReport { address, never_worked: true, ..path(to, flow, (20, 20)) }
}

#[test]
fn a_blocked_probe_port_is_told_with_the_rule_that_opens_it() {
    use AddressKind::{Node as Own, Pod};
    let both = |flow: Flow| [never("b2", Own, flow), never("b2", Pod, flow)];
    let rule =
        "allow UDP and TCP to port 1108 of 10.1.0.12, 10.42.12.0/24 from 10.1.0.2, 10.42.2.0/24";
    #[rustfmt::skip]
    let table = [
        (both(Flow::NewUdp).to_vec(), false, "probes of a2 never arrived, nor did connections to Kilo's port", format!("{rule}; look at routes too")),
        ([both(Flow::NewUdp).as_slice(), &[path("b2", Flow::Control, (3, 0))]].concat(), false, "probes of a2 never arrived, while Kilo's port was reached", rule.to_owned()),
        (both(Flow::NewUdp).to_vec(), true, "probes of a2 arrive, and no answer ever came back", "allow UDP and TCP from port 1108 of 10.1.0.12, 10.42.12.0/24 to 10.1.0.2, 10.42.2.0/24".to_owned()),
        (vec![never("b2", Pod, Flow::NewUdp), PathReport { address: Own, ..path("b2", Flow::NewUdp, (9, 0)) }], true, "a2 never reached its address in the pod range, only its own", format!("{rule}; look at the overlay of b2")),
    ];
    for (paths, arrives, seen, advice) in table {
        let mut view = view();
        view.reports.insert("a2".into(), told("a2", "a", paths));
        if arrives {
            report(&mut view, "b2").heard.push(heard("a2"));
        }
        let lines = paths::examine(&view, 1108, &Scope::Mesh);
        let [line] = lines.as_slice() else { panic!("one line: {lines:#?}") };
        assert_eq!((line.level, line.place.as_str()), (Level::Broken, "b2"));
        assert_eq!((line.seen.as_str(), line.advice.as_str()), (seen, advice.as_str()));
    }
}

#[test]
fn a_path_that_fails_now_but_once_worked_is_no_firewall() {
    let mut view = view();
    view.reports.insert("a2".into(), told("a2", "a", vec![path("b2", Flow::NewUdp, (9, 9))]));
    assert_eq!(paths::examine(&view, 1108, &Scope::Mesh), []);
}

#[test]
fn devices_that_differ_from_most_are_told() {
    let mut view = view();
    let host = |kilo, overlay, strict: &[&str]| {
        let strict = strict.iter().map(|device| (*device).to_owned()).collect();
        let settings = HostSettings {
            kilo_mtu: kilo,
            overlay_mtu: Some(overlay),
            strict_reverse_path: Some(strict),
        };
        Some(settings)
    };
    report(&mut view, "a1").host = host(Some(1420), 1450, &[]);
    report(&mut view, "b1").host = host(Some(1380), 1450, &["kilo0"]);
    report(&mut view, "a2").host = host(None, 1410, &[]);
    let examination = examine(&view, &facts(), &Scope::Mesh);
    let bad = examination.lines.iter().filter(|line| line.level != Level::Fine);
    let told: Vec<_> = bad.map(|line| (line.check, &*line.place, &*line.seen)).collect();
    assert_eq!(
        told,
        [
            ("MTU", "b1", "WireGuard's device has 1380, most have 1420"),
            ("MTU", "a2", "the overlay's device has 1410, most have 1450"),
            ("rp_filter", "b1", "1 (strict) on kilo0"),
        ]
    );
}

#[test]
fn of_one_node_only_its_own_faults_are_told() {
    let mut view = view();
    spoil(&mut view, "a2");
    spoil(&mut view, "b2");
    let places = |scope: &Scope| {
        let lines = examine(&view, &facts(), scope).lines;
        let bad = lines.into_iter().filter(|line| line.level != Level::Fine);
        bad.map(|line| line.place).collect::<Vec<_>>()
    };
    assert_eq!(places(&Scope::Mesh), ["a2", "b2"]);
    assert_eq!(places(&Scope::Node("b2".into())), ["b2"]);
    assert!(places(&Scope::Node("a1".into())).is_empty());
}

#[test]
fn a_location_of_one_node_has_nobody_to_take_over() {
    let nodes = vec![node("a1", "a", &[(key::LEADER, "")])];
    let lone = View::of(nodes, Vec::new(), "region", NOW);
    let lines = mesh::examine(&lone, &facts());
    let line = lines.iter().find(|line| line.check == "heirs").unwrap();
    assert_eq!((line.level, line.seen.as_str()), (Level::Warning, "it has one node"));
}
