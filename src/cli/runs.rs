//! `runs`: sees and steers runs.

use cendriix_protocol::{
    agent_steps::AgentSteps,
    ids::{GateId, RunId},
    runs::{
        Approve, Reject, Resolution, Retry, Run, RunDiff, RunEvent, RunEventKind, Runs, Status, StepStatus,
        Why,
    },
};
use clap::{Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::json;

use super::{
    Done, Failure,
    client::Client,
    gates::{self, Opening, Undecided},
    live::Live,
    output,
    session::Session,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List runs, newest first
    List {
        /// Only runs that stand there, such as `executing`
        #[arg(long)]
        status: Option<String>,
        /// How many, 1 to 200
        #[arg(long, default_value_t = 50)]
        limit: u16,
    },
    /// Show a run
    Get {
        /// The run's id
        id: RunId,
    },
    /// Follow a run until it ends; exits with 0 if it ended well
    Watch {
        /// The run's id
        id: RunId,
        /// Show only events after this one
        #[arg(long, default_value_t = 0)]
        after: u64,
    },
    /// Show what a run has changed so far
    Diff {
        /// The run's id
        id: RunId,
        /// Only which files, and by how many lines
        #[arg(long)]
        stat: bool,
    },
    /// List the agents' steps of a run
    Steps {
        /// The run's id
        id: RunId,
    },
    /// Say why a run is where it is and what it waits for
    Why {
        /// The run's id
        id: RunId,
    },
    /// Start a planned run
    Advance {
        /// The run's id
        id: RunId,
    },
    /// Approve a gate
    Approve {
        /// The run's id
        id: RunId,
        /// Which gate; may be left out while exactly one is open
        #[arg(long)]
        gate: Option<GateId>,
        /// Why, for the record
        #[arg(long)]
        note: Option<String>,
        /// For an effect whose outcome is unknown: what became of it
        #[arg(long)]
        resolution: Option<Became>,
    },
    /// Deny a gate, which fails the run
    Reject {
        /// The run's id
        id: RunId,
        /// Which gate; may be left out while exactly one is open
        #[arg(long)]
        gate: Option<GateId>,
        /// Why; a retry passes it on to the agents
        #[arg(long)]
        reason: Option<String>,
    },
    /// Cancel a run
    Cancel {
        /// The run's id
        id: RunId,
    },
    /// Begin the next attempt of a failed or cancelled run
    Retry {
        /// The run's id
        id: RunId,
        /// Keep the outcomes of every step that does not come after this one
        #[arg(long, value_name = "STEP")]
        from: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Became {
    /// It happened: go on after it
    Happened,
    /// It did not: do it again
    Repeat,
}

pub(super) async fn run(command: Command, session: &Session, json: bool) -> Done {
    let client = &session.client;
    match command {
        Command::List { status, limit } => {
            let filter = status.map_or_else(String::new, |status| format!("&status={status}"));
            list(&client.get(&format!("/runs?limit={limit}{filter}")).await?, json)
        }
        Command::Get { id } => {
            let run: Run = client.get(&format!("/runs/{id}")).await?;
            print(&run, json)?;
            say_whether_it_goes_on(session, &run);
            Ok(0)
        }
        Command::Watch { id, after } => {
            watch(session, id, Watch { after, waits: !session.is_own(), json }).await
        }
        Command::Diff { id, stat } => diff(client, id, stat, json).await,
        Command::Steps { id } => steps(client, id, json).await,
        Command::Why { id } => {
            let why: Why = client.get(&format!("/runs/{id}/why")).await?;
            if json {
                print_json(&why)?;
            } else {
                output::line(&output::plain(&why.text));
            }
            say_whether_it_goes_on(session, &client.get(&format!("/runs/{id}")).await?);
            Ok(0)
        }
        Command::Advance { id } => ask(session, id, "advance", &json!({}), json).await,
        Command::Approve { id, gate, note, resolution } => {
            let resolution = resolution.map(|became| match became {
                Became::Happened => Resolution::Happened,
                Became::Repeat => Resolution::Repeat,
            });
            ask(session, id, "approve", &Approve { note, gate_id: gate, resolution }, json).await
        }
        Command::Reject { id, gate, reason } => {
            ask(session, id, "reject", &Reject { reason, gate_id: gate }, json).await
        }
        Command::Cancel { id } => ask(session, id, "cancel", &json!({}), json).await,
        Command::Retry { id, from } => ask(session, id, "retry", &Retry { from_step_id: from }, json).await,
    }
}

async fn ask(session: &Session, id: RunId, action: &str, body: &(impl Serialize + Sync), json: bool) -> Done {
    let run: Run = session.client.post(&format!("/runs/{id}/{action}"), body, None).await?;
    let run = carried_on(session, run).await?;
    print(&run, json)?;
    // Whoever denies or cancels wants it to fail; where a server goes on, how it ends is not known yet.
    let is_awaited = session.is_own() && !["reject", "cancel"].contains(&action);
    Ok(match is_awaited {
        true if only_waits(&run) => 6,
        true => code(&run),
        false => 0,
    })
}

/// The run once it rests, where the server that goes on with it ends with this command; else as it is.
pub(super) async fn carried_on(session: &Session, run: Run) -> Result<Run, Failure> {
    if !session.is_own() || rests(&run) {
        return Ok(run);
    }
    output::note("no server runs, so this command goes on with the run until it rests");
    tokio::select! {
        run = rest(&session.client, run.id) => run,
        failure = session.failed() => Err(failure),
        _ = tokio::signal::ctrl_c() => Err(Failure::with(130, STOPPED)),
    }
}

/// What is said where the server of a command ends before the run rests.
const STOPPED: &str = "stopped; what is done is kept, and the run goes on with: cendriix serve";

/// Waits until a run rests.
async fn rest(client: &Client, id: RunId) -> Result<Run, Failure> {
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(200));
    loop {
        looks.tick().await;
        let run: Run = client.get(&format!("/runs/{id}")).await?;
        if rests(&run) {
            return Ok(run);
        }
    }
}

/// Whether nothing goes on by itself in a run: it has ended, or somebody has to do something.
fn rests(run: &Run) -> bool {
    has_ended(run) || run.status == Status::Planned || only_waits(run)
}

/// Whether a run has come to its end; a retry may begin it again.
fn has_ended(run: &Run) -> bool {
    !run.allowed_actions.iter().any(|action| action == "cancel")
}

/// Whether a run waits at a gate, and nothing goes on beside it.
pub(super) fn only_waits(run: &Run) -> bool {
    !run.gates.is_empty() && run.steps.iter().all(|step| step.status != StepStatus::Running)
}

/// Says of a run that would go on by itself that it does not, where no server runs.
fn say_whether_it_goes_on(session: &Session, run: &Run) {
    if session.is_own() && !rests(run) {
        output::note(
            "no server runs, so nothing goes on with this run; `cendriix serve` goes on with all, \
             `cendriix run TICKET.md` with that of a ticket",
        );
    }
}

/// Prints a value as JSON.
pub(super) fn print_json(value: &impl Serialize) -> Done {
    output::line(&serde_json::to_string_pretty(value).map_err(Failure::of)?);
    Ok(0)
}

async fn diff(client: &Client, id: RunId, stat: bool, json: bool) -> Done {
    let diff: RunDiff = client.get(&format!("/runs/{id}/diff")).await?;
    match (json, stat) {
        (true, _) => return print_json(&diff),
        (false, true) => gates::stat(&diff),
        (false, false) => gates::show_diff(&diff, None),
    }
    Ok(0)
}

async fn steps(client: &Client, id: RunId, json: bool) -> Done {
    let page: AgentSteps = client.get(&format!("/agent/runs/{id}/steps")).await?;
    if json {
        return print_json(&page);
    }
    if page.steps.is_empty() {
        output::note("no agent has worked in this run");
    }
    let rows = page.steps.iter().map(|step| {
        vec![
            step.id.to_string(),
            step.node_id.clone().unwrap_or_else(|| "-".to_owned()),
            format!("{:?}", step.status).to_lowercase(),
            format!("{} turns", step.turn_count),
            format!("{} tokens", step.total_tokens),
            step.cost_usd.to_string(),
            output::plain(&step.name),
        ]
    });
    output::table(&["ID", "STEP", "STATUS", "TURNS", "TOKENS", "COST", "NAME"], &rows.collect::<Vec<_>>());
    Ok(0)
}

fn list(page: &Runs, json: bool) -> Done {
    if json {
        return print_json(page);
    }
    if page.runs.is_empty() {
        output::note("no runs");
    }
    let rows = page.runs.iter().map(|item| {
        let gates = if item.open_gates > 0 { format!(" ({} gates)", item.open_gates) } else { String::new() };
        vec![
            item.id.to_string(),
            format!("{}{gates}", item.status),
            item.created_at.to_string(),
            item.cost_usd.to_string(),
            output::plain(&item.title),
        ]
    });
    output::table(&["ID", "STATUS", "CREATED", "COST", "TITLE"], &rows.collect::<Vec<_>>());
    if let Some(cursor) = &page.next_cursor {
        output::note(&format!("there are more, from {cursor} on"));
    }
    Ok(0)
}

/// Prints a run.
pub(super) fn print(run: &Run, json: bool) -> Done {
    if json {
        return print_json(run);
    }
    output::line(&format!("{}  {}  {}", run.id, run.status, output::plain(&run.title)));
    for step in &run.steps {
        let sign = match step.status {
            StepStatus::Succeeded => '✓',
            StepStatus::Failed => '✗',
            StepStatus::Running => '▶',
            StepStatus::Waiting => '?',
            StepStatus::Pending => '·',
            StepStatus::Cancelled => '-',
        };
        output::line(&format!("  {sign} {}", step.id));
    }
    for gate in &run.gates {
        output::line(&format!("  waits until {}: {}", gate.expires_at, output::plain(&gate.subject)));
        output::line(&format!("    {}", gates::approval(run.id, gate)));
    }
    if let Some(reason) = &run.reason {
        output::line(&format!("  {}: {}", reason.code, output::plain(&reason.message)));
    }
    for (step, value) in &run.outputs {
        output::line(&format!("  {step} = {}", output::plain(&value.to_string())));
    }
    output::line(&format!("  cost {}, attempt {}", run.cost_usd, run.attempt));
    Ok(0)
}

/// How a run is watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    /// Only events after this one are shown.
    pub(super) after: u64,
    /// Whether somebody goes on with the run, so that there is something to wait for.
    pub(super) waits: bool,
    pub(super) json: bool,
}

/// Follows a run until it ends, or rests at a gate that nobody here can answer.
pub(super) async fn watch(session: &Session, id: RunId, how: Watch) -> Done {
    tokio::select! {
        done = follow(session, id, how) => done,
        failure = session.failed() => Err(failure),
        _ = tokio::signal::ctrl_c() => {
            output::note(&if session.is_own() {
                STOPPED.to_owned()
            } else {
                let again = output::command(&format!("runs watch {id}"));
                format!("detached; the run goes on. Watch it again with: {again}")
            });
            Ok(130)
        }
    }
}

async fn follow(session: &Session, id: RunId, how: Watch) -> Done {
    let client = &session.client;
    let Watch { after, waits, json } = how;
    let mut live = Live::of(client, id, after, waits, json);
    let (mut undecided, mut opening) = (Undecided::default(), Opening::default());
    while let Some(event) = live.next().await? {
        undecided.hear(&event.kind);
        if let Some(gate) = opening.hear(&event.kind)
            && !output::is_terminal()
        {
            undecided.leave(gate);
        }
        if waits && let Some(code) = stops(client, &event, &undecided, json).await? {
            return Ok(code);
        }
    }
    let run: Run = client.get(&format!("/runs/{id}")).await?;
    print(&run, json)?;
    if has_ended(&run) {
        return Ok(code(&run));
    }
    say_whether_it_goes_on(session, &run);
    Ok(if only_waits(&run) { 6 } else { 1 })
}

/// The exit code of a run that has ended.
fn code(run: &Run) -> u8 {
    u8::from(matches!(run.status, Status::Failed | Status::Cancelled))
}

/// The exit code, once the run has ended or waits for nothing but gates that nobody here can answer.
async fn stops(
    client: &Client,
    event: &RunEvent,
    undecided: &Undecided,
    json: bool,
) -> Result<Option<u8>, Failure> {
    let has_completed = matches!(event.kind, RunEventKind::RunCompleted { .. });
    if !has_completed && undecided.are_none() {
        return Ok(None);
    }
    let run: Run = client.get(&format!("/runs/{}", event.run_id)).await?;
    // A retry may have begun the next attempt meanwhile.
    if has_completed && has_ended(&run) {
        print(&run, json)?;
        return Ok(Some(code(&run)));
    }
    if !undecided.hold_up(&run) {
        return Ok(None);
    }
    output::note("the run waits at a gate and nobody here can answer it; approve it with:");
    for gate in &run.gates {
        output::note(&format!("  {}", gates::approval(run.id, gate)));
    }
    Ok(Some(6))
}
