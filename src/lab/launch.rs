//! With what Tanist's processes are started, and where each of them runs.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use super::journals;
use super::shape::{Part, Shape};
use crate::evidence::NodeName;

/// What Tanist is started with.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// In which shape it is installed.
    pub shape: Shape,
    /// On which nodes an arbiter stands, if the shape has any beside the agents.
    pub arbiters: BTreeSet<NodeName>,
    /// The arguments of all processes.
    pub arguments: Vec<String>,
    /// The file of the probe key.
    pub key: PathBuf,
    /// Where logs go.
    pub logs: PathBuf,
}

impl Launch {
    /// Returns what runs on a node.
    #[must_use]
    pub fn parts(&self, node: &NodeName) -> &'static [Part] {
        self.shape.parts(self.arbiters.contains(node))
    }

    /// Returns the arguments of one process.
    #[must_use]
    pub fn arguments(&self, part: Part, node: &NodeName) -> Vec<OsString> {
        let common = part.verb().iter().map(|&word| OsString::from(word));
        let mut arguments: Vec<_> =
            common.chain(self.arguments.iter().map(OsString::from)).collect();
        arguments.extend(["--node-name".into(), OsString::from(&node.0)]);
        if part.probes() {
            arguments.extend(["--key-file".into(), OsString::from(&self.key)]);
        }
        // The arbiter of a node keeps a journal of its own, unless whoever runs the lab keeps one.
        let kept = self.arguments.iter().any(|argument| argument.starts_with("--journal"));
        if part.arbitrates() && !kept {
            arguments.extend(["--journal".into(), journals::file(&self.logs, &node.0).into()]);
        }
        arguments
    }

    /// Tells where what runs.
    #[must_use]
    pub fn told(&self) -> String {
        let arbiters = self.arbiters.iter().map(|node| node.0.as_str()).collect::<Vec<_>>();
        match self.shape {
            Shape::Sidecar => "a Tanist sidecar runs on every node".to_owned(),
            Shape::Agents => format!(
                "a Tanist agent runs on every node, an arbiter on {}",
                arbiters.join(" and on ")
            ),
        }
    }

    /// Returns the log of one process.
    #[must_use]
    pub fn log(&self, part: Part, node: &NodeName) -> PathBuf {
        self.logs.join(match part {
            Part::Sidecar | Part::Agent => format!("{node}.log"),
            Part::Arbiter => format!("{node}-arbiter.log"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(shape: Shape) -> Launch {
        Launch {
            program: "/tanist".into(),
            shape,
            arbiters: BTreeSet::from(["a-3".into()]),
            arguments: vec!["--mode".to_owned(), "act".to_owned()],
            key: "/key".into(),
            logs: "/logs".into(),
        }
    }

    fn line(shape: Shape, node: &str) -> Vec<String> {
        let (launch, node) = (launch(shape), node.into());
        let joined = |part: &Part| {
            let arguments = launch.arguments(*part, &node);
            let words = arguments.iter().map(|word| word.to_string_lossy().into_owned());
            words.collect::<Vec<_>>().join(" ")
        };
        launch.parts(&node).iter().map(joined).collect()
    }

    #[test]
    fn each_shape_starts_what_it_consists_of() {
        let agent = |node| format!("agent --mode act --node-name {node} --key-file /key");
        let arbiter = "arbiter --mode act --node-name a-3 --journal /logs/a-3.journal";
        assert_eq!(line(Shape::Agents, "a-1"), [agent("a-1")]);
        assert_eq!(line(Shape::Agents, "a-3"), [agent("a-3"), arbiter.to_owned()]);

        let sidecar = "agent --with-arbiter --mode act --node-name a-1 --key-file /key \
                       --journal /logs/a-1.journal";
        assert_eq!(line(Shape::Sidecar, "a-1"), [sidecar]);
    }

    #[test]
    fn whoever_keeps_a_journal_is_not_given_another() {
        let mut launch = launch(Shape::Agents);
        launch.arguments.push("--journal=/mine".to_owned());
        let arguments = launch.arguments(Part::Arbiter, &"a-3".into());
        assert!(!arguments.contains(&"--journal".into()));
    }
}
