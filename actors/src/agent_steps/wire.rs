//! From the saved state to what clients see.

use cendriix_protocol::{
    agent_steps::{
        AgentStepEvent, AgentStepEventKind, AgentStepItem, AgentStepStatus, AgentToolCall, AgentTurn,
        StopReason, ToolResult,
    },
    ids::{AgentStepId, RunId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    machine::ListRow,
    state::{AgentStep, Content, Event, Turn},
};
use crate::model_router::chat::{Answer, ToolCall};

/// What came of a turn's calls, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Results {
    /// One for each call, in their order.
    pub(super) results: Vec<ToolResult>,
    /// What a person should know of the turn's checkpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) notes: Vec<String>,
}

/// Where a step stands.
pub(super) fn status(step: &AgentStep) -> AgentStepStatus {
    match step.ended() {
        None => AgentStepStatus::Running,
        Some(end) => ended(end.stop),
    }
}

fn ended(stop: StopReason) -> AgentStepStatus {
    match stop {
        StopReason::EndTurn => AgentStepStatus::Succeeded,
        StopReason::Cancelled => AgentStepStatus::Cancelled,
        StopReason::MaxIterations
        | StopReason::TokenBudget
        | StopReason::MaxTokens
        | StopReason::Loop
        | StopReason::NeedsModel
        | StopReason::Refused
        | StopReason::ModelError
        | StopReason::Error => AgentStepStatus::Failed,
    }
}

/// A turn, with what came of its calls when that is known.
pub(super) fn turn(number: u32, turn: &Turn, answer: Answer, results: Option<Results>) -> AgentTurn {
    let results = results.map(|results| results.results).unwrap_or_default();
    let results = results.into_iter().map(Some).chain(std::iter::repeat(None));
    AgentTurn {
        number,
        model: turn.model.clone(),
        text: answer.text,
        tool_calls: answer
            .calls
            .into_iter()
            .zip(results)
            .map(|(called, result)| call(called, result))
            .collect(),
        input_tokens: turn.input_tokens,
        output_tokens: turn.output_tokens,
        cost_usd: turn.cost,
        latency_ms: turn.latency_ms,
        at: turn.at,
        truncated: false,
    }
}

fn call(call: ToolCall, result: Option<ToolResult>) -> AgentToolCall {
    let arguments = serde_json::from_str(&call.arguments).unwrap_or(Value::String(call.arguments));
    AgentToolCall { id: call.id, name: call.name, arguments, result }
}

/// A step in a list.
pub(super) fn item(id: AgentStepId, run: RunId, row: ListRow) -> AgentStepItem {
    AgentStepItem {
        id,
        run_id: run,
        node_id: row.node,
        attempt: row.attempt,
        name: row.name,
        status: row.status,
        stop_reason: row.stop,
        turn_count: row.turns,
        total_tokens: row.tokens,
        cost_usd: row.cost,
        created_at: row.created_at,
    }
}

/// An event of the journal as an event of the stream; `text` is the content that came with it.
pub(super) fn event(
    id: AgentStepId,
    seq: u64,
    at: Timestamp,
    event: &Event,
    text: Option<&str>,
) -> Option<AgentStepEvent> {
    let kind = match event {
        Event::Created(created) => AgentStepEventKind::StepCreated { name: created.name.clone() },
        Event::Prepared { base, .. } => {
            AgentStepEventKind::StepPrepared { base_commit: Some(base.to_string()) }
        }
        Event::Thought { turn: number, spent, .. } => {
            let answer: Answer = serde_json::from_str(text?).ok()?;
            let taken = Turn::of(Content::Event(seq), spent, 0, at);
            AgentStepEventKind::TurnCompleted { turn: turn(*number, &taken, answer, None) }
        }
        Event::Acted { turn, commit, .. } => {
            let results: Results = serde_json::from_str(text?).ok()?;
            let commit = Some(commit.to_string());
            AgentStepEventKind::ToolsCompleted { number: *turn, results: results.results, commit }
        }
        Event::CancelRequested { .. } => return None,
        Event::Ended { end, .. } => AgentStepEventKind::StepCompleted {
            status: ended(end.stop),
            stop_reason: end.stop,
            error: end.reason.as_ref().map(Into::into),
        },
    };
    Some(AgentStepEvent { step_id: id, seq: Some(seq), at, kind })
}
