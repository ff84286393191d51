//! Who may do what: the caller, Tanist's accounts, and the policy that binds the latter.

use std::collections::BTreeMap;

use super::facts::{Answer, Facts, Policy};
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
        round.line(Level::Warning, "you".to_owned(), seen, String::new());
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
    facts.accounts.iter().map(|(account, answer)| verdict(account, answer)).collect()
}

/// What an account is for, by the names of the shipped manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Agent,
    Arbiter,
    /// One account for both, mounted beside Kilo's.
    Sidecar,
    Other,
}

fn role(account: &str) -> Role {
    let name = account.rsplit(':').next().unwrap_or(account);
    match name.rsplit('-').next() {
        Some("agent") => Role::Agent,
        Some("arbiter") => Role::Arbiter,
        Some("sidecar") => Role::Sidecar,
        Some(_) | None => Role::Other,
    }
}

fn verdict(account: &str, answer: &Answer) -> Line {
    let (expected, level, seen, advice) = match (role(account), answer) {
        (_, Answer::Unknown(why)) => {
            ("known rights", Level::Warning, format!("its rights are not known: {why}"), "")
        }
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
        place: account.to_owned(),
        seen,
        expected,
        advice: advice.to_owned(),
    }
}

fn policy(facts: &Facts) -> Line {
    let (level, seen, advice) = match &facts.policy {
        Policy::Bound(names) => (Level::Fine, names.join(", "), ""),
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
