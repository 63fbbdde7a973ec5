//! The server that a command talks to: a named one, the one that holds the data directory, or one of its own.

use std::time::Duration;

use cendriix_persistence::{StoreError, redb::RedbStore};

use super::{
    Failure,
    client::{Client, Target},
};
use crate::{Config, Server, config::Tls, data_dir::DataDir, server::StartError};

/// How long a server may take to say that it is there.
const HERE_WITHIN: Duration = Duration::from_secs(3);

/// How often it is looked whether another command has let go of the data directory, and how often at most.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
const LOOKS_MAX: u32 = 30;

/// What a server that is started for a command is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A ticket: it serves like any other, also on a directory that holds nothing yet.
    Ticket,
    /// One command: what it is not asked about stays as it is.
    Command,
}

/// A client, and the server that was started for it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    own: Option<Server>,
    /// Whether the server belongs to another command, and ends with it.
    passing: bool,
}

impl Session {
    /// Finds a server: the one that is named, else the one that holds the data directory, else it starts one
    /// in this process. Where another command holds the directory, it waits for three seconds.
    pub(super) async fn open(
        config: &Config,
        server: Option<&str>,
        token: Option<String>,
        purpose: Purpose,
    ) -> Result<Self, Failure> {
        let data = DataDir::at(&config.storage.data);
        let there = data.store().try_exists().map_err(|error| {
            Failure::new(format!("cannot use the data directory {}: {error}", data.path().display()))
        })?;
        let nothing = !there && purpose == Purpose::Command;
        let mut looks = tokio::time::interval(LOOK_AGAIN);
        let mut looked = 0;
        let own = loop {
            looks.tick().await;
            looked += 1;
            if server.is_some() || nothing || holds(&data).await {
                let passing = server.is_none() && data.control().is_some_and(|control| control.passing);
                let target = server.map_or(Target::Here, Target::Named);
                let client = Client::connect(config, target, token).await?;
                return Ok(Self { client: client.patient(!passing), own: None, passing });
            }
            match start(config.clone(), purpose).await {
                Ok(own) => break own,
                Err(StartError::Store(StoreError::Locked { .. })) if looked < LOOKS_MAX => (),
                Err(error) => return Err(Failure::of(error)),
            }
        };
        let url = format!("http://{}", own.addr());
        match Client::connect(config, Target::Own(&url), token).await {
            Ok(client) => Ok(Self { client, own: Some(own), passing: false }),
            Err(failure) => {
                own.stop().await;
                Err(failure)
            }
        }
    }

    /// Whether the server ends with this command.
    pub(super) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Whether another command started the server, so that it may end before this one.
    pub(super) fn is_passing(&self) -> bool {
        self.passing
    }

    /// Waits until the storage engine of the server that was started for this has failed.
    pub(super) async fn failed(&self) -> Failure {
        match &self.own {
            Some(server) => server.failed().await,
            None => futures::future::pending().await,
        }
        Failure::new("the store has failed, perhaps because the disk is full; give the command again")
    }

    /// Stops the server that was started for this; what is on disk goes on at the next start.
    pub(super) async fn close(self) {
        if let Some(server) = self.own {
            server.stop().await;
        }
    }
}

/// Opens the store of a data directory that no server holds. Where another command holds it, it waits for
/// three seconds.
pub(super) async fn store(config: &Config, data: &DataDir) -> Result<RedbStore, StoreError> {
    let mut looks = tokio::time::interval(LOOK_AGAIN);
    for _ in 1..LOOKS_MAX {
        looks.tick().await;
        match RedbStore::open(&data.store(), &config.storage.options()) {
            Err(StoreError::Locked { .. }) if !holds(data).await => (),
            opened => return opened,
        }
    }
    RedbStore::open(&data.store(), &config.storage.options())
}

async fn start(mut config: Config, purpose: Purpose) -> Result<Server, StartError> {
    config.server.listen = ([127, 0, 0, 1], 0).into();
    config.admin.listen = None;
    config.server.drain_ms = 2_000;
    config.server.unready_ms = 0;
    // It is this command's own, and out of reach for others.
    config.server.tls = Tls::default();
    match purpose {
        Purpose::Ticket => Server::start_in_passing(config).await,
        Purpose::Command => Server::start_for_command(config).await,
    }
}

/// Whether the server that announced itself last still answers.
async fn holds(data: &DataDir) -> bool {
    let Some(control) = data.control() else { return false };
    let Ok(http) = reqwest::Client::builder().no_proxy().timeout(HERE_WITHIN).build() else { return false };
    http.get(format!("{}/healthz", control.url)).send().await.is_ok_and(|answer| answer.status().is_success())
}
