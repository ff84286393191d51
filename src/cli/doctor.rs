//! `tanist doctor`: what a careful colleague would look at, with what to do.

use std::path::Path;
use std::process::{Command, ExitCode};

use clap::Args;

use super::access::Access;
use super::block_on;
use super::output::{Output, patiently};
use crate::evidence::NodeName;
use crate::operator::doctor::{Examination, Level, Scope, examine, gather};
use crate::operator::local;

/// Looks at the whole mesh through the API, or at this node itself: what was seen, what was
/// expected, what to do.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all is fine; 1 there is something to know; 2 something is \
    broken, the API server could not be asked, or the command line was not understood.")]
pub(super) struct Doctor {
    /// Only this node, and what concerns the mesh as a whole
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Looks at the node that this runs on, by its sysctls and devices, without the API
    #[arg(long, conflicts_with = "node")]
    local: bool,
    /// The port that answers probes
    #[arg(long, env = "TANIST_PORT", value_name = "PORT", default_value_t = 1108)]
    port: u16,
    /// Kilo's WireGuard interface, for --local
    #[arg(long, value_name = "DEVICE", default_value = "kilo0")]
    kilo_interface: String,
    /// The overlay device, for --local
    #[arg(long, value_name = "DEVICE")]
    overlay: Option<String>,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    output: Output,
}

impl Doctor {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let examined = if self.local { Ok(self.look_here()) } else { self.look_through_api() };
        let examination = match examined {
            Ok(examination) => examination,
            Err(error) => {
                super::complain(&format!("error: {error:#}"));
                return Ok(code(Level::Broken));
            }
        };
        self.output.show(&examination, |width| examination.text(width))?;
        Ok(code(examination.level))
    }

    fn look_through_api(&self) -> anyhow::Result<Examination> {
        block_on(async {
            let client = self.access.client().await?;
            let view = self.access.view(&client).await?;
            let facts = patiently("asking for rights and versions", gather(&client, self.port));
            let facts = facts.await;
            let scope = match &self.node {
                Some(node) => Scope::Node(NodeName(node.clone())),
                None => Scope::Mesh,
            };
            if let Scope::Node(node) = &scope {
                anyhow::ensure!(view.mesh.nodes.contains_key(node), "there is no node {node}");
            }
            Ok(examine(&view, &facts, &scope))
        })
    }

    fn look_here(&self) -> Examination {
        let forward = Command::new("iptables").args(["-w", "-S", "FORWARD"]).output();
        let forward = forward.ok().filter(|output| output.status.success());
        let forward = forward.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        local::Node {
            proc: Path::new("/proc"),
            sys: Path::new("/sys"),
            kilo: &self.kilo_interface,
            overlay: self.overlay.as_deref(),
            forward: forward.as_deref(),
        }
        .examine()
    }
}

const fn worst(level: Level) -> u8 {
    match level {
        Level::Fine => 0,
        Level::Warning => 1,
        Level::Broken => 2,
    }
}

fn code(level: Level) -> ExitCode {
    ExitCode::from(worst(level))
}
