//! An agent's work on one step, as a pure state machine.
//!
//! ```text
//! Preparing ─▶ Thinking ─▶ Acting ─▶ Thinking ─▶ … ─▶ Ended: well, badly or cancelled
//!              (model)     (tools)   (next turn)
//! ```
//!
//! What the model said and what came of its calls comes with the events; the state says where it stands.
//!
//! **Invariant:** `decide` never changes it and `apply` never refuses, so a saved event can always be applied
//! again.
//! **Invariant:** what a turn's calls changed is in the turn's commit. A crash while they are made leads back
//! to the commit before them, so a call is made again only in a tree that has not seen it.

use std::collections::BTreeMap;

use cendriix_protocol::{
    agent_steps::StopReason,
    ids::{AgentStepId, RunId, WorkspaceId},
    money::MicroUsd,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

pub use super::commands::{
    Birth, Called, Command, CommitId, Content, Created, End, Event, Payload, Policy, Reason, Refusal, Source,
    Spent, Work, WorkKey, spent,
};
use crate::kit::machine::{Effect, Given, Wanted};

/// How often the same calls with the same results are made in a row before they are a loop.
const ALIKE_MAX: usize = 3;

/// An agent's work on a step and everything needed to continue it after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStep {
    pub id: AgentStepId,
    pub run: RunId,
    pub workspace: WorkspaceId,
    /// The place in the run's plan and the id there; absent when it was asked for by itself.
    pub node: Option<(u32, String)>,
    pub attempt: u32,
    pub name: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub source: Source,
    pub bases: Vec<CommitId>,
    /// What it is to do, when it was asked for by itself.
    pub own: Option<Content>,
    pub status: Status,
    pub cancel_requested: bool,
    /// What it is to do, once it is prepared.
    pub task: Option<Task>,
    /// The commit that holds what it did so far.
    pub commit: Option<CommitId>,
    /// The turns of the model, oldest first.
    pub turns: Vec<Turn>,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost: MicroUsd,
    /// The last event that was applied.
    pub seq: u64,
}

/// Where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Preparing,
    Thinking,
    Acting,
    Ended { end: End, at: Timestamp },
}

/// What it is to do, from where, and what it may use up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The commit that its tree began from.
    pub base: CommitId,
    /// The files in which that commit contradicts itself, and which it has to mend.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<String>,
    pub brief: Content,
    pub policy: Policy,
}

/// A turn of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    pub answer: Content,
    pub results: Option<Content>,
    pub model: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost: MicroUsd,
    pub latency_ms: u64,
    pub at: Timestamp,
    /// The same for turns whose calls and results are the same.
    pub likeness: u64,
}

impl AgentStep {
    /// The step that an event of birth founds; `None` for any other event.
    pub fn found(first: &Event) -> Option<Self> {
        let Event::Created(created) = first else { return None };
        Some(Self {
            id: created.id,
            run: created.run,
            workspace: created.workspace,
            node: created.node.clone(),
            attempt: created.attempt,
            name: created.name.clone(),
            created_at: created.at,
            updated_at: created.at,
            source: created.source.clone(),
            bases: created.bases.clone(),
            own: created.own.as_ref().map(|own| own.at(1)),
            status: Status::Preparing,
            cancel_requested: false,
            task: None,
            commit: None,
            turns: Vec::new(),
            input_tokens: 0,
            output_tokens: 0,
            cost: MicroUsd(0),
            seq: 0,
        })
    }

    /// Says what a birth brings about.
    pub fn create(birth: &Birth, id: AgentStepId, given: &Given) -> Vec<Event> {
        vec![Event::Created(Box::new(Created {
            id,
            run: birth.run,
            workspace: birth.workspace,
            node: birth.node.clone(),
            attempt: birth.attempt,
            name: birth.name.clone(),
            source: birth.source.clone(),
            bases: birth.bases.clone(),
            own: birth.own.clone(),
            at: given.at,
        }))]
    }

    /// Says what `command` would bring about, without changing anything.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when the present state does not allow it.
    pub fn decide(&self, command: &Command, given: &Given) -> Result<Vec<Event>, Refusal> {
        let at = given.at;
        match (&self.status, command) {
            (Status::Ended { .. }, Command::Cancel) => Err(Refusal::Ended),
            (_, Command::Cancel) if self.cancel_requested => Ok(Vec::new()),
            (_, Command::Cancel) => Ok(vec![Event::CancelRequested { at }]),
            (Status::Preparing, Command::Prepared { base, conflicts, brief, name, policy }) => {
                let (base, brief, name) = (base.clone(), brief.clone(), name.clone());
                let (conflicts, policy) = (conflicts.clone(), *policy);
                let prepared = Event::Prepared { base, conflicts, brief, name, policy, at };
                Ok(self.then(prepared, |_| None, at))
            }
            (Status::Thinking, Command::Thought { turn, answer, calls, likeness, end, spent }) => {
                self.at_turn(*turn)?;
                let (answer, spent) = (answer.clone(), spent.clone());
                let (turn, calls, likeness) = (*turn, *calls, *likeness);
                let thought = Event::Thought { turn, answer, calls, likeness, spent, at };
                Ok(self.then(thought, |next| end.clone().or_else(|| next.spent_up()), at))
            }
            (Status::Acting, Command::Acted { turn, results, calls, likeness, commit }) => {
                self.at_turn(*turn)?;
                let (results, calls, commit) = (results.clone(), calls.clone(), commit.clone());
                let acted = Event::Acted { turn: *turn, results, calls, likeness: *likeness, commit, at };
                Ok(self.then(acted, Self::goes_round, at))
            }
            (Status::Ended { .. }, _) => Err(Refusal::Late),
            (_, Command::Broke { turn, end, spent }) => {
                self.at_turn(*turn)?;
                let end = if self.cancel_requested { cancelled() } else { end.clone() };
                Ok(vec![Event::Ended { end, spent: spent.clone(), at }])
            }
            (_, Command::Prepared { .. } | Command::Thought { .. } | Command::Acted { .. }) => {
                Err(Refusal::Late)
            }
        }
    }

    /// An event, and the end of it all when somebody asked for that or `end` of what comes of it says so.
    fn then(&self, event: Event, end: impl FnOnce(&Self) -> Option<End>, at: Timestamp) -> Vec<Event> {
        let mut next = self.clone();
        next.apply(self.seq + 1, &event);
        let end = if self.cancel_requested { Some(cancelled()) } else { end(&next) };
        let ended = end.map(|end| Event::Ended { end, spent: Vec::new(), at });
        std::iter::once(event).chain(ended).collect()
    }

    fn at_turn(&self, turn: u32) -> Result<(), Refusal> {
        if turn == self.turn() { Ok(()) } else { Err(Refusal::Late) }
    }

    /// The end, when its turns or tokens are used up.
    fn spent_up(&self) -> Option<End> {
        let policy = self.task.as_ref()?.policy;
        let used = self.input_tokens + self.output_tokens;
        let turns = u32::try_from(self.turns.len()).unwrap_or(u32::MAX);
        if used >= policy.tokens {
            let said = format!("it has used {used} tokens of {} without coming to an end", policy.tokens);
            return Some(badly(StopReason::TokenBudget, "token_budget", said));
        }
        let said = format!("it has taken {turns} turns without coming to an end");
        (turns >= policy.turns).then(|| badly(StopReason::MaxIterations, "max_iterations", said))
    }

    /// The end, when the same calls bring the same results again and again.
    fn goes_round(&self) -> Option<End> {
        let mut last = self.turns.iter().rev().take(ALIKE_MAX).map(|turn| turn.likeness);
        let likeness = last.next()?;
        let alike = self.turns.len() >= ALIKE_MAX && last.all(|other| other == likeness);
        let said = format!("it made the same calls with the same results {ALIKE_MAX} times");
        alike.then(|| badly(StopReason::Loop, "loop", said))
    }

    /// The number of the turn that goes on, from 1.
    pub fn turn(&self) -> u32 {
        let taken = u32::try_from(self.turns.len()).unwrap_or(u32::MAX);
        match self.status {
            Status::Acting => taken,
            Status::Preparing | Status::Thinking | Status::Ended { .. } => taken.saturating_add(1),
        }
    }

    /// Takes an event in. The only place where it changes.
    pub fn apply(&mut self, seq: u64, event: &Event) {
        self.seq = seq;
        match event {
            Event::Created(_) => (),
            Event::Prepared { base, conflicts, brief, name, policy, at } => {
                let (base, conflicts) = (base.clone(), conflicts.clone());
                self.task = Some(Task { base, conflicts, brief: brief.at(seq), policy: *policy });
                self.name.clone_from(name);
                self.status = Status::Thinking;
                self.updated_at = *at;
            }
            Event::Thought { answer, calls, likeness, spent, at, .. } => {
                self.turns.push(Turn::of(answer.at(seq), spent, *likeness, *at));
                self.spend(spent);
                self.status = if *calls > 0 { Status::Acting } else { Status::Thinking };
                self.updated_at = *at;
            }
            Event::Acted { results, likeness, commit, at, .. } => {
                if let Some(turn) = self.turns.last_mut() {
                    turn.results = Some(results.at(seq));
                    turn.likeness = *likeness;
                }
                self.commit = Some(commit.clone());
                self.status = Status::Thinking;
                self.updated_at = *at;
            }
            Event::CancelRequested { at } => {
                self.cancel_requested = true;
                self.updated_at = *at;
            }
            Event::Ended { end, spent, at } => {
                self.spend(spent);
                self.status = Status::Ended { end: end.clone(), at: *at };
                self.updated_at = *at;
            }
        }
    }

    fn spend(&mut self, spent: &[Spent]) {
        self.input_tokens += spent.iter().map(|spent| spent.input_tokens).sum::<u64>();
        self.output_tokens += spent.iter().map(|spent| spent.output_tokens).sum::<u64>();
        self.cost = self.cost + spent::cost(spent);
    }

    /// Says what should be going on: after a command, and after a restart alike.
    pub fn work(&self) -> BTreeMap<WorkKey, Wanted<Work>> {
        let turn = self.turn();
        let work = match self.status {
            Status::Preparing => Work::Prepare,
            Status::Thinking => Work::Think { turn },
            Status::Acting => {
                let contained = self.task.as_ref().is_some_and(|task| task.policy.contained);
                Work::Act { turn, contained }
            }
            Status::Ended { .. } => return BTreeMap::new(),
        };
        let wanted = if self.cancel_requested { Wanted::Stop(work) } else { Wanted::Do(work) };
        BTreeMap::from([(WorkKey(turn), wanted)])
    }

    /// How it ended, once it has.
    pub fn ended(&self) -> Option<&End> {
        if let Status::Ended { end, .. } = &self.status { Some(end) } else { None }
    }

    /// The commit that holds what it did so far: what it began from, while it did nothing.
    pub fn reached(&self) -> Option<&CommitId> {
        self.commit.as_ref().or(self.task.as_ref().map(|task| &task.base))
    }
}

impl Turn {
    /// The turn that an answer makes; the last of `spent` is the call that was answered.
    pub fn of(answer: Content, spent: &[Spent], likeness: u64, at: Timestamp) -> Self {
        let answered = spent.last();
        Self {
            answer,
            results: None,
            model: answered.map(|spent| spent.model.clone()).unwrap_or_default(),
            input_tokens: answered.map_or(0, |spent| spent.input_tokens),
            output_tokens: answered.map_or(0, |spent| spent.output_tokens),
            cost: spent::cost(spent),
            latency_ms: answered.map_or(0, |spent| spent.latency_ms),
            at,
            likeness,
        }
    }
}

impl End {
    /// A good end.
    pub fn well() -> Self {
        Self { stop: StopReason::EndTurn, reason: None }
    }
}

/// An end that is not good.
pub fn badly(stop: StopReason, code: &str, said: impl Into<String>) -> End {
    End { stop, reason: Some(Reason::new(code, said)) }
}

/// The end that somebody asked for.
pub fn cancelled() -> End {
    badly(StopReason::Cancelled, "cancelled", "it was stopped")
}

/// What repeating a piece of work would mean.
pub fn effect(work: Work) -> Effect {
    match work {
        Work::Prepare | Work::Act { contained: true, .. } => Effect::Contained,
        // A command outside a sandbox can do anything.
        Work::Act { contained: false, .. } => Effect::Irrevocable,
        Work::Think { .. } => Effect::ReadOnly,
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
