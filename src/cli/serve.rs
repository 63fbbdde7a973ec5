//! `serve`: runs the server until it is told to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Done, Failure};
use crate::{Config, Server, http::listener};

/// Serves until SIGTERM or SIGINT, or until the store fails. A second signal ends the process at once.
pub(super) async fn run(config: Config) -> Done {
    // Whoever finds the server announced may tell it to stop at once.
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::of)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::of)?;
    listener::allow_files(&config.server);
    let server = Server::start(config).await.map_err(Failure::of)?;
    tokio::select! {
        () = told(&mut terminate, &mut interrupt) => (),
        // What was being saved may be on disk or not: only a new process, which reads the disk, may go on.
        () = server.failed() => return Err(Failure::new("the store has failed; start the server again")),
    }
    tracing::info!("stopping; a second signal ends at once");
    tokio::select! {
        () = server.stop() => Ok(0),
        () = told(&mut terminate, &mut interrupt) => {
            Err(Failure::new("ended before everything had come to its end; what was answered is on disk"))
        }
    }
}

/// Waits until somebody wants the server to stop.
async fn told(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
}
