//! The lease's store: three calls, so that tests can put a faulty one in its place.

use std::future::Future;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::{Api, Client};

/// Where the lease lives.
pub trait Server: Send + Sync + 'static {
    /// Reads the lease; none if there is none.
    fn read(&self) -> impl Future<Output = Result<Option<Lease>, ServerError>> + Send;

    /// Makes the lease; a conflict if there is one.
    fn create(&self, lease: &Lease) -> impl Future<Output = Result<Lease, ServerError>> + Send;

    /// Replaces the lease; a conflict if its version is no longer the present one.
    fn replace(&self, lease: &Lease) -> impl Future<Output = Result<Lease, ServerError>> + Send;
}

/// Why a call to the lease's store failed.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Somebody else wrote first.
    #[error("write the lease: somebody else wrote first")]
    Conflict,
    /// No answer in time.
    #[error("call the API server for the lease: no answer in time")]
    Silent,
    /// The server answers, and does not let us.
    #[error("call the API server for the lease: it refuses")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Anything else.
    #[error("call the API server for the lease")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The API server. Its client must not retry by itself.
#[derive(Clone)]
pub struct KubeServer {
    api: Api<Lease>,
    name: String,
}

impl KubeServer {
    /// Takes the lease of this name in this namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned() }
    }
}

impl Server for KubeServer {
    async fn read(&self) -> Result<Option<Lease>, ServerError> {
        self.api.get_opt(&self.name).await.map_err(failed)
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, ServerError> {
        let mut lease = lease.clone();
        lease.metadata.name = Some(self.name.clone());
        self.api.create(&PostParams::default(), &lease).await.map_err(failed)
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, ServerError> {
        self.api.replace(&self.name, &PostParams::default(), lease).await.map_err(failed)
    }
}

fn failed(error: kube::Error) -> ServerError {
    let code = if let kube::Error::Api(status) = &error { Some(status.code) } else { None };
    match code {
        Some(409) => ServerError::Conflict,
        // 429: too busy to answer.
        Some(400..=428 | 430..=499) => ServerError::Refused(Box::new(error)),
        Some(_) | None => ServerError::Other(Box::new(error)),
    }
}
