//! The entry of a test that runs itself again in namespaces of its own.

use std::process::ExitCode;

use tanist::lab::namespace::{Inside, run_again_inside};

/// Runs the test inside; outside, runs this program again there.
pub(crate) fn inside(run: impl FnOnce(&Inside) -> anyhow::Result<u8>) -> ExitCode {
    let code = match Inside::take() {
        Ok(Some(inside)) => run(&inside),
        Ok(None) => run_again_inside().map_err(Into::into),
        Err(error) => Err(error.into()),
    };
    code.map_or_else(
        |error| {
            eprintln!("failed: {error:#}");
            ExitCode::FAILURE
        },
        ExitCode::from,
    )
}
