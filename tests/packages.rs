//! The packages on a real kube-apiserver: that everything rendered is accepted, that the shipped
//! rights suffice, and that every forbidden write is refused with its reason.
//!
//! It needs the servers that `make servers` builds, and helm and kustomize; `make packages` gets
//! both and runs it. Each check has a server of its own, so it has no harness: one at a time.
#![expect(clippy::print_stderr, reason = "a test without a harness tells its own results")]

#[path = "packages/chart.rs"]
mod chart;
#[path = "packages/cluster.rs"]
mod cluster;
#[path = "packages/documents.rs"]
mod documents;
#[path = "packages/forbidden.rs"]
mod forbidden;
#[path = "packages/overlays.rs"]
mod overlays;
#[path = "packages/prometheus.rs"]
mod prometheus;
#[path = "packages/rights.rs"]
mod rights;
#[path = "packages/server.rs"]
#[expect(dead_code, reason = "the story kills servers, this test does not")]
mod server;

use std::process::ExitCode;
use std::time::Instant;

/// Runs the checks whose names hold one of the arguments; without arguments all.
macro_rules! checks {
    ($($module:ident::$name:ident),+ $(,)?) => {
        async fn run(wanted: &[String]) -> anyhow::Result<usize> {
            let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(w));
            let mut ran = 0;
            $(if chosen(stringify!($name)) {
                let began = Instant::now();
                eprint!("{} ... ", stringify!($name).replace('_', " "));
                $module::$name().await?;
                eprintln!("ok ({:.1} s)", began.elapsed().as_secs_f64());
                ran += 1;
            })+
            Ok(ran)
        }
    };
}

checks! {
    overlays::every_overlay_is_accepted,
    forbidden::roles_grant_no_more,
    forbidden::policy_keeps_nodes,
    forbidden::policy_keeps_reports,
    rights::rights_suffice,
    rights::doctor_sees_the_rights,
    rights::reports_come_where_owners_are_guarded,
    chart::chart_equals_deploy,
    chart::chart_is_accepted,
    chart::upgrade_loses_nothing,
    documents::documents_install_by_kustomize,
    documents::documents_install_by_helm,
    documents::documents_install_a_sidecar,
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let ran = tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(&wanted)));
    match ran {
        Ok(0) => {
            eprintln!("failed: no check is called so");
            ExitCode::FAILURE
        }
        Ok(ran) => {
            eprintln!("{ran} checks passed");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
