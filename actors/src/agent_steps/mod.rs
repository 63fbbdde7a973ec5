//! Agents at work on the steps of runs: a loop of model turns and tool calls under a policy.
//!
//! [`state`] decides what may happen and holds no I/O; [`work`] makes the tree, asks the model and makes the
//! calls with [`tools`]; `conversation` is what the model is told; [`live`] is what those see who watch, and
//! `cut` keeps what everybody else sees small.

mod commands;
pub mod conversation;
mod cut;
pub mod live;
mod machine;
pub mod state;
pub mod tools;
mod wire;
pub mod work;

use std::{sync::Arc, time::Duration};

use cendriix_persistence::{
    codec::decode,
    store::{Key, Scan},
};
use cendriix_protocol::{
    agent_steps::{AgentStep as Shown, AgentStepEvent, AgentStepEventKind, AgentStepItem, StopReason},
    ids::{AgentStepId, RunId},
    money::MicroUsd,
};
pub use state::{AgentStep, Birth};

use self::{
    live::{Live, Piece, Watcher},
    state::{Command, CommitId, Event, Reason, Status},
    wire::Results,
    work::AgentWorld,
};
use crate::{
    Error,
    caller::Caller,
    content::{self, Carries, Contents},
    idempotency::Claim,
    kinds::{self, space},
    kit::{Entities, Failure, Journaled, Order, machine::Actor, shared::Shared, stream::Follower},
    model_router::chat::Answer,
    workspaces::Standing,
};

/// How many steps of a run are listed.
const LIST_MAX: usize = 2_000;
/// How many journal entries are read at a time.
const PAGE: usize = 64;
/// No more entries are read at a time once so many bytes of contents came with them.
const PAGE_BYTES: usize = 1 << 20;

/// The agents' steps of all runs. A clone is the same.
#[derive(Clone, Debug)]
pub struct AgentSteps {
    entities: Entities<AgentStep>,
    contents: Contents,
    live: Live,
}

/// How a step ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Why it did not end well, if it did not.
    pub reason: Option<Reason>,
    /// Whether somebody stopped it.
    pub cancelled: bool,
    /// What the model said last.
    pub text: String,
    /// The commit that holds what it did.
    pub commit: Option<CommitId>,
    /// What it cost.
    pub cost: MicroUsd,
}

impl Outcome {
    /// The end of a step of which nothing is known but why.
    pub fn lost(reason: Reason) -> Self {
        let (text, cost) = (String::new(), MicroUsd(0));
        Self { reason: Some(reason), cancelled: false, text, commit: None, cost }
    }
}

impl AgentSteps {
    /// Starts the agents' steps that reach `world`.
    ///
    /// # Errors
    ///
    /// When their supervisor does not start.
    pub async fn start(shared: &Shared, world: AgentWorld) -> Result<Self, ractor::SpawnErr> {
        let (contents, live) = (world.contents.clone(), world.live.clone());
        let entities = Entities::start(shared.clone(), Arc::new(world)).await?;
        Ok(Self { entities, contents, live })
    }

    /// The step that an earlier request with the same key began, once it has ended or the time is over.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when that request had another body.
    pub async fn earlier(
        &self,
        caller: &Caller,
        claim: Option<&Claim>,
        within: Duration,
    ) -> Result<Option<Shown>, Error> {
        let (Some(claim), shared) = (claim, self.entities.shared()) else { return Ok(None) };
        match claim.earlier(&*shared.store, shared.clock.now()).await? {
            Some(step) => self.rest(caller, AgentStepId(step), within).await.map(Some),
            None => Ok(None),
        }
    }

    /// A step once it has ended, or as it is when the time is over.
    ///
    /// # Errors
    ///
    /// When it is not there or not the caller's.
    pub async fn rest(&self, caller: &Caller, id: AgentStepId, within: Duration) -> Result<Shown, Error> {
        self.entities.wait(id.0, within, |step| step.ended().is_some()).await?;
        self.get(caller, id).await
    }

    /// A step with its turns.
    ///
    /// # Errors
    ///
    /// When it is not there or not the caller's.
    pub async fn get(&self, caller: &Caller, id: AgentStepId) -> Result<Shown, Error> {
        let shown = self.entities.show(id.0).await?.ok_or(Error::Missing { what: "agent step" })?;
        caller.reach(shown.machine.workspace, "agent step")?;
        self.show(&shown.machine).await
    }

    async fn show(&self, step: &AgentStep) -> Result<Shown, Error> {
        let mut turns = Vec::with_capacity(step.turns.len());
        let (mut room, mut output) = (cut::Room::for_turns(step.turns.len()), None);
        for (number, turn) in (1..).zip(&step.turns) {
            let answer = self.contents.read::<AgentStep>(step.workspace, step.id.0, &turn.answer).await?;
            let results = match &turn.results {
                Some(results) => {
                    let text = self.contents.read::<AgentStep>(step.workspace, step.id.0, results).await?;
                    Some(content::json::<Results>("results", &text)?)
                }
                None => None,
            };
            let mut turn = wire::turn(number, turn, content::json("answer", &answer)?, results);
            if turns.len() + 1 == step.turns.len() {
                output = Some(turn.text.clone());
            }
            room.fit(&mut turn);
            turns.push(turn);
        }
        let end = step.ended();
        let mut output = output.filter(|_| end.is_some());
        let is_cut = output.as_mut().is_some_and(cut::output) || turns.iter().any(|turn| turn.truncated);
        let completed_at = if let Status::Ended { at, .. } = step.status { Some(at) } else { None };
        Ok(Shown {
            id: step.id,
            run_id: step.run,
            workspace_id: step.workspace,
            node_id: step.node.as_ref().map(|(_, id)| id.clone()),
            attempt: step.attempt,
            name: step.name.clone(),
            status: wire::status(step),
            turn_count: u32::try_from(turns.len()).unwrap_or(u32::MAX),
            stop_reason: end.map(|end| end.stop),
            output,
            error: end.and_then(|end| end.reason.as_ref()).map(Into::into),
            turns,
            truncated: is_cut,
            total_tokens: step.input_tokens + step.output_tokens,
            input_tokens: step.input_tokens,
            output_tokens: step.output_tokens,
            cost_usd: step.cost,
            base_commit: step.task.as_ref().map(|task| task.base.to_string()),
            commit: step.reached().map(ToString::to_string),
            created_at: step.created_at,
            completed_at,
        })
    }

    /// The steps of a run that the caller was let through to, oldest first.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub async fn of_run(&self, run: RunId) -> Result<Vec<AgentStepItem>, Error> {
        let scan = Scan::prefix(space::AGENT_STEPS, run.0.as_bytes(), LIST_MAX);
        let mut items = Vec::new();
        for (key, value) in self.entities.shared().store.rows(scan).await? {
            let Some(id) = content::id_at(&key, 16).map(AgentStepId) else { continue };
            items.push(wire::item(id, run, decode("agent step's line", &value)?));
        }
        // Ids of a run's steps share its instant.
        items.sort_by_key(|item: &AgentStepItem| (item.created_at, item.id));
        Ok(items)
    }

    /// How a step ended; `None` while it goes on. One that should go on and sleeps is woken: whoever asks
    /// waits for it.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn outcome(&self, id: AgentStepId) -> Result<Option<Outcome>, Error> {
        let Some(shown) = self.entities.show(id.0).await? else { return Ok(None) };
        let step = &*shown.machine;
        let Some(end) = step.ended() else {
            let parked = self.parked(id, step).await?;
            if parked.is_none()
                && let Err(failure) = self.entities.wake(id.0).await
            {
                // What crashed comes back by itself.
                tracing::debug!(step.id = %id, %failure, "an agent's step does not wake");
            }
            return Ok(parked);
        };
        let text = match step.turns.last() {
            Some(turn) => {
                let text = self.contents.read::<AgentStep>(step.workspace, step.id.0, &turn.answer).await?;
                content::json::<Answer>("answer", &text)?.text
            }
            None => String::new(),
        };
        Ok(Some(Outcome {
            reason: end.reason.clone(),
            cancelled: end.stop == StopReason::Cancelled,
            text,
            commit: step.reached().cloned(),
            cost: step.cost,
        }))
    }

    /// A step that crashed again and again and is left alone by now has come to its end, as far as its run is
    /// concerned.
    async fn parked(&self, id: AgentStepId, step: &AgentStep) -> Result<Option<Outcome>, Error> {
        let key = Key { kind: kinds::AGENT_STEP, id: id.0 };
        let header = self.entities.shared().store.header(key).await?;
        Ok(header.filter(|header| header.parked).map(|_| Outcome {
            reason: Some(Reason::new("parked", "it crashed repeatedly and was given up")),
            cancelled: false,
            text: String::new(),
            commit: None,
            cost: step.cost,
        }))
    }

    /// Stops a step and waits for its end, at most `within`; `None` when it has not ended by then.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn stop(&self, id: AgentStepId, within: Duration) -> Result<Option<Outcome>, Error> {
        match self.entities.command(id.0, Command::Cancel, Order::of(Actor::System)).await {
            Ok(_) | Err(Failure::Refused(_)) => (),
            Err(failure) => return Err(Error::of(failure, |refusal| Error::conflict(refusal.to_string()))),
        }
        self.entities.wait(id.0, within, |step| step.ended().is_some()).await?;
        self.outcome(id).await
    }

    /// Follows a step's events after number `after`, and what goes on in it.
    ///
    /// # Errors
    ///
    /// When it is not there or not the caller's.
    pub async fn follow(&self, caller: &Caller, id: AgentStepId, after: u64) -> Result<Following, Error> {
        let follower = self.entities.follow(id.0);
        let watcher = self.live.watch(id.0);
        let shown = self.entities.show(id.0).await?.ok_or(Error::Missing { what: "agent step" })?;
        caller.reach(shown.machine.workspace, "agent step")?;
        let after = if after > shown.seq { 0 } else { after };
        let standing = Standing::of(caller, self.entities.shared());
        let steps = self.clone();
        Ok(Following { steps, id, standing, after, follower, watcher, waits: true, fresh: true })
    }
}

/// A cursor over the events of a step.
#[derive(Debug)]
pub struct Following {
    steps: AgentSteps,
    id: AgentStepId,
    standing: Standing,
    after: u64,
    follower: Follower,
    watcher: Watcher,
    /// Whether it waits for what is yet to happen.
    waits: bool,
    fresh: bool,
}

impl Following {
    /// The same, ending once everything that has happened is told.
    #[must_use]
    pub fn without_waiting(self) -> Self {
        Self { waits: false, ..self }
    }

    /// The next events in order, at least one; `None` once the step has ended, or whoever follows may not be
    /// told more.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<AgentStepEvent>>, Error> {
        match self.told().await? {
            Some(events) if self.standing.holds().await? => Ok(Some(events)),
            Some(_) | None => Ok(None),
        }
    }

    async fn told(&mut self) -> Result<Option<Vec<AgentStepEvent>>, Error> {
        loop {
            if !std::mem::take(&mut self.fresh) {
                if !self.waits || self.ended().await? {
                    return Ok(None);
                }
                tokio::select! {
                    biased;
                    () = self.follower.moved() => (),
                    piece = self.watcher.next() => {
                        self.fresh = false;
                        return Ok(Some(vec![self.piece(piece)]));
                    }
                }
            }
            let events = self.read().await?;
            if !events.is_empty() {
                self.fresh = true;
                return Ok(Some(events));
            }
        }
    }

    fn piece(&self, piece: Piece) -> AgentStepEvent {
        let kind = match piece {
            Piece::Text { text } => AgentStepEventKind::TextDelta { text },
            Piece::Output { call, text } => AgentStepEventKind::OutputDelta { call, text },
        };
        AgentStepEvent { step_id: self.id, seq: None, at: self.steps.entities.shared().clock.now(), kind }
    }

    async fn ended(&self) -> Result<bool, Error> {
        let shown =
            self.steps.entities.show(self.id.0).await?.ok_or(Error::Missing { what: "agent step" })?;
        Ok(shown.machine.ended().is_some() && shown.seq <= self.after)
    }

    async fn read(&mut self) -> Result<Vec<AgentStepEvent>, Error> {
        let store = &self.steps.entities.shared().store;
        let key = Key { kind: kinds::AGENT_STEP, id: self.id.0 };
        let entries = store.journal(key, self.after, PAGE).await?;
        let shown =
            self.steps.entities.show(self.id.0).await?.ok_or(Error::Missing { what: "agent step" })?;
        let (mut events, mut bytes) = (Vec::new(), 0);
        for entry in entries {
            let journaled: Journaled<Event> = decode("journal entry", &entry.bytes)?;
            for (seq, event) in (entry.first_seq..).zip(&journaled.events) {
                if seq <= self.after {
                    continue;
                }
                let text = match AgentStep::carried(event) {
                    Some(payload) => {
                        let content = payload.at(seq);
                        let read = self.steps.contents.read::<AgentStep>(
                            shown.machine.workspace,
                            self.id.0,
                            &content,
                        );
                        Some(read.await?)
                    }
                    None => None,
                };
                events.extend(wire::event(self.id, seq, journaled.at, event, text.as_deref()));
                self.after = seq;
                bytes += text.map_or(0, |text| text.len());
                if bytes > PAGE_BYTES && !events.is_empty() {
                    return Ok(events);
                }
            }
        }
        Ok(events)
    }
}
