//! Workflows: graphs that are kept, each change a new version; a run pins the version it was created with.

pub mod logic;
pub mod rules;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cendriix_persistence::{
    blobs::Blobs,
    codec::{decode, encode},
    placement::{Owner, Placement},
    store::{Change, Guard, Key, Outcome, Row, RowKey, Save, Scan, SharedStore},
};
use cendriix_protocol::{
    ids::{WorkflowId, WorkspaceId},
    runs::PlanSteps,
    time::Timestamp,
    workflows::{Definition, Node, NodeKind, Workflow, WorkflowItem},
    workspaces::Role,
};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};

use crate::{
    Error, audit,
    caller::Caller,
    content::{self, Large},
    kinds::{self, space},
    kit::{Clock, machine::Given},
    runs::{
        self,
        state::{Course, GATE_EXPIRES_AFTER, Plan, Step, StepKind},
    },
};

/// How many compiled versions are kept in memory.
const CACHED: usize = 512;

/// A workflow as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stored {
    pub workspace: WorkspaceId,
    pub version: u32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// The JSON text of the definition.
    pub definition: Large,
}

/// A workflow in its workspace's list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListRow {
    pub name: String,
    pub description: Option<String>,
    pub node_count: u32,
    pub version: u32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A version of a workflow, ready to be run.
#[derive(Debug)]
pub struct Compiled {
    pub definition: Definition,
    /// The nodes as the steps of a plan, but for those that come after all steps.
    pub plan: Arc<Plan>,
    /// The plan as clients see it.
    pub shown: Arc<PlanSteps>,
    pub course: Course,
    /// What steps compute, by their ids: a value, or what an agent is told.
    pub logics: BTreeMap<String, logic::Compiled>,
    /// The place in the plan of the node that the planner makes steps of.
    pub decompose: Option<usize>,
    /// The command of the tests, where the workflow says it.
    pub tests: Option<String>,
    /// The model to ask first for the review.
    pub reviewer: Option<String>,
    /// The places of the nodes in the definition, by their ids.
    places: BTreeMap<String, usize>,
}

impl Compiled {
    /// The node of a step; `None` for one that a planner made.
    pub fn node(&self, id: &str) -> Option<&Node> {
        self.places.get(id).and_then(|place| self.definition.nodes.get(*place))
    }

    /// Whether agents work in it, so that it takes a repository.
    pub fn works(&self) -> bool {
        self.plan.steps.iter().any(|step| step.kind == StepKind::Agent)
    }
}

/// The workflows of all workspaces. A clone is the same.
#[derive(Clone, Debug)]
pub struct Workflows {
    store: SharedStore,
    placement: Arc<dyn Placement>,
    blobs: Blobs,
    clock: Clock,
    compiled: Arc<Cache<(WorkflowId, u32), Arc<Compiled>>>,
}

impl Workflows {
    /// The workflows kept in `store`.
    pub fn new(store: SharedStore, placement: Arc<dyn Placement>, blobs: Blobs, clock: Clock) -> Self {
        Self { store, placement, blobs, clock, compiled: Arc::new(Cache::new(CACHED)) }
    }

    /// Keeps a workflow.
    ///
    /// # Errors
    ///
    /// When the definition is unsound ([`Error::Invalid`]) or the caller may not.
    pub async fn create(&self, caller: &Caller, definition: Definition) -> Result<Workflow, Error> {
        caller.may()?;
        let compiled = compile(definition)?;
        let id = WorkflowId(self.clock.id());
        let now = self.clock.now();
        let text = serde_json::to_string(&compiled.definition).unwrap_or_default();
        let definition = Large::keep(&self.blobs, caller.workspace, text).await?;
        let stored =
            Stored { workspace: caller.workspace, version: 1, created_at: now, updated_at: now, definition };
        let save = self.save(caller, id, &stored, &compiled.definition, now)?;
        match self.store.save(save).await {
            Outcome::Saved => {
                let workflow = shown(id, &stored, compiled.definition.clone());
                self.compiled.insert((id, 1), Arc::new(compiled));
                Ok(workflow)
            }
            outcome @ (Outcome::Conflict | Outcome::Refused(_) | Outcome::Full | Outcome::Unknown) => {
                Err(content::unsaved(outcome))
            }
        }
    }

    fn save(
        &self,
        caller: &Caller,
        id: WorkflowId,
        stored: &Stored,
        definition: &Definition,
        now: Timestamp,
    ) -> Result<Save, Error> {
        let Owner::Me { epoch } = self.placement.owner(id.0) else {
            return Err(Error::Unavailable("another node owns this workflow".into()));
        };
        let bytes = encode(stored)?;
        let line = ListRow {
            name: definition.name.clone(),
            description: definition.description.clone(),
            node_count: u32::try_from(definition.nodes.len()).unwrap_or(u32::MAX),
            version: stored.version,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
        };
        let given = Given { at: now, by: caller.actor(), random: 0 };
        let resource = audit::Resource { kind: "workflow", id: id.0 };
        let payload = serde_json::json!({ "name": definition.name, "version": stored.version });
        let change = Change {
            key: Key { kind: kinds::WORKFLOW, id: id.0 },
            epoch,
            expected_version: u64::from(stored.version) - 1,
            schema: 1,
            working: false,
            parked: false,
            due_at: None,
            events: None,
            snapshot: Some(bytes.clone()),
        };
        let list = RowKey { space: space::WORKFLOWS, key: list_key(caller.workspace, id) };
        let version = RowKey { space: space::WORKFLOW_VERSIONS, key: version_key(id, stored.version) };
        Ok(Save {
            changes: vec![change],
            guards: Vec::<Guard>::new(),
            rows: vec![
                Row { key: list, value: Some(encode(&line)?) },
                Row { key: version, value: Some(bytes) },
            ],
            audit: vec![audit::draft(caller.workspace, &given, "workflow.created", resource, &payload)],
            nudges: Vec::new(),
        })
    }

    /// A workflow as it is now.
    ///
    /// # Errors
    ///
    /// When it is not there or not the caller's.
    pub async fn get(&self, caller: &Caller, id: WorkflowId) -> Result<Workflow, Error> {
        let stored = self.read(caller, id).await?;
        let text = stored.definition.read(&self.blobs, stored.workspace).await?;
        let definition = content::json("workflow", &text)?;
        Ok(shown(id, &stored, definition))
    }

    async fn read(&self, caller: &Caller, id: WorkflowId) -> Result<Stored, Error> {
        let missing = Error::Missing { what: "workflow" };
        let Some(stored) = self.store.load(Key { kind: kinds::WORKFLOW, id: id.0 }).await? else {
            return Err(missing);
        };
        let stored: Stored = decode("workflow", &stored.snapshot)?;
        caller.reach(stored.workspace, "workflow")?;
        Ok(stored)
    }

    /// The newest version of a workflow, ready to be run.
    ///
    /// # Errors
    ///
    /// When it is not there or not the caller's.
    pub async fn newest(&self, caller: &Caller, id: WorkflowId) -> Result<(u32, Arc<Compiled>), Error> {
        let stored = self.read(caller, id).await?;
        let compiled = self.version(stored.workspace, id, stored.version).await?;
        Ok((stored.version, compiled))
    }

    /// A version of a workflow, ready to be run.
    ///
    /// # Errors
    ///
    /// When it is not there or cannot be read.
    pub async fn version(
        &self,
        workspace: WorkspaceId,
        id: WorkflowId,
        version: u32,
    ) -> Result<Arc<Compiled>, Error> {
        if let Some(compiled) = self.compiled.get(&(id, version)) {
            return Ok(compiled);
        }
        let key = RowKey { space: space::WORKFLOW_VERSIONS, key: version_key(id, version) };
        let row = self.store.row(&key).await?.ok_or(Error::Missing { what: "workflow version" })?;
        let stored: Stored = decode("workflow version", &row)?;
        if stored.workspace != workspace {
            return Err(Error::Missing { what: "workflow version" });
        }
        let text = stored.definition.read(&self.blobs, workspace).await?;
        let compiled = Arc::new(compile(content::json("workflow", &text)?)?);
        self.compiled.insert((id, version), Arc::clone(&compiled));
        Ok(compiled)
    }

    /// A page of the workspace's workflows, newest first, and the cursor of the next one.
    ///
    /// # Errors
    ///
    /// When the caller may not, or the cursor is none of ours.
    pub async fn list(
        &self,
        caller: &Caller,
        limit: usize,
        cursor: Option<WorkflowId>,
    ) -> Result<(Vec<WorkflowItem>, Option<WorkflowId>), Error> {
        caller.may()?;
        let before = cursor.map(|id| list_key(caller.workspace, id));
        let scan =
            Scan::prefix(space::WORKFLOWS, caller.workspace.0.as_bytes(), limit + 1).newest_first(before);
        let mut items = Vec::new();
        for (key, value) in self.store.rows(scan).await? {
            let Some(id) = content::id_at(&key, 16) else { continue };
            let row: ListRow = decode("workflow's line", &value)?;
            items.push(WorkflowItem {
                id: WorkflowId(id),
                name: row.name,
                description: row.description,
                node_count: row.node_count,
                version: row.version,
                created_at: row.created_at,
                updated_at: row.updated_at,
            });
        }
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().map(|item| item.id).filter(|_| more);
        Ok((items, next))
    }
}

fn shown(id: WorkflowId, stored: &Stored, definition: Definition) -> Workflow {
    Workflow {
        id,
        definition,
        version: stored.version,
        created_at: stored.created_at,
        updated_at: stored.updated_at,
    }
}

fn list_key(workspace: WorkspaceId, id: WorkflowId) -> Vec<u8> {
    [workspace.0.as_bytes().as_slice(), id.0.as_bytes()].concat()
}

fn version_key(id: WorkflowId, version: u32) -> Vec<u8> {
    [id.0.as_bytes().as_slice(), &version.to_be_bytes()].concat()
}

/// Checks a definition and makes it ready to be run.
///
/// # Errors
///
/// [`Error::Invalid`] with a sentence for each wrong field.
pub fn compile(definition: Definition) -> Result<Compiled, Error> {
    let order = rules::check(&definition).map_err(Error::Invalid)?;
    let mut compiled = Compiled {
        plan: Arc::default(),
        shown: Arc::default(),
        course: Course { plan_gate: definition.plan_approval, ..Course::default() },
        logics: BTreeMap::new(),
        decompose: None,
        tests: None,
        reviewer: None,
        places: definition.nodes.iter().enumerate().map(|(place, node)| (node.id.clone(), place)).collect(),
        definition,
    };
    let mut steps: Vec<Step> = Vec::with_capacity(order.nodes.len());
    // Where each node of the order stands among the steps.
    let mut placed = Vec::with_capacity(order.nodes.len());
    for (node, needs) in order.nodes.iter().zip(&order.needs) {
        placed.push(u32::try_from(steps.len()).unwrap_or(u32::MAX));
        let node = compiled.definition.nodes[*node].clone();
        if let Some(logic) = logic::of(&node.kind) {
            let logic = logic::compile(&logic).map_err(|wrong| Error::field("nodes", wrong))?;
            compiled.logics.insert(node.id.clone(), logic);
        }
        if let Some(kind) = compiled.take(&node.kind, steps.len()) {
            let needs = needs.iter().map(|need| placed[*need as usize]).collect();
            steps.push(Step { id: node.id, kind, needs });
        }
    }
    compiled.plan = Arc::new(Plan { version: 1, steps });
    compiled.shown = Arc::new(PlanSteps::written_ahead(runs::plan_steps(&compiled.plan, &compiled)));
    Ok(compiled)
}

impl Compiled {
    /// The step that a node is; `None` for one that comes after all steps and is part of the course.
    fn take(&mut self, kind: &NodeKind, place: usize) -> Option<StepKind> {
        match kind {
            NodeKind::Transform { .. } => return Some(StepKind::Transform),
            NodeKind::ApprovalGate { role, timeout_seconds } => {
                let waits =
                    timeout_seconds.map_or(GATE_EXPIRES_AFTER, |seconds| Duration::from_secs(seconds.into()));
                let timeout_ms = u64::try_from(waits.as_millis()).unwrap_or(u64::MAX);
                return Some(StepKind::Gate { role: role.unwrap_or(Role::Member), timeout_ms });
            }
            NodeKind::Agent { decompose, .. } => {
                self.decompose = decompose.then_some(place).or(self.decompose);
                return Some(StepKind::Agent);
            }
            NodeKind::RunTests { command } => {
                self.course.testing = true;
                self.tests.clone_from(command);
            }
            NodeKind::Review { model } => {
                self.course.review = true;
                self.reviewer.clone_from(model);
            }
            NodeKind::Merge { approval } => {
                self.course.pull_request = true;
                self.course.merge_gate = *approval;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use cendriix_persistence::blobs::Digest;
    use uuid::Uuid;

    use super::*;
    use crate::golden;

    #[test]
    fn workflows_and_their_lines_are_written_and_read_as_ever() {
        let at = Timestamp(1_780_000_000_000);
        let definition = Large::Here(
            r#"{"name":"n","nodes":[{"id":"a","type":"transform","logic":1}],"edges":[]}"#.into(),
        );
        let workspace = WorkspaceId(Uuid::from_u128(1));
        let stored = Stored { workspace, version: 3, created_at: at, updated_at: at, definition };
        golden::holds::<Stored>("workflow", &stored);
        let definition = Large::Blob(Digest::of(b"a large definition"));
        golden::holds::<Stored>("workflow-in-blob", &Stored { definition, ..stored });
        let line = ListRow {
            name: "n".into(),
            description: Some("what it is for".into()),
            node_count: 1,
            version: 3,
            created_at: at,
            updated_at: at,
        };
        golden::holds::<ListRow>("workflow-line", &line);
    }
}
