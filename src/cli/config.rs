//! `config`: what is set, by whom, and whether it can be used.

use serde_json::json;

use super::{Done, Failure, output};
use crate::config::Loaded;

/// What can be done with the configuration.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print every key with its value and where that comes from
    Show,
    /// Say whether the configuration can be used; exits with 2 when it cannot
    Check,
}

/// Runs a command about the configuration, which is known to be usable.
pub(super) fn run(command: &Command, loaded: &Loaded, file: Option<&str>, json: bool) -> Done {
    match command {
        Command::Show => show(loaded, json)?,
        Command::Check => {
            for warning in &loaded.warnings {
                output::note(&format!("warning: {}", output::plain_line(warning)));
            }
            let said = if json {
                json!({ "ok": true, "warnings": loaded.warnings }).to_string()
            } else {
                format!("{} can be used", output::plain_line(file.unwrap_or("the configuration")))
            };
            output::line(&said);
        }
    }
    Ok(0)
}

fn show(loaded: &Loaded, json: bool) -> Result<(), Failure> {
    let shown = loaded.shown();
    if json {
        output::line(&serde_json::to_string_pretty(&json!({ "keys": shown })).map_err(Failure::of)?);
        return Ok(());
    }
    let rows: Vec<Vec<String>> = shown
        .into_iter()
        .map(|shown| {
            [shown.key, shown.value.to_string(), shown.from.to_string()].map(|cell| output::plain_line(&cell))
        })
        .map(Vec::from)
        .collect();
    output::table(&["KEY", "VALUE", "FROM"], &rows);
    Ok(())
}
