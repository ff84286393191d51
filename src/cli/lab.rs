//! `tanist lab`: a mesh on this machine, in namespaces of its own, and what becomes of it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::{block_on, say, until_told_to_stop};
use crate::config::Span;
use crate::decide::Mode;
use crate::lab::cost;
use crate::lab::faults::Order;
use crate::lab::firewall;
use crate::lab::incident::Step;
use crate::lab::kg;
use crate::lab::mesh::Mesh;
use crate::lab::moves;
use crate::lab::namespace::{Inside, Namespace, run_again_inside};
use crate::lab::picture;
use crate::lab::run::{Options, run};
use crate::lab::scenarios;
use crate::lab::servers;
use crate::lab::shape::Shape;
use crate::lab::station::Programs;
use crate::lab::timeline::Timeline;
use crate::telemetry;

/// Builds a mesh on this machine, breaks it, and shows what Kilo does alone and with Tanist.
#[derive(Debug, Args)]
pub(super) struct Lab {
    /// How many locations
    #[arg(long, default_value_t = 3, value_name = "N")]
    locations: usize,
    /// How many nodes in each location
    #[arg(long, default_value_t = 3, value_name = "N")]
    nodes: usize,
    /// What Tanist may do: observe, suggest or act
    #[arg(long, default_value = "act", value_name = "MODE", value_parser = mode)]
    mode: Mode,
    /// What to break, and where: NAME, NAME:VALUE, or either with @NODE
    #[arg(long, default_value = "new-flows", value_name = "FAULT")]
    fault: Order,
    /// How often to break it under Tanist's eyes; locations take turns
    #[arg(long, default_value_t = 1, value_name = "N")]
    runs: usize,
    /// How long to watch Kilo without Tanist first; 0s for not at all
    #[arg(long, default_value = "15s", value_name = "TIME")]
    without_tanist: Span,
    /// How often a person moves the annotation instead, to compare with
    #[arg(long, default_value_t = 0, value_name = "N")]
    by_hand: usize,
    /// Kills the arbiter when a move has come so far: recorded, annotated, all-annotated or
    /// verifying
    #[arg(long, value_name = "STEP")]
    kill_arbiter: Option<Step>,
    /// Measures instead what Tanist costs while nothing happens, for so long
    #[arg(long, value_name = "TIME", conflicts_with_all = ["moves", "runs", "by_hand", "svg"])]
    idle: Option<Span>,
    /// Measures instead so many moves made by hand, without Tanist
    #[arg(long, value_name = "N", conflicts_with_all = ["runs", "by_hand", "svg"])]
    moves: Option<usize>,
    /// Lets Kilo's timers run ten times as fast
    #[arg(long)]
    fast: bool,
    /// Leaves the mesh up afterwards until Ctrl-C, and says how to look around
    #[arg(long)]
    keep: bool,
    /// Writes all figures there as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws the share of answered flows there as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Keeps the journal of the arbiter there, for `tanist replay`
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Runs every scenario instead, or those with this in their name, two at a time; ends with one
    /// table
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    scenarios: Option<String>,
    /// Runs this API server, with --etcd, instead of the embedded one
    #[arg(long, value_name = "PATH", requires = "etcd")]
    kube_apiserver: Option<PathBuf>,
    /// The store of --kube-apiserver
    #[arg(long, value_name = "PATH", requires = "kube_apiserver")]
    etcd: Option<PathBuf>,
    /// How Tanist is installed: agents (an agent on every node, two arbiters) or sidecar (both in
    /// one process); agents if the API server is real, else sidecar
    #[arg(long, value_name = "SHAPE")]
    shape: Option<Shape>,
    /// Runs this Kilo agent on the nodes instead of the embedded one
    #[arg(long, value_name = "PATH", conflicts_with = "fast")]
    kg: Option<PathBuf>,
    /// More arguments for Tanist's processes on the nodes
    #[arg(last = true, value_name = "ARGUMENT")]
    agent: Vec<String>,
}

fn mode(text: &str) -> Result<Mode, String> {
    Mode::parse(text).ok_or_else(|| format!("`{text}` is not observe, suggest or act"))
}

impl Lab {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(name) = &self.scenarios {
            firewall::check()?;
            let program = std::env::current_exe().context("cannot find our own program")?;
            let more = self.scenario_arguments();
            let labs = (program.as_path(), more.as_slice());
            let passed = block_on(async { Ok(scenarios::run(labs, name, say).await?) })?;
            return Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        let Some(inside) = Inside::take()? else {
            firewall::check()?;
            if self.kg.is_some() {
                kg::check()?;
            }
            return Ok(run_again_inside()?.into());
        };
        // While the API server is away, every client of it would say so several times a second.
        telemetry::start("warn,gotatun=error,gotatun::tun=off,kube_client=off")?;

        block_on(async move {
            let stop = until_told_to_stop()?;
            let wan = Namespace::spawn("wan").await?;
            let thread = wan.clone();
            let show = thread.run(async move || self.show(inside, wan).await);

            tokio::select! {
                shown = show => shown?,
                () = stop.cancelled() => {
                    say("interrupted; everything is being removed");
                    Ok(ExitCode::FAILURE)
                }
            }
        })
    }

    /// Runs the lab on the WAN's thread and shows what came of it.
    async fn show(self, inside: Inside, wan: Namespace) -> anyhow::Result<ExitCode> {
        let options = self.options()?;
        let timeline = Timeline::new(Box::new(say));
        if let Some(span) = self.idle {
            return self.show_cost((&options, span.into()), (inside, wan), &timeline).await;
        }
        if let Some(count) = self.moves {
            return self.show_moves((&options, count), (inside, wan), &timeline).await;
        }
        let (report, mut mesh) = run(&options, inside, wan, &timeline).await?;

        timeline.headline(&report.table());
        if report.parts.len() + report.by_hand.len() > 0 {
            timeline.print(&report.parts_table());
        }
        if let Some(file) = &self.json {
            write(file, &report)?;
        }
        if let Some(file) = &self.svg {
            picture::draw(&report.faults, file)?;
        }
        for failure in &report.failures {
            say(&format!("FAILED: {failure}"));
        }
        if self.keep {
            keep(&mut mesh)?;
            std::future::pending::<()>().await;
        }
        mesh.stop_tanist().await;

        Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Measures what Tanist costs at rest.
    async fn show_cost(
        &self,
        measured: (&Options, Duration),
        place: (Inside, Namespace),
        timeline: &Timeline,
    ) -> anyhow::Result<ExitCode> {
        let (cost, mesh) = cost::measure(measured, place, timeline).await?;
        timeline.headline(&cost.table());
        timeline.print(&cost.carried());
        timeline.print(&cost.cross_check());
        for change in &cost.disturbed {
            timeline.print(&format!("disturbed: {change} meanwhile"));
        }
        self.finish(&cost, mesh).await
    }

    /// Measures moves made by hand.
    async fn show_moves(
        &self,
        measured: (&Options, usize),
        place: (Inside, Namespace),
        timeline: &Timeline,
    ) -> anyhow::Result<ExitCode> {
        let (moves, mesh) = moves::make(measured, place, timeline).await?;
        timeline.headline(&moves.table());
        self.finish(&moves, mesh).await
    }

    /// Writes the figures and, if asked to, leaves the mesh up.
    async fn finish(&self, figures: &impl Serialize, mut mesh: Mesh) -> anyhow::Result<ExitCode> {
        if let Some(file) = &self.json {
            write(file, figures)?;
        }
        if self.keep {
            keep(&mut mesh)?;
            std::future::pending::<()>().await;
        }
        mesh.stop_tanist().await;
        Ok(ExitCode::SUCCESS)
    }

    fn options(&self) -> anyhow::Result<Options> {
        Ok(Options {
            locations: self.locations,
            nodes: self.nodes,
            mode: self.mode,
            order: self.fault.clone(),
            runs: self.runs,
            alone: self.without_tanist.into(),
            by_hand: self.by_hand,
            kill: self.kill_arbiter,
            times: if self.fast { 10 } else { 1 },
            program: std::env::current_exe().context("cannot find our own program")?,
            arguments: self.agent.clone(),
            journal: self.journal.clone(),
            real: self.real()?,
            shape: self.shape.unwrap_or_else(|| self.usual_shape()),
        })
    }

    /// Returns the packages' default where their rights are asked for.
    const fn usual_shape(&self) -> Shape {
        if self.kube_apiserver.is_some() { Shape::Agents } else { Shape::Sidecar }
    }

    /// Returns the arguments of each scenario: which real programs to run, and in which shape.
    fn scenario_arguments(&self) -> Vec<OsString> {
        let real = [
            ("--kube-apiserver", &self.kube_apiserver),
            ("--etcd", &self.etcd),
            ("--kg", &self.kg),
        ];
        let given = real.into_iter().filter_map(|(flag, path)| Some((flag, path.as_ref()?)));
        let paths = given.flat_map(|(flag, path)| [flag.into(), path.into()]);
        let shape = self.shape.map(|shape| ["--shape".into(), shape.to_string().into()]);
        paths.chain(shape.into_iter().flatten()).collect()
    }

    /// Returns the real programs by their full paths, since some run elsewhere.
    fn real(&self) -> anyhow::Result<Programs> {
        let found = |path: &PathBuf| {
            path.canonicalize().with_context(|| format!("cannot find {}", path.display()))
        };
        let servers = self.kube_apiserver.as_ref().zip(self.etcd.as_ref());
        let servers = servers.map(|(apiserver, etcd)| {
            anyhow::Ok(servers::Programs { apiserver: found(apiserver)?, etcd: found(etcd)? })
        });
        Ok(Programs { servers: servers.transpose()?, kg: self.kg.as_ref().map(found).transpose()? })
    }
}

fn write(file: &Path, report: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
}

/// Says how to look around in a mesh that is left up.
fn keep(mesh: &mut Mesh) -> anyhow::Result<()> {
    let kubeconfig = mesh.control.access.kubeconfig_outside()?;
    say("");
    say("The mesh is left up until Ctrl-C. From another terminal:");
    say(&format!("  kubectl --kubeconfig {} get nodes,meshlocations", kubeconfig.display()));
    say("and on a node, with ip, nft and so on of this machine (without root, add");
    say("--user=/proc/PID/ns/user --preserve-credentials, with the PID that stands there):");
    for station in mesh.stations() {
        let thread = station.host.host.thread().display().to_string();
        let name = &station.host.place.name;
        say(&format!("  {name}: nsenter --net={thread}/ns/net --mount={thread}/ns/mnt"));
    }
    Ok(())
}
