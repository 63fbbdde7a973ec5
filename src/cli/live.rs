//! A run as it is seen while it goes on: its own events, and what its agents say, call and print.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
};

use cendriix_protocol::{
    agent_steps::{AgentStepEvent, AgentStepEventKind, AgentToolCall, ToolResult},
    ids::{AgentStepId, RunId},
    runs::{RunEvent, RunEventKind},
};
use futures::{StreamExt as _, stream::BoxStream, stream::SelectAll};
use serde_json::Value;

use super::{
    Failure,
    client::Client,
    gates,
    output::{self, Paint, plain},
    stream,
};

/// So many lines of what came of a call are shown.
const RESULT_LINES: usize = 12;
/// So many characters of an argument are shown.
const ARGUMENT_CHARS: usize = 100;

/// Something that happened.
enum Said {
    Run(Box<RunEvent>),
    Step(Box<AgentStepEvent>),
    /// The stream of a step has ended, in order or not.
    StepOver(AgentStepId),
    Broken(Failure),
}

/// A run that is followed.
pub(super) struct Live {
    client: Client,
    json: bool,
    /// Whether it waits for what is yet to happen.
    waits: bool,
    paint: Paint,
    said: SelectAll<BoxStream<'static, Said>>,
    /// The agents that are followed, with their steps.
    agents: BTreeMap<AgentStepId, Agent>,
    /// What the run said and is shown once the agents that it is about have had their say.
    held: VecDeque<RunEvent>,
}

struct Agent {
    node: String,
    /// Whether something of the call that goes on was printed already.
    printed: bool,
    /// What a command printed last, without its end of line.
    line: String,
}

impl Live {
    /// Follows a run after one of its events; only through what has happened, unless it `waits` for more.
    pub(super) fn of(client: &Client, run: RunId, after: u64, waits: bool, json: bool) -> Self {
        let path = format!("/workflow-runs/{run}/stream");
        let events = stream::events::<RunEvent>(client, &path, after, waits);
        let said = events.map(|event| match event {
            Ok(event) => Said::Run(Box::new(event)),
            Err(failure) => Said::Broken(failure),
        });
        let mut all = SelectAll::new();
        all.push(said.boxed());
        Self {
            client: client.clone(),
            json,
            waits,
            paint: Paint::of_stdout(),
            said: all,
            agents: BTreeMap::new(),
            held: VecDeque::new(),
        }
    }

    /// Shows what happens up to the next event of the run; `None` once the stream has ended. What agents say
    /// meanwhile is shown with the next call.
    pub(super) async fn next(&mut self) -> Result<Option<RunEvent>, Failure> {
        loop {
            if self.held.front().is_some_and(|event| self.is_next(event))
                && let Some(event) = self.held.pop_front()
            {
                self.show(&event)?;
                if let RunEventKind::NodeRunStarted { node_id, agent_step_id: Some(agent), .. } = &event.kind
                {
                    self.follow(*agent, node_id);
                }
                return Ok(Some(event));
            }
            match self.said.next().await {
                None if self.held.is_empty() => return Ok(None),
                None => self.agents.clear(),
                Some(Said::Broken(failure)) => return Err(failure),
                Some(Said::Step(event)) => self.show_step(&event)?,
                Some(Said::StepOver(step)) => drop(self.agents.remove(&step)),
                Some(Said::Run(event)) => self.held.push_back(*event),
            }
        }
    }

    /// Whether the agents that an event is about have had their say: how a step ended is shown after its
    /// work, and the end of the run after all work.
    fn is_next(&self, event: &RunEvent) -> bool {
        match &event.kind {
            RunEventKind::NodeRunCompleted { node_id, .. }
            | RunEventKind::NodeRunFailed { node_id, .. }
            | RunEventKind::AgentStopped { node_id, .. } => {
                self.agents.values().all(|agent| agent.node != *node_id)
            }
            RunEventKind::RunCompleted { .. } => self.agents.is_empty(),
            RunEventKind::RunCreated { .. }
            | RunEventKind::RunPlanned { .. }
            | RunEventKind::RunStatusChanged { .. }
            | RunEventKind::NodeRunStarted { .. }
            | RunEventKind::StepAdded { .. }
            | RunEventKind::CommitPinned { .. }
            | RunEventKind::OutcomeUnknown { .. }
            | RunEventKind::CheckCompleted { .. }
            | RunEventKind::GateOpened { .. }
            | RunEventKind::GateClosed { .. }
            | RunEventKind::RunCancelRequested { .. }
            | RunEventKind::RunRetried { .. }
            | RunEventKind::MainMoved { .. }
            | RunEventKind::AgentStepAsked { .. }
            | RunEventKind::AgentStepEnded { .. } => true,
        }
    }

    fn follow(&mut self, agent: AgentStepId, node: &str) {
        let path = format!("/agent/steps/{agent}/stream");
        let events = stream::events::<AgentStepEvent>(&self.client, &path, 0, self.waits);
        let said = events.map(|event| match event {
            Ok(event) => Said::Step(Box::new(event)),
            Err(failure) => Said::Broken(failure),
        });
        self.said.push(said.chain(futures::stream::once(async move { Said::StepOver(agent) })).boxed());
        self.agents.insert(agent, Agent { node: node.to_owned(), printed: false, line: String::new() });
    }

    fn show(&self, event: &RunEvent) -> Result<(), Failure> {
        if self.json {
            output::line(&serde_json::to_string(event).map_err(Failure::of)?);
            return Ok(());
        }
        let (green, red, bold) = (Paint::GREEN, Paint::RED, Paint::BOLD);
        let said = match &event.kind {
            RunEventKind::RunCreated { title } => format!("created: {}", plain(title)),
            RunEventKind::RunPlanned { planner } => format!("planned by {}", plain(planner)),
            RunEventKind::RunStatusChanged { status, .. } => self.paint.with(Paint::DIM, &status.to_string()),
            RunEventKind::NodeRunStarted { node_id, .. } => {
                format!("{} {}", self.paint.with(bold, "▶"), self.paint.with(bold, node_id))
            }
            RunEventKind::NodeRunCompleted { node_id, output, .. } => {
                let told = output.as_ref().filter(|output| output.get("commit").is_none());
                let told =
                    told.map_or_else(String::new, |output| format!(" = {}", plain(&output.to_string())));
                format!("{} {node_id}{told}", self.paint.with(green, "✓"))
            }
            RunEventKind::NodeRunFailed { node_id, error, .. } => {
                format!("{} {node_id}: {}", self.paint.with(red, "✗"), plain(&error.message))
            }
            RunEventKind::StepAdded { node_id, reason } => match reason {
                Some(reason) => format!("+ {node_id} is to mend: {}", plain(&reason.message)),
                None => format!("+ {node_id} is to mend what was found"),
            },
            RunEventKind::AgentStopped { node_id, .. } => format!("- {node_id} stopped"),
            RunEventKind::MainMoved { commit } => {
                format!("the main branch has moved to {commit:.10}; joined with it, and tested again")
            }
            RunEventKind::AgentStepAsked { name, .. } => format!("+ somebody asks an agent: {}", plain(name)),
            RunEventKind::AgentStepEnded { agent_step_id } => format!("- agent step {agent_step_id} ended"),
            RunEventKind::CommitPinned { commit, branch } => match branch {
                Some(branch) => format!("commit {commit:.10} is on branch {branch}"),
                None => format!("commit {commit:.10}"),
            },
            RunEventKind::OutcomeUnknown { activity } => {
                format!("nobody knows whether the {activity} happened")
            }
            RunEventKind::CheckCompleted { check, passed, summary, report, .. } => {
                self.check(check, *passed, summary, report.as_ref())
            }
            RunEventKind::GateOpened { gate } => {
                let until = gate.expires_at;
                format!(
                    "? {} (until {until})\n    {}",
                    plain(&gate.subject),
                    gates::approval(event.run_id, gate)
                )
            }
            RunEventKind::GateClosed { decision, note, .. } => match note {
                Some(note) => format!("  {decision}: {}", plain(note)),
                None => format!("  {decision}"),
            },
            RunEventKind::RunCancelRequested { .. } => "cancelling".to_owned(),
            RunEventKind::RunRetried { attempt, from_step_id } => match from_step_id {
                Some(step) => format!("attempt {attempt}, from {step} on"),
                None => format!("attempt {attempt}"),
            },
            RunEventKind::RunCompleted { status, reason, .. } => match reason {
                Some(reason) => format!("{status}: {}", plain(&reason.message)),
                None => format!("{status}"),
            },
        };
        output::told(&said);
        Ok(())
    }

    /// What a check found, with the end of the output or the findings when it did not pass.
    fn check(&self, check: &str, passed: bool, summary: &str, report: Option<&Value>) -> String {
        let sign =
            if passed { self.paint.with(Paint::GREEN, "✓") } else { self.paint.with(Paint::RED, "✗") };
        let mut said = format!("{sign} {check}: {}", plain(summary));
        let findings = report.and_then(|report| report["findings"].as_array());
        for finding in findings.into_iter().flatten() {
            let text = |name: &str| plain(finding[name].as_str().unwrap_or_default());
            let line = finding["line"].as_u64().map_or_else(String::new, |line| format!(":{line}"));
            let (severity, path, message) = (text("severity"), text("path"), text("message"));
            write!(said, "\n    {severity} {path}{line}: {message}").ok();
        }
        if let Some(output) = report.and_then(|report| report["output"].as_str()).filter(|_| !passed) {
            let lines: Vec<&str> = output.lines().collect();
            for line in &lines[lines.len().saturating_sub(2 * RESULT_LINES)..] {
                write!(said, "\n    {}", self.paint.with(Paint::DIM, &plain(line))).ok();
            }
        }
        said
    }

    fn show_step(&mut self, event: &AgentStepEvent) -> Result<(), Failure> {
        if self.json {
            output::line(&serde_json::to_string(event).map_err(Failure::of)?);
            return Ok(());
        }
        let (paint, parallel) = (self.paint, self.agents.len() > 1);
        let Some(agent) = self.agents.get_mut(&event.step_id) else { return Ok(()) };
        let front = if parallel { format!("  [{}] ", agent.node) } else { "  ".to_owned() };
        match &event.kind {
            AgentStepEventKind::StepCreated { .. }
            | AgentStepEventKind::StepPrepared { .. }
            // What a model writes is shown once it is whole.
            | AgentStepEventKind::TextDelta { .. }
            | AgentStepEventKind::StepCompleted { error: None, .. } => (),
            AgentStepEventKind::TurnCompleted { turn } => {
                for line in turn.text.lines().filter(|line| !line.trim().is_empty()) {
                    output::told(&format!("{front}{}", plain(line)));
                }
                let cost = Some(turn.cost_usd).filter(|cost| !cost.is_zero());
                let cost = cost.map_or_else(String::new, |cost| format!(" ({cost})"));
                let by = paint.with(Paint::DIM, &format!("{}{cost}", turn.model));
                for call in &turn.tool_calls {
                    output::told(&format!("{front}{by} {} {}", plain(&call.name), argument(call)));
                }
                agent.printed = false;
            }
            AgentStepEventKind::OutputDelta { text, .. } => {
                agent.printed = true;
                agent.line.push_str(text);
                while let Some((line, rest)) = agent.line.split_once('\n') {
                    output::told(&format!("{front}  {}", paint.with(Paint::DIM, &plain(line))));
                    agent.line = rest.to_owned();
                }
            }
            AgentStepEventKind::ToolsCompleted { results, .. } => {
                let rest = std::mem::take(&mut agent.line);
                if !rest.is_empty() {
                    output::told(&format!("{front}  {}", paint.with(Paint::DIM, &plain(&rest))));
                }
                let one = results.len() == 1;
                for result in results {
                    outcome(&front, paint, result, agent.printed && one);
                }
            }
            AgentStepEventKind::StepCompleted { error: Some(error), .. } => {
                output::told(&format!("{front}{} {}", paint.with(Paint::RED, "✗"), plain(&error.message)));
            }
        }
        Ok(())
    }
}

/// The argument that tells most about a call.
fn argument(call: &AgentToolCall) -> String {
    let telling = ["command", "path", "pattern", "patch"];
    let named = telling.iter().find_map(|name| call.arguments.get(name).and_then(Value::as_str));
    let text = named.map_or_else(|| call.arguments.to_string(), str::to_owned);
    let first = text.lines().next().unwrap_or_default();
    let cut: String = first.chars().take(ARGUMENT_CHARS).collect();
    let more = if cut.len() < text.trim_end().len() { " …" } else { "" };
    format!("{}{more}", plain(&cut))
}

/// What came of a call: its first lines, and of a command that was shown live only how it ended.
fn outcome(front: &str, paint: Paint, result: &ToolResult, was_live: bool) {
    let colour = if result.is_error { Paint::RED } else { Paint::DIM };
    let shown = if was_live { 1 } else { RESULT_LINES };
    let mut lines = result.text.lines();
    for line in lines.by_ref().take(shown) {
        output::told(&format!("{front}  {}", paint.with(colour, &plain(line))));
    }
    let more = lines.count();
    if more > 0 && !was_live {
        output::told(&format!("{front}  {}", paint.with(Paint::DIM, &format!("… {more} lines more"))));
    }
}
