//! What this node is told: its own Node says in which location it is, that location's MeshLocation
//! says the rest. Without the API the last plan stands; it survives a restart in a file.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net};
use kube::Api;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::cluster::objects::{MeshLocation, SlimNode, mesh_location_name};
use crate::cluster::watch::{Renewal, Watch};
use crate::evidence::{Assignment, Location, Node, NodeName, Nudge};
use crate::telemetry::Chain;

/// What this node is told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Plan {
    /// Its location, once known.
    pub(super) location: Option<Location>,
    /// Whom to probe.
    pub(super) assignment: Option<Assignment>,
    /// The node's pod range.
    pub(super) pod_range: Option<Ipv4Net>,
    /// Its own address within its location.
    pub(super) node_address: Option<IpAddr>,
    /// The host's address in Cilium's network.
    pub(super) cni_address: Option<IpAddr>,
    /// The last inquest. No restart answers an old one.
    #[serde(skip)]
    pub(super) inquest: u64,
    /// Other locations that are doubted, each with a number.
    #[serde(skip)]
    pub(super) look: BTreeMap<Location, u64>,
    /// The nudges that stand.
    #[serde(skip)]
    pub(super) nudges: Vec<Nudge>,
}

impl Plan {
    /// Returns the location's leader, where known.
    pub(super) fn leader(&self) -> Option<&NodeName> {
        self.assignment.as_ref()?.leader.as_ref()
    }

    /// Takes what the Node says. A changed location leaves the old one's plan behind.
    pub(super) fn read_node(&mut self, node: &Node) {
        if self.location.as_ref() != Some(&node.location) {
            *self = Self { location: Some(node.location.clone()), ..Self::default() };
        }
        self.pod_range = match node.pod_cidr {
            Some(IpNet::V4(range)) => Some(range),
            Some(IpNet::V6(_)) | None => None,
        };
        self.node_address = node.internal_ip.map(|net| net.addr());
        self.cni_address = node.cni_compatibility_ip.map(|net| net.addr());
    }

    /// Takes what the MeshLocation says; none if there is none.
    pub(super) fn read_location(&mut self, object: Option<&MeshLocation>) {
        let status = object.and_then(|object| object.status.clone()).unwrap_or_default();
        self.assignment = status.plan;
        self.inquest = status.inquest;
        self.look = status.look;
        self.nudges = status.nudge.unwrap_or_default();
    }
}

/// Where the last plan is kept.
#[derive(Debug, Clone)]
pub(super) struct Cache(PathBuf);

impl Cache {
    /// Names the file.
    pub(super) const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Returns the plan that was kept. A file that cannot be used is none, and is said.
    pub(super) fn load(&self) -> Option<Plan> {
        let text = match std::fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(file = %self.0.display(), %error, "Kept plan not read");
                return None;
            }
        };
        serde_json::from_slice(&text)
            .inspect_err(|error| {
                tracing::warn!(file = %self.0.display(), %error, "Kept plan not understood");
            })
            .ok()
    }

    /// Keeps a plan. A crash leaves the old file or the new one, never half of it.
    pub(super) fn store(&self, plan: &Plan) {
        let fresh = self.0.with_extension("new");
        let stored = serde_json::to_vec(plan)
            .map_err(std::io::Error::from)
            .and_then(|text| std::fs::write(&fresh, text))
            .and_then(|()| std::fs::rename(&fresh, &self.0));
        if let Err(error) = stored {
            tracing::warn!(file = %self.0.display(), error = %Chain(&error), "Plan not kept");
        }
    }
}

/// Follows the Node and its MeshLocation for ever.
pub(super) async fn follow(
    client: kube::Client,
    (me, topology_label): (NodeName, String),
    cache: Option<Cache>,
    told: watch::Sender<Plan>,
) {
    let mut node = Watch::<SlimNode>::one(Api::all(client.clone()), &me.0, Renewal::Seldom);
    let mut location: Option<(Location, Watch<MeshLocation>)> = None;

    loop {
        let mut plan = told.borrow().clone();
        let seen = node.objects().as_ref().and_then(|objects| objects.get(&me.0).cloned());
        if let Some(node) = seen {
            plan.read_node(&node.read(&topology_label));
        }
        if location.as_ref().map(|(name, _)| name) != plan.location.as_ref() {
            location = plan.location.clone().map(|name| (name.clone(), watch_one(&client, &name)));
        }
        if let Some((name, watch)) = &mut location
            && let Some(objects) = watch.objects().as_ref()
        {
            let object = objects.get(&mesh_location_name(name));
            plan.read_location(object.map(AsRef::as_ref));
        }
        tell(&told, plan, cache.as_ref());

        let changed = async {
            match &mut location {
                Some((_, watch)) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = node.changed() => {}
            () = changed => {}
        }
    }
}

fn watch_one(client: &kube::Client, location: &Location) -> Watch<MeshLocation> {
    Watch::one(Api::all(client.clone()), &mesh_location_name(location), Renewal::Seldom)
}

fn tell(told: &watch::Sender<Plan>, plan: Plan, cache: Option<&Cache>) {
    told.send_if_modified(|known| {
        if *known == plan {
            return false;
        }
        let lasting = |plan: &Plan| (plan.location.clone(), plan.assignment.clone());
        if let Some(cache) = cache.filter(|_| lasting(known) != lasting(&plan)) {
            cache.store(&plan);
        }
        *known = plan;
        true
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            location: Some("cloud".into()),
            assignment: Some(Assignment { leader: Some("c-1".into()), ..Assignment::default() }),
            pod_range: Some("10.42.1.0/24".parse().unwrap()),
            inquest: 4,
            ..Plan::default()
        }
    }

    #[test]
    fn a_kept_plan_comes_back_without_its_inquest() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("plan.json"));
        assert_eq!(cache.load(), None, "none was kept");
        cache.store(&plan());
        assert_eq!(cache.load(), Some(Plan { inquest: 0, ..plan() }));

        std::fs::write(folder.path().join("plan.json"), "half a pl").unwrap();
        assert_eq!(cache.load(), None, "and nonsense is no plan");
    }

    #[test]
    fn another_location_leaves_the_old_plan_behind() {
        let raw = crate::evidence::kilo::RawNode { name: "c-2".into(), ..Default::default() };
        let mut node = crate::evidence::kilo::read(&raw, "region");
        let mut told = plan();
        node.location = "cloud".into();
        told.read_node(&node);
        assert_eq!(told.assignment, plan().assignment);
        assert_eq!(told.pod_range, None, "the Node says what it says");

        node.location = "edge".into();
        told.read_node(&node);
        assert_eq!((told.location, told.assignment), (Some("edge".into()), None));
    }

    #[test]
    fn a_location_without_status_is_no_plan() {
        let mut told = plan();
        told.read_location(None);
        assert_eq!((told.assignment, told.inquest), (None, 0));
    }
}
