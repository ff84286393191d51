//! The `tanist` command: runs [`tanist::cli`] and turns its result into an exit code.

fn main() -> std::process::ExitCode {
    tanist::cli::main()
}
