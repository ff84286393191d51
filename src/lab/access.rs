//! Who may use the API server as whom: credentials, and the kubeconfigs that hold them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::topology::Topology;
use crate::evidence::NodeName;

/// What went wrong with credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No randomness for a token.
    #[error("could not draw a token")]
    Token,
    /// Nobody of that name.
    #[error("there is no user {0}")]
    NoUser(User),
    /// A file.
    #[error("could not write {path}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A kubeconfig that we wrote is not understood.
    #[error("could not use our own kubeconfig")]
    Kubeconfig(#[source] Box<kube::config::KubeconfigError>),
    /// No client can be made of it.
    #[error("could not make a client for the API server")]
    Client(#[source] Box<kube::Error>),
}

/// Somebody who uses the API server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum User {
    /// The lab itself.
    Lab,
    /// Whoever looks at the mesh from outside.
    Person,
    /// Kilo's agent on a node.
    Kilo(NodeName),
    /// Tanist's sidecar on a node.
    Tanist(NodeName),
}

impl User {
    /// Returns all that a mesh has.
    #[must_use]
    pub fn all(topology: &Topology) -> Vec<Self> {
        let names = topology.places.iter().map(|place| &place.name);
        let agents = names.flat_map(|n| [Self::Kilo(n.clone()), Self::Tanist(n.clone())]);
        [Self::Lab, Self::Person].into_iter().chain(agents).collect()
    }

    /// Returns the group that gives it its rights.
    const fn group(&self) -> &'static str {
        match self {
            Self::Lab | Self::Person => "system:masters",
            Self::Kilo(_) => "lab:kilo",
            Self::Tanist(_) => "lab:tanist",
        }
    }
}

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lab => f.write_str("lab"),
            Self::Person => f.write_str("person"),
            Self::Kilo(node) => write!(f, "kilo-{node}"),
            Self::Tanist(node) => write!(f, "tanist-{node}"),
        }
    }
}

/// What each user shows to be let in.
#[derive(Debug, Clone)]
pub struct Tokens(BTreeMap<User, String>);

impl Tokens {
    /// Returns tokens that are the users' names, for a server that lets everybody in.
    #[must_use]
    pub fn names(users: Vec<User>) -> Self {
        Self(users.into_iter().map(|user| (user.clone(), user.to_string())).collect())
    }

    /// Draws tokens that nobody can guess.
    pub fn draw(users: Vec<User>) -> Result<Self, Error> {
        let draw = |user| {
            let token = getrandom::u64().and_then(|one| Ok((one, getrandom::u64()?)));
            let (one, two) = token.map_err(|_| Error::Token)?;
            Ok((user, format!("{one:016x}{two:016x}")))
        };
        users.into_iter().map(draw).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the lines of a `--token-auth-file`.
    #[must_use]
    pub fn file(&self) -> String {
        self.0.iter().fold(String::new(), |mut lines, (user, token)| {
            // Writing to a text cannot fail.
            let _written = writeln!(lines, "{token},{user},{user},{}", user.group());
            lines
        })
    }
}

/// How the users reach the server. Clones are the same.
#[derive(Debug, Clone)]
pub struct Access {
    /// Where kubeconfigs are written.
    pub folder: PathBuf,
    /// The server's address within the mesh.
    pub inside: String,
    /// The server's address on the machine outside.
    pub outside: String,
    /// The certificates, in PEM, by which the server is known; none if it speaks plain HTTP.
    pub authority: Option<String>,
    /// The users' tokens.
    pub tokens: Tokens,
}

impl Access {
    /// Writes a kubeconfig for a process of the mesh, and returns its path.
    pub fn kubeconfig(&self, user: &User) -> Result<PathBuf, Error> {
        let file = self.folder.join(format!("{user}.kubeconfig"));
        write(&file, &self.text(user, &self.inside)?)?;
        Ok(file)
    }

    /// Writes a kubeconfig for a person outside, and returns its path.
    pub fn kubeconfig_outside(&self) -> Result<PathBuf, Error> {
        let file = self.folder.join("kubeconfig");
        write(&file, &self.text(&User::Person, &self.outside)?)?;
        Ok(file)
    }

    /// Returns how a part of this process reaches the server from within the mesh.
    pub async fn config(&self, user: &User) -> Result<Config, Error> {
        let failed = |source| Error::Kubeconfig(Box::new(source));
        let kubeconfig = Kubeconfig::from_yaml(&self.text(user, &self.inside)?).map_err(failed)?;
        let options = KubeConfigOptions::default();

        Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(failed)
    }

    /// Returns a client for a part of this process within the mesh.
    pub async fn client(&self, user: &User) -> Result<Client, Error> {
        let config = self.config(user).await?;
        Client::try_from(config).map_err(|source| Error::Client(Box::new(source)))
    }

    fn text(&self, user: &User, server: &str) -> Result<String, Error> {
        let token = self.tokens.0.get(user).ok_or_else(|| Error::NoUser(user.clone()))?;
        let authority = self
            .authority
            .as_ref()
            .map(|pem| format!(", certificate-authority-data: \"{}\"", STANDARD.encode(pem)));
        let authority = authority.unwrap_or_default();

        Ok(format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters: [{{name: lab, cluster: {{server: \"{server}\"{authority}}}}}]\n\
             users: [{{name: \"{user}\", user: {{token: \"{token}\"}}}}]\n\
             contexts: [{{name: lab, context: {{cluster: lab, user: \"{user}\"}}}}]\n\
             current-context: lab\n"
        ))
    }
}

fn write(file: &Path, text: &str) -> Result<(), Error> {
    fs::write(file, text).map_err(|source| Error::File { path: file.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(tokens: Tokens, authority: Option<&str>) -> Access {
        Access {
            folder: PathBuf::new(),
            inside: "https://198.51.100.254:6443".to_owned(),
            outside: "https://127.0.0.1:1".to_owned(),
            authority: authority.map(str::to_owned),
            tokens,
        }
    }

    #[test]
    fn every_process_is_a_user_of_its_own() {
        let topology = Topology::new(1, 2).unwrap();
        let tokens = Tokens::draw(User::all(&topology)).unwrap();
        let file = tokens.file();
        let lines: Vec<Vec<&str>> = file.lines().map(|line| line.split(',').collect()).collect();

        let users: Vec<_> = lines.iter().map(|line| (line[1], line[3])).collect();
        assert_eq!(
            users,
            [
                ("lab", "system:masters"),
                ("person", "system:masters"),
                ("kilo-onprem-1", "lab:kilo"),
                ("kilo-onprem-2", "lab:kilo"),
                ("tanist-onprem-1", "lab:tanist"),
                ("tanist-onprem-2", "lab:tanist"),
            ]
        );
        let mut tokens: Vec<_> = lines.iter().map(|line| line[0]).collect();
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!(tokens.len(), 6);
        assert!(tokens.iter().all(|token| token.len() == 32));
    }

    #[test]
    fn a_kubeconfig_names_server_user_and_certificate() {
        let tokens = Tokens::names(vec![User::Person]);
        let text = access(tokens.clone(), Some("PEM")).text(&User::Person, "https://x:1").unwrap();
        let read = Kubeconfig::from_yaml(&text).unwrap();
        let cluster = read.clusters[0].cluster.as_ref().unwrap();

        assert_eq!(cluster.server.as_deref(), Some("https://x:1"));
        assert_eq!(cluster.certificate_authority_data.as_deref(), Some("UEVN"));
        assert_eq!(read.auth_infos[0].name, "person");
        let text = access(tokens.clone(), None).text(&User::Person, "http://x:1").unwrap();
        let read = Kubeconfig::from_yaml(&text).unwrap();
        assert_eq!(read.clusters[0].cluster.as_ref().unwrap().certificate_authority_data, None);

        let nobody = access(tokens, None).text(&User::Lab, "http://x:1");
        assert!(matches!(nobody, Err(Error::NoUser(User::Lab))));
    }
}
