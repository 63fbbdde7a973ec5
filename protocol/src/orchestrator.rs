//! `/orchestrator`: plans, before anything runs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    ids::WorkflowId,
    money::MicroUsd,
    runs::{RunPlan, Ticket},
    time::Timestamp,
};

/// `POST /orchestrator/decompose`: a ticket to make a plan of.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decompose {
    /// The workflow that would be run.
    pub workflow_id: WorkflowId,
    /// The ticket.
    pub input: Ticket,
    /// The id of the model that plans and works; the router picks when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// A plan, and what it is expected to cost.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// The plan.
    pub plan: RunPlan,
    /// The sum of its steps' estimates, in US dollars.
    pub estimated_cost_usd: MicroUsd,
}

/// `POST /orchestrator/estimate`: a plan that was edited.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Estimate {
    /// The plan.
    pub plan: EditedPlan,
    /// The id of the model that would work; the router picks when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// A plan as a client edits it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EditedPlan {
    /// The steps, 1 to 1,000, each after those it depends on.
    #[schema(min_items = 1, max_items = 1000)]
    pub steps: Vec<EditedStep>,
    /// When the plan was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated_at: Option<Timestamp>,
}

/// A step as a client edits it; what is left out is filled in.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EditedStep {
    /// Names the step within the plan.
    pub id: String,
    /// The name to show; the id when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What kind of step it is; `agent` when absent.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The ids of the steps that come before it.
    #[serde(default)]
    pub depends_on: Vec<String>,
    /// The part that its agent plays; `dev` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What kind of work it is; `code_generation` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<crate::model_router::TaskType>,
    /// What the agent is told to do; the name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Why the planner is as sure as it says; kept as it is.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// How sure the planner is; kept as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence_score: Option<f64>,
}
