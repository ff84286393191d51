//! Tells people, through Events on the Node and on the MeshLocation.
//!
//! In a task of its own, and never waited for: an Event that cannot be written must not hold a
//! move up. Repeats of one Event become a count, by kube's recorder.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::cluster::objects::{MeshLocation, mesh_location_name};
use crate::evidence::{Location, NodeName};
use crate::telemetry::Chain;

/// What happened, as `kubectl get events` groups it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Kilo's rules name another leader.
    LeaderChanged,
    /// Fresh flows pass again.
    LeaderForwards,
    /// Something is wrong that is not the leader's fault.
    LocationImpaired,
    /// The leader is convicted.
    LeaderDark,
    /// A move is wished for.
    MovingLeader,
    /// A guard rail holds a move back that the evidence would justify.
    MoveHeldBack,
    /// The annotations are written.
    LeaderMoved,
    /// Fresh flows pass through the new leader.
    MoveProven,
    /// They did not in time.
    MoveNotProven,
    /// The move was given up; nothing of it is left.
    MoveRefused,
    /// Somebody put a leader annotation back that Tanist had taken away.
    AnnotationReadded,
    /// Something that a person should know.
    Attention,
}

impl Reason {
    const fn type_(self) -> EventType {
        match self {
            Self::LeaderChanged | Self::LeaderForwards | Self::LeaderMoved | Self::MoveProven => {
                EventType::Normal
            }
            Self::LocationImpaired
            | Self::LeaderDark
            | Self::MovingLeader
            | Self::MoveHeldBack
            | Self::MoveNotProven
            | Self::MoveRefused
            | Self::AnnotationReadded
            | Self::Attention => EventType::Warning,
        }
    }

    /// Returns what Tanist was doing.
    const fn action(self) -> &'static str {
        match self {
            Self::LeaderChanged
            | Self::LeaderForwards
            | Self::LocationImpaired
            | Self::LeaderDark
            | Self::AnnotationReadded
            | Self::Attention => "Judge",
            Self::MovingLeader
            | Self::MoveHeldBack
            | Self::LeaderMoved
            | Self::MoveProven
            | Self::MoveNotProven
            | Self::MoveRefused => "MoveLeader",
        }
    }
}

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// What happened.
    pub reason: Reason,
    /// Where.
    pub location: Location,
    /// The node that it is about, if it is about one.
    pub node: Option<NodeName>,
    /// In a sentence.
    pub note: String,
}

/// How many Events may wait: what comes on top while the API server is away is dropped.
const WAITING: usize = 256;

/// The longest note that an Event may carry.
const LONGEST_NOTE: usize = 1000;

/// Writes Events in the background; ends when this is dropped.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Sender<Telling>,
    _task: AbortOnDropHandle<()>,
}

impl Events {
    /// Starts to write Events as this instance.
    #[must_use]
    pub fn start(client: Client, instance: &str) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let reporter =
            Reporter { controller: "tanist.dev/arbiter".into(), instance: Some(instance.into()) };
        let teller = Teller {
            recorder: Recorder::new(client.clone(), reporter),
            locations: Api::all(client),
            known: BTreeMap::new(),
        };
        Self { queue, _task: AbortOnDropHandle::new(tokio::spawn(teller.run(waiting))) }
    }

    /// Tells one thing.
    pub fn tell(&self, telling: Telling) {
        if self.queue.try_send(telling).is_err() {
            tracing::debug!("Event dropped: too many wait");
        }
    }
}

struct Teller {
    recorder: Recorder,
    locations: Api<MeshLocation>,
    known: BTreeMap<Location, ObjectReference>,
}

impl Teller {
    async fn run(mut self, mut waiting: mpsc::Receiver<Telling>) {
        while let Some(telling) = waiting.recv().await {
            let event = Event {
                type_: telling.reason.type_(),
                reason: format!("{:?}", telling.reason),
                note: Some(telling.note.chars().take(LONGEST_NOTE).collect()),
                action: telling.reason.action().to_owned(),
                secondary: None,
            };
            if let Some(node) = &telling.node {
                self.publish(&event, &node_reference(node)).await;
            }
            let location = self.location_reference(&telling.location).await;
            self.publish(&event, &location).await;
        }
    }

    async fn publish(&self, event: &Event, about: &ObjectReference) {
        if let Err(error) = self.recorder.publish(event, about).await {
            tracing::debug!(error = %Chain(&error), reason = event.reason, "Event not written");
        }
    }

    /// Returns the reference of a location's object, with its uid, by which kubectl finds Events.
    async fn location_reference(&mut self, location: &Location) -> ObjectReference {
        if let Some(known) = self.known.get(location) {
            return known.clone();
        }
        let name = mesh_location_name(location);
        let mut reference = ObjectReference {
            api_version: Some("tanist.dev/v1alpha1".to_owned()),
            kind: Some("MeshLocation".to_owned()),
            name: Some(name.clone()),
            ..ObjectReference::default()
        };
        if let Ok(object) = self.locations.get_metadata(&name).await {
            reference.uid = object.uid();
            self.known.insert(location.clone(), reference.clone());
        }
        reference
    }
}

/// Returns the reference of a Node as kubelet writes it, which `kubectl describe node` looks for.
fn node_reference(node: &NodeName) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(node.0.clone()),
        uid: Some(node.0.clone()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests;
