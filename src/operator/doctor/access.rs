//! Who may do what: the caller, Tanist's accounts, and the policy that binds the latter.

use std::collections::BTreeMap;

use super::facts::{Facts, Policy};
use super::rights::{Account, Answer, Role};
use super::{Level, Line, Round};

pub(super) fn examine(facts: &Facts) -> Vec<Line> {
    let mut lines = caller(facts);
    lines.extend(accounts(facts));
    lines.push(policy(facts));
    lines
}

fn caller(facts: &Facts) -> Vec<Line> {
    let mut round = Round::new("your rights", "you may do what the commands need");
    let mut unknown: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (right, answer) in &facts.caller {
        let what = format!("{} {}", right.verb, right.resource);
        match answer {
            Answer::Allowed => round.fine(),
            Answer::Denied => {
                let advice = format!("needed for: {}", right.purpose);
                round.line(Level::Warning, "you".to_owned(), format!("no right to {what}"), advice);
            }
            Answer::Unknown(why) => {
                unknown.entry(why).or_default().push(what);
            }
        }
    }
    for (why, what) in unknown {
        let seen = format!("not known ({}): {why}", what.join(", "));
        let advice = "try the commands: what is forbidden, the server then says".to_owned();
        round.line(Level::Warning, "you".to_owned(), seen, advice);
    }
    round.end("right", "all there")
}

fn accounts(facts: &Facts) -> Vec<Line> {
    if facts.accounts.is_empty() {
        let line = Line {
            level: Level::Warning,
            check: "accounts",
            place: "mesh".to_owned(),
            seen: "no ServiceAccount is labelled app.kubernetes.io/part-of=tanist".to_owned(),
            expected: "only the arbiter's account may patch Nodes",
            advice: "install with the shipped manifests, or check your own by hand".to_owned(),
        };
        return vec![line];
    }
    let needs = facts.accounts.iter().filter_map(needs);
    facts.accounts.iter().map(verdict).chain(needs).collect()
}

/// What an account lacks of what the shipped roles grant.
fn needs(account: &Account) -> Option<Line> {
    let denied = account.needs.iter().filter(|(_, answer)| *answer == Answer::Denied);
    let denied: Vec<_> = denied.map(|(right, _)| *right).collect();
    let lacks: Vec<_> = denied.iter().map(|it| format!("{} {}", it.verb, it.resource)).collect();
    let purposes: Vec<_> = denied.iter().map(|right| right.purpose).collect();
    (!denied.is_empty()).then(|| Line {
        level: Level::Broken,
        check: "accounts",
        place: account.name.clone(),
        seen: format!("it may not {}", lacks.join(", ")),
        expected: "what the shipped roles grant",
        advice: format!(
            "apply the shipped roles and bindings; needed for: {}",
            purposes.join(", ")
        ),
    })
}

fn verdict(account: &Account) -> Line {
    let (expected, level, seen, advice) = match (account.role(), &account.patch_nodes) {
        (_, Answer::Unknown(why)) => (
            "known rights",
            Level::Warning,
            format!("its rights are not known: {why}"),
            "ask for the right to create subjectaccessreviews",
        ),
        (Role::Agent, Answer::Allowed) => (
            "it may not patch Nodes",
            Level::Broken,
            "it may patch Nodes".to_owned(),
            "take nodes/patch out of its role: it runs on every node",
        ),
        (Role::Agent, Answer::Denied) => {
            ("it may not patch Nodes", Level::Fine, "it may not".to_owned(), "")
        }
        (Role::Arbiter | Role::Sidecar, Answer::Denied) => (
            "it may patch Nodes",
            Level::Broken,
            "it may not patch Nodes, so it cannot move a leader".to_owned(),
            "bind it to the role tanist-arbiter",
        ),
        (Role::Arbiter, Answer::Allowed) => {
            ("it may patch Nodes", Level::Fine, "it may".to_owned(), "")
        }
        (Role::Sidecar, Answer::Allowed) => (
            "it may patch Nodes",
            Level::Warning,
            "it may, from every node; its token names no node, so the policy cannot hold it to \
             the report of its own"
                .to_owned(),
            "the shape with two accounts is safer",
        ),
        (Role::Other, Answer::Allowed) => (
            "no right to patch Nodes",
            Level::Warning,
            "it may patch Nodes".to_owned(),
            "if it is not an arbiter's, take the right away",
        ),
        (Role::Other, Answer::Denied) => {
            ("no right to patch Nodes", Level::Fine, "it may not".to_owned(), "")
        }
    };
    Line {
        level,
        check: "accounts",
        place: account.name.clone(),
        seen,
        expected,
        advice: advice.to_owned(),
    }
}

/// The policies of the shipped manifests, by name.
const POLICIES: [&str; 2] = ["tanist-nodes", "tanist-reports"];

fn policy(facts: &Facts) -> Line {
    let (level, seen, advice) = match &facts.policy {
        Policy::Bound(names) if names.iter().map(String::as_str).eq(POLICIES) => {
            (Level::Fine, names.join(" and "), "")
        }
        Policy::Bound(names) => (
            Level::Warning,
            format!("only {}; there should be {}", names.join(", "), POLICIES.join(" and ")),
            "apply the shipped ValidatingAdmissionPolicies",
        ),
        Policy::Unbound(names) => (
            Level::Warning,
            format!("{} has no binding", names.join(", ")),
            "apply the ValidatingAdmissionPolicyBinding as well",
        ),
        Policy::Absent => (
            Level::Warning,
            "there is none: RBAC alone binds Tanist's accounts".to_owned(),
            "apply the shipped ValidatingAdmissionPolicy",
        ),
        Policy::Unsupported => (
            Level::Warning,
            "this server knows no such policies: RBAC alone binds Tanist's accounts".to_owned(),
            "Kubernetes 1.30 has them",
        ),
        Policy::Unknown(why) => (Level::Warning, why.clone(), "ask for the right to list them"),
    };
    Line {
        level,
        check: "admission policy",
        place: "mesh".to_owned(),
        seen,
        expected: "Tanist's accounts may change nothing but their own",
        advice: advice.to_owned(),
    }
}
