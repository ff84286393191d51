//! What the operator wants: the mode, pins, pauses, promotion rules, requests.
//!
//! Values are parsed strictly. An unknown value counts as the cautious reading and leaves a
//! complaint, so that a typing error can stop us but never set us going.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evidence::{Node, NodeName};

/// How far Tanist may go by itself.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Watches and counts what it would have done.
    #[default]
    Observe,
    /// Tells people what to do.
    Suggest,
    /// Moves leaders.
    Act,
}

impl Mode {
    /// Reads a mode as written by an operator; none if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "observe" => Some(Self::Observe),
            "suggest" => Some(Self::Suggest),
            "act" => Some(Self::Act),
            _ => None,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Observe => "observe",
            Self::Suggest => "suggest",
            Self::Act => "act",
        })
    }
}

/// Whether an operator wants a node to lead, best first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Promotion {
    /// Before others.
    Prefer,
    /// As any other.
    #[default]
    Neutral,
    /// After others.
    PreferNot,
    /// Never.
    MustNot,
}

impl Promotion {
    /// Reads a promotion rule as written by an operator; none if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "prefer" => Some(Self::Prefer),
            "neutral" => Some(Self::Neutral),
            "prefer-not" => Some(Self::PreferNot),
            "must-not" => Some(Self::MustNot),
            _ => None,
        }
    }
}

/// A person's wish that the leader move.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MoveRequest {
    /// Tells this request from the one before: a request is carried out once.
    pub id: String,
    /// To whom; the best heir if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<NodeName>,
    /// Who asks, for the history.
    #[serde(default)]
    pub by: String,
    /// Whether to move to a node that is not proven fit; it must be Ready all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// What the operator wants of one location.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// The mode; the arbiter's own if unset.
    pub mode: Option<Mode>,
    /// Why the location is left alone, if it is.
    pub pause: Option<String>,
    /// Whether an heir may lead whose forwarding could not be tested.
    pub accept_unproven: bool,
    /// Whether to act although static VPN configurations name the old leader.
    pub accept_peers: bool,
    /// The last incident that a person has acknowledged.
    pub acknowledged: Option<String>,
    /// A person's wish that the leader move.
    pub request: Option<MoveRequest>,
    /// Nodes that are to lead until unpinned; more than one is a contradiction.
    pub pins: Vec<NodeName>,
    /// Rules by node; a node without one is neutral.
    pub promotions: BTreeMap<NodeName, Promotion>,
    /// What could not be understood, for Events.
    pub complaints: Vec<String>,
}

impl Intent {
    /// Takes the mode as written in the location's spec. An unknown one reads as `observe`.
    pub fn read_mode(&mut self, text: &str) {
        let mode = Mode::parse(text);
        if mode.is_none() {
            self.complaints
                .push(format!("mode {text:?} is not observe, suggest or act; read as observe"));
        }
        self.mode = Some(mode.unwrap_or(Mode::Observe));
    }

    /// Takes the `tanist.dev/` annotations of a node of the location.
    pub fn read_node(&mut self, node: &Node) {
        if let Some(text) = node.intent.get("promotion") {
            let rule = Promotion::parse(text);
            if rule.is_none() {
                self.complaints.push(format!(
                    "promotion {text:?} of {} is not prefer, neutral, prefer-not or must-not; \
                     read as must-not",
                    node.name
                ));
            }
            self.promotions.insert(node.name.clone(), rule.unwrap_or(Promotion::MustNot));
        }
        match node.intent.get("pin").map(String::as_str) {
            None | Some("false") => {}
            Some("true") => self.pins.push(node.name.clone()),
            Some(text) => self.complaints.push(format!(
                "pin {text:?} of {} is not true or false; it is not pinned",
                node.name
            )),
        }
        if let Some(why) = node.intent.get("pause") {
            let why = if why.is_empty() { "no reason given" } else { why };
            self.pause = Some(format!("{} of {}", why, node.name));
        }
    }

    /// Returns the promotion rule of a node.
    #[must_use]
    pub fn promotion(&self, node: &NodeName) -> Promotion {
        self.promotions.get(node).copied().unwrap_or_default()
    }
}
