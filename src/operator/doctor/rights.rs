//! The rights that Tanist's accounts need, and the person who steers it.

/// Whether somebody may do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// They may.
    Allowed,
    /// They may not.
    Denied,
    /// The server does not say.
    Unknown(String),
}

/// Where a right is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Within {
    /// In all of the cluster.
    Cluster,
    /// In the account's own namespace.
    Own,
    /// In the namespace `default`.
    Default,
}

/// One right that was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The verb.
    pub verb: &'static str,
    /// The API group.
    pub group: &'static str,
    /// The resource, with its subresource.
    pub resource: &'static str,
    /// Where.
    pub within: Within,
    /// What it is for.
    pub purpose: &'static str,
}

/// What a person at the command line needs.
pub(super) const CALLER: [Right; 5] = [
    right("list", "tanist.dev", "relayreports", "why, doctor"),
    right("patch", "tanist.dev", "meshlocations", "move, pause, resume, ack"),
    right("patch", "", "nodes", "pin, unpin, restore"),
    right("list", "", "pods", "what a move would cost"),
    right("create", "authorization.k8s.io", "subjectaccessreviews", "this check"),
];

/// What tells an account that may move a leader from one that may not.
pub(super) const PATCH_NODES: Right = right("patch", "", "nodes", "moving a leader");

/// What an agent needs of the cluster besides.
pub(super) const AGENT: [Right; 4] = [
    right("list", "", "nodes", "its own Node"),
    right("list", "tanist.dev", "meshlocations", "whom to probe"),
    right("create", "tanist.dev", "relayreports", "its report"),
    right("update", "tanist.dev", "relayreports", "its report"),
];

/// What the arbiter needs besides.
pub(super) const ARBITER: [Right; 6] = [
    right("list", "", "nodes", "who leads"),
    right("list", "tanist.dev", "relayreports", "evidence"),
    right("create", "tanist.dev", "meshlocations", "one object per location"),
    right("patch", "tanist.dev", "meshlocations/status", "plans, verdicts, moves"),
    Right {
        within: Within::Own,
        ..right("create", "coordination.k8s.io", "leases", "that there is one arbiter")
    },
    Right { within: Within::Default, ..right("create", "events.k8s.io", "events", "Events") },
];

const fn right(
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    purpose: &'static str,
) -> Right {
    Right { verb, group, resource, within: Within::Cluster, purpose }
}

/// An account of Tanist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// As `namespace:name`.
    pub name: String,
    /// Whether it may move a leader.
    pub patch_nodes: Answer,
    /// Whether it may do what its part needs besides.
    pub needs: Vec<(Right, Answer)>,
}

/// What an account is for, by the names of the shipped manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Of an agent.
    Agent,
    /// Of an arbiter.
    Arbiter,
    /// One account for both, mounted beside Kilo's.
    Sidecar,
    /// Of something else.
    Other,
}

impl Account {
    /// Returns what it is for.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.name.rsplit([':', '-']).next() {
            Some("agent") => Role::Agent,
            Some("arbiter") => Role::Arbiter,
            Some("sidecar") => Role::Sidecar,
            Some(_) | None => Role::Other,
        }
    }

    /// Returns the rights that it needs besides.
    pub(super) fn rights(&self) -> Vec<Right> {
        match self.role() {
            Role::Agent => AGENT.to_vec(),
            Role::Arbiter => ARBITER.to_vec(),
            Role::Sidecar => [AGENT.as_slice(), &ARBITER].concat(),
            Role::Other => Vec::new(),
        }
    }
}
