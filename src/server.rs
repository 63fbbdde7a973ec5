//! A server: storage, areas and listener, started and stopped together. Tests and examples use this same
//! door.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use cendriix_actors::{
    Settings, System,
    egress::Egress,
    identity::{
        self,
        tokens::{KeyError, Tokens},
    },
    kit::{Clock, Meters},
    sandboxes::{Filesystem, Local},
    system::{self, Former},
};
use cendriix_persistence::{
    StoreError,
    blobs::Blobs,
    redb::{self, RedbStore},
    store::Observer,
};
use cendriix_protocol::time::Timestamp;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    app::{App, Ports},
    config::{self, AuthError, Config, SandboxMode},
    data_dir::{Control, DataDir},
    http::{
        self,
        listener::{
            Door, Listener,
            tls::{Certificate, TlsError},
        },
        metrics::{self, DoorMeters},
    },
};

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    app: App,
    system: System,
    control: Option<SocketAddr>,
    listener: Listener,
    _certificate: Option<AbortOnDropHandle<()>>,
    /// The second address, and what listens there.
    admin: Option<(SocketAddr, Listener)>,
    store: Arc<RedbStore>,
}

/// The server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("cannot use the data directory {path}: {source}; see that it may be written and has space")]
    Data {
        /// The directory.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The signing key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The bootstrap token cannot be used.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The client that asks the issuer does not start.
    #[error("cannot start the client for requests to others: {0}")]
    Egress(#[from] reqwest::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}; choose another with --listen, or stop what uses it")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What is counted has names that contradict each other.
    #[error("cannot count: {0}; this is a fault of the program")]
    Meters(#[from] prometheus::Error),
    /// A supervisor did not start, or an endpoint for models is wrong.
    #[error("cannot start the actors: {0}")]
    Actors(#[from] system::StartError),
}

/// How people come in.
fn identity(config: &Config, data: &DataDir, now: Timestamp) -> Result<identity::Settings, StartError> {
    let (auth, keys) = (&config.auth, data.keys());
    Ok(identity::Settings {
        tokens: Tokens::open(&keys, auth.token_lifetime(), now)?,
        door: auth.door(Egress::new(config.egress.allow.iter().cloned())?),
        bootstrap: auth.bootstrap(&keys)?,
    })
}

/// Closes the store once nobody else holds it, and the file can be opened again. Waits at most two seconds.
async fn close(mut store: Arc<RedbStore>) {
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    for _ in 0..1000 {
        match Arc::try_unwrap(store) {
            // Everything that was handed in is on disk when this returns.
            Ok(store) => return drop(store),
            Err(held) => store = held,
        }
        looks.tick().await;
    }
    tracing::warn!("something still holds the store");
}

/// Listens on an address.
async fn bound(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let refused = |source| StartError::Listen { addr, source };
    let socket = TcpListener::bind(addr).await.map_err(refused)?;
    let bound = socket.local_addr().map_err(refused)?;
    Ok((socket, bound))
}

#[expect(clippy::disallowed_methods, reason = "it ends with the server that holds it")]
fn followed(certificate: Arc<Certificate>, clock: Clock) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(certificate.follow(move || clock.now())))
}

impl Server {
    /// Starts a server that takes up the work of before and says where it listens.
    ///
    /// # Errors
    ///
    /// When the data directory, the store, the key or the address cannot be used; the message says what to
    /// do.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::announced(config, false).await
    }

    /// Starts a server like any other, which ends with the command that started it.
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    pub async fn start_in_passing(config: Config) -> Result<Self, StartError> {
        Self::announced(config, true).await
    }

    async fn announced(config: Config, passing: bool) -> Result<Self, StartError> {
        let mode = config.sandbox.mode;
        let server = Self::open(config, Former::TakenUp).await?;
        match server.announce(passing) {
            Ok(()) => {
                let (addr, data) = (server.addr, server.app.data.path().display());
                let tls = server.app.config.server.tls.is_on();
                tracing::info!(%addr, tls, %data, "listening");
                if let Some(addr) = server.admin_addr() {
                    tracing::info!(%addr, "metrics are shown");
                }
                server.say_how_commands_are_contained(mode);
                Ok(server)
            }
            Err(error) => {
                server.stop().await;
                Err(error)
            }
        }
    }

    /// Starts a server for one command, that leaves alone what it is not asked about. Nobody is told of it:
    /// it ends with the command.
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    pub async fn start_for_command(config: Config) -> Result<Self, StartError> {
        Self::open(config, Former::Left).await
    }

    fn say_how_commands_are_contained(&self, mode: SandboxMode) {
        let found = self.system.sandboxes.local().capabilities();
        let (filesystem, network) = (found.filesystem, found.network);
        match mode {
            SandboxMode::None => {
                tracing::warn!("commands of agents and tests are NOT contained (sandbox.mode = \"none\")");
            }
            SandboxMode::Local if filesystem == Filesystem::None => {
                let notes = found.notes.join("; ");
                tracing::error!(
                    notes,
                    "commands cannot be contained here, so none is run; install bubblewrap"
                );
            }
            SandboxMode::Local => {
                tracing::info!(?filesystem, ?network, "commands of agents and tests are contained");
            }
        }
    }

    fn announce(&self, passing: bool) -> Result<(), StartError> {
        let data = &self.app.data;
        let address = self.control.unwrap_or(self.addr);
        let control = Control { passing, ..Control::new(address, self.app.control_token.clone()) };
        let path = data.path().display().to_string();
        data.announce(&control).map_err(|source| StartError::Data { path, source })
    }

    async fn open(config: Config, former: Former) -> Result<Self, StartError> {
        let data = DataDir::at(&config.storage.data);
        let unusable = |source| StartError::Data { path: data.path().display().to_string(), source };
        data.create().map_err(unusable)?;
        let clock = Clock::system();
        let tls = &config.server.tls;
        let certificate = if tls.is_on() { Some(Certificate::open(tls, clock.now())?) } else { None };
        let (socket, addr) = bound(config.server.listen).await?;
        // The certificate is made out to a name that the command line does not know, and it need not.
        let control = match certificate {
            Some(_) => Some(bound(([127, 0, 0, 1], 0).into()).await?),
            None => None,
        };
        let admin = match config.admin.listen {
            Some(wanted) => Some(bound(wanted).await?),
            None => None,
        };
        let meters = Meters::new()?;
        let observer: Arc<dyn Observer> = Arc::new(meters.store().clone());
        let options = redb::Options { observer: Some(observer), ..config.storage.options() };
        let store = Arc::new(RedbStore::open(&data.store(), &options)?);
        let helper = match &config.sandbox.helper {
            helper if helper.as_os_str().is_empty() => std::env::current_exe().map_err(unusable)?,
            helper => helper.clone(),
        };
        let local = Local::probe(helper).await;
        let control_token = format!("{:032x}{:032x}", clock.random(), clock.random());
        let identity = identity(&config, &data, clock.now())?;
        let settings = Settings {
            store: store.clone(),
            blobs: Blobs::new(data.blobs()),
            clock: clock.clone(),
            identity,
            rest: (&config.rest).into(),
            root: std::path::absolute(data.path()).map_err(unusable)?,
            reachable: config.reachable(),
            remotes: config.remotes(),
            local,
            mode: config.sandbox.mode.into(),
            models: (&config.models).into(),
            former,
            meters: meters.clone(),
        };
        let system = System::start(settings).await?;
        let ports = Ports { public: addr.port(), control: control.as_ref().map(|(_, addr)| addr.port()) };
        let door = DoorMeters::new(&meters)?;
        let app = App::new(&system, door, config, data, control_token, ports);
        let tls = certificate.as_ref().map(Certificate::config).transpose()?;
        let (own, control) = control.unzip();
        let doors = [Door::public(socket, tls, &app)].into_iter().chain(own.map(Door::operators)).collect();
        let listener = Listener::start(doors, &http::router(app.clone()), &app);
        let certificate = certificate.map(|certificate| followed(certificate, clock));
        let admin = admin.map(|(socket, addr)| {
            (addr, Listener::start(vec![Door::operators(socket)], &metrics::admin(app.clone()), &app))
        });
        Ok(Self { addr, app, system, control, listener, admin, _certificate: certificate, store })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where operators' tools find it, if there is such an address.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(addr, _)| *addr)
    }

    /// What its handlers reach.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Waits until the storage engine has failed and the process must end.
    pub async fn failed(&self) {
        let mut dead = self.system.shared.store.dead();
        // The sender lives as long as the store.
        if dead.wait_for(|dead| *dead).await.is_err() {
            futures::future::pending::<()>().await;
        }
    }

    /// Stops: says that it is not ready, lets nobody in, tells streams, gives requests their time, puts
    /// entities to sleep, and has everything on disk.
    pub async fn stop(self) {
        let config = &self.app.config.server;
        let (noticed, patience) = (config::Server::wait(config.unready_ms), config.drain_ms);
        self.app.stopping.cancel();
        if !noticed.is_zero() {
            tokio::time::sleep(noticed).await;
        }
        self.app.draining.cancel();
        self.listener.stopped(config::Server::wait(patience)).await;
        self.system.stop().await;
        self.app.data.withdraw();
        self.system.shared.tasks.ended(Duration::from_secs(5)).await;
        drop((self.app, self.system));
        close(self.store).await;
    }
}
