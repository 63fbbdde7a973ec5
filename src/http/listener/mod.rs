//! The listener: an accept loop over TCP, with or without TLS, HTTP/1.1 and HTTP/2, where every connection,
//! header, body, answer and pause has a bound, and which drains at the end.
//!
//! **Invariant:** no client address holds more than its share of the connections, so none can keep others
//! out: what it opens beyond that is closed at once. When all places are taken, the rest waits in the
//! system's backlog until one of the bounds frees a place.

mod activity;
pub(crate) mod body;
mod connection;
mod routes;
mod stream;
pub mod tls;

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
};
use tokio_rustls::rustls::ServerConfig;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{connection::Shared, stream::Held};
use super::places::Places;
use crate::{app::App, config::Server};

/// How long to wait after the system could not give a connection, for instance because files ran out.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// Files that the process needs beside its connections: the store, blobs, repositories, pipes of commands.
const OTHER_FILES: u64 = 512;

/// Connections at a time of a door for those who run the server.
const OPERATORS_MAX: usize = 64;

/// A socket that is listened on, and how many may come in there.
#[derive(Debug)]
pub struct Door {
    socket: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    any: Arc<Semaphore>,
    own: Places<IpAddr>,
}

impl Door {
    /// The door for everybody, with TLS or without.
    pub fn public(socket: TcpListener, tls: Option<Arc<ServerConfig>>, app: &App) -> Self {
        let any = Arc::new(Semaphore::new(possible(app.config.server.connections_max)));
        Self { socket, tls, any, own: app.connections.clone() }
    }

    /// A door without TLS for the few who run the server: the command line, on loopback, or what reads
    /// metrics.
    pub fn operators(socket: TcpListener) -> Self {
        let any = Arc::new(Semaphore::new(OPERATORS_MAX));
        Self { socket, tls: None, any, own: Places::new(OPERATORS_MAX, OPERATORS_MAX) }
    }
}

/// A listener that runs.
#[derive(Debug)]
pub struct Listener {
    accepting: Vec<JoinHandle<()>>,
    connections: TaskTracker,
    ended: CancellationToken,
}

impl Listener {
    /// Starts to let in through each door, until the app drains.
    #[expect(clippy::disallowed_methods, reason = "joined by whoever stops the listener")]
    pub fn start(doors: Vec<Door>, router: &Router, app: &App) -> Self {
        let (connections, ended) = (TaskTracker::new(), CancellationToken::new());
        let each = doors.into_iter().map(|mut door| {
            let (config, draining) = (&app.config.server, app.draining.clone());
            let (tls, counts) = (door.tls.take(), app.door.clone());
            let shared = Shared::new(router.clone(), config, tls, draining, ended.clone(), counts);
            tokio::spawn(accept(door, shared, connections.clone()))
        });
        let accepting = each.collect();
        Self { accepting, connections, ended }
    }

    /// Waits until all connections have ended, which the app's draining tells them to; those that have not
    /// ended in time are closed.
    pub async fn stopped(self, within: Duration) {
        for accepting in self.accepting {
            accepting.await.ok();
        }
        self.connections.close();
        if tokio::time::timeout(within, self.connections.wait()).await.is_err() {
            self.ended.cancel();
            self.connections.wait().await;
        }
    }
}

/// Raises the process's own limit on open files to what so many connections need, as far as the system lets
/// it.
pub fn allow_files(config: &Server) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = OTHER_FILES + u64::try_from(config.connections_max).unwrap_or(u64::MAX / 2);
    let most = wanted.min(maximum.unwrap_or(u64::MAX));
    if current.is_some_and(|current| current < most) {
        // Where it is refused, there are fewer connections, which is said when the listener starts.
        setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum }).ok();
    }
}

/// How many connections there can be: the limit on open files is one on connections too.
fn possible(wanted: usize) -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = usize::try_from(files.saturating_sub(OTHER_FILES).max(files / 2)).unwrap_or(usize::MAX);
    if most < wanted {
        tracing::warn!(
            connections = most,
            wanted,
            "the process may not open enough files for server.connections_max; raise its limit (ulimit -n)"
        );
    }
    wanted.min(most).clamp(1, Semaphore::MAX_PERMITS)
}

async fn accept(door: Door, shared: Shared, connections: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            accepted = next(&door) => accepted,
            () = shared.draining.cancelled() => return,
        };
        let (any, stream, peer) = match accepted {
            Ok(Some(accepted)) => accepted,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(AFTER_ERROR).await;
                continue;
            }
        };
        let Ok(own) = door.own.take(holder(peer.ip())) else {
            let refused = door.own.refused();
            // One line for each doubling: whoever opens too many must not fill the log too.
            if refused.is_power_of_two() {
                tracing::warn!(address = %peer.ip(), refused, "an address has too many connections");
            }
            continue;
        };
        let held = Held { _any: any, _own: own };
        connections.spawn(connection::serve(shared.clone(), stream, peer, held));
    }
}

type Accepted = (OwnedSemaphorePermit, TcpStream, SocketAddr);

/// The next connection, once there is a place for it; `None` when there will be no more.
async fn next(door: &Door) -> io::Result<Option<Accepted>> {
    let Ok(place) = Arc::clone(&door.any).acquire_owned().await else { return Ok(None) };
    let (stream, peer) = door.socket.accept().await?;
    Ok(Some((place, stream, peer)))
}

/// Whom an address stands for: itself, or in IPv6 the network that one customer gets.
pub(super) fn holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_one_customer_counts_as_one_address() {
        let of = |text: &str| holder(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
    }
}
