//! `keys`: the keys that sign the tokens of log-ins.

use cendriix_actors::{
    identity::tokens::{ShownKey, Tokens},
    kit::Clock,
};
use cendriix_persistence::StoreError;
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Done, Failure, backup, client, output, runs::print_json, session};
use crate::Config;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the keys: the one that signs, and former ones whose tokens may still be good
    List,
    /// Sign with another key from now on, also while the server goes on; tokens of the former key stay good
    Rotate {
        /// End the former keys at once: everybody logs in again
        #[arg(long)]
        end_former: bool,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Keys {
    keys: Vec<ShownKey>,
}

pub(super) async fn run(command: Command, config: &Config, json: bool) -> Done {
    let data = backup::holding(config)?;
    let keys = match command {
        Command::List => Tokens::list(&data.keys()).map_err(Failure::of)?,
        Command::Rotate { end_former } => rotate(config, end_former).await?,
    };
    if json {
        return print_json(&Keys { keys });
    }
    if let Command::Rotate { end_former } = command {
        let former = if end_former { "former ones end at once" } else { "tokens of former ones stay good" };
        output::note(&format!("tokens are signed with another key from now on; {former}"));
    }
    let rows: Vec<Vec<String>> = keys.iter().map(row).collect();
    output::table(&["KEY", "STATE", "SINCE", "UNTIL"], &rows);
    Ok(0)
}

/// Makes another key: by the server that runs on the data directory, or in the directory itself.
async fn rotate(config: &Config, end_former: bool) -> Result<Vec<ShownKey>, Failure> {
    let data = backup::holding(config)?;
    match session::store(config, &data).await {
        // While the store is held, no server signs with the keys beside it.
        Ok(store) => {
            let now = Clock::system().now();
            let tokens =
                Tokens::open(&data.keys(), config.auth.token_lifetime(), now).map_err(Failure::of)?;
            let rotated = tokens.rotate(end_former, now).map_err(Failure::of);
            drop(store);
            rotated
        }
        Err(StoreError::Locked { .. }) => {
            let body = json!({ "endFormer": end_former });
            let keys: Keys = client::operate(&client::control(config)?, "/keys/rotate", &body).await?;
            Ok(keys.keys)
        }
        Err(error) => Err(Failure::of(error)),
    }
}

fn row(key: &ShownKey) -> Vec<String> {
    let shown = |at: Option<cendriix_protocol::time::Timestamp>| {
        at.map_or_else(|| "-".to_owned(), |at| at.to_string())
    };
    let state = if key.signs { "signs" } else { "former" };
    vec![key.kid.clone(), state.to_owned(), shown(key.since), shown(key.until)]
}
