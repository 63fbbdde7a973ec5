//! The shell around one machine: decides, saves, and only then lets the change be seen.
//!
//! **Invariant:** nobody sees a state that is not on disk. **Invariant:** an irrevocable effect starts only
//! with an [`Intent`], and only the save that wanted it mints one; what woke from disk has none.

use std::{collections::BTreeMap, marker::PhantomData, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_trait::async_trait;
use cendriix_persistence::store::{Key, Outcome, Save};
use cendriix_protocol::time::Timestamp;
use futures::FutureExt;
use ractor::{ActorProcessingErr, ActorRef};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use super::{
    cause::Cause,
    directory::{Inner, Order, Shown, Slot},
    failure::Failure,
    machine::{Actor, Effect, Given, Lost, Machine, Wanted},
    stored::Image,
    tasks::{self, Owned},
};

/// When a report is told again that could not be saved because the disk is nearly full.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The impure half of an area: performs what its machine wants.
#[async_trait]
pub trait World<M: Machine>: Send + Sync + 'static {
    /// Performs a piece of work and says what came of it. Runs beside the entity and ends when it no longer
    /// wants it. Only an answer to [`Wanted::Ask`] may be `None`: there is nothing to tell yet.
    async fn perform(&self, task: Task<M>) -> Option<M::Command>;

    /// Is told what happened once it is on disk, to count it; must not wait. What happened while the process
    /// was killed is not told again.
    fn happened(&self, _events: &[M::Event]) {}
}

/// A piece of work to perform.
#[derive(Debug)]
pub struct Task<M: Machine> {
    /// Whose work it is.
    pub id: Uuid,
    /// What it is called.
    pub key: M::WorkKey,
    /// What is to be done.
    pub work: M::Work,
    /// The state that wanted it.
    pub state: Arc<M>,
    /// Cancelled when the work should come to its end.
    pub stop: CancellationToken,
    /// The leave to begin an irrevocable effect; absent for all others.
    pub intent: Option<Intent>,
    /// Whether it was begun before, by an actor that ended before it did.
    pub is_repeated: bool,
}

/// The leave to begin one irrevocable effect, minted by the save that says it is intended.
#[derive(Debug)]
pub struct Intent(());

/// What an entity is sent.
#[derive(Debug)]
pub(super) enum Message<M: Machine> {
    /// Somebody asks for something, within a span; the permit is given back once it is handled.
    Command {
        command: M::Command,
        order: Box<Order>,
        permit: OwnedSemaphorePermit,
        reply: Reply<M>,
        span: Box<Span>,
    },
    /// A piece of work ended.
    Report { key: M::WorkKey, nonce: u64, command: Option<M::Command> },
    /// An instant has come, or a child has something to tell.
    Nudge,
}

pub(super) type Reply<M> = oneshot::Sender<Result<Shown<M>, Failure<M>>>;

/// The actor around one machine; the only one for living areas.
#[derive(Debug)]
pub(super) struct Entity<M>(PhantomData<M>);

impl<M> Entity<M> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

/// What an entity wakes with.
pub(super) struct Waking<M: Machine> {
    pub(super) id: Uuid,
    pub(super) image: Image<M>,
    pub(super) slot: Arc<Slot<M>>,
    pub(super) inner: Arc<Inner<M>>,
    /// Whether its last save was made for it just now, so that intents of that save may be begun.
    pub(super) fresh: bool,
}

/// An entity that is awake.
pub(super) struct Live<M: Machine> {
    id: Uuid,
    image: Image<M>,
    running: BTreeMap<M::WorkKey, Running<M>>,
    nonce: u64,
    /// Whether it was told to look around since its last save.
    nudged: bool,
    slot: Arc<Slot<M>>,
    inner: Arc<Inner<M>>,
}

struct Running<M: Machine> {
    work: M::Work,
    /// Whether it asks a child.
    asks: bool,
    /// Whether there was a nudge since it began to ask: the answer may be older than what there is to tell.
    again: bool,
    nonce: u64,
    stop: CancellationToken,
    _task: Owned,
}

impl<M: Machine> Drop for Live<M> {
    /// Runs however the actor ended: by itself, by a panic, or killed.
    fn drop(&mut self) {
        self.running.clear();
        self.inner.ended(self.id, &self.slot, self.image.version);
    }
}

impl<M: Machine> ractor::Actor for Entity<M> {
    type Msg = Message<M>;
    type State = Live<M>;
    type Arguments = Waking<M>;

    async fn pre_start(
        &self,
        _me: ActorRef<Message<M>>,
        waking: Waking<M>,
    ) -> Result<Live<M>, ActorProcessingErr> {
        let Waking { id, image, slot, inner, fresh } = waking;
        let mut live = Live { id, image, running: BTreeMap::new(), nonce: 0, nudged: false, slot, inner };
        live.reconcile(fresh, true);
        Ok(live)
    }

    async fn handle(
        &self,
        _me: ActorRef<Message<M>>,
        message: Message<M>,
        live: &mut Live<M>,
    ) -> Result<(), ActorProcessingErr> {
        live.slot.touch(live.inner.shared.clock.now());
        match message {
            Message::Command { command, order, permit, reply, span } => {
                // Inside the span of whoever asked, so that what is logged carries the id of the request.
                let span = tracing::info_span!(parent: &*span, "entity", kind = M::NAME, id = %live.id);
                let answer = live.command(&command, *order).instrument(span).await?;
                drop(permit);
                // The caller may have gone away; what was asked took effect all the same.
                reply.send(answer).ok();
            }
            Message::Report { key, nonce, command } => {
                let span = tracing::info_span!("entity", kind = M::NAME, id = %live.id);
                live.report(&key, nonce, command).instrument(span).await?;
            }
            Message::Nudge => {
                let span = tracing::info_span!("entity", kind = M::NAME, id = %live.id);
                live.nudge().instrument(span).await?;
            }
        }
        Ok(())
    }
}

/// Memory and disk may differ: the entity must end and wake from disk.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("its save was {0:?}")]
    Save(Outcome),
    #[error("it refused to hear that {0} is due or done, though it wants it: {1}")]
    Deaf(String, String),
}

type Answer<M> = Result<Shown<M>, Failure<M>>;

impl<M: Machine> Live<M> {
    fn given(&self, by: Cause) -> Given {
        let clock = &self.inner.shared.clock;
        Given { at: clock.now(), by, random: clock.random() }
    }

    fn shown(&self) -> Shown<M> {
        Shown { machine: Arc::clone(&self.image.machine), version: self.image.version, seq: self.image.seq }
    }

    async fn command(&mut self, command: &M::Command, order: Order) -> Result<Answer<M>, Broken> {
        if order.command.is_some_and(|id| self.image.remembered.iter().any(|(known, _)| *known == id)) {
            return Ok(Ok(self.shown()));
        }
        if self.image.parked && !M::unparks(command) {
            return Ok(Err(Failure::Parked));
        }
        let given = self.given(order.by);
        match self.image.machine.decide(command, &given) {
            // Whoever wants it back gets it back as it was, also where the command itself has nothing to add.
            Err(_) if self.image.parked => self.save(&[], &given, order).await,
            Err(refusal) => Ok(Err(Failure::Refused(refusal))),
            Ok(events) if events.is_empty() && !self.image.parked => Ok(Ok(self.shown())),
            Ok(events) => self.save(&events, &given, order).await,
        }
    }

    /// Takes in that something happened by itself. `Err` inside: it was not taken.
    async fn hear(&mut self, command: &M::Command) -> Result<Answer<M>, Broken> {
        self.command(command, Order::of(Actor::System)).await
    }

    async fn report(
        &mut self,
        key: &M::WorkKey,
        nonce: u64,
        command: Option<M::Command>,
    ) -> Result<(), Broken> {
        let ours = self.running.get(key).is_some_and(|running| running.nonce == nonce);
        let ended = if ours { self.running.remove(key) } else { None };
        let asked = matches!(self.image.machine.work().get(key), Some(Wanted::Ask(_)));
        let command = match command {
            Some(command) => command,
            None if asked || !ours => {
                if ended.is_some_and(|ended| ended.again) {
                    self.reconcile(false, true);
                }
                self.mark();
                return self.quiet().await;
            }
            None => self.image.machine.lost(key, Lost::Panicked("it ended without an outcome".into())),
        };
        match self.hear(&command).await? {
            Ok(_) => Ok(()),
            Err(Failure::Full) if let Some(Running { work, stop, .. }) = ended => {
                // What came of it is known and must not be lost: it is told again until there is space for
                // it.
                self.run(key.clone(), work, stop, async move {
                    tokio::time::sleep(TOLD_AGAIN_AFTER).await;
                    Some(command)
                });
                Ok(())
            }
            Err(failure) if ours && self.image.machine.work().contains_key(key) && !asked => {
                Err(Broken::Deaf(format!("{key:?}"), failure.to_string()))
            }
            Err(failure) => {
                tracing::debug!(entity = M::NAME, id = %self.id, %failure, "a late report was not taken");
                Ok(())
            }
        }
    }

    async fn nudge(&mut self) -> Result<(), Broken> {
        self.nudged = true;
        for running in self.running.values_mut() {
            running.again |= running.asks;
        }
        if self.image.parked {
            return self.quiet().await;
        }
        let now = self.inner.shared.clock.now();
        let due = |wanted: &Wanted<M::Work>| matches!(wanted, Wanted::At(at) if *at <= now);
        let keys: Vec<M::WorkKey> = self
            .image
            .machine
            .work()
            .into_iter()
            .filter(|(_, wanted)| due(wanted))
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            // What came before may have made this one needless.
            if !self.image.machine.work().get(&key).is_some_and(due) {
                continue;
            }
            match self.hear(&self.image.machine.due(&key)).await? {
                Ok(_) => (),
                // The sweeper comes again.
                Err(Failure::Full) => break,
                Err(failure) => return Err(Broken::Deaf(format!("{key:?}"), failure.to_string())),
            }
        }
        self.reconcile(false, true);
        self.quiet().await
    }

    /// Takes the row away that a nudge left, once it led to nothing that was saved; else the sweeper would
    /// come again and again. What a child tells from here on nudges again, and a crash is followed by
    /// asking.
    async fn quiet(&mut self) -> Result<(), Broken> {
        let asks = self.running.iter().any(|(_, running)| running.asks);
        if !self.nudged || asks {
            return Ok(());
        }
        let Some(epoch) = self.inner.epoch(self.id) else { return Ok(()) };
        let change = self.image.quieted(Key { kind: M::KIND, id: self.id }, epoch);
        match self.inner.shared.store.save(Save { changes: vec![change], ..Save::default() }).await {
            Outcome::Saved => {
                self.nudged = false;
                self.image.version += 1;
                self.slot.show(self.shown());
                Ok(())
            }
            // The sweeper comes again.
            Outcome::Refused(_) | Outcome::Full => Ok(()),
            outcome @ (Outcome::Conflict | Outcome::Unknown) => Err(Broken::Save(outcome)),
        }
    }

    /// Saves what the events lead to; memory, stream, work and answer follow only once it is on disk.
    async fn save(&mut self, events: &[M::Event], given: &Given, order: Order) -> Result<Answer<M>, Broken> {
        let Some(epoch) = self.inner.epoch(self.id) else { return Ok(Err(Failure::Elsewhere)) };
        let mut next = self.image.clone();
        let key = Key { kind: M::KIND, id: self.id };
        let Ok(change) = next.step(key, epoch, order.command, given, events) else {
            return Ok(Err(Failure::TooLarge));
        };
        let records = next.machine.records(self.id, Some(&self.image.machine), events, given);
        let children: Vec<Key> = records.children.iter().map(|child| child.key).collect();
        let nudges = records.nudges.clone();
        let save = assemble(change, records, order.attachment, epoch);
        match self.inner.shared.store.save(save).await {
            Outcome::Saved => (),
            Outcome::Refused(guard) => return Ok(Err(Failure::Guard(guard))),
            Outcome::Full => return Ok(Err(Failure::Full)),
            outcome @ (Outcome::Conflict | Outcome::Unknown) => return Err(Broken::Save(outcome)),
        }
        self.image = next;
        self.nudged = false;
        self.slot.show(self.shown());
        self.inner.world.happened(events);
        tracing::debug!(version = self.image.version, events = events.len(), "saved");
        self.inner.shared.hub.bump(key, self.image.seq);
        self.reconcile(true, false);
        self.inner.shared.kinds.wake_all(&self.inner.shared.tasks, &children);
        self.inner.shared.kinds.nudge_all(&self.inner.shared.tasks, &nudges);
        Ok(Ok(self.shown()))
    }

    /// Starts what is newly wanted and ends what is not. `fresh`: the save that wants it was made just now.
    fn reconcile(&mut self, fresh: bool, ask: bool) {
        if self.image.parked {
            self.slot.set_busy(false);
            return;
        }
        let wanted = self.image.machine.work();
        self.running.retain(|key, running| match wanted.get(key) {
            Some(Wanted::Do(work) | Wanted::Stop(work) | Wanted::Ask(work)) => *work == running.work,
            Some(Wanted::At(_)) | None => false,
        });
        for (key, wanted) in wanted {
            let running = self.running.get(&key);
            match (wanted, running) {
                (Wanted::Do(_) | Wanted::Ask(_), Some(_)) | (Wanted::At(_), _) => (),
                (Wanted::Do(work), None) if M::effect(&work) == Effect::Irrevocable => {
                    if fresh {
                        self.start(key, work, Some(Intent(())), false);
                    } else {
                        self.lose(key, work, Lost::OutcomeUnknown);
                    }
                }
                (Wanted::Do(work), None) => self.start(key, work, None, !fresh),
                (Wanted::Ask(work), None) => {
                    if ask {
                        self.start(key, work, None, false);
                    }
                }
                (Wanted::Stop(_), Some(running)) => running.stop.cancel(),
                (Wanted::Stop(work), None) => self.lose(key, work, Lost::Stopped),
            }
        }
        self.mark();
    }

    /// Says whether it may go to sleep: not while it works, nor while it asks a child.
    fn mark(&self) {
        let wanted = self.image.machine.work();
        let works = |wanted: &Wanted<M::Work>| matches!(wanted, Wanted::Do(_) | Wanted::Stop(_));
        self.slot.set_busy(!self.running.is_empty() || wanted.values().any(works));
        self.slot.set_asking(wanted.values().any(|wanted| matches!(wanted, Wanted::Ask(_))));
        let is_irrevocable = |running: &Running<M>| M::effect(&running.work) == Effect::Irrevocable;
        self.slot.set_irrevocable(self.running.values().any(is_irrevocable));
    }

    fn start(&mut self, key: M::WorkKey, work: M::Work, intent: Option<Intent>, is_repeated: bool) {
        let stop = CancellationToken::new();
        let task = Task {
            id: self.id,
            key: key.clone(),
            work: work.clone(),
            state: Arc::clone(&self.image.machine),
            stop: stop.clone(),
            intent,
            is_repeated,
        };
        let (inner, state, name) = (Arc::clone(&self.inner), Arc::clone(&self.image.machine), key.clone());
        self.run(key, work, stop, async move {
            let performed = AssertUnwindSafe(inner.world.perform(task)).catch_unwind().await;
            performed.unwrap_or_else(|panic| {
                let said = tasks::message(&*panic);
                tracing::error!(entity = M::NAME, work = ?name, panic = said, "work panicked");
                Some(state.lost(&name, Lost::Panicked(said.to_owned())))
            })
        });
    }

    /// Reports, as work of its own, that work is lost.
    fn lose(&mut self, key: M::WorkKey, work: M::Work, how: Lost) {
        let command = self.image.machine.lost(&key, how);
        self.run(key, work, CancellationToken::new(), async move { Some(command) });
    }

    fn run(
        &mut self,
        key: M::WorkKey,
        work: M::Work,
        stop: CancellationToken,
        perform: impl Future<Output = Option<M::Command>> + Send + 'static,
    ) {
        self.nonce += 1;
        let (inner, id, nonce, name) = (Arc::clone(&self.inner), self.id, self.nonce, key.clone());
        let task = self.inner.shared.tasks.own("work", async move {
            let command = perform.await;
            inner.report(id, Message::Report { key: name, nonce, command }).await;
        });
        let asks = matches!(self.image.machine.work().get(&key), Some(Wanted::Ask(_)));
        self.running.insert(key, Running { work, asks, again: false, nonce, stop, _task: task });
    }
}

/// Puts together what happens in one transaction. The guards of the one who asks come first.
pub(super) fn assemble(
    change: cendriix_persistence::store::Change,
    records: super::machine::Records,
    attachment: super::directory::Attachment,
    epoch: u64,
) -> Save {
    let mut changes = vec![change];
    changes.extend(records.children.into_iter().map(|mut child| {
        child.epoch = epoch;
        child
    }));
    let mut guards = attachment.guards;
    guards.extend(records.guards);
    let mut rows = attachment.rows;
    rows.extend(records.rows);
    Save { changes, guards, rows, audit: records.audit, nudges: records.nudges }
}

impl<M: Machine> Slot<M> {
    fn touch(&self, at: Timestamp) {
        self.used.store(at.0, std::sync::atomic::Ordering::Relaxed);
    }
}
