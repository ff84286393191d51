//! Whole meshes in namespaces, with the shipped binary on every node and Kilo's timers tenfold
//! shortened: what must be moved is moved and proven, and what must be left alone is left alone.
//!
//! The lab itself tells success from failure by its exit code: whether service came back through a
//! fit leader, or nothing was moved. Which of the two is expected follows from the fault.

use std::process::{Command, ExitCode};

/// Fault, and why it is here.
const SCENARIOS: &[(&str, &str)] = &[
    ("new-flows", "the leader drops new forwarded flows: moved and proven"),
    ("vxlan-wedge", "the leader's overlay sends no new outer flow: moved and proven"),
    ("wan-cut:cloud,edge", "no heir is better: nothing is moved"),
    ("api-down:120", "agents come back one by one: nothing is moved"),
];

#[expect(clippy::print_stdout, reason = "this is the test's own runner")]
fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str()));
    let chosen: Vec<_> = SCENARIOS.iter().filter(|(fault, _)| chosen(fault)).collect();

    println!("\nrunning {} tests", chosen.len());
    let mut failed = 0;
    for (fault, why) in &chosen {
        let output = Command::new(env!("CARGO_BIN_EXE_tanist"))
            .args(["lab", "--fast", "--without-tanist", "0s", "--fault", fault])
            .output()
            .expect("the tanist binary runs");
        let ok = output.status.success();
        println!("test {fault} ({why}) ... {}", if ok { "ok" } else { "FAILED" });
        if !ok {
            failed += 1;
            println!("{}", String::from_utf8_lossy(&output.stdout));
            println!("{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    let passed = chosen.len() - failed;
    println!("\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored\n");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
