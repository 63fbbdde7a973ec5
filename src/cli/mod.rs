//! The command line: one binary that serves, and that talks to a server.

mod api_keys;
pub mod backup;
mod client;
mod config;
mod doctor;
mod gates;
mod keys;
mod live;
mod output;
mod run;
mod runs;
mod sandbox_exec;
mod serve;
mod session;
mod stream;
mod ticket;
mod workflows;

use std::{fmt::Display, net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{
    ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, parser::ValueSource,
};

use self::session::{Purpose, Session};
use crate::{
    config::{self as configuration, Config, Flags, Loaded, Log, SandboxMode},
    telemetry, version,
};

/// The control plane for AI agents: a ticket becomes a governed, durable, observable run.
#[derive(Debug, Parser)]
#[command(name = "cendriix", version = version::line(), max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The data directory
    #[arg(long, global = true, env = "CENDRIIX_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// The configuration file
    #[arg(long, global = true, env = "CENDRIIX_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The server to talk to; the one that holds the data directory when absent
    #[arg(long, global = true, env = "CENDRIIX_SERVER", value_name = "URL")]
    server: Option<String>,
    /// The token or API key to talk to it with; the local operator logs in when absent
    #[arg(long, global = true, env = "CENDRIIX_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How commands of agents and tests are contained, where this command starts the server
    #[arg(long, global = true, value_name = "HOW")]
    sandbox: Option<SandboxMode>,
    /// Print JSON, for scripts
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a ticket: plan it, have agents do it, test, review and merge it
    Run(run::Arguments),
    /// Run the server
    Serve(Serve),
    /// See and steer runs
    #[command(subcommand)]
    Runs(runs::Command),
    /// Keep and run workflows
    #[command(subcommand)]
    Workflows(workflows::Command),
    /// Create, list and revoke API keys: secrets with which programs act in your workspace
    #[command(subcommand)]
    ApiKeys(api_keys::Command),
    /// See and change the keys that sign the tokens of log-ins
    #[command(subcommand)]
    Keys(keys::Command),
    /// Write everything but the signing keys into one archive, also while the server goes on
    Backup {
        /// The archive to write
        #[arg(value_name = "FILE.tar")]
        to: PathBuf,
    },
    /// Put a backup into an empty data directory
    Restore {
        /// The archive to read
        #[arg(value_name = "FILE.tar")]
        from: PathBuf,
    },
    /// Prove that nothing in a data directory is missing or was tampered with
    Verify,
    /// See and check the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Find out what works on this machine, what does not, and how to mend it
    Doctor,
    /// Print the OpenAPI document
    Openapi,
    /// Print who may call which route of the API, as Markdown
    Routes,
}

#[derive(Debug, Args)]
struct Serve {
    /// The address and port to listen on; port 0 takes any free one
    #[arg(long, env = "CENDRIIX_LISTEN", value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

/// Why a command did not succeed, and with which code it exits.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    code: u8,
    message: String,
    /// Whether the server went away.
    lost: bool,
}

impl Failure {
    /// The command failed.
    pub(crate) fn new(message: impl Display) -> Self {
        Self::with(1, message)
    }

    /// The command failed because of an error, which is told with what caused it.
    pub(crate) fn of(error: impl std::error::Error) -> Self {
        let mut said = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let more = error.to_string();
            if !said.contains(&more) {
                said = format!("{said}: {more}");
            }
            cause = error.source();
        }
        Self::new(said)
    }

    /// The server went away.
    pub(crate) fn lost(message: impl Display) -> Self {
        Self { lost: true, ..Self::new(message) }
    }

    /// Whether the server went away.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Whether the state of a thing did not allow what was asked.
    pub(crate) fn is_conflict(&self) -> bool {
        self.code == 5
    }

    /// Whether what was shown to log in with was refused.
    pub(crate) fn is_about_credentials(&self) -> bool {
        [2, 3].contains(&self.code)
    }

    /// The command failed in a way that scripts can tell apart.
    pub(crate) fn with(code: u8, message: impl Display) -> Self {
        Self { code, message: message.to_string(), lost: false }
    }
}

/// What a command ends with: exit codes 0 done, 1 failed, 2 wrong usage, 3 not logged in, 4 not found, 5
/// conflict, 6 waits at a gate and nobody can answer, 130 interrupted.
type Done = Result<u8, Failure>;

/// Runs the command line.
pub fn main() -> ExitCode {
    if let Some(code) = sandbox_exec::asked() {
        return code;
    }
    let command = Cli::command();
    let variables = variables(&command);
    let matches = command.get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let flags = flags(&cli, &matches, variables);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ended(Err(Failure::new(format!("cannot start: {error}")))),
    };
    let done = runtime.block_on(Box::pin(run(cli, flags)));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ended(done)
}

fn ended(done: Done) -> ExitCode {
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            output::error(&failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// The flags that lead another command to the same server or data directory.
fn flags_again(cli: &Cli, config: &Config) -> String {
    if let Some(url) = &cli.server {
        return format!(" --server {url}");
    }
    let data = Some(&config.storage.data).filter(|data| **data != Config::default().storage.data);
    let flags = [("data", data), ("config", cli.config.as_ref())];
    let given =
        flags.iter().filter_map(|(name, path)| Some(format!(" --{name} {}", path.as_ref()?.display())));
    given.collect()
}

/// Variables that have a flag of their own, with the flag.
fn variables(command: &clap::Command) -> Vec<(String, String)> {
    let own = command.get_arguments().filter_map(|argument| {
        let variable = argument.get_env()?.to_str()?.to_owned();
        Some((variable, format!("--{}", argument.get_long()?)))
    });
    own.chain(command.get_subcommands().flat_map(variables)).collect()
}

/// What the command line says over the rest of the configuration, and what of it comes from variables.
fn flags(cli: &Cli, matches: &ArgMatches, variables: Vec<(String, String)>) -> Flags {
    let listen = if let Command::Serve(serve) = &cli.command { serve.listen } else { None };
    let within = matches.subcommand().map(|(_, inner)| inner);
    let is_taken = |flag: &&String| {
        let id = flag.trim_start_matches("--");
        let source = |matches: &ArgMatches| {
            // Asking for an argument that a command does not have is a fault.
            let is_given = matches.ids().any(|given| given == id);
            if is_given { matches.value_source(id) } else { None }
        };
        within.and_then(source).or_else(|| source(matches)) == Some(ValueSource::EnvVariable)
    };
    let from_variables = variables.iter().map(|(_, flag)| flag).filter(is_taken).cloned().collect();
    let (config, data, sandbox) = (cli.config.clone(), cli.data.clone(), cli.sandbox);
    Flags { config, listen, data, sandbox, variables, from_variables }
}

async fn run(cli: Cli, flags: Flags) -> Done {
    let loaded = Loaded::new(&flags, configuration::environment());
    if matches!(cli.command, Command::Doctor) {
        return doctor::run(loaded.as_ref(), cli.json).await;
    }
    let loaded = loaded.map_err(|error| Failure::with(2, error))?;
    if let Command::Config(command) = &cli.command {
        let file = cli.config.as_ref().map(|file| file.display().to_string());
        return config::run(command, &loaded, file.as_deref(), cli.json);
    }
    let Loaded { config, warnings, .. } = loaded;
    let serves = matches!(cli.command, Command::Serve(_));
    let quiet = Log { level: "warn".to_owned(), ..config.log.clone() };
    telemetry::start(if serves { &config.log } else { &quiet });
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let (url, token) = (cli.server.as_deref(), cli.token.clone());
    output::lead_with(flags_again(&cli, &config));
    match cli.command {
        Command::Run(arguments) => run::run(arguments, &config, url, token, cli.json).await,
        Command::Serve(_) => serve::run(config).await,
        Command::Runs(command) => {
            let session = Session::open(&config, url, token, Purpose::Command).await?;
            let done = runs::run(command, &session, cli.json).await;
            session.close().await;
            done
        }
        Command::Workflows(command) => {
            let session = Session::open(&config, url, token, Purpose::Command).await?;
            let done = workflows::run(command, &session, cli.json).await;
            session.close().await;
            done
        }
        Command::ApiKeys(command) => {
            let session = Session::open(&config, url, token, Purpose::Command).await?;
            let done = api_keys::run(command, &session, cli.json).await;
            session.close().await;
            done
        }
        Command::Keys(command) => keys::run(command, &config, cli.json).await,
        Command::Backup { to } => backup::take(&config, &to, cli.json).await,
        Command::Restore { from } => backup::restore(&config, &from, cli.json),
        Command::Verify => backup::verify(&config, cli.json).await,
        // Both were answered before anything was started.
        Command::Config(_) | Command::Doctor => Ok(0),
        Command::Openapi => {
            let document = serde_json::to_string_pretty(&crate::http::openapi()).map_err(Failure::of)?;
            output::line(&document);
            Ok(0)
        }
        Command::Routes => {
            output::line(crate::http::table::matrix().trim_end());
            Ok(0)
        }
    }
}
