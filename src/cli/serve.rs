//! `serve`: runs the server until it is told to stop.

use tokio::signal::unix::{SignalKind, signal};

use super::{Done, Failure};
use crate::{Config, Server};

/// Serves until SIGTERM or SIGINT, or until the store fails.
pub(super) async fn run(config: Config) -> Done {
    // Whoever finds the server announced may tell it to stop at once.
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::of)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::of)?;
    let server = Server::start(config).await.map_err(Failure::of)?;
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
        // What was being saved may be on disk or not: only a new process, which reads the disk, may go on.
        () = server.failed() => return Err(Failure::new("the store has failed; start the server again")),
    }
    tracing::info!("stopping");
    server.stop().await;
    Ok(0)
}
