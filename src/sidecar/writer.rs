//! Writes this node's RelayReport. It belongs to the Node, so that Kubernetes itself takes it away
//! with it: nobody here may delete reports.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};

use crate::cluster::objects::{RelayReport, RelayReportSpec, SlimNode};
use crate::evidence::{NodeName, Report};

/// Writes one RelayReport, whole, and knows its version.
pub(super) struct Writer {
    reports: Api<RelayReport>,
    nodes: Api<SlimNode>,
    name: String,
    version: Option<String>,
    owner: Owner,
}

/// To whom the report belongs.
#[derive(Debug, Clone, PartialEq)]
enum Owner {
    /// It has not been asked for, or was not found.
    Unknown,
    /// To this Node.
    Node(OwnerReference),
    /// To nobody: it was made without an owner, and this server lets only those change that who may
    /// delete it as well.
    Nobody,
}

impl Writer {
    /// Makes one that has written nothing yet.
    pub(super) fn new(client: Client, node: &NodeName) -> Self {
        Self {
            reports: Api::all(client.clone()),
            nodes: Api::all(client),
            name: node.0.clone(),
            version: None,
            owner: Owner::Unknown,
        }
    }

    /// Writes a report in the place of the last.
    pub(super) async fn write(&mut self, report: Report) -> Result<(), kube::Error> {
        let mut object = RelayReport::new(&self.name, RelayReportSpec { report });
        if self.version.is_none() {
            let old = self.reports.get_opt(&self.name).await?;
            if old.is_none() || self.owner != Owner::Nobody {
                self.owner = self.look_for_owner().await;
            }
            self.version = old.and_then(|old| old.resource_version());
        }
        object.metadata.resource_version.clone_from(&self.version);
        // Whatever goes wrong, the version known may be wrong too.
        self.version = None;
        self.version = self.put(object).await?.resource_version();
        Ok(())
    }

    async fn put(&mut self, mut object: RelayReport) -> Result<RelayReport, kube::Error> {
        let Owner::Node(owner) = &self.owner else { return self.put_as_it_is(&object).await };
        object.metadata.owner_references = Some(vec![owner.clone()]);
        match self.put_as_it_is(&object).await {
            Err(kube::Error::Api(status)) if status.code == 403 => {
                object.metadata.owner_references = None;
                let written = self.put_as_it_is(&object).await?;
                tracing::info!(refused = status.message, "The report belongs to no Node");
                self.owner = Owner::Nobody;
                Ok(written)
            }
            written => written,
        }
    }

    async fn put_as_it_is(&self, object: &RelayReport) -> Result<RelayReport, kube::Error> {
        let params = PostParams::default();
        match &object.metadata.resource_version {
            Some(_) => self.reports.replace(&self.name, &params, object).await,
            None => self.reports.create(&params, object).await,
        }
    }

    /// A Node that was deleted and made anew is another one, though it is called the same.
    async fn look_for_owner(&self) -> Owner {
        let params = ListParams::default().fields(&format!("metadata.name={}", self.name));
        let found = self.nodes.list(&params).await.map(|list| list.items).unwrap_or_default();
        let uid = found.into_iter().next().and_then(|node| node.metadata.uid);
        uid.map_or(Owner::Unknown, |uid| {
            Owner::Node(OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: self.name.clone(),
                uid,
                ..OwnerReference::default()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::tests::bed::Bed;

    fn report() -> Report {
        serde_json::from_value(serde_json::json!({
            "node": "a", "location": "eu", "version": "0", "incarnation": 1, "sequence": 1,
            "writtenMs": 0,
        }))
        .unwrap()
    }

    async fn owner(bed: &Bed) -> Option<(String, String)> {
        let reports = Api::<RelayReport>::all(bed.client.clone());
        let report = reports.get("a").await.unwrap();
        let owner = report.metadata.owner_references?.into_iter().next()?;
        Some((owner.kind, owner.uid))
    }

    #[tokio::test]
    async fn a_report_belongs_to_its_node_and_to_another_once_that_is_made_anew() {
        let bed = Bed::with(&["a", "b"]).await;
        let mut writer = Writer::new(bed.client.clone(), &"a".into());
        let uid = async || bed.nodes().get("a").await.unwrap().metadata.uid.unwrap();
        let first = uid().await;
        for _ in 0..2 {
            writer.write(report()).await.unwrap();
            assert_eq!(owner(&bed).await, Some(("Node".to_owned(), first.clone())));
        }

        bed.nodes().delete("a", &Default::default()).await.unwrap();
        bed.add("a").await;
        let reports = Api::<RelayReport>::all(bed.client.clone());
        reports.delete("a", &Default::default()).await.unwrap();
        assert!(writer.write(report()).await.is_err(), "it went with its Node");
        writer.write(report()).await.unwrap();
        assert_ne!(uid().await, first);
        assert_eq!(owner(&bed).await, Some(("Node".to_owned(), uid().await)));
    }

    #[tokio::test]
    async fn a_report_is_written_though_its_node_cannot_be_found() {
        let bed = Bed::with(&["b"]).await;
        Writer::new(bed.client.clone(), &"a".into()).write(report()).await.unwrap();
        assert_eq!(owner(&bed).await, None);
    }
}
