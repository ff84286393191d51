//! One story on a real kube-apiserver: installed, watched, let act, steered, upgraded, restored,
//! removed, with nothing left behind; and whoever is killed on the way, before or after any write,
//! loses nothing and moves nothing wrongly.
//!
//! It needs the servers that `make servers` builds, helm, and namespaces, in which it runs itself
//! again; so it has no harness. `-- every` runs the whole matrix of kills.
#![expect(clippy::print_stderr, reason = "a test without a harness tells its own results")]

#[path = "inside/again.rs"]
mod again;
#[path = "story/cases.rs"]
mod cases;
#[path = "story/checks.rs"]
mod checks;
#[path = "packages/cluster.rs"]
#[expect(dead_code, reason = "the packages' own test uses more of it")]
mod cluster;
#[path = "story/container.rs"]
mod container;
#[path = "story/controllers.rs"]
mod controllers;
#[path = "story/kills.rs"]
mod kills;
#[path = "story/kubelet.rs"]
mod kubelet;
#[path = "story/mesh.rs"]
mod mesh;
#[path = "story/objects.rs"]
mod objects;
#[path = "story/plot.rs"]
mod plot;
#[path = "story/proxy.rs"]
mod proxy;
#[path = "packages/server.rs"]
#[expect(dead_code, reason = "the packages' own test uses more of it")]
mod server;
#[path = "story/stage.rs"]
mod stage;
#[path = "story/until.rs"]
mod until;
#[path = "story/vigil.rs"]
mod vigil;
#[path = "story/writes.rs"]
mod writes;

use std::process::ExitCode;

use cases::Choice;
use stage::Stage;
use tanist::lab::namespace::Namespace;

fn main() -> ExitCode {
    if let Some(file) = container::asked() {
        return container::become_it(&file);
    }
    again::inside(|_| run())
}

fn run() -> anyhow::Result<u8> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let wan = Namespace::spawn("wan").await?;
        let thread = wan.clone();
        let choice = choice();
        thread.run(async move || tell(wan, &choice).await).await??;
        Ok(0)
    })
}

/// Which kills are tried: some; `every` one; none, with the story `alone`; or those with one of these
/// words in their name.
fn choice() -> Choice {
    let words: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    match words.as_slice() {
        [] => Choice::Dealt,
        [word] if word == "every" => Choice::Every,
        [word] if word == "alone" => Choice::Alone,
        words => Choice::Named(words.iter().map(|word| word.to_lowercase()).collect()),
    }
}

async fn tell(wan: Namespace, choice: &Choice) -> anyhow::Result<()> {
    let mut stage = Stage::set(wan).await?;
    let told = story(&mut stage, choice).await;
    if told.is_err() {
        keep_logs(&stage)?;
    }
    told
}

/// Keeps what the servers and the pods said, for whoever looks into it.
fn keep_logs(stage: &Stage) -> anyhow::Result<()> {
    let kept = tempfile::Builder::new().prefix("tanist-story-").tempdir()?.keep();
    let mut copy = std::process::Command::new("cp");
    copy.arg("-r").arg(stage.server.folder().join(".")).arg(&kept).status()?;
    eprintln!("the logs are in {}", kept.display());
    Ok(())
}

async fn story(stage: &mut Stage, choice: &Choice) -> anyhow::Result<()> {
    let before = plot::before(stage).await?;
    stage.say("Kilo runs on six nodes in two locations");
    plot::install(stage).await?;
    plot::observe(stage, &before).await?;
    plot::act(stage).await?;
    plot::by_hand(stage).await?;
    plot::upgrade(stage).await?;
    plot::restore(stage, &before).await?;
    stage.person(&["resume", "--all"]).await?;
    if *choice != Choice::Alone {
        kills::all(stage, &before, choice).await?;
    }
    stage.person(&["restore"]).await?;
    plot::remove(stage, &before).await?;
    Ok(())
}
