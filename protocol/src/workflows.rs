//! `/workflows`: graphs of nodes and edges that runs are made from.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    agent_steps::StepPolicy, ids::WorkflowId, runs::RepositoryRef, time::Timestamp, workspaces::Role,
};

/// The most nodes a workflow can have.
pub const NODES_MAX: usize = 10_000;
/// The most edges a workflow can have.
pub const EDGES_MAX: usize = 40_000;

/// One node of the graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Names the node within its workflow: 1 to 64 of `A-Z a-z 0-9 _ -`, and no `-` in front.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_][A-Za-z0-9_-]*$")]
    pub id: String,
    /// The name to show; the id when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub name: Option<String>,
    /// What the node does.
    #[serde(flatten)]
    pub kind: NodeKind,
}

/// What a node does, by its `type`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum NodeKind {
    /// Computes an output from the run's input and the outputs upstream. Nothing outside the run is touched.
    Transform {
        /// `JSONLogic` over `{"inputs": …, "steps": {"<id>": {"output": …}}}`, at most 64 KiB. Objects that
        /// are no operation are built as they stand, and `{{ steps.plan.output.title }}` in a string is
        /// replaced by that value.
        #[schema(value_type = Object)]
        logic: Value,
    },
    /// Waits until a person with the role approves.
    ApprovalGate {
        /// The least role that may decide; `member` when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<Role>,
        /// How long the gate waits before the run fails, in seconds, 1 to 2,592,000 (30 days); 86,400 when
        /// absent.
        #[serde(default, rename = "timeoutSeconds", skip_serializing_if = "Option::is_none")]
        #[schema(minimum = 1, maximum = 2_592_000)]
        timeout_seconds: Option<u32>,
    },
    /// An agent at work on the repository, in a tree of its own.
    Agent {
        /// What it is to do, 1 byte to 64 KiB. `{{ inputs.title }}` and `{{ steps.plan.output }}` are
        /// replaced by those values. The ticket itself when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt: Option<String>,
        /// The part it plays, such as `dev`, `qa`, `sre` or `security`; `dev` when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<String>,
        /// The id of the model to ask first; the router picks when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// What it may use up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policy: Option<StepPolicy>,
        /// Whether the planner makes steps of the ticket that take the place of this node; at most one node
        /// of a workflow.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        decompose: bool,
    },
    /// After all steps: the repository's own tests. Red ones lead back to a step that mends them, twice at
    /// most.
    RunTests {
        /// The command, run by `sh -c` at the top of the repository; found out from its files when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(max_length = 4096)]
        command: Option<String>,
    },
    /// After the tests: a review of the whole change. Blocking findings lead back to a step that mends them.
    Review {
        /// The id of the model to ask first; the router picks when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
    },
    /// Last: the change is shown on a branch, and merged into the main branch.
    Merge {
        /// Whether a person must approve the commit before it is merged.
        #[serde(default = "yes")]
        approval: bool,
    },
}

fn yes() -> bool {
    true
}

impl NodeKind {
    /// The `type` of such a node on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Transform { .. } => "transform",
            Self::ApprovalGate { .. } => "approval-gate",
            Self::Agent { .. } => "agent",
            Self::RunTests { .. } => "run-tests",
            Self::Review { .. } => "review",
            Self::Merge { .. } => "merge",
        }
    }
}

/// One edge of the graph: `to` starts after `from` has succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Edge {
    /// The id of the node that comes first.
    #[serde(alias = "source")]
    pub from: String,
    /// The id of the node that comes after it.
    #[serde(alias = "target")]
    pub to: String,
}

/// `POST /workflows`: a graph to keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Definition {
    /// The name to show, 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// What it is for, at most 2,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2000)]
    pub description: Option<String>,
    /// The nodes, 1 to 10,000.
    #[schema(min_items = 1, max_items = 10_000)]
    pub nodes: Vec<Node>,
    /// The edges, at most 40,000.
    #[serde(default)]
    #[schema(max_items = 40_000)]
    pub edges: Vec<Edge>,
    /// Whether a person must approve the plan before a run of it starts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plan_approval: bool,
}

/// A workflow that is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workflow {
    /// The workflow's id.
    pub id: WorkflowId,
    /// The graph.
    #[serde(flatten)]
    pub definition: Definition,
    /// Counts the changes; a run pins the version it was created with.
    pub version: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A workflow in a list, without its graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowItem {
    /// The workflow's id.
    pub id: WorkflowId,
    /// The name to show.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How many nodes it has.
    pub node_count: u32,
    /// Counts the changes.
    pub version: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A page of workflows.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workflows {
    /// The workspace's workflows, newest first.
    pub workflows: Vec<WorkflowItem>,
    /// What to send as `cursor` for the next page.
    pub next_cursor: Option<String>,
}

/// `POST /workflows/execute`: creates a run and starts it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Execute {
    /// The workflow to run.
    pub workflow_id: WorkflowId,
    /// What the nodes see as `inputs`, at most 256 KiB of JSON; `{}` when absent.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub input: Value,
    /// The repository that its agents work on; the workspace's project `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryRef>,
}
