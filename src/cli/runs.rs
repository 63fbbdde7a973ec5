//! `runs`: sees and steers runs.

use cendriix_protocol::{
    ids::{GateId, RunId},
    runs::{Approve, Reject, Resolution, Retry, Run, RunEvent, RunEventKind, Runs, Status, StepStatus, Why},
};
use clap::{Subcommand, ValueEnum};
use futures::StreamExt as _;
use serde::Serialize;
use serde_json::json;

use super::{Done, Failure, client::Client, output};

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

/// Prints a value as JSON.
pub(super) fn print_json(value: &impl Serialize) -> Done {
    output::line(&serde_json::to_string_pretty(value).map_err(Failure::new)?);
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

async fn follow(client: &Client, id: RunId, mut after: u64, json: bool) -> Done {
    let mut tries = 0_u32;
    loop {
        let before = after;
        match read_events(client, id, &mut after, json).await {
            Ok(Some(code)) => return Ok(code),
            Err(failure) if tries == 0 && after == 0 => return Err(failure),
            Err(failure) if tries >= 30 => return Err(failure),
            // The server went away in the middle: what is missing comes with the next connection.
            Ok(None) | Err(_) => (),
        }
        tries = if after > before { 0 } else { tries + 1 };
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

async fn read_events(client: &Client, id: RunId, after: &mut u64, json: bool) -> Result<Option<u8>, Failure> {
    let response = client.stream(&format!("/workflow-runs/{id}/stream"), *after).await?;
    let mut chunks = response.bytes_stream();
    let mut buffer = String::new();
    let mut partial = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let Ok(chunk) = chunk else { return Ok(None) };
        partial.extend_from_slice(&chunk);
        let valid = match std::str::from_utf8(&partial) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        buffer.push_str(&String::from_utf8_lossy(&partial[..valid]));
        partial.drain(..valid);
        while let Some((message, rest)) = buffer.split_once("\n\n") {
            let data: String = message.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
            let event = serde_json::from_str::<RunEvent>(&data).ok();
            buffer = rest.to_owned();
            let Some(event) = event else { continue };
            *after = event.seq;
            tell(&event, json)?;
            if let Some(code) = ended(client, &event, json).await? {
                return Ok(Some(code));
            }
        }
    }
    Ok(None)
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

fn tell(event: &RunEvent, json: bool) -> Result<(), Failure> {
    if json {
        output::line(&serde_json::to_string(event).map_err(Failure::new)?);
        return Ok(());
    }
    let said = match &event.kind {
        RunEventKind::RunCreated { title } => format!("created: {title}"),
        RunEventKind::RunStatusChanged { status, .. } => format!("{status}"),
        RunEventKind::NodeRunStarted { node_id, .. } => format!("  ▶ {node_id}"),
        RunEventKind::NodeRunCompleted { node_id, output, .. } => match output {
            Some(output) => format!("  ✓ {node_id} = {output}"),
            None => format!("  ✓ {node_id}"),
        },
        RunEventKind::NodeRunFailed { node_id, error, .. } => format!("  ✗ {node_id}: {}", error.message),
        RunEventKind::GateOpened { gate } => {
            format!(
                "  ? {} (until {})\n    cendriix runs approve {} --gate {}",
                gate.subject, gate.expires_at, event.run_id, gate.id
            )
        }
        RunEventKind::GateClosed { decision, note, .. } => match note {
            Some(note) => format!("  {decision}: {note}"),
            None => format!("  {decision}"),
        },
        RunEventKind::RunCancelRequested { .. } => "cancelling".to_owned(),
        RunEventKind::RunRetried { attempt, from_step_id } => match from_step_id {
            Some(step) => format!("attempt {attempt}, from {step} on"),
            None => format!("attempt {attempt}"),
        },
        RunEventKind::RunCompleted { status, reason, .. } => match reason {
            Some(reason) => format!("{status}: {}", reason.message),
            None => format!("{status}"),
        },
    };
    output::line(&output::plain(&said));
    Ok(())
}
