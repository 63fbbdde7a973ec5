//! Runs: from a plan to a merged change, durably.
//!
//! [`state`] decides what may happen and holds no I/O; `flow` says what one command brings about; `records`
//! what is saved beside it; [`work`] performs what a run wants, and [`delivery`] what comes after its steps;
//! [`brief`] is what its agents are told; `wire` and [`why`] show it, and `follow` as it happens. [`Runs`] is
//! what other code calls.

pub mod brief;
mod commands;
pub mod delivery;
pub mod detect;
mod flow;
mod follow;
mod gates;
pub mod grounds;
mod inputs;
mod machine;
mod plan;
mod records;
pub mod state;
mod steps;
mod wants;
pub mod why;
mod wire;
pub mod work;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cendriix_persistence::{codec::decode, store::Scan};
use cendriix_protocol::{
    agent_steps::CreateAgentStep,
    entities::{Entity, Kind},
    ids::{self, AgentStepId, RunId, WorkflowId},
    runs::{self as wire_runs, Why},
};
use serde_json::{Value, json};

pub use follow::Following;
pub use state::{Command, Plan, Refusal, Run, Step, StepKind};
pub(crate) use wire::plan_steps;

use self::{
    delivery::Delivery,
    grounds::Grounds,
    records::ListRow,
    state::{Birth, Planned, Status, StepState},
};
use crate::{
    Error,
    agent_steps::conversation::Brief,
    caller::Caller,
    content::{self, Contents},
    entities::{self, NewEntity},
    idempotency::Claim,
    kinds::space,
    kit::{Entities, Failure, Order, Shown, machine::child_id},
    metering::spent,
    orchestrator::Orchestrator,
    sandboxes::Mode,
    workflows::{Compiled, Workflows},
};

/// The largest ticket or input, in bytes of JSON.
pub const INPUT_MAX: usize = 256 << 10;
/// How many rows are looked at for one page of a filtered list.
const SCAN_MAX: usize = 2_000;
/// The most outputs that come with a run, in bytes.
const OUTPUTS_MAX: usize = 64 << 10;

/// The runs of all workspaces. A clone is the same.
#[derive(Clone, Debug)]
pub struct Runs {
    entities: Entities<Run>,
    workflows: Workflows,
    contents: Contents,
    orchestrator: Orchestrator,
    grounds: Grounds,
    delivery: Delivery,
}

/// What runs are made from and reach.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Graphs to run.
    pub workflows: Workflows,
    /// Where contents are read and kept.
    pub contents: Contents,
    /// Who makes plans.
    pub orchestrator: Orchestrator,
    /// Which repositories there are.
    pub grounds: Grounds,
    /// How a change is delivered.
    pub delivery: Delivery,
}

/// A run that is to be created.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// The workflow to run.
    pub workflow: WorkflowId,
    /// What it is called; the workflow's name when absent.
    pub title: Option<String>,
    /// What the nodes see as `inputs`.
    pub input: Value,
    /// Whether it starts at once.
    pub advancing: bool,
    /// The repository that its agents work on.
    pub repository: Option<wire_runs::RepositoryRef>,
    /// The model that its agents ask first.
    pub model: Option<String>,
}

impl Runs {
    /// Puts together what runs need.
    pub fn new(entities: Entities<Run>, reach: Reach) -> Self {
        let Reach { workflows, contents, orchestrator, grounds, delivery } = reach;
        Self { entities, workflows, contents, orchestrator, grounds, delivery }
    }

    /// How many are awake.
    pub fn awake(&self) -> usize {
        self.entities.awake()
    }

    /// Creates a run; a claim that was made before answers with the run of then.
    ///
    /// # Errors
    ///
    /// When the workflow is not there, the input is too large, or the caller may not.
    pub async fn create(
        &self,
        caller: &Caller,
        new: NewRun,
        claim: Option<Claim>,
    ) -> Result<Shown<Run>, Error> {
        caller.may()?;
        let (workflow_version, compiled) = self.workflows.newest(caller, new.workflow).await?;
        let shared = self.entities.shared();
        if let Some(claim) = &claim
            && let Some(run) = claim.earlier(&*shared.store, shared.clock.now()).await?
        {
            return self.get(caller, RunId(run)).await;
        }
        let text = new.input.to_string();
        // A ticket is measured at the door, as it is written; escapes make its JSON longer.
        let most = if new.title.is_some() { 8 * INPUT_MAX } else { INPUT_MAX };
        if text.len() > most {
            return Err(Error::field("input", format!("has {} bytes, more than {most}", text.len())));
        }
        let title = new.title.clone().unwrap_or_else(|| compiled.definition.name.clone());
        let works = compiled.works();
        let repository = match &new.repository {
            None if !works => None,
            asked => Some(self.grounds.find(caller, asked.as_ref()).await?),
        };
        let (plan, planned) = if works {
            let (plan, planned) = self.plan(caller, &compiled, &title, &new).await?;
            (plan, Some(planned))
        } else {
            (compiled.plan.clone(), None)
        };
        let birth = Birth {
            workspace: caller.workspace,
            created_by: caller.user,
            workflow: new.workflow,
            workflow_version,
            title,
            input: self.contents.keep(caller.workspace, text).await?,
            course: state::Course {
                uncontained: self.delivery.sandboxes.mode() != Mode::Local,
                ..compiled.course
            },
            plan,
            advancing: new.advancing,
            repository,
            model: new.model,
            planned,
        };
        let id = shared.clock.id();
        let mut order = Order::of(caller.actor());
        if let Some(claim) = &claim {
            order.attachment = claim.taken(id, shared.clock.now());
        }
        match self.entities.create(id, &birth, order).await {
            Ok(shown) => Ok(shown),
            Err(Failure::Guard(0)) if claim.is_some() => {
                Err(Error::conflict("a request with this Idempotency-Key goes on; ask again"))
            }
            Err(failure) => Err(Error::of(failure, |refusal| Error::conflict(refusal.to_string()))),
        }
    }

    /// The plan of a run in which agents work.
    async fn plan(
        &self,
        caller: &Caller,
        compiled: &Compiled,
        title: &str,
        new: &NewRun,
    ) -> Result<(Arc<state::Plan>, Planned), Error> {
        let body = new.input.get("body").and_then(Value::as_str).unwrap_or_default().to_owned();
        let ticket = wire_runs::Ticket { title: title.to_owned(), body };
        let made = self.orchestrator.plan(caller, compiled, &ticket, new.model.as_deref()).await?;
        let detail = serde_json::to_string(&made.steps).unwrap_or_default();
        let detail = self.contents.keep(caller.workspace, detail).await?;
        let clock = &self.entities.shared().clock;
        let spent = made.asked.map(|asked| spent::of(clock.id(), &Ok(asked))).unwrap_or_default();
        Ok((made.plan, Planned { planner: made.planner, detail, spent }))
    }

    /// A run as it is on disk.
    ///
    /// # Errors
    ///
    /// When it is not there or not the caller's.
    pub async fn get(&self, caller: &Caller, id: RunId) -> Result<Shown<Run>, Error> {
        let shown = self.entities.show(id.0).await?.ok_or(Error::Missing { what: "run" })?;
        caller.reach(shown.machine.workspace, "run")?;
        Ok(shown)
    }

    /// Asks something of a run: first the tenant, then the role, then the state. A claim that was made before
    /// changes nothing and answers with the run as it is.
    ///
    /// # Errors
    ///
    /// When it is not there, the caller may not, or its state does not allow it.
    pub async fn command(
        &self,
        caller: &Caller,
        id: RunId,
        command: Command,
        claim: Option<Claim>,
    ) -> Result<Shown<Run>, Error> {
        let shown = self.get(caller, id).await?;
        let mut asked = self.ask(caller, &shown, command.clone(), claim.as_ref()).await;
        // A claim that was made before keeps a save from happening, so it is looked for only when nothing
        // was saved.
        let is_saved = matches!(&asked, Ok(Ok(after)) if after.version != shown.version);
        if let Some(claim) = claim.as_ref().filter(|_| !is_saved) {
            let shared = self.entities.shared();
            if claim.earlier(&*shared.store, shared.clock.now()).await?.is_some() {
                return self.get(caller, id).await;
            }
            // It was too old to count, and is gone by this.
            if let Ok(Err(Failure::Guard(0))) = asked {
                asked = self.ask(caller, &shown, command, Some(claim)).await;
            }
        }
        asked?.map_err(|failure| failed(failure, &shown, caller))
    }

    async fn ask(
        &self,
        caller: &Caller,
        shown: &Shown<Run>,
        command: Command,
        claim: Option<&Claim>,
    ) -> Result<Result<Shown<Run>, Failure<Run>>, Error> {
        let id = shown.machine.id;
        let mut order = Order::of(caller.actor());
        if let Some(claim) = claim {
            order.attachment = claim.taken(id.0, self.entities.shared().clock.now());
        }
        let command = self.grounded(&shown.machine, command).await?;
        Ok(self.entities.command(id.0, command, order).await)
    }

    /// A retry begins from the main branch as it is by then.
    async fn grounded(&self, run: &Run, command: Command) -> Result<Command, Error> {
        match (command, &run.repository) {
            (Command::Retry { from: None, .. }, Some(repository))
                if !run.merged && matches!(run.status, Status::Failed { .. } | Status::Cancelled) =>
            {
                let repository = Some(self.grounds.again(repository).await?);
                Ok(Command::Retry { from: None, repository })
            }
            (command, _) => Ok(command),
        }
    }

    /// Waits until a run rests, at most `within`.
    ///
    /// # Errors
    ///
    /// When it is not there or not the caller's.
    pub async fn rest(&self, caller: &Caller, id: RunId, within: Duration) -> Result<Shown<Run>, Error> {
        let shown =
            self.entities.wait(id.0, within, Run::rests).await?.ok_or(Error::Missing { what: "run" })?;
        caller.reach(shown.machine.workspace, "run")?;
        Ok(shown)
    }

    /// A page of the workspace's runs, newest first, and the cursor of the next one.
    ///
    /// # Errors
    ///
    /// When the caller may not.
    pub async fn list(
        &self,
        caller: &Caller,
        status: Option<wire_runs::Status>,
        workflow: Option<WorkflowId>,
        limit: usize,
        cursor: Option<RunId>,
    ) -> Result<(Vec<wire_runs::RunItem>, Option<RunId>), Error> {
        caller.may()?;
        let before = cursor.map(|id| ListRow::key(caller.workspace, id));
        let filtered = status.is_some() || workflow.is_some();
        let looked_at = if filtered { SCAN_MAX } else { limit + 1 };
        let prefix = caller.workspace.0;
        let scan = Scan::prefix(space::RUNS, prefix.as_bytes(), looked_at).newest_first(before);
        let rows = self.entities.shared().store.rows(scan).await?;
        let exhausted = rows.len() < looked_at;
        let mut items: Vec<wire_runs::RunItem> = Vec::new();
        let mut last = None;
        for (key, value) in rows {
            let Some(id) = content::id_at(&key, 16).map(RunId) else { continue };
            if items.len() == limit {
                return Ok((items, last));
            }
            last = Some(id);
            let row: ListRow = decode("run's line", &value)?;
            if status.is_none_or(|status| status == row.status)
                && workflow.is_none_or(|wanted| wanted == row.workflow)
            {
                items.push(wire_runs::RunItem {
                    id,
                    tenant_id: caller.workspace,
                    workflow_id: row.workflow,
                    title: row.title,
                    status: row.status,
                    attempt: row.attempt,
                    open_gates: row.open_gates,
                    cost_usd: row.cost,
                    created_at: row.created_at,
                    status_since: row.status_since,
                });
            }
        }
        Ok((items, last.filter(|_| !exhausted)))
    }

    /// The run as clients see it.
    ///
    /// # Errors
    ///
    /// When what it refers to cannot be read.
    pub async fn show(&self, shown: &Shown<Run>) -> Result<wire_runs::Run, Error> {
        let run = &*shown.machine;
        let compiled = self.workflows.version(run.workspace, run.workflow, run.workflow_version).await?;
        let input = self.contents.read::<Run>(run.workspace, run.id.0, &run.input).await?;
        let planned = match &run.planned {
            Some((_, detail)) => {
                let text = self.contents.read::<Run>(run.workspace, run.id.0, detail).await?;
                Some(content::json("plan", &text)?)
            }
            None => None,
        };
        let steps = (0..).zip(&run.progress);
        Ok(wire_runs::Run {
            id: run.id,
            tenant_id: run.workspace,
            workspace_id: run.workspace,
            workflow_id: run.workflow,
            workflow_version: run.workflow_version,
            created_by: run.created_by,
            title: run.title.clone(),
            input: content::json("input", &input)?,
            status: (&run.status).into(),
            attempt: run.attempt,
            repository: run.repository.as_ref().map(|repository| self.grounds.shown(run, repository)),
            plan: wire::plan(run, &compiled, planned),
            steps: steps.map(|(place, progress)| wire::step(run, place, progress)).collect(),
            gates: run.gates.iter().map(|gate| wire::gate(run, gate)).collect(),
            outputs: self.outputs(run).await?,
            cost_usd: run.cost,
            reason: run.status.reason().map(Into::into),
            allowed_actions: run.allowed_actions().into_iter().map(str::to_owned).collect(),
            created_at: run.created_at,
            updated_at: run.updated_at,
            version: shown.version,
        })
    }

    /// The outputs of the last steps, once the run has ended and while they are few.
    async fn outputs(&self, run: &Run) -> Result<BTreeMap<String, Value>, Error> {
        let mut outputs = BTreeMap::new();
        if !run.status.is_end() {
            return Ok(outputs);
        }
        let mut last = vec![true; run.plan.steps.len()];
        for need in run.plan.steps.iter().flat_map(|step| &step.needs) {
            last[*need as usize] = false;
        }
        let mut bytes = 0;
        for (place, step) in run.plan.steps.iter().enumerate().filter(|(place, _)| last[*place]) {
            let StepState::Succeeded { output } = &run.progress[place].state else { continue };
            let text = self.contents.read::<Run>(run.workspace, run.id.0, output).await?;
            bytes += text.len();
            if bytes > OUTPUTS_MAX {
                return Ok(BTreeMap::new());
            }
            outputs.insert(step.id.clone(), content::json("output", &text)?);
        }
        Ok(outputs)
    }

    /// What a run has changed so far.
    ///
    /// # Errors
    ///
    /// When it is not there or not the caller's, has no repository, or its parts contradict each other.
    pub async fn diff(&self, caller: &Caller, id: RunId) -> Result<wire_runs::RunDiff, Error> {
        let run = self.get(caller, id).await?.machine;
        if run.repository.is_none() {
            return Err(Error::conflict("this run has no repository, so it changes no files"));
        }
        let (base, head, diff) = self.delivery.diff(&run).await.map_err(Error::from)?;
        Ok(wire::diff(&run, &base, &head, diff))
    }

    /// Has an agent do one thing on what the run has done so far, as a child of the run, and gives its id.
    ///
    /// # Errors
    ///
    /// When the run is not there or not the caller's, has ended, has no repository, or has too many such
    /// agents already.
    pub async fn ask_step(
        &self,
        caller: &Caller,
        new: &CreateAgentStep,
        claim: Option<Claim>,
    ) -> Result<AgentStepId, Error> {
        caller.may()?;
        let shown = self.get(caller, new.run_id).await?;
        let shared = self.entities.shared();
        let id = AgentStepId(ids::derive(new.run_id.0, shared.clock.random()));
        let brief = serde_json::to_string(&Brief::asked(new)).unwrap_or_default();
        let brief = self.contents.keep(caller.workspace, brief).await?;
        let mut order = Order::of(caller.actor());
        if let Some(claim) = &claim {
            order.attachment = claim.taken(id.0, shared.clock.now());
        }
        let command = Command::AskStep { id, name: new.name.clone(), brief };
        let asked = self.entities.command(new.run_id.0, command, order).await;
        asked.map(|_| id).map_err(|failure| failed(failure, &shown, caller))
    }

    /// Makes a playbook of a run that was merged.
    ///
    /// # Errors
    ///
    /// When it is not there or not the caller's, or was not merged.
    pub async fn promote(
        &self,
        caller: &Caller,
        id: RunId,
        entities: &entities::Entities,
    ) -> Result<Entity, Error> {
        let shown = self.get(caller, id).await?;
        let run = &*shown.machine;
        if !run.merged || run.status.reason().is_some() {
            let refusal = Refusal::WrongState { status: run.status.clone(), command: "promote-playbook" };
            return Err(refused(refusal, &run.allowed_actions(), caller));
        }
        let shown = self.show(&shown).await?;
        let agents: BTreeSet<&str> =
            shown.plan.steps.iter().filter_map(|step| step.agent.as_deref()).collect();
        let spec = json!({
            "trigger": shown.title,
            "steps": &*shown.plan.steps,
            "agents": agents,
            "estimatedCostUsd": shown.cost_usd,
            "source": { "runId": id, "workflowId": run.workflow, "workflowVersion": run.workflow_version },
        });
        let name = shown.title.chars().take(entities::NAME_MAX).collect();
        let new = NewEntity { id: child_id(id.0, "playbook", 0), kind: Kind::Playbook, name, spec };
        entities.keep(caller, new).await
    }

    /// Why the run is where it is.
    ///
    /// # Errors
    ///
    /// When it is not there or not the caller's.
    pub async fn why(&self, caller: &Caller, id: RunId) -> Result<Why, Error> {
        Ok(why::explain(&self.get(caller, id).await?.machine))
    }

    /// Every state of the run's life, with what was reached.
    ///
    /// # Errors
    ///
    /// When it is not there or not the caller's.
    pub async fn lifecycle(&self, caller: &Caller, id: RunId) -> Result<wire_runs::Lifecycle, Error> {
        let shown = self.get(caller, id).await?;
        Ok(wire_runs::Lifecycle { run_id: id, stages: wire::stages(&shown.machine) })
    }
}

/// Why a run did not take a command; the one guard that comes with a command is its claim.
fn failed(failure: Failure<Run>, shown: &Shown<Run>, caller: &Caller) -> Error {
    if let Failure::Guard(0) = failure {
        return Error::conflict("a request with this Idempotency-Key goes on; ask again");
    }
    let allowed = shown.machine.allowed_actions();
    Error::of(failure, |refusal| refused(refusal, &allowed, caller))
}

fn refused(refusal: Refusal, allowed: &[&str], caller: &Caller) -> Error {
    let message = refusal.to_string();
    match refusal {
        Refusal::WrongState { status, .. } => Error::Conflict {
            message,
            current_status: Some(status.name().to_owned()),
            allowed_actions: Some(allowed.iter().map(|action| (*action).to_owned()).collect()),
        },
        Refusal::RoleTooLow { needs } => Error::Forbidden { needs, has: caller.role },
        Refusal::ResolutionMissing => Error::field("resolution", message),
        Refusal::NoSuchStep { .. } => Error::field("fromStepId", message),
        Refusal::WhichGate { gates } => {
            let gates: Vec<String> = gates.iter().map(ToString::to_string).collect();
            Error::conflict(format!("{message}: {}", gates.join(", ")))
        }
        Refusal::NoSuchGate
        | Refusal::AlreadyMerged
        | Refusal::PlanUnsound
        | Refusal::NoRepository
        | Refusal::TooManyAsked
        | Refusal::Late => Error::conflict(message),
    }
}
