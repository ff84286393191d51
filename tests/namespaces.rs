//! The lab's walls, in real namespaces: this test runs itself again inside them, so it has no
//! harness. Where namespaces are forbidden it fails and says what to do.
#![expect(clippy::print_stderr, reason = "a test without a harness tells its own results")]

use std::process::ExitCode;

use tanist::lab::namespace::{Error, Inside, Namespace, run_again_inside};

fn main() -> ExitCode {
    let code = match Inside::take() {
        Ok(Some(inside)) => run(&inside),
        Ok(None) => run_again_inside().map_err(Into::into),
        Err(error) => Err(error.into()),
    };

    code.map_or_else(
        |error| {
            eprintln!("not run: {error:#}");
            ExitCode::FAILURE
        },
        ExitCode::from,
    )
}

fn run(inside: &Inside) -> anyhow::Result<u8> {
    tokio::runtime::Runtime::new()?.block_on(async {
        walls(inside).await?;
        eprintln!("walls: ok");
        Ok(0)
    })
}

/// Each namespace has its own interfaces and its own `/run`, and children live in it too.
async fn walls(inside: &Inside) -> anyhow::Result<()> {
    assert!(inside.folder.is_dir(), "the folder is seen from inside");
    assert!(inside.loopback.local_addr().is_ok(), "the listener came through");

    let (one, two) = (Namespace::spawn("one").await?, Namespace::spawn("two").await?);
    one.run(async || std::fs::write("/run/mine", "one")).await??;
    let seen = two.run(async || std::path::Path::new("/run/mine").exists()).await?;
    assert!(!seen, "/run is shared");

    let mut network = Vec::new();
    for namespace in [&one, &two] {
        let mut command = tokio::process::Command::new("readlink");
        command.arg("/proc/self/ns/net").stdout(std::process::Stdio::piped());
        let output = namespace.command(command).await?.wait_with_output().await?;
        network.push(output.stdout);
    }
    assert_ne!(network[0], network[1], "children share a network");

    let panicked = one.run(async || std::panic::resume_unwind(Box::new("on purpose"))).await;
    let panicked: Result<(), Error> = panicked;
    assert!(matches!(panicked, Err(Error::Gone { .. })), "a panic is an error, not a hang");
    assert_eq!(two.run(async || 7).await?, 7, "others live on");

    Ok(())
}
