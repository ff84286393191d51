//! All that the objects say at one time.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use super::words;
use crate::cluster::lease::Timing;
use crate::cluster::objects::{
    MeshLocation, MeshLocationStatus, Peer, RelayReport, SlimNode, mesh_location_name,
    unreadable_annotations,
};
use crate::cluster::{Listed, list};
use crate::evidence::{Location, Mesh, Node, NodeName, Report, UnixTime, kilo};
use crate::telemetry::Chain;

/// Why something could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Tanist's kinds are not there.
    #[error("Tanist's kinds are not installed: tanist crds | kubectl apply -f -")]
    NotInstalled,
    /// The API server said no.
    #[error("cannot {what}")]
    Api {
        /// What was tried.
        what: String,
        /// What it said.
        #[source]
        source: Said,
    },
    /// The API server is not there, or not able to answer: what was asked may be done or not.
    #[error("cannot {what}")]
    Away {
        /// What was tried.
        what: String,
        /// What was heard instead of an answer.
        #[source]
        source: Said,
    },
}

/// What the API server said, in its own words where it has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Said(String);

impl From<kube::Error> for Said {
    fn from(error: kube::Error) -> Self {
        if let kube::Error::Api(status) = &error
            && !status.message.is_empty()
        {
            Self(status.message.clone())
        } else {
            Self(Chain(&error).to_string())
        }
    }
}

impl Error {
    pub(crate) fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |error| {
            let is_away = is_away(&error);
            let source = error.into();
            if is_away { Self::Away { what, source } } else { Self::Api { what, source } }
        }
    }
}

fn is_away(error: &kube::Error) -> bool {
    if let kube::Error::Api(status) = error {
        return status.code >= 500 || status.code == 429;
    }
    matches!(error, kube::Error::Service(_) | kube::Error::HyperError(_))
}

/// No location goes by that name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no location {asked:?}; there are {known}")]
pub struct NotFound {
    asked: String,
    known: String,
}

/// A node's word, and when the server got it.
#[derive(Debug, Clone)]
pub struct Told {
    /// What it said.
    pub report: Report,
    /// When the server took it, by the server's clock, where that is known.
    pub received: Option<UnixTime>,
}

impl Told {
    /// Returns when it was written, by the best clock there is.
    #[must_use]
    pub fn at(&self) -> UnixTime {
        self.received.unwrap_or(UnixTime(self.report.written_ms))
    }
}

/// Who holds the lease.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "state")]
pub enum Arbiter {
    /// This process does.
    Holds {
        /// Its identity.
        holder: String,
    },
    /// It did, and has not renewed it.
    Lapsed {
        /// Who did.
        holder: String,
        /// When it was renewed last, Unix milliseconds.
        renewed_ms: i64,
    },
    /// Nobody does.
    Nobody,
    /// We may not look.
    Unknown,
}

/// All that the objects say at one time.
#[derive(Debug, Clone)]
pub struct View {
    /// When.
    pub at: UnixTime,
    /// The locations' objects, those only that bear their location's name.
    pub locations: BTreeMap<Location, MeshLocation>,
    /// The Nodes as Kilo reads them.
    pub mesh: Mesh,
    /// What Kilo does not understand of its own annotations, by node.
    pub misread: BTreeMap<NodeName, Vec<String>>,
    /// What each node said last.
    pub reports: BTreeMap<NodeName, Told>,
    /// The names of Kilo's Peers.
    pub peers: Vec<String>,
    /// Who holds the lease.
    pub arbiter: Arbiter,
    /// What could not be listed, for people.
    pub missing: Vec<String>,
    /// Objects that cannot be read, by kind and name, each with why; what is shown lacks them.
    pub unreadable: BTreeMap<String, String>,
}

impl View {
    /// Reads all of it. What a person may go without is left out and named.
    ///
    /// # Errors
    /// If the Nodes or the MeshLocations cannot be read.
    pub async fn read(client: &Client, topology_label: &str, at: UnixTime) -> Result<Self, Error> {
        let (nodes, locations, reports, peers, arbiter) = futures::join!(
            all::<SlimNode>(client, ListParams::default()),
            all::<MeshLocation>(client, ListParams::default()),
            all::<RelayReport>(client, ListParams::default()),
            all::<Peer>(client, ListParams::default()),
            arbiter(client, at, async { sleep(Timing::default().retry * 3).await }),
        );
        let nodes = nodes.map_err(Error::api("list Nodes"))?;
        let locations = locations.map_err(|error| {
            if matches!(&error, kube::Error::Api(status) if status.code == 404) {
                Error::NotInstalled
            } else {
                Error::api("list MeshLocations")(error)
            }
        })?;

        let mut view = Self::of(nodes.objects, locations.objects, topology_label, at);
        view.note_unreadable("Node", nodes.unreadable);
        view.note_unreadable("MeshLocation", locations.unreadable);
        if let Some(reports) = view.optional("RelayReports", reports) {
            view.note_unreadable("RelayReport", reports.unreadable);
            view.reports = reports.objects.into_iter().map(told).collect();
        }
        if let Some(peers) = view.optional("Kilo Peers", peers) {
            view.peers = peers.objects.iter().map(kube::ResourceExt::name_any).collect();
        }
        if let Some(arbiter) = view.optional("Leases", arbiter) {
            view.arbiter = arbiter;
        }
        Ok(view)
    }

    /// Makes a view of Nodes and locations alone.
    #[must_use]
    pub fn of(
        nodes: Vec<SlimNode>,
        locations: Vec<MeshLocation>,
        topology_label: &str,
        at: UnixTime,
    ) -> Self {
        let own =
            |object: &MeshLocation| object.name_any() == mesh_location_name(&object.spec.location);
        let locations = locations.into_iter().filter(own);
        let read = |object: &SlimNode| {
            let node = object.read(topology_label);
            (unreadable_annotations(object, &node), node)
        };
        let (mut mesh, mut misread) = (Mesh { nodes: BTreeMap::new(), at }, BTreeMap::new());
        for (complaints, node) in nodes.iter().map(read) {
            misread.insert(node.name.clone(), complaints);
            mesh.nodes.insert(node.name.clone(), node);
        }
        Self {
            at,
            locations: locations.map(|object| (object.spec.location.clone(), object)).collect(),
            mesh,
            misread,
            reports: BTreeMap::new(),
            peers: Vec::new(),
            arbiter: Arbiter::Unknown,
            missing: Vec::new(),
            unreadable: BTreeMap::new(),
        }
    }

    fn note_unreadable(&mut self, kind: &str, unreadable: BTreeMap<String, String>) {
        let said = |(name, why)| (format!("{kind} {name}"), why);
        self.unreadable.extend(unreadable.into_iter().map(said));
    }

    fn optional<T>(&mut self, kind: &str, read: Result<T, kube::Error>) -> Option<T> {
        match read {
            Ok(found) => Some(found),
            // A kind that is not installed has no objects.
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => {
                self.missing.push(format!("{kind} could not be read: {}", Said::from(error)));
                None
            }
        }
    }

    /// Returns every location that has an object or a leader.
    #[must_use]
    pub fn places(&self) -> BTreeSet<Location> {
        let led = kilo::leaders(&self.mesh).into_keys();
        self.locations.keys().cloned().chain(led).collect()
    }

    /// Finds the location that a person names: exactly, or by the name of its object.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(&self, asked: &str) -> Result<Location, NotFound> {
        let places = self.places();
        let exact = places.iter().find(|location| location.0 == asked);
        let found = exact.or_else(|| places.iter().find(|at| mesh_location_name(at) == asked));
        found.cloned().ok_or_else(|| NotFound {
            asked: asked.to_owned(),
            known: match places.len() {
                0 => "none at all".to_owned(),
                _ => places.iter().map(words::place).collect::<Vec<_>>().join(", "),
            },
        })
    }

    /// Returns what the arbiter last said of a location.
    #[must_use]
    pub fn status(&self, location: &Location) -> Option<&MeshLocationStatus> {
        self.locations.get(location)?.status.as_ref()
    }

    /// Returns who leads a location by Kilo's rules, now.
    #[must_use]
    pub fn leader(&self, location: &Location) -> Option<&Node> {
        kilo::leader_of(&self.mesh, location)
    }

    /// Returns the members of a location, Ready or not.
    #[must_use]
    pub fn members(&self, location: &Location) -> Vec<&Node> {
        kilo::members(&self.mesh, location)
    }

    /// Returns the Ready members of a location.
    #[must_use]
    pub fn ready(&self, location: &Location) -> Vec<&Node> {
        let mut members = self.members(location);
        members.retain(|node| kilo::is_ready(node, self.at));
        members
    }

    /// Returns why a location is left alone, if it is: all the reasons.
    #[must_use]
    pub fn pauses(&self, location: &Location) -> Vec<String> {
        let spec = self.locations.get(location).and_then(|object| object.spec.pause.clone());
        let by_node = self.members(location).into_iter().filter_map(|node| {
            let why = node.intent.get("pause")?;
            Some(format!("{} (annotation of {})", reason(why), node.name))
        });
        spec.map(|why| reason(&why).to_owned()).into_iter().chain(by_node).collect()
    }

    /// Returns the nodes whose annotation pauses a location.
    #[must_use]
    pub fn pausing_nodes(&self, location: &Location) -> Vec<&NodeName> {
        let pausing = |node: &&Node| node.intent.contains_key("pause");
        self.members(location).into_iter().filter(pausing).map(|node| &node.name).collect()
    }

    /// Returns the pinned members of a location.
    #[must_use]
    pub fn pins(&self, location: &Location) -> Vec<&NodeName> {
        let pinned = |node: &&Node| node.intent.get("pin").is_some_and(|value| value == "true");
        self.members(location).into_iter().filter(pinned).map(|node| &node.name).collect()
    }
}

fn reason(why: &str) -> &str {
    if why.is_empty() { "no reason given" } else { why }
}

async fn all<K>(client: &Client, params: ListParams) -> Result<Listed<K>, kube::Error>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    list(&Api::<K>::all(client.clone()), &params).await
}

fn told(object: RelayReport) -> (NodeName, Told) {
    let fields = object.metadata.managed_fields.iter().flatten();
    let received = fields.filter_map(|entry| Some(entry.time.as_ref()?.0.as_millisecond())).max();
    let report = object.spec.report;
    (report.node.clone(), Told { report, received: received.map(UnixTime) })
}

/// Returns who holds the lease. The clocks of its holder and of this machine may differ: one that
/// looks lapsed has lapsed only if nobody renews it during `watch` either, some renewals long.
pub(super) async fn arbiter(
    client: &Client,
    at: UnixTime,
    watch: impl Future<Output = ()>,
) -> Result<Arbiter, kube::Error> {
    let before = lease(client).await?;
    let held = holder(before.as_ref(), at);
    if !matches!(held, Arbiter::Lapsed { .. }) {
        return Ok(held);
    }
    watch.await;
    let after = lease(client).await?;
    let held = holder(after.as_ref(), at);
    if let Arbiter::Lapsed { holder, .. } = &held
        && after != before
    {
        return Ok(Arbiter::Holds { holder: holder.clone() });
    }
    Ok(held)
}

async fn lease(client: &Client) -> Result<Option<LeaseSpec>, kube::Error> {
    let params = ListParams::default().fields("metadata.name=tanist");
    Ok(all::<Lease>(client, params).await?.objects.into_iter().find_map(|lease| lease.spec))
}

fn holder(lease: Option<&LeaseSpec>, at: UnixTime) -> Arbiter {
    let Some(spec) = lease else { return Arbiter::Nobody };
    let holder = spec.holder_identity.clone().filter(|holder| !holder.is_empty());
    let (Some(holder), Some(renewed)) = (holder, &spec.renew_time) else { return Arbiter::Nobody };
    let renewed_ms = renewed.0.as_millisecond();
    let lasts = i64::from(spec.lease_duration_seconds.unwrap_or_default()) * 1000;
    if at.0 - renewed_ms > lasts {
        Arbiter::Lapsed { holder, renewed_ms }
    } else {
        Arbiter::Holds { holder }
    }
}
