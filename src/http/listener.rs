//! The accept loop: bounded connections, a deadline for headers, HTTP/1.1 and HTTP/2, and a drain at the end.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

use crate::app::App;

/// How long to wait after the system could not give a connection, for instance because files ran out.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// Starts to accept; ends once the app drains and all connections have ended.
#[expect(clippy::disallowed_methods, reason = "the listener is joined by the server when it stops")]
pub fn start(socket: TcpListener, router: Router, app: &App) -> JoinHandle<()> {
    tokio::spawn(accept(socket, router, app.clone()))
}

#[expect(clippy::disallowed_methods, reason = "connections are counted and drained by the graceful shutdown")]
async fn accept(socket: TcpListener, router: Router, app: App) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let header_timeout = Duration::from_millis(app.config.server.header_timeout_ms);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(256);
    let connections = Arc::new(Semaphore::new(app.config.server.connections_max));
    let graceful = GracefulShutdown::new();
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { break };
        let stream = tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(AFTER_ERROR).await;
                    continue;
                }
            },
            () = app.draining.cancelled() => break,
        };
        stream.set_nodelay(true).ok();
        let service = TowerToHyperService::new(router.clone());
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        let counted = app.door.connection();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended badly");
            }
            drop((permit, counted));
        });
    }
    drop(socket);
    graceful.shutdown().await;
}
