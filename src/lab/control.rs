//! The control plane of the lab's mesh: an API server at the WAN, the embedded one or the real one,
//! and a way to it from the machine outside.

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener as Listener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kube::api::ListParams;
use kube::{Api, Client};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::access::{self, Access, Tokens, User};
use super::accounts;
use super::admission;
use super::apiserver::{Fault, Server};
use super::audit;
use super::gate::{Hold, Threshold};
use super::inventory;
use super::rights;
use super::servers::{self, Programs, Servers};
use super::shape::{self, Part, Shape};
use super::topology::{SERVER, Topology};
use crate::cluster::objects::SlimNode;
use crate::evidence::kilo::TOPOLOGY_LABEL;
use crate::evidence::{Mesh, NodeName, UnixTime};

/// The port of the API server at the WAN.
const PORT: u16 = 6443;

/// What went wrong with the control plane.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Sockets.
    #[error("could not {tried}")]
    Io {
        /// What was tried.
        tried: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// Credentials.
    #[error("could not give credentials")]
    Access(#[from] access::Error),
    /// The real servers.
    #[error("could not run the real servers")]
    Servers(#[from] servers::Error),
    /// Rights.
    #[error("could not grant rights")]
    Rights(#[from] rights::Error),
    /// What was written down.
    #[error(transparent)]
    Audit(#[from] audit::Error),
    /// Accounts.
    #[error("could not give a process its account")]
    Accounts(#[from] accounts::Error),
    /// Admission policies.
    #[error("an admission policy is not in force")]
    Admission(#[from] admission::Error),
    /// What is in it from the start.
    #[error(transparent)]
    Inventory(#[from] inventory::Error),
    /// The Nodes cannot be read.
    #[error("could not list the Nodes")]
    List(#[source] Box<kube::Error>),
}

fn io(tried: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { tried, source }
}

/// Who answers.
enum Answering {
    /// The server in this process.
    Embedded { server: Server, _end: DropGuard },
    /// Kubernetes' own.
    Real(Box<Servers>),
}

/// A running API server and a client of it. Start and use it on the WAN's thread.
pub struct ControlPlane {
    /// How it is used.
    pub access: Access,
    /// The lab's own client.
    pub client: Client,
    answering: Answering,
}

impl ControlPlane {
    /// Starts the embedded server, or those of `real`, for the processes of a mesh: at the WAN and
    /// on the listener that came from outside.
    pub async fn start(
        loopback: Listener,
        folder: &Path,
        topology: &Topology,
        real: Option<&Programs>,
    ) -> Result<Self, Error> {
        loopback.set_nonblocking(true).map_err(io("use the loopback listener"))?;
        let outside = loopback.local_addr().map_err(io("read the loopback listener's address"))?;
        let loopback = TcpListener::from_std(loopback).map_err(io("use the loopback listener"))?;

        let (answering, tokens) = match real {
            Some(programs) => {
                let (tokens, file) = Tokens::draw(topology)?;
                (start_real(programs, folder, &file, loopback).await?, tokens)
            }
            None => (start_embedded(loopback).await?, Tokens::Names),
        };
        let (scheme, authority) = match &answering {
            Answering::Embedded { .. } => ("http", None),
            Answering::Real(servers) => ("https", Some(servers.authority.clone())),
        };
        let access = Access {
            folder: folder.to_owned(),
            inside: format!("{scheme}://{SERVER}:{PORT}"),
            outside: format!("{scheme}://{outside}"),
            authority,
            tokens,
        };
        let client = access.client(&User::Lab).await?;
        let mut control = Self { access, client, answering };
        control.ready().await?;
        Ok(control)
    }

    /// Waits until the server says that it is ready.
    async fn ready(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        let Answering::Real(servers) = &mut self.answering else { return Ok(()) };
        let ask = async || {
            let request = http::Request::get("/readyz").body(Vec::new()).ok()?;
            self.client.request_text(request).await.ok()
        };

        while ask().await.is_none() {
            servers.wait(began).await?;
        }
        Ok(())
    }

    /// Lets the server refuse all connections, those that exist too.
    pub fn refuse(&self) {
        match &self.answering {
            Answering::Embedded { server, .. } => server.faults().set(Fault::Refuse),
            Answering::Real(servers) => servers.gate.shut(),
        }
    }

    /// Lets the writes of a move take their time: all of them at the embedded server; at the real one
    /// whatever the node at this address says, so that what it has not said yet dies with it.
    pub fn slow_moves(&self, wait: Duration, from: IpAddr) {
        match &self.answering {
            Answering::Embedded { server, .. } => server.faults().set(Fault::SlowMoves(wait)),
            Answering::Real(servers) => servers.gate.hold(Some(Hold { from, wait })),
        }
    }

    /// Lets the server answer again, and as fast as it can.
    pub fn answer(&self) {
        match &self.answering {
            Answering::Embedded { server, .. } => server.faults().lift(),
            Answering::Real(servers) => {
                servers.gate.hold(None);
                servers.gate.reopen();
            }
        }
    }

    /// Puts Tanist's and Kilo's kinds, a Node for each place, and what an installation of Tanist in
    /// this shape is made of into the cluster; waits until its policies are in force.
    pub async fn register(&self, topology: &Topology, shape: Shape) -> Result<(), Error> {
        if matches!(self.answering, Answering::Embedded { .. }) {
            // It lets everybody do everything, but nobody in a namespace that is not there.
            rights::apply(&self.client, &[shape::NAMESPACE]).await?;
            return Ok(inventory::register(&self.client, topology).await?);
        }

        rights::grant(&self.client, shape).await?;
        inventory::register(&self.client, topology).await?;
        self.enforce(topology, shape).await
    }

    /// Waits until every policy of a shape refuses what it is there to refuse.
    async fn enforce(&self, topology: &Topology, shape: Shape) -> Result<(), Error> {
        let Some(arbiter) = shape::arbiters(topology, None).into_iter().next() else {
            return Ok(());
        };
        let mover = self.client_of(&User::Tanist(shape.mover(), arbiter.clone())).await?;
        admission::keeps_nodes(&mover, &arbiter).await?;

        let other = topology.places.iter().find(|place| place.name != arbiter);
        if let Some(other) = other.filter(|_| shape == Shape::Agents) {
            let agent = self.client_of(&User::Tanist(Part::Agent, arbiter)).await?;
            admission::keeps_reports(&agent, &other.name).await?;
        }
        Ok(())
    }

    /// Returns a client of a process of the mesh.
    async fn client_of(&self, user: &User) -> Result<Client, Error> {
        Ok(self.known(user).await?.client(user).await?)
    }

    /// Returns the kubeconfig of a process of Tanist, written if it is not there. Where the server
    /// knows accounts, the process is then a pod with the token of its own account; like that of a
    /// container which restarts, it stays the same.
    pub async fn kubeconfig(&self, part: Part, node: &NodeName) -> Result<PathBuf, Error> {
        let user = User::Tanist(part, node.clone());
        let file = self.access.file(&user);
        if file.exists() {
            return Ok(file);
        }
        Ok(self.known(&user).await?.kubeconfig(&user)?)
    }

    /// Returns the access of a user, with the token that the server issues to it.
    async fn known(&self, user: &User) -> Result<Access, Error> {
        let access = self.access.clone();
        match (&self.answering, user) {
            (Answering::Real(_), User::Tanist(part, node)) => {
                let token = accounts::token(&self.client, *part, node).await?;
                Ok(access.with(user.clone(), token))
            }
            (Answering::Real(_) | Answering::Embedded { .. }, _) => Ok(access),
        }
    }

    /// Returns what the server has forbidden to the accounts of Tanist.
    pub fn forbidden(&self) -> Result<Vec<String>, Error> {
        match &self.answering {
            Answering::Embedded { .. } => Ok(Vec::new()),
            Answering::Real(servers) => Ok(audit::forbidden(&servers.audit)?),
        }
    }

    /// Returns the access to Nodes, read slimly.
    #[must_use]
    pub fn nodes(&self) -> Api<SlimNode> {
        Api::all(self.client.clone())
    }

    /// Reads all Nodes as Kilo does.
    pub async fn mesh(&self, at: UnixTime) -> Result<Mesh, Error> {
        let nodes = self.nodes().list(&ListParams::default()).await;
        let nodes = nodes.map_err(|source| Error::List(Box::new(source)))?;

        Ok(Mesh { nodes: read(&nodes.items), at })
    }
}

/// Reads Nodes as Kilo does.
pub fn read(nodes: &[SlimNode]) -> BTreeMap<NodeName, crate::evidence::Node> {
    let nodes = nodes.iter().map(|node| (node.name().into(), node.read(TOPOLOGY_LABEL)));
    nodes.collect()
}

async fn start_embedded(loopback: TcpListener) -> Result<Answering, Error> {
    let server = Server::new();
    let end = CancellationToken::new();
    let wan = TcpListener::bind((SERVER, PORT)).await.map_err(io("listen at the WAN"))?;

    for listener in [wan, loopback] {
        let (server, end) = (server.clone(), end.clone());
        tokio::spawn(async move {
            if let Err(error) = server.serve(listener, end).await {
                tracing::error!(error = %crate::telemetry::Chain(&error), "The API server ended");
            }
        });
    }
    Ok(Answering::Embedded { server, _end: end.drop_guard() })
}

async fn start_real(
    programs: &Programs,
    folder: &Path,
    tokens: &str,
    loopback: TcpListener,
) -> Result<Answering, Error> {
    let servers = Servers::start(programs, folder, tokens).await?;
    servers.admit(Threshold::At((SERVER, PORT).into())).await?;
    servers.admit(Threshold::Given(loopback)).await?;
    Ok(Answering::Real(Box::new(servers)))
}
