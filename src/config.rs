//! Configuration: flags, then environment, then file, then default; validated once.
//!
//! One struct, [`Settings`], is read from all three: clap fills it from flags and environment,
//! serde from the file (YAML). Unknown keys are errors that name the line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::decide::Mode;
use crate::telemetry;

/// What can be set, each at most once per source; none means the default.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// The Node that this process runs on
    #[arg(long = "node-name", env = "NODE_NAME", value_name = "N")]
    #[serde(rename = "node-name")]
    pub node: Option<String>,
    /// The kubeconfig to use; without it, the pod's own credentials
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Probe keys, one per line in base64 or hex; the first signs, all verify
    #[arg(long, env = "TANIST_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// What to do with a verdict: observe, suggest or act
    #[arg(long, env = "TANIST_MODE", value_name = "MODE", value_parser = parse_mode)]
    pub mode: Option<Mode>,
    /// The port that answers probes, UDP and TCP
    #[arg(long, env = "TANIST_PORT", value_name = "PORT")]
    pub port: Option<u16>,
    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, env = "TANIST_ADMIN", value_name = "ADDRESS:PORT")]
    pub admin: Option<SocketAddr>,
    /// The namespace of the lease
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The overlay device inside a location
    #[arg(long, env = "TANIST_OVERLAY", value_name = "DEVICE")]
    pub overlay: Option<String>,
    /// Kilo's WireGuard interface
    #[arg(long, env = "TANIST_KILO_INTERFACE", value_name = "DEVICE")]
    pub kilo_interface: Option<String>,
    /// The port of Kilo's own metrics on this node
    #[arg(long, env = "TANIST_KILO_PORT", value_name = "PORT")]
    pub kilo_port: Option<u16>,
    /// How long a Kilo agent must have run before its node counts
    #[arg(long, env = "TANIST_KILO_SETTLE", value_name = "TIME")]
    pub kilo_settle: Option<Span>,
    /// The Node label that Kilo takes a location from
    #[arg(long, env = "TANIST_TOPOLOGY_LABEL", value_name = "LABEL")]
    pub topology_label: Option<String>,
    /// Where the last plan is kept, so that a restart without the API still probes
    #[arg(long, env = "TANIST_CACHE", value_name = "FILE")]
    pub cache: Option<PathBuf>,
    /// Where the arbiter journals what came in and what followed
    #[arg(long, env = "TANIST_JOURNAL", value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// How large the journal may grow before it is turned over, in MiB
    #[arg(long, env = "TANIST_JOURNAL_MIB", value_name = "MIB")]
    pub journal_mib: Option<u64>,
    /// How long a location rests after an automatic move; doubles with each
    #[arg(long, env = "TANIST_REST", value_name = "TIME")]
    pub rest: Option<Span>,
    /// How long the rest can grow
    #[arg(long, env = "TANIST_REST_MOST", value_name = "TIME")]
    pub rest_most: Option<Span>,
    /// Automatic moves per location and day
    #[arg(long, env = "TANIST_DAILY_MOVES", value_name = "N")]
    pub daily_moves: Option<u32>,
    /// How long a new leader has to prove itself
    #[arg(long, env = "TANIST_PROOF", value_name = "TIME")]
    pub proof: Option<Span>,
    /// How long after a change of leader nothing is concluded about the location
    #[arg(long, env = "TANIST_QUIET", value_name = "TIME")]
    pub quiet: Option<Span>,
    /// How long after the API server's return nothing is decided, at least
    #[arg(long, env = "TANIST_RETURN_QUIET", value_name = "TIME")]
    pub return_quiet: Option<Span>,
    /// What to log, such as `info` or `info,tanist::sidecar=debug`
    #[arg(long, env = "TANIST_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// Asked before a move; an answer other than 2xx vetoes it
    #[arg(long, env = "TANIST_HOOK_BEFORE", value_name = "URL")]
    pub hook_before: Option<String>,
    /// Told after a move
    #[arg(long, env = "TANIST_HOOK_AFTER", value_name = "URL")]
    pub hook_after: Option<String>,
}

macro_rules! first_of {
    ($first:ident, $second:ident, { $($field:ident),+ $(,)? }) => {
        Settings { $($field: $first.$field.or($second.$field)),+ }
    };
}

impl Settings {
    /// Reads settings from a YAML file.
    ///
    /// # Errors
    /// If the file cannot be read, or holds an unknown key or a value of the wrong form.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| Error::Read { file: file.to_owned(), source })?;
        Self::parse(&text)
            .map_err(|source| Error::Parse { file: file.to_owned(), source: Box::new(source) })
    }

    fn parse(text: &str) -> Result<Self, serde_saphyr::Error> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text)
    }

    /// Returns these settings, and where one is not set, the other's.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        first_of!(self, other, {
            node, kubeconfig, key_file, mode, port, admin, namespace, overlay, kilo_interface,
            kilo_port, kilo_settle, topology_label, cache, journal, journal_mib, rest, rest_most, daily_moves,
            proof, quiet, return_quiet, log, hook_before, hook_after,
        })
    }

    /// Fills in the defaults and checks that the whole makes sense.
    ///
    /// # Errors
    /// If two settings contradict each other or one is out of bounds.
    pub fn validate(self) -> Result<Config, Error> {
        let rest = self.rest.map_or(DEFAULT_REST, Duration::from);
        let rest_most = self.rest_most.map_or_else(|| DEFAULT_REST_MOST.max(rest), Duration::from);
        if rest_most < rest {
            return Err(Error::RestMost { rest: Span(rest), rest_most: Span(rest_most) });
        }
        let port = self.port.unwrap_or(DEFAULT_PORT);
        if port == 0 {
            return Err(Error::PortZero);
        }
        Ok(Config {
            node: self.node,
            kubeconfig: self.kubeconfig,
            key_file: self.key_file,
            mode: self.mode.unwrap_or(Mode::Observe),
            port,
            admin: self.admin.unwrap_or(DEFAULT_ADMIN),
            namespace: self.namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
            overlay: self.overlay,
            kilo_interface: self.kilo_interface.unwrap_or_else(|| "kilo0".to_owned()),
            kilo_port: self.kilo_port.unwrap_or(1107),
            kilo_settle: self.kilo_settle.map_or(DEFAULT_KILO_SETTLE, Duration::from),
            topology_label: self
                .topology_label
                .unwrap_or_else(|| "topology.kubernetes.io/region".to_owned()),
            cache: self.cache,
            journal: self.journal,
            journal_bytes: self.journal_mib.unwrap_or(64) << 20,
            rest,
            rest_most,
            daily_moves: self.daily_moves.unwrap_or(3),
            proof: self.proof.map_or(DEFAULT_PROOF, Duration::from),
            quiet: self.quiet.map_or(DEFAULT_QUIET, Duration::from),
            return_quiet: self.return_quiet.map_or(DEFAULT_RETURN_QUIET, Duration::from),
            log: self.log.unwrap_or_else(|| telemetry::DEFAULT_FILTER.to_owned()),
            hook_before: self.hook_before,
            hook_after: self.hook_after,
        })
    }
}

fn parse_mode(text: &str) -> Result<Mode, String> {
    Mode::parse(text).ok_or_else(|| format!("`{text}` is not observe, suggest or act"))
}

/// Beside Kilo's 1107, and free on common distributions.
const DEFAULT_PORT: u16 = 1108;
/// Metrics are for the cluster's scraper: all addresses, beside the probe port.
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 1109);
/// Where Kilo itself lives.
const DEFAULT_NAMESPACE: &str = "kube-system";
/// Long enough that a person can look before the next move.
const DEFAULT_REST: Duration = Duration::from_secs(600);
/// A location that keeps failing waits for a person.
const DEFAULT_REST_MOST: Duration = Duration::from_secs(7200);
/// WireGuard's worst handshake after a move takes fifteen seconds (measured).
const DEFAULT_PROOF: Duration = Duration::from_secs(20);
/// Kilo's agents miss a check-in after so long: before, theirs may be the first topology still.
const DEFAULT_KILO_SETTLE: Duration = Duration::from_secs(60);
/// Twice Kilo's resync: by then every agent has applied the change.
const DEFAULT_QUIET: Duration = Duration::from_secs(60);
/// After the API server's return agents relist one by one for up to a minute (measured).
const DEFAULT_RETURN_QUIET: Duration = Duration::from_secs(60);

/// What holds for this process: defaults filled in, contradictions refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The Node that this process runs on.
    pub node: Option<String>,
    /// The kubeconfig; none in a pod.
    pub kubeconfig: Option<PathBuf>,
    /// The probe keys.
    pub key_file: Option<PathBuf>,
    /// What to do with a verdict where a location does not say.
    pub mode: Mode,
    /// The port that answers probes.
    pub port: u16,
    /// Where metrics and health are served.
    pub admin: SocketAddr,
    /// The namespace of the lease.
    pub namespace: String,
    /// The overlay device, if it must not be guessed.
    pub overlay: Option<String>,
    /// Kilo's WireGuard interface.
    pub kilo_interface: String,
    /// The port of Kilo's metrics.
    pub kilo_port: u16,
    /// How long a Kilo agent must have run before its node counts.
    pub kilo_settle: Duration,
    /// The label that Kilo takes a location from.
    pub topology_label: String,
    /// Where the last plan is kept.
    pub cache: Option<PathBuf>,
    /// Where the arbiter journals.
    pub journal: Option<PathBuf>,
    /// How large the journal may grow.
    pub journal_bytes: u64,
    /// How long a location rests after an automatic move.
    pub rest: Duration,
    /// How long the rest can grow.
    pub rest_most: Duration,
    /// Automatic moves per location and day.
    pub daily_moves: u32,
    /// How long a new leader has to prove itself.
    pub proof: Duration,
    /// How long after a change of leader nothing is concluded.
    pub quiet: Duration,
    /// How long after the API server's return nothing is decided.
    pub return_quiet: Duration,
    /// What to log.
    pub log: String,
    /// Asked before a move.
    pub hook_before: Option<String>,
    /// Told after a move.
    pub hook_after: Option<String>,
}

/// A length of time as people write it: `10s`, `90 min`, `2h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let signed: jiff::SignedDuration = text
            .parse()
            .map_err(|_| format!("`{text}` is no length of time; write it as 10s, 5m or 2h"))?;
        let span = Duration::try_from(signed)
            .map_err(|_| format!("`{text}` is negative; a length of time cannot be"))?;
        Ok(Self(span))
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration {file}", file = file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file does not hold what it should.
    #[error("cannot use the configuration {file}", file = file.display())]
    Parse {
        /// Which file.
        file: PathBuf,
        /// Where and why.
        source: Box<serde_saphyr::Error>,
    },
    /// The rest would shrink.
    #[error("rest-most ({rest_most}) is shorter than rest ({rest}); make it at least as long")]
    RestMost {
        /// The first rest.
        rest: Span,
        /// Its bound.
        rest_most: Span,
    },
    /// No port.
    #[error("port is 0; name the port that every node answers probes on (1108 by default)")]
    PortZero,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_and_its_line_named() {
        let error = Settings::parse("port: 1108\nmoed: act\n").expect_err("no such key");
        let text = error.to_string();
        assert!(text.contains("moed"), "{text}");
        assert!(text.contains("line 2") || text.contains("2:"), "{text}");
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let flags = Settings { port: Some(7), ..Settings::default() };
        let file = Settings::parse("port: 8\nrest: 1m\nmode: act\n").expect("a good file");
        let config = flags.or(file).validate().expect("valid");
        assert_eq!(config.port, 7);
        assert_eq!(config.rest, Duration::from_secs(60));
        assert_eq!(config.mode, Mode::Act);
        assert_eq!(config.proof, DEFAULT_PROOF);
    }

    #[test]
    fn an_empty_file_changes_nothing() {
        assert_eq!(Settings::parse("\n").expect("empty"), Settings::default());
    }

    #[test]
    fn nonsense_is_refused_with_what_to_do() {
        let short = Settings { rest: Some(Span(Duration::from_secs(60))), ..Settings::default() };
        let short = Settings { rest_most: Some(Span(Duration::from_secs(1))), ..short };
        assert!(short.validate().expect_err("shrinks").to_string().contains("at least as long"));
        assert!("soon".parse::<Span>().expect_err("no time").contains("10s"));
    }
}
