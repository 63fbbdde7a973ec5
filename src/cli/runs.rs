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

use super::{Done, Failure, client::Client, gates, live::Live, output};

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

pub(super) async fn run(command: Command, client: &Client, json: bool) -> Done {
    match command {
        Command::List { status, limit } => {
            let filter = status.map_or_else(String::new, |status| format!("&status={status}"));
            list(&client.get(&format!("/runs?limit={limit}{filter}")).await?, json)
        }
        Command::Get { id } => print(&client.get(&format!("/runs/{id}")).await?, json),
        Command::Watch { id, after } => watch(client, id, after, json).await,
        Command::Diff { id, stat } => diff(client, id, stat, json).await,
        Command::Steps { id } => steps(client, id, json).await,
        Command::Why { id } => {
            let why: Why = client.get(&format!("/runs/{id}/why")).await?;
            if json {
                return print_json(&why);
            }
            output::line(&output::plain(&why.text));
            Ok(0)
        }
        Command::Advance { id } => ask(client, id, "advance", &json!({}), json).await,
        Command::Approve { id, gate, note, resolution } => {
            let resolution = resolution.map(|became| match became {
                Became::Happened => Resolution::Happened,
                Became::Repeat => Resolution::Repeat,
            });
            ask(client, id, "approve", &Approve { note, gate_id: gate, resolution }, json).await
        }
        Command::Reject { id, gate, reason } => {
            ask(client, id, "reject", &Reject { reason, gate_id: gate }, json).await
        }
        Command::Cancel { id } => ask(client, id, "cancel", &json!({}), json).await,
        Command::Retry { id, from } => ask(client, id, "retry", &Retry { from_step_id: from }, json).await,
    }
}

async fn ask(client: &Client, id: RunId, action: &str, body: &(impl Serialize + Sync), json: bool) -> Done {
    print(&client.post(&format!("/runs/{id}/{action}"), body, None).await?, json)
}

/// The run that goes on after a command, if one does.
pub(super) fn set_going(command: &Command) -> Option<RunId> {
    match command {
        Command::Advance { id } | Command::Approve { id, .. } | Command::Retry { id, .. } => Some(*id),
        Command::List { .. }
        | Command::Get { .. }
        | Command::Watch { .. }
        | Command::Diff { .. }
        | Command::Steps { .. }
        | Command::Why { .. }
        | Command::Reject { .. }
        | Command::Cancel { .. } => None,
    }
}

/// Waits until a run rests: the server that would go on with it ends with this command.
pub(super) async fn rest(client: &Client, id: RunId) -> Result<(), Failure> {
    output::note("no server runs; this command goes on with the run until it rests");
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(200));
    loop {
        looks.tick().await;
        let run: Run = client.get(&format!("/runs/{id}")).await?;
        let works = run.steps.iter().any(|step| step.status == StepStatus::Running);
        let waits = !run.gates.is_empty() || run.status == Status::Planned;
        if !works && (waits || !run.allowed_actions.iter().any(|action| action == "cancel")) {
            output::note(&format!("the run is {}", run.status));
            return Ok(());
        }
    }
}

/// Prints a value as JSON.
pub(super) fn print_json(value: &impl Serialize) -> Done {
    output::line(&serde_json::to_string_pretty(value).map_err(Failure::new)?);
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
        output::line(&format!("    cendriix runs approve {} --gate {}", run.id, gate.id));
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

/// Follows a run until it ends, or rests at a gate that nobody here can answer.
pub(super) async fn watch(client: &Client, id: RunId, after: u64, json: bool) -> Done {
    tokio::select! {
        done = follow(client, id, after, json) => done,
        _ = tokio::signal::ctrl_c() => {
            output::note(&format!("detached; the run goes on. Watch it again with: cendriix runs watch \
                {id}"));
            Ok(130)
        }
    }
}

async fn follow(client: &Client, id: RunId, after: u64, json: bool) -> Done {
    let mut live = Live::of(client, id, after, json);
    while let Some(event) = live.next().await? {
        if let Some(code) = ended(client, &event, json).await? {
            return Ok(code);
        }
    }
    let run: Run = client.get(&format!("/runs/{id}")).await?;
    print(&run, json)?;
    Ok(u8::from(matches!(run.status, Status::Failed | Status::Cancelled)))
}

/// The exit code, once the run has ended or nobody here can answer its gate.
async fn ended(client: &Client, event: &RunEvent, json: bool) -> Result<Option<u8>, Failure> {
    if !matches!(event.kind, RunEventKind::RunCompleted { .. } | RunEventKind::GateOpened { .. }) {
        return Ok(None);
    }
    let run: Run = client.get(&format!("/runs/{}", event.run_id)).await?;
    let RunEventKind::GateOpened { gate } = &event.kind else {
        // A retry may have begun the next attempt meanwhile.
        if run.allowed_actions.iter().any(|action| action == "cancel") {
            return Ok(None);
        }
        print(&run, json)?;
        return Ok(Some(u8::from(matches!(run.status, Status::Failed | Status::Cancelled))));
    };
    let open = run.gates.iter().any(|open| open.id == gate.id);
    let rests = !run.steps.iter().any(|step| step.status == StepStatus::Running);
    if output::is_terminal() || !open || !rests {
        return Ok(None);
    }
    let (run, gate) = (run.id, gate.id);
    output::note("the run waits at a gate and nobody here can answer it; approve it with:");
    output::note(&format!("  cendriix runs approve {run} --gate {gate}"));
    Ok(Some(6))
}
