//! One connection, from its handshake to its end.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tokio_util::{either::Either, sync::CancellationToken};

use super::{
    activity::{Activity, Patience, Verdict},
    routes::Routes,
    stream::{Held, Stream},
};
use crate::{config::Server, http::metrics::DoorMeters};

/// Requests of one HTTP/2 connection at a time.
const STREAMS_MAX: u32 = 128;
/// Streams of one HTTP/2 connection that its client may reset before the server took them up; beyond that it
/// is an attack ("rapid reset"), and the connection ends.
const RESETS_MAX: usize = 20;
/// Errors of an HTTP/2 client that are answered with a reset before the connection ends.
const ERRORS_MAX: usize = 256;
/// Bytes of bodies that an HTTP/2 client may send ahead, for one stream and for all.
const WINDOW: u32 = 256 << 10;
const WINDOW_ALL: u32 = 1 << 20;
/// Bytes of an answer that are kept for an HTTP/2 stream beside the answer itself.
const SEND_BUFFER: usize = 128 << 10;
/// How often the other side of an HTTP/2 connection is asked whether it is there, and how long it may take to
/// say so.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_WITHIN: Duration = Duration::from_secs(20);
/// How long a connection that is to end has for its last words.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long a TCP peer may leave what it was sent unacknowledged, in milliseconds.
const UNACKNOWLEDGED_MS: u32 = 60_000;

/// What all connections of a listener share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    builder: Arc<auto::Builder<TokioExecutor>>,
    router: Router,
    patience: Patience,
    body_within: Duration,
    tls: Option<Arc<ServerConfig>>,
    /// The server stops: no further request.
    pub(super) draining: CancellationToken,
    /// Its patience is over: nothing goes on.
    pub(super) ended: CancellationToken,
    counts: DoorMeters,
}

impl Shared {
    pub(super) fn new(
        router: Router,
        config: &Server,
        tls: Option<Arc<ServerConfig>>,
        draining: CancellationToken,
        ended: CancellationToken,
        counts: DoorMeters,
    ) -> Self {
        let patience = Patience::new(config);
        let body_within = Server::wait(config.body_timeout_ms);
        let builder = Arc::new(builder(config));
        Self { builder, router, patience, body_within, tls, draining, ended, counts }
    }
}

/// The bounds of both protocols. What is larger than our own bound, yet not than these, gets its 431 in the
/// envelope; the rest gets a bare one.
fn builder(config: &Server) -> auto::Builder<TokioExecutor> {
    let headers = config.header_bytes_max.max(8 << 10).saturating_mul(2);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // The connection's activity sees to it; this one would also end idle connections.
        .header_read_timeout(None)
        .max_buf_size(usize::try_from(headers).unwrap_or(64 << 10));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(headers)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(ERRORS_MAX)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW_ALL)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WITHIN);
    builder
}

/// Serves a connection until it ends.
pub(super) async fn serve(shared: Shared, socket: TcpStream, peer: SocketAddr, held: Held) {
    let _counted = shared.counts.connection();
    // Both only help: answers leave at once, and a peer that is gone is noticed.
    socket.set_nodelay(true).ok();
    rustix::net::sockopt::set_tcp_user_timeout(&socket, UNACKNOWLEDGED_MS).ok();
    let stream = match &shared.tls {
        None => Either::Left(socket),
        Some(tls) => {
            let handshake =
                timeout(shared.patience.header, TlsAcceptor::from(Arc::clone(tls)).accept(socket));
            let done = tokio::select! {
                done = handshake => done,
                () = shared.draining.cancelled() => return,
            };
            match done {
                Ok(Ok(stream)) => Either::Right(stream),
                Ok(Err(error)) => return tracing::debug!(%peer, %error, "a TLS handshake failed"),
                Err(_) => return tracing::debug!(%peer, "a TLS handshake took too long"),
            }
        }
    };
    let activity = Activity::new();
    let stream = Stream::new(stream, Arc::clone(&activity), held);
    drive(&shared, stream, peer, &activity).await;
}

async fn drive(shared: &Shared, stream: Stream, peer: SocketAddr, activity: &Arc<Activity>) {
    let routes = Routes {
        router: shared.router.clone(),
        peer,
        activity: Arc::clone(activity),
        body_within: shared.body_within,
    };
    let connection = shared.builder.serve_connection_with_upgrades(TokioIo::new(stream), routes);
    let (mut connection, mut draining) = (pin!(connection), pin!(shared.draining.cancelled()));
    let mut look = pin!(tokio::time::sleep(Duration::ZERO));
    let (mut drains, mut ends) = (false, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                return if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "a connection ended badly");
                };
            }
            () = look.as_mut() => {
                let next = match activity.verdict(&shared.patience) {
                    Verdict::GoesOn(next) => next,
                    Verdict::Ends if !ends => {
                        ends = true;
                        connection.as_mut().graceful_shutdown();
                        LAST_WORDS
                    }
                    Verdict::Ends => return,
                    Verdict::Closes(why) => return tracing::debug!(%peer, why, "a connection was closed"),
                };
                look.as_mut().reset(tokio::time::Instant::now() + next);
            }
            () = draining.as_mut(), if !drains => {
                drains = true;
                connection.as_mut().graceful_shutdown();
            }
            () = shared.ended.cancelled() => {
                if !activity.is_quiet() {
                    tracing::warn!(%peer, "a request did not end in time");
                }
                return;
            }
        }
    }
}
