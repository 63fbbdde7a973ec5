//! The server that a command talks to: a named one, the one that holds the data directory, or one of its own.

use std::time::Duration;

use super::{Failure, client::Client};
use crate::{Config, Server, data_dir::DataDir};

/// How long a server may take to say that it is there.
const HERE_WITHIN: Duration = Duration::from_secs(3);

/// A client, and the server that was started for it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    own: Option<Server>,
}

impl Session {
    /// Finds a server: the one that is named, else the one that holds the data directory, else it starts one
    /// in this process. `fresh`: also on a directory that holds nothing yet.
    pub(super) async fn open(
        config: &Config,
        server: Option<&str>,
        token: Option<String>,
        fresh: bool,
    ) -> Result<Self, Failure> {
        let data = DataDir::at(&config.storage.data);
        let held = match data.control() {
            Some(control) => answers(&control.url).await,
            None => false,
        };
        let nothing = !data.store().exists() && !fresh;
        if server.is_some() || held || nothing {
            return Ok(Self { client: Client::connect(config, server, token).await?, own: None });
        }
        let mut config = config.clone();
        config.server.listen = ([127, 0, 0, 1], 0).into();
        config.server.drain_ms = 2_000;
        let own = Server::start(config.clone()).await.map_err(Failure::new)?;
        let url = format!("http://{}", own.addr());
        let client = Client::connect(&config, Some(&url), token).await?;
        Ok(Self { client, own: Some(own) })
    }

    /// Whether the server ends with this command.
    pub(super) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Stops the server that was started for this; what is on disk goes on at the next start.
    pub(super) async fn close(self) {
        if let Some(server) = self.own {
            server.stop().await;
        }
    }
}

/// Whether a server answers there.
async fn answers(url: &str) -> bool {
    let Ok(http) = reqwest::Client::builder().no_proxy().timeout(HERE_WITHIN).build() else { return false };
    http.get(format!("{url}/healthz")).send().await.is_ok_and(|answer| answer.status().is_success())
}
