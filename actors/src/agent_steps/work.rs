//! Performs what an agent's step wants: makes its tree, asks the model, makes the calls.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use async_trait::async_trait;
use cendriix_protocol::{
    agent_steps::{StopReason, ToolResult},
    time::Timestamp,
};
use dashmap::DashMap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    conversation::{self, Brief},
    live::{Live, Piece},
    state::{AgentStep, Called, Command, CommitId, End, Event, Spent, Work, badly, cancelled},
    tools::{CallLimits, Live as Printed, Toolbox},
    wire::Results,
};
use crate::{
    Error,
    content::{self, Contents},
    kit::{Actor, Clock, Effect, Given, Task, World},
    metering::spent,
    model_router::{
        Ask, Asked, ModelRouter,
        chat::{Answer, Finish, ToolCall},
        provider,
    },
    reason::chain,
    repositories::{Failure, Place, Repositories, WorkTree},
    runs::brief::Briefs,
    sandboxes::{Attempt, Mode, Sandboxes},
};

/// How much of a command's output a model is told, in bytes.
const OUTPUT_BYTES: usize = 32 << 10;
/// How many pieces of text or output may wait for those who watch.
const PIECES: usize = 64;
/// How many calls of one turn are made; the others are told so.
const CALLS_MAX: usize = 32;

/// What agents' steps reach.
#[derive(Debug)]
pub struct AgentWorld {
    /// Where contents are read and kept.
    pub contents: Contents,
    /// What a run wants of its agents.
    pub briefs: Briefs,
    /// Who answers.
    pub models: ModelRouter,
    /// Where the trees come from.
    pub repositories: Repositories,
    /// Where commands are run.
    pub sandboxes: Sandboxes,
    /// Time, ids and chance.
    pub clock: Clock,
    /// Who watches.
    pub live: Live,
    /// The trees of steps that are at work here, and the commit that each holds.
    pub trees: DashMap<Uuid, (WorkTree, CommitId)>,
}

/// Why a step cannot go on.
#[derive(Debug)]
struct Broken(End);

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self(badly(StopReason::Error, "internal_error", error.to_string()))
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        let code = if matches!(failure, Failure::Conflict { .. }) { "merge_conflict" } else { "repository" };
        Self(badly(StopReason::Error, code, chain(&failure)))
    }
}

#[async_trait]
impl World<AgentStep> for AgentWorld {
    async fn perform(&self, task: Task<AgentStep>) -> Option<Command> {
        let step = &*task.state;
        let turn = step.turn();
        let done = match task.work {
            Work::Prepare => self.prepare(step).await,
            Work::Think { turn } => self.think(step, turn, task.is_repeated, &task.stop).await,
            Work::Act { turn, .. } => self.act(step, turn, &task.stop).await,
        };
        let command = done.unwrap_or_else(|Broken(end)| Command::Broke { turn, end, spent: Vec::new() });
        if ends(step, &command, self.clock.now()) || task.stop.is_cancelled() {
            self.leave(step).await;
        }
        Some(command)
    }
}

/// The end of a step whose calls cannot be contained.
fn unheld(error: &(dyn std::error::Error + 'static)) -> Broken {
    Broken(badly(StopReason::Error, "sandbox", chain(error)))
}

/// Whether nothing comes after a report.
fn ends(step: &AgentStep, command: &Command, at: Timestamp) -> bool {
    let given = Given { at, by: Actor::System.into(), random: 0 };
    let led_to = step.decide(command, &given).unwrap_or_default();
    led_to.iter().any(|event| matches!(event, Event::Ended { .. }))
}

impl AgentWorld {
    fn place(step: &AgentStep) -> Result<Place, Failure> {
        let name =
            step.node.as_ref().map_or_else(|| format!("own-{}", step.id.0.simple()), |(_, id)| id.clone());
        Place::new(step.run, name, step.attempt)
    }

    async fn prepare(&self, step: &AgentStep) -> Result<Command, Broken> {
        let mut brief = self.brief(step).await?;
        let tree = self.repositories.tree(&step.source, Self::place(step)?, &step.bases).await?;
        let (base, conflicts) = (tree.base().clone(), tree.conflicts().to_vec());
        brief.tell_of(&conflicts);
        self.adopt(&tree).await?;
        self.trees.insert(step.id.0, (tree, base.clone()));
        let (name, policy) = (brief.name.clone(), brief.policy(self.sandboxes.mode() == Mode::Local));
        let brief = self.contents.keep(step.workspace, json(&brief)).await?;
        Ok(Command::Prepared { base, conflicts, brief, name, policy })
    }

    async fn brief(&self, step: &AgentStep) -> Result<Brief, Error> {
        match (&step.own, &step.node) {
            (Some(own), _) => {
                let text = self.contents.read::<AgentStep>(step.workspace, step.id.0, own).await?;
                content::json("brief", &text)
            }
            (None, Some((place, _))) => self.briefs.of(step.run, *place).await,
            (None, None) => Err(Error::Missing { what: "task" }),
        }
    }

    async fn task(&self, step: &AgentStep) -> Result<Brief, Error> {
        let task = step.task.as_ref().ok_or(Error::Missing { what: "task" })?;
        let text = self.contents.read::<AgentStep>(step.workspace, step.id.0, &task.brief).await?;
        content::json("brief", &text)
    }

    async fn think(
        &self,
        step: &AgentStep,
        turn: u32,
        is_repeated: bool,
        token: &CancellationToken,
    ) -> Result<Command, Broken> {
        let brief = self.task(step).await?;
        let request = conversation::request(&self.contents, step, &brief, Toolbox::specs()).await?;
        let (deltas, mut pieces) = mpsc::channel::<String>(PIECES);
        let ask = Ask {
            request,
            prefer: brief.model.clone(),
            call: provider::Call { deltas: Some(deltas), stop: token.clone() },
            ..Ask::default()
        };
        let told = async {
            while let Some(text) = pieces.recv().await {
                self.live.tell(step.id.0, Piece::Text { text });
            }
        };
        let (asked, ()) = tokio::join!(self.models.ask(ask), told);
        let spent = spent::of_work(&self.clock, &asked, is_repeated);
        match asked {
            Ok(asked) => self.thought(step, turn, asked, spent).await,
            Err(_) if token.is_cancelled() => Ok(Command::Broke { turn, end: cancelled(), spent }),
            Err(refused) => {
                let end = badly(StopReason::ModelError, "model_error", chain(&refused));
                Ok(Command::Broke { turn, end, spent })
            }
        }
    }

    async fn thought(
        &self,
        step: &AgentStep,
        turn: u32,
        asked: Asked,
        spent: Vec<Spent>,
    ) -> Result<Command, Broken> {
        let answer = match self.contents.keep(step.workspace, json(&asked.answer)).await {
            Ok(answer) => answer,
            Err(error) => {
                let Broken(end) = error.into();
                return Ok(Command::Broke { turn, end, spent });
            }
        };
        let end = match end(&asked) {
            Some(end) if end.reason.is_none() => Some(self.unmended(step).await?.unwrap_or(end)),
            end => end,
        };
        let calls =
            if end.is_some() { 0 } else { u32::try_from(asked.answer.calls.len()).unwrap_or(u32::MAX) };
        let likeness = alike(asked.answer.calls.iter().map(|call| (&call.name, &call.arguments)));
        Ok(Command::Thought { turn, answer, calls, likeness, end, spent })
    }

    /// The end of a step that says it is done and has left marks of a conflict.
    async fn unmended(&self, step: &AgentStep) -> Result<Option<End>, Broken> {
        let Some(task) = step.task.as_ref().filter(|task| !task.conflicts.is_empty()) else {
            return Ok(None);
        };
        let commit = step.reached().unwrap_or(&task.base);
        let left = self.repositories.marks_left(&step.source, commit, &task.conflicts).await?;
        let said = || {
            let files = left.join(", ");
            format!("changes contradict each other in {files}, and the marks between them are left there")
        };
        Ok((!left.is_empty()).then(|| badly(StopReason::Error, "merge_conflict", said())))
    }

    async fn act(&self, step: &AgentStep, turn: u32, token: &CancellationToken) -> Result<Command, Broken> {
        let last = step.turns.last().ok_or(Error::Missing { what: "turn" })?;
        let answer = self.contents.read::<AgentStep>(step.workspace, step.id.0, &last.answer).await?;
        let Answer { calls, .. } = content::json("answer", &answer)?;
        let contained = step.task.as_ref().is_some_and(|task| task.policy.contained);
        if contained && self.sandboxes.mode() != Mode::Local {
            let said = "it began in a sandbox, and this server runs without one; retry the run";
            return Err(Broken(badly(StopReason::Error, "sandbox", said)));
        }
        let attempt = Attempt { workspace: step.workspace, run: step.run, number: step.attempt };
        let site = self.sandboxes.enter(attempt, token).await.map_err(|error| unheld(&error))?;
        let (tree, at) = self.tree(step).await?;
        let tools = Toolbox::new(site, tree.path().to_owned()).map_err(|error| unheld(&error))?;
        let limits = step.task.as_ref().map(|task| task.policy.tool_timeout_ms);
        let limits = CallLimits {
            timeout: Duration::from_millis(limits.unwrap_or(120_000)),
            output_bytes: OUTPUT_BYTES,
        };
        let mut results = Vec::with_capacity(calls.len());
        for call in calls.iter().take(CALLS_MAX) {
            results.push(self.call(step.id.0, &tools, call, limits, token).await);
            if token.is_cancelled() {
                return Err(Broken(cancelled()));
            }
        }
        results.resize_with(calls.len(), || ToolResult {
            text: format!("not called: a turn may make {CALLS_MAX} calls; make it in the next one"),
            is_error: true,
            duration_ms: 0,
        });
        let read_only = calls
            .iter()
            .all(|call| matches!(tools.effect(&call.name), None | Some(Effect::Pure | Effect::ReadOnly)));
        let (commit, notes) = if read_only { (at, Vec::new()) } else { self.keep(step, &tree).await? };
        self.trees.insert(step.id.0, (tree, commit.clone()));
        let said = calls.iter().zip(&results);
        let called =
            said.clone().map(|(call, result)| Called { name: call.name.clone(), is_error: result.is_error });
        let called: Vec<Called> = called.collect();
        let likeness = alike(said.map(|(call, result)| (&call.arguments, &result.text)));
        let results = self.contents.keep(step.workspace, json(&Results { results, notes })).await?;
        Ok(Command::Acted { turn, results, calls: called, likeness, commit })
    }

    /// Makes one call and passes on what it prints.
    async fn call(
        &self,
        step: Uuid,
        tools: &Toolbox,
        call: &ToolCall,
        limits: CallLimits,
        token: &CancellationToken,
    ) -> ToolResult {
        let (live, mut pieces) = mpsc::channel(PIECES);
        let told = async {
            while let Some(piece) = pieces.recv().await {
                let (Printed::Stdout(text) | Printed::Stderr(text)) = piece;
                self.live.tell(step, Piece::Output { call: call.id.clone(), text });
            }
        };
        let made = tools.call(&call.name, &call.arguments, limits, Some(live), token.clone());
        let (outcome, ()) = tokio::join!(made, told);
        ToolResult {
            text: outcome.text,
            is_error: outcome.is_error,
            duration_ms: u64::try_from(outcome.duration.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The step's tree as its last turn left it, and the commit that it holds.
    async fn tree(&self, step: &AgentStep) -> Result<(WorkTree, CommitId), Broken> {
        let task = step.task.as_ref().ok_or(Error::Missing { what: "task" })?;
        let at = step.reached().unwrap_or(&task.base).clone();
        // Taken out: whoever is aborted half-way leaves none behind, and the next one begins from the commit.
        if let Some((_, (tree, holds))) = self.trees.remove(&step.id.0)
            && holds == at
        {
            return Ok((tree, at));
        }
        let (place, conflicts) = (Self::place(step)?, &task.conflicts);
        let tree = self.repositories.tree_at(&step.source, place, &task.base, conflicts, &at).await?;
        self.adopt(&tree).await?;
        Ok((tree, at))
    }

    async fn adopt(&self, tree: &WorkTree) -> Result<(), Broken> {
        self.sandboxes.adopt(tree.path()).await.map_err(|error| unheld(&error))
    }

    /// Keeps what the tree holds.
    async fn keep(&self, step: &AgentStep, tree: &WorkTree) -> Result<(CommitId, Vec<String>), Broken> {
        let message = format!("{}\n\nRun: {}\nStep: {}\n", step.name, step.run, step.id);
        let checkpoint = tree.checkpoint(message, self.clock.now()).await?;
        Ok((checkpoint.commit, checkpoint.notes))
    }

    /// Removes the tree, also one of a former process; what is worth keeping is in its commits.
    async fn leave(&self, step: &AgentStep) {
        self.trees.remove(&step.id.0);
        let left = match Self::place(step) {
            Ok(place) => self.repositories.discard(place).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = left {
            tracing::warn!(step.id = %step.id, %failure, "the work tree of a step could not be removed");
        }
    }
}

/// How an answer ends the step, if it does.
fn end(asked: &Asked) -> Option<End> {
    let answer = &asked.answer;
    match &answer.finish {
        Finish::NeedsModel(said) => Some(badly(StopReason::NeedsModel, "needs_model", said.clone())),
        Finish::Length => {
            let said = "an answer was cut off at its most tokens; raise policy.maxTokensPerCall";
            Some(badly(StopReason::MaxTokens, "max_tokens", said))
        }
        Finish::Refused => Some(badly(StopReason::Refused, "refused", "the model will not do it")),
        Finish::Stop | Finish::ToolCalls => answer.calls.is_empty().then(End::well),
    }
}

/// The same number for the same texts.
fn alike<'t>(texts: impl Iterator<Item = (&'t String, &'t String)>) -> u64 {
    let mut hasher = DefaultHasher::new();
    texts.for_each(|pair| pair.hash(&mut hasher));
    hasher.finish()
}

fn json(value: &impl serde::Serialize) -> String {
    // Texts, numbers and lists of them can always be written.
    serde_json::to_string(value).unwrap_or_default()
}
