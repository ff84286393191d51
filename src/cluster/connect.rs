//! How we reach the API server.

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// A connection that takes longer than this will not carry a decision in time either.
const CONNECT: Duration = Duration::from_secs(3);

/// A renewal that is not answered by then is late anyway: the lease's deadline is of this order.
const LEASE_ANSWER: Duration = Duration::from_secs(5);

/// Two clients with connections of their own, so that a stuck list never delays a renewal.
#[derive(Clone)]
pub struct Clients {
    /// For everything but the lease.
    pub api: Client,
    /// For the lease alone.
    pub lease: Client,
    /// The namespace that the credentials name: the pod's own, or the kubeconfig's.
    pub namespace: String,
    /// The API server's name or address.
    pub server: String,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file does not hold usable credentials.
    #[error("read kubeconfig {path}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: kube::config::KubeconfigError,
    },
    /// Neither a kubeconfig nor a pod's service account is there.
    #[error("find credentials in the environment")]
    Infer(#[source] kube::config::InferConfigError),
    /// The credentials are there, but no client can be made of them.
    #[error("make a client of the credentials")]
    Client(#[source] kube::Error),
}

/// Makes clients from a kubeconfig, else from the environment (`KUBECONFIG`, `~/.kube/config`, a
/// pod's service account). They never retry by themselves: kube's default retries a request up to
/// fifteen times, which would hold a write back until long after the reason for it is gone.
///
/// # Errors
/// If the credentials cannot be read or used.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Clients, ConnectError> {
    let mut config = match kubeconfig {
        Some(path) => from_file(path).await?,
        None => Config::infer().await.map_err(ConnectError::Infer)?,
    };
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    let namespace = config.default_namespace.clone();

    let mut lease = config.clone();
    lease.read_timeout = Some(LEASE_ANSWER);
    // Otherwise the time for which a pooled connection lay idle counts as waiting.
    lease.reset_reader_on_write = true;

    let server = config.cluster_url.host().unwrap_or_default();
    let server = server.trim_matches(['[', ']']).to_owned();
    Ok(Clients {
        api: Client::try_from(config).map_err(ConnectError::Client)?,
        lease: Client::try_from(lease).map_err(ConnectError::Client)?,
        namespace,
        server,
    })
}

/// A person's patience, over a slow line.
const PERSON: Duration = Duration::from_secs(10);

/// Makes a client with a person's credentials: a kubeconfig, or those that kubectl would use, in
/// the given context or the current one.
///
/// # Errors
/// If the credentials cannot be read or used.
pub async fn as_person(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> Result<Client, ConnectError> {
    let options =
        KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |source| ConnectError::Kubeconfig { path, source }
    };
    let mut config = match (kubeconfig, context) {
        (Some(path), _) => {
            let read = Kubeconfig::read_from(path).map_err(failed(path))?;
            Config::from_custom_kubeconfig(read, &options).await.map_err(failed(path))?
        }
        (None, Some(_)) => {
            let usual = Path::new("of KUBECONFIG or ~/.kube/config");
            Config::from_kubeconfig(&options).await.map_err(failed(usual))?
        }
        (None, None) => Config::infer().await.map_err(ConnectError::Infer)?,
    };
    config.default_retry = false;
    config.connect_timeout = Some(PERSON);
    Client::try_from(config).map_err(ConnectError::Client)
}

async fn from_file(path: &Path) -> Result<Config, ConnectError> {
    let failed = |source| ConnectError::Kubeconfig { path: path.display().to_string(), source };
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(failed)
}
