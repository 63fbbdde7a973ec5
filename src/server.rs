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
    kit::Clock,
    sandboxes::{Filesystem, Sandboxes},
    system::{self, Former},
};
use cendriix_persistence::{StoreError, blobs::Blobs, redb::RedbStore};
use cendriix_protocol::time::Timestamp;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    app::App,
    config::{AuthError, Config, SandboxMode},
    data_dir::{Control, DataDir},
    http::{self, listener},
};

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    app: App,
    system: System,
    listener: JoinHandle<()>,
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
                tracing::info!(%addr, %data, "listening");
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
        let found = self.system.sandboxes.capabilities();
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
        let control = Control { passing, ..Control::new(self.addr, self.app.control_token.clone()) };
        let path = data.path().display().to_string();
        data.announce(&control).map_err(|source| StartError::Data { path, source })
    }

    async fn open(config: Config, former: Former) -> Result<Self, StartError> {
        let data = DataDir::at(&config.storage.data);
        let unusable = |source| StartError::Data { path: data.path().display().to_string(), source };
        data.create().map_err(unusable)?;
        let wanted = config.server.listen;
        let socket = TcpListener::bind(wanted).await;
        let socket = socket.map_err(|source| StartError::Listen { addr: wanted, source })?;
        let addr = socket.local_addr().map_err(|source| StartError::Listen { addr: wanted, source })?;
        let store = Arc::new(RedbStore::open(&data.store(), &config.storage.options())?);
        let helper = match &config.sandbox.helper {
            helper if helper.as_os_str().is_empty() => std::env::current_exe().map_err(unusable)?,
            helper => helper.clone(),
        };
        let sandboxes = Sandboxes::probe(helper).await;
        let clock = Clock::system();
        let control_token = format!("{:032x}{:032x}", clock.random(), clock.random());
        let identity = identity(&config, &data, clock.now())?;
        let settings = Settings {
            store: store.clone(),
            blobs: Blobs::new(data.blobs()),
            clock,
            identity,
            rest: (&config.rest).into(),
            root: std::path::absolute(data.path()).map_err(unusable)?,
            reachable: config.reachable(),
            remotes: config.remotes(),
            sandboxes,
            mode: config.sandbox.mode.into(),
            models: (&config.models).into(),
            former,
        };
        let system = System::start(settings).await?;
        let app = App::new(&system, config, data, control_token, addr.port());
        let listener = listener::start(socket, http::router(app.clone()), &app);
        Ok(Self { addr, app, system, listener, store })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
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

    /// Stops: no new requests, streams told, those under way get their time, entities put to sleep,
    /// everything on disk.
    pub async fn stop(self) {
        self.app.draining.cancel();
        let patience = Duration::from_millis(self.app.config.server.drain_ms);
        if tokio::time::timeout(patience, self.listener).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
        self.system.stop().await;
        self.app.data.withdraw();
        self.system.shared.tasks.ended(Duration::from_secs(5)).await;
        drop((self.app, self.system));
        close(self.store).await;
    }
}
