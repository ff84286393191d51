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

use super::shape::Part;
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
    /// A process of Tanist on a node.
    Tanist(Part, NodeName),
}

impl User {
    /// Returns all whose tokens are known before the server starts, with the group that gives each
    /// its rights. Tanist's processes work under accounts, whose tokens the server itself issues.
    fn known(topology: &Topology) -> Vec<(Self, &'static str)> {
        let masters = [Self::Lab, Self::Person].map(|user| (user, "system:masters"));
        let names = topology.places.iter().map(|place| place.name.clone());
        masters.into_iter().chain(names.map(|name| (Self::Kilo(name), "lab:kilo"))).collect()
    }
}

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lab => f.write_str("lab"),
            Self::Person => f.write_str("person"),
            Self::Kilo(node) => write!(f, "kilo-{node}"),
            Self::Tanist(part, node) => write!(f, "tanist-{part}-{node}"),
        }
    }
}

/// What each user shows to be let in.
#[derive(Debug, Clone)]
pub enum Tokens {
    /// The users' names, for a server that lets everybody in.
    Names,
    /// What nobody can guess, and what the server has issued.
    Secret(BTreeMap<User, String>),
}

impl Tokens {
    /// Draws tokens for all that are known before the server starts. Returns with them the lines of
    /// its `--token-auth-file`.
    pub fn draw(topology: &Topology) -> Result<(Self, String), Error> {
        let (mut tokens, mut lines) = (BTreeMap::new(), String::new());
        for (user, group) in User::known(topology) {
            let token = getrandom::u64().and_then(|one| Ok((one, getrandom::u64()?)));
            let (one, two) = token.map_err(|_| Error::Token)?;
            let token = format!("{one:016x}{two:016x}");
            // Writing to a text cannot fail.
            let _written = writeln!(lines, "{token},{user},{user},{group}");
            tokens.insert(user, token);
        }
        Ok((Self::Secret(tokens), lines))
    }

    fn of(&self, user: &User) -> Result<String, Error> {
        match self {
            Self::Names => Ok(user.to_string()),
            Self::Secret(tokens) => {
                tokens.get(user).cloned().ok_or_else(|| Error::NoUser(user.clone()))
            }
        }
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
    /// Returns the same access with the token that the server has issued to a user.
    #[must_use]
    pub fn with(mut self, user: User, token: String) -> Self {
        if let Tokens::Secret(tokens) = &mut self.tokens {
            tokens.insert(user, token);
        }
        self
    }

    /// Returns where the kubeconfig of a process is.
    #[must_use]
    pub fn file(&self, user: &User) -> PathBuf {
        self.folder.join(format!("{user}.kubeconfig"))
    }

    /// Writes a kubeconfig for a process of the mesh, and returns its path.
    pub fn kubeconfig(&self, user: &User) -> Result<PathBuf, Error> {
        let file = self.file(user);
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
        let token = self.tokens.of(user)?;
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
        let (_, file) = Tokens::draw(&topology).unwrap();
        let lines: Vec<Vec<&str>> = file.lines().map(|line| line.split(',').collect()).collect();

        let users: Vec<_> = lines.iter().map(|line| (line[1], line[3])).collect();
        assert_eq!(
            users,
            [
                ("lab", "system:masters"),
                ("person", "system:masters"),
                ("kilo-onprem-1", "lab:kilo"),
                ("kilo-onprem-2", "lab:kilo"),
            ]
        );
        let mut tokens: Vec<_> = lines.iter().map(|line| line[0]).collect();
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!(tokens.len(), 4);
        assert!(tokens.iter().all(|token| token.len() == 32));
    }

    #[test]
    fn a_kubeconfig_names_server_user_and_certificate() {
        let text = access(Tokens::Names, Some("PEM")).text(&User::Person, "https://x:1").unwrap();
        let read = Kubeconfig::from_yaml(&text).unwrap();
        let cluster = read.clusters[0].cluster.as_ref().unwrap();

        assert_eq!(cluster.server.as_deref(), Some("https://x:1"));
        assert_eq!(cluster.certificate_authority_data.as_deref(), Some("UEVN"));
        assert_eq!(read.auth_infos[0].name, "person");
        let text = access(Tokens::Names, None).text(&User::Person, "http://x:1").unwrap();
        let read = Kubeconfig::from_yaml(&text).unwrap();
        assert_eq!(read.clusters[0].cluster.as_ref().unwrap().certificate_authority_data, None);
    }

    #[test]
    fn a_process_of_tanist_is_let_in_by_what_the_server_issued() {
        let (tokens, _) = Tokens::draw(&Topology::new(1, 2).unwrap()).unwrap();
        let agent = User::Tanist(Part::Agent, "onprem-1".into());
        let before = access(tokens, None);

        let nobody = before.text(&agent, "http://x:1");
        assert!(matches!(nobody, Err(Error::NoUser(user)) if user == agent));
        let after = before.with(agent.clone(), "issued".to_owned());
        assert!(after.text(&agent, "http://x:1").unwrap().contains("token: \"issued\""));
    }
}
