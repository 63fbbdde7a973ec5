//! `/agent`: one loop of model turns and tool calls.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    ids::{AgentStepId, RunId, WorkspaceId},
    model_router::TaskType,
    money::MicroUsd,
    runs::Reason,
    time::Timestamp,
};

/// What a step may use up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct StepPolicy {
    /// The most model turns, 1 to 200; 25 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 200)]
    pub max_iterations: Option<u32>,
    /// The most tokens of all turns together, 1 to 10,000,000; 200,000 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10_000_000)]
    pub token_budget: Option<u64>,
    /// What kind of work it is; `code_generation` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_type: Option<TaskType>,
    /// The most tokens of one answer, 1 to 128,000; 4,096 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 128_000)]
    pub max_tokens_per_call: Option<u32>,
    /// How long one tool call may take, in milliseconds, 1 to 600,000; 120,000 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 600_000)]
    pub tool_timeout_ms: Option<u64>,
}

impl StepPolicy {
    /// What is out of bounds, by field.
    pub fn wrong(&self) -> Vec<(&'static str, String)> {
        let bounds = [
            ("maxIterations", self.max_iterations.map(u64::from), 200),
            ("tokenBudget", self.token_budget, 10_000_000),
            ("maxTokensPerCall", self.max_tokens_per_call.map(u64::from), 128_000),
            ("toolTimeoutMs", self.tool_timeout_ms, 600_000),
        ];
        let out = bounds
            .into_iter()
            .filter(|(_, value, most)| value.is_some_and(|value| !(1..=*most).contains(&value)));
        out.map(|(field, _, most)| (field, format!("needs 1 to {most}"))).collect()
    }
}

/// `POST /agent/steps`: has an agent do one thing on the repository of a run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateAgentStep {
    /// The run whose repository and budget it uses; it must not have ended.
    pub run_id: RunId,
    /// The name to show, 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200, pattern = r"\S")]
    pub name: String,
    /// What is to be done, 1 byte to 256 KiB.
    #[schema(min_length = 1, max_length = 262_144, pattern = r"\S")]
    pub prompt: String,
    /// What the model is told about its part, at most 64 KiB; the usual instructions when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// The connectors whose tools it may call, beside the built-in ones.
    #[serde(default)]
    pub allowed_connector_ids: Vec<String>,
    /// What it may use up.
    #[serde(default)]
    pub policy: StepPolicy,
    /// The id of the model to ask first; the router picks when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// Where the work on a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AgentStepStatus {
    /// Goes on.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Was stopped.
    Cancelled,
}

/// Why the work on a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model had done all.
    EndTurn,
    /// The most turns were taken.
    MaxIterations,
    /// The most tokens were used.
    TokenBudget,
    /// An answer was cut off at the most tokens of one.
    MaxTokens,
    /// The same calls were made again and again, to no avail.
    Loop,
    /// The built-in engine cannot do it: it takes a language model.
    NeedsModel,
    /// The model, or its provider, will not do it.
    Refused,
    /// No model answered.
    ModelError,
    /// Somebody stopped it.
    Cancelled,
    /// The server could not go on.
    Error,
}

/// An agent's work on one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentStep {
    /// Its id.
    pub id: AgentStepId,
    /// The run it belongs to.
    pub run_id: RunId,
    /// The workspace it belongs to.
    pub workspace_id: WorkspaceId,
    /// The id of the step in the run's plan; absent when it was asked for by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// The attempt of the run it belongs to.
    pub attempt: u32,
    /// The name to show.
    pub name: String,
    /// Where it stands.
    pub status: AgentStepStatus,
    /// The turns of the model, oldest first. Their texts, arguments and results take at most 1 MiB together;
    /// the longest of each turn are cut to that end. The step's stream has them whole.
    pub turns: Vec<AgentTurn>,
    /// Whether a turn or the output was cut; absent when everything is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// How many turns there are.
    pub turn_count: u32,
    /// Why it ended; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<StopReason>,
    /// What the model said last, at most 64 KiB of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Why it did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Reason>,
    /// All tokens, read and written.
    pub total_tokens: u64,
    /// Tokens that were read.
    pub input_tokens: u64,
    /// Tokens that were written.
    pub output_tokens: u64,
    /// What it has cost so far, in US dollars.
    pub cost_usd: MicroUsd,
    /// The commit that it began from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_commit: Option<String>,
    /// The commit that holds what it did so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
}

/// One turn of the model, and what came of its calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentTurn {
    /// Counts the turns, from 1.
    pub number: u32,
    /// The model that answered.
    pub model: String,
    /// What it said.
    pub text: String,
    /// What it called.
    pub tool_calls: Vec<AgentToolCall>,
    /// Tokens that were read.
    pub input_tokens: u64,
    /// Tokens that were written.
    pub output_tokens: u64,
    /// What the answer cost, in US dollars.
    pub cost_usd: MicroUsd,
    /// How long the answer took.
    pub latency_ms: u64,
    /// When the answer was there.
    pub at: Timestamp,
    /// Whether something of it was cut: texts that end in `…`, or calls after the 32nd, none of which is
    /// made. Absent when everything is there, as always in the step's stream.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// One call of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentToolCall {
    /// Names the call within the step.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments; a string where the model wrote no JSON, or where they had to be cut.
    #[schema(value_type = Object)]
    pub arguments: Value,
    /// What came of it; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ToolResult>,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolResult {
    /// What the model is told.
    pub text: String,
    /// Whether the call did not do what was asked.
    pub is_error: bool,
    /// How long it took.
    pub duration_ms: u64,
}

/// `GET /agent/runs/:runId/steps`: the steps of a run, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AgentSteps {
    /// The steps, without their turns.
    pub steps: Vec<AgentStepItem>,
}

/// A step in a list, without its turns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentStepItem {
    /// Its id.
    pub id: AgentStepId,
    /// The run it belongs to.
    pub run_id: RunId,
    /// The id of the step in the run's plan; absent when it was asked for by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// The attempt of the run it belongs to.
    pub attempt: u32,
    /// The name to show.
    pub name: String,
    /// Where it stands.
    pub status: AgentStepStatus,
    /// Why it ended; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<StopReason>,
    /// How many turns there are.
    pub turn_count: u32,
    /// All tokens, read and written.
    pub total_tokens: u64,
    /// What it has cost so far, in US dollars.
    pub cost_usd: MicroUsd,
    /// When it began.
    pub created_at: Timestamp,
}

/// One event of `GET /agent/steps/:stepId/stream`; `id` of the SSE message is `seq`, where there is one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentStepEvent {
    /// The step's id.
    pub step_id: AgentStepId,
    /// Counts the step's events, from 1, without a gap; absent for pieces of text, which are not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub kind: AgentStepEventKind,
}

/// What happened, by its `type`; the SSE event has the same name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum AgentStepEventKind {
    /// The step was created.
    StepCreated {
        /// The name to show.
        name: String,
    },
    /// Its work tree and its task are ready.
    StepPrepared {
        /// The commit that it begins from.
        base_commit: Option<String>,
    },
    /// The model answered; its calls have no results yet.
    TurnCompleted {
        /// The turn.
        turn: AgentTurn,
    },
    /// What came of the calls of a turn.
    ToolsCompleted {
        /// The turn's number.
        number: u32,
        /// One for each call, in their order.
        results: Vec<ToolResult>,
        /// The commit that holds what the step has done so far.
        commit: Option<String>,
    },
    /// The step ended.
    StepCompleted {
        /// Where it stands.
        status: AgentStepStatus,
        /// Why it ended.
        stop_reason: StopReason,
        /// Why it did not end well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Reason>,
    },
    /// A piece of what the model writes. Not kept: a reader that is slow or comes later does not get it.
    TextDelta {
        /// The text.
        text: String,
    },
    /// A piece of what a command prints. Not kept: a reader that is slow or comes later does not get it.
    OutputDelta {
        /// The call that prints it.
        call: String,
        /// The text.
        text: String,
    },
}

impl AgentStepEventKind {
    /// The name of the SSE event.
    pub fn name(&self) -> &'static str {
        match self {
            Self::StepCreated { .. } => "STEP_CREATED",
            Self::StepPrepared { .. } => "STEP_PREPARED",
            Self::TurnCompleted { .. } => "TURN_COMPLETED",
            Self::ToolsCompleted { .. } => "TOOLS_COMPLETED",
            Self::StepCompleted { .. } => "STEP_COMPLETED",
            Self::TextDelta { .. } => "TEXT_DELTA",
            Self::OutputDelta { .. } => "OUTPUT_DELTA",
        }
    }
}
