//! Measures the runtime against its goals: `cargo bench --profile dist --bench runtime`, with the names of
//! benches to choose among them.
//!
//! Everything but the sandbox is measured from outside, over HTTP, on the real binary in a process of its
//! own; what the machine itself can do is measured in the same run and stands beside it. Results go to
//! `target/bench/<name>.json`.

#![expect(clippy::disallowed_methods, reason = "benches measure real time, and nothing outlives them")]
#![expect(clippy::print_stdout, reason = "the tables are for people")]

mod entities;
mod floors;
mod http;
mod load;
mod memory;
mod report;
mod restart;
mod sandbox;
mod server;
mod workflows;

use std::{env, future::Future, pin::Pin, process::ExitCode};

/// Requests are many small allocations, in the server that is the floor as in the one that is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What can go wrong ends the bench and says so.
type Done<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

type Running = Pin<Box<dyn Future<Output = Done>>>;

/// A bench by its name.
type Bench = (&'static str, fn() -> Running);

/// Every bench, in the order they run.
const BENCHES: [Bench; 6] = [
    ("workflows", || Box::pin(workflows::workflows())),
    ("transitions", || Box::pin(entities::transitions())),
    ("reads", || Box::pin(entities::reads())),
    ("memory", || Box::pin(memory::memory())),
    ("restart", || Box::pin(restart::restart())),
    ("sandbox", || Box::pin(sandbox::sandbox())),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == floors::HELLO) {
        return ended(floors::HELLO, floors::serve_hello());
    }
    // `cargo bench` says so; `cargo test --all-targets`, which also comes here, must be quick.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let names: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = names.iter().find(|name| BENCHES.iter().all(|(bench, _)| *bench != name.as_str()))
    {
        return ended(unknown, Err("there is no such bench".into()));
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ended("runtime", Err(error.into())),
    };
    let mut code = ExitCode::SUCCESS;
    for (name, bench) in BENCHES {
        if (names.is_empty() || names.iter().any(|wanted| *wanted == name))
            && let Err(error) = runtime.block_on(bench())
        {
            code = ended(name, Err(error));
        }
    }
    code
}

fn ended(name: &str, how: Done) -> ExitCode {
    match how {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{name} FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}
