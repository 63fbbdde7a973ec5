//! Starts the command line.

fn main() -> std::process::ExitCode {
    cendriix::cli::main()
}
