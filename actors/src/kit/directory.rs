//! Finds an entity that is awake or wakes it, one wake at a time for each id, and puts idle ones to sleep.
//!
//! **Invariant:** at most one actor of an id lives at any time: a slot leaves the map only when its actor has
//! ended, and a wake waits for that. **Invariant:** after a crash a wake passes through the writer first, so
//! that a save which the dead actor left in the queue is not overtaken.

use std::{
    fmt::Debug,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cendriix_persistence::{
    StoreError,
    placement::Owner,
    store::{Change, Key, Outcome, Save},
};
use cendriix_protocol::time::Timestamp;
use dashmap::DashMap;
use ractor::ActorRef;
use tokio::sync::{Mutex, Semaphore, TryAcquireError, oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    entity::{self, Entity, Message, Waking, World},
    failure::Failure,
    machine::{Given, Machine},
    stored::Image,
    stream::Follower,
    supervisor::{Crashes, Supervisor},
};
pub use super::{
    order::{Attachment, Order},
    shared::{Rest, Shared},
};

/// How long a caller waits for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How many callers may wait for one entity.
const WAITING_MAX: u32 = 64;
/// When an entity that could not be parked is tried again.
const PARKED_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How often, and how many times, effects that cannot be taken back are looked for when a node stops: 5 s.
const SETTLED_LOOK: Duration = Duration::from_millis(20);
const SETTLED_LOOKS: u32 = 250;
/// How many locks the ids share while they wake.
const STRIPES: usize = 256;

/// The entities of one kind. A clone is the same directory.
pub struct Entities<M: Machine>(Arc<Inner<M>>);

impl<M: Machine> Clone for Entities<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Machine> Debug for Entities<M> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Entities").field("kind", &M::NAME).field("awake", &self.0.awake.len()).finish()
    }
}

pub(super) struct Inner<M: Machine> {
    pub(super) shared: Shared,
    pub(super) world: Arc<dyn World<M>>,
    awake: DashMap<Uuid, Arc<Slot<M>>>,
    stripes: Vec<Mutex<()>>,
    crashes: Crashes,
    supervisor: OnceLock<ActorRef<()>>,
    stopping: AtomicBool,
    me: Weak<Inner<M>>,
}

/// An entity that is awake, as others see it.
pub(super) struct Slot<M: Machine> {
    actor: OnceLock<ActorRef<Message<M>>>,
    shown: watch::Sender<Shown<M>>,
    permits: Arc<Semaphore>,
    /// When it was last sent something.
    pub(super) used: AtomicU64,
    busy: AtomicBool,
    /// Whether it waits for what a child has to tell.
    asking: AtomicBool,
    /// Whether an effect goes on that cannot be taken back.
    irrevocable: AtomicBool,
    retiring: AtomicBool,
    ended: CancellationToken,
}

impl<M: Machine> Debug for Slot<M> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Slot").finish_non_exhaustive()
    }
}

/// A state that is on disk.
#[derive(Debug)]
pub struct Shown<M> {
    /// The state.
    pub machine: Arc<M>,
    /// Counts the saves.
    pub version: u64,
    /// The last event in it.
    pub seq: u64,
}

impl<M> Clone for Shown<M> {
    fn clone(&self) -> Self {
        Self { machine: Arc::clone(&self.machine), version: self.version, seq: self.seq }
    }
}

impl<M: Machine> Slot<M> {
    fn new(image: &Image<M>, now: Timestamp) -> Arc<Self> {
        let machine = Arc::clone(&image.machine);
        Arc::new(Self {
            actor: OnceLock::new(),
            shown: watch::Sender::new(Shown { machine, version: image.version, seq: image.seq }),
            permits: Arc::new(Semaphore::new(WAITING_MAX as usize)),
            used: AtomicU64::new(now.0),
            busy: AtomicBool::new(false),
            asking: AtomicBool::new(false),
            irrevocable: AtomicBool::new(false),
            retiring: AtomicBool::new(false),
            ended: CancellationToken::new(),
        })
    }

    pub(super) fn show(&self, shown: Shown<M>) {
        self.shown.send_replace(shown);
    }

    pub(super) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    pub(super) fn set_irrevocable(&self, irrevocable: bool) {
        self.irrevocable.store(irrevocable, Ordering::Relaxed);
    }

    pub(super) fn set_asking(&self, asking: bool) {
        self.asking.store(asking, Ordering::Relaxed);
    }

    fn send(&self, message: Message<M>) -> Result<(), Message<M>> {
        let Some(actor) = self.actor.get() else { return Err(message) };
        actor.send_message(message).map_err(|error| match error {
            ractor::MessagingErr::SendErr(message) => message,
            ractor::MessagingErr::ChannelClosed | ractor::MessagingErr::InvalidActorType => Message::Nudge,
        })
    }
}

impl<M: Machine> Entities<M> {
    /// Starts the directory of a kind, with nobody awake.
    ///
    /// # Errors
    ///
    /// When its supervisor does not start.
    pub async fn start(shared: Shared, world: Arc<dyn World<M>>) -> Result<Self, ractor::SpawnErr> {
        let inner = Arc::new_cyclic(|me| Inner {
            world,
            awake: DashMap::new(),
            stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
            crashes: Crashes::default(),
            supervisor: OnceLock::new(),
            stopping: AtomicBool::new(false),
            me: me.clone(),
            shared,
        });
        let (supervisor, _) = ractor::Actor::spawn(None, Supervisor, M::NAME).await?;
        inner.supervisor.set(supervisor).ok();
        inner.shared.kinds.register(M::KIND, inner.clone());
        Ok(Self(inner))
    }

    /// What every kind shares.
    pub fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// How many are awake.
    pub fn awake(&self) -> usize {
        self.0.awake.len()
    }

    /// Brings an entity to life.
    ///
    /// # Errors
    ///
    /// See [`Failure`]. One that exists already is [`Failure::Unknown`]: its id was given to another command.
    pub async fn create(&self, id: Uuid, birth: &M::Birth, order: Order) -> Result<Shown<M>, Failure<M>> {
        self.0.create(id, birth, order).await
    }

    /// Asks something of an entity and waits for the answer, at most 30 seconds.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn command(&self, id: Uuid, command: M::Command, order: Order) -> Result<Shown<M>, Failure<M>> {
        self.0.command(id, command, order).await
    }

    /// Wakes an entity, so that what it was at goes on.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn wake(&self, id: Uuid) -> Result<(), Failure<M>> {
        self.0.find(id).await.map(drop)
    }

    /// The state of an entity as it is on disk, without waking it; `None` when there is no such entity.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn show(&self, id: Uuid) -> Result<Option<Shown<M>>, StoreError> {
        if let Some(slot) = self.0.awake.get(&id) {
            return Ok(Some(slot.shown.borrow().clone()));
        }
        let stored = self.0.shared.store.load(Key { kind: M::KIND, id }).await?;
        let image = stored.map(|stored| Image::<M>::read(&stored)).transpose()?;
        Ok(image.map(|image| Shown { machine: image.machine, version: image.version, seq: image.seq }))
    }

    /// Waits until `done` holds for the state, or `within` has passed, and gives the last state seen.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn wait(
        &self,
        id: Uuid,
        within: Duration,
        done: impl Fn(&M) -> bool + Send,
    ) -> Result<Option<Shown<M>>, StoreError> {
        let mut follower = self.follow(id);
        let deadline = tokio::time::sleep(within);
        tokio::pin!(deadline);
        loop {
            let Some(shown) = self.show(id).await? else { return Ok(None) };
            if done(&shown.machine) {
                return Ok(Some(shown));
            }
            tokio::select! {
                () = follower.moved() => (),
                () = &mut deadline => return self.show(id).await,
            }
        }
    }

    /// Kills an actor in whatever it does, as nothing but a test may.
    #[cfg(test)]
    pub(crate) fn kill(&self, id: Uuid) {
        if let Some(actor) = self.0.awake.get(&id).as_ref().and_then(|slot| slot.actor.get()) {
            actor.kill();
        }
    }

    /// Follows the journal of an entity.
    pub fn follow(&self, id: Uuid) -> Follower {
        self.0.shared.hub.follow(Key { kind: M::KIND, id })
    }
}

impl<M: Machine> Inner<M> {
    /// This node's epoch as the owner of the id; `None` when another node owns it.
    pub(super) fn epoch(&self, id: Uuid) -> Option<u64> {
        match self.shared.placement.owner(id) {
            Owner::Me { epoch } => Some(epoch),
            Owner::Node { .. } => None,
        }
    }

    fn stripe(&self, id: Uuid) -> &Mutex<()> {
        let place = usize::try_from(id.as_u128() % STRIPES as u128).unwrap_or(0);
        &self.stripes[place]
    }

    async fn create(&self, id: Uuid, birth: &M::Birth, order: Order) -> Result<Shown<M>, Failure<M>> {
        let epoch = self.epoch(id).ok_or(Failure::Elsewhere)?;
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Failure::Stopping);
        }
        let clock = &self.shared.clock;
        let given = Given { at: clock.now(), by: order.by, random: clock.random() };
        let events = M::create(birth, id, &given).map_err(Failure::Refused)?;
        let mut image = events.first().and_then(Image::<M>::found).ok_or(Failure::Unknown)?;
        let key = Key { kind: M::KIND, id };
        let change = image.step(key, epoch, order.command, &given, &events).map_err(|_| Failure::TooLarge)?;
        let working = change.working;
        let records = image.machine.records(id, None, &events, &given);
        let children: Vec<Key> = records.children.iter().map(|child| child.key).collect();
        let _waking = self.stripe(id).lock().await;
        match self.shared.store.save(entity::assemble(change, records, order.attachment, epoch)).await {
            Outcome::Saved => (),
            Outcome::Refused(guard) => return Err(Failure::Guard(guard)),
            Outcome::Full => return Err(Failure::Full),
            Outcome::Conflict | Outcome::Unknown => return Err(Failure::Unknown),
        }
        self.shared.hub.bump(key, image.seq);
        let shown = Shown { machine: Arc::clone(&image.machine), version: image.version, seq: image.seq };
        if working {
            // It is saved, whatever becomes of this; an entity that does not wake here wakes when it is asked
            // something.
            self.awaken(id, image, true).await.ok();
        }
        self.shared.kinds.wake_all(&self.shared.tasks, &children);
        Ok(shown)
    }

    async fn command(&self, id: Uuid, command: M::Command, order: Order) -> Result<Shown<M>, Failure<M>> {
        let (reply, answer) = oneshot::channel();
        let mut message = None;
        let mut asked = Some((command, order, reply));
        loop {
            let slot = self.find(id).await?;
            let next = match (message.take(), asked.take()) {
                (Some(message), _) => message,
                (None, Some((command, order, reply))) => {
                    match Arc::clone(&slot.permits).try_acquire_owned() {
                        Ok(permit) => {
                            let order = Box::new(order);
                            Message::Command { command, order, permit, reply }
                        }
                        Err(TryAcquireError::NoPermits) => return Err(Failure::Busy),
                        // It is going to sleep; whoever waits for that wakes it again.
                        Err(TryAcquireError::Closed) => {
                            asked = Some((command, order, reply));
                            slot.ended.cancelled().await;
                            continue;
                        }
                    }
                }
                (None, None) => return Err(Failure::Unknown),
            };
            match slot.send(next) {
                Ok(()) => break,
                // It is ending and has not taken the message in; the next one will.
                Err(unsent) => {
                    slot.ended.cancelled().await;
                    message = Some(unsent);
                }
            }
        }
        match tokio::time::timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Failure::Unknown),
        }
    }

    /// Delivers a report of work, and wakes the entity for it if need be.
    pub(super) async fn report(&self, id: Uuid, report: Message<M>) {
        let mut message = report;
        loop {
            let slot = match self.find(id).await {
                Ok(slot) => slot,
                Err(failure) => {
                    tracing::debug!(entity = M::NAME, %id, %failure, "a report found no entity");
                    return;
                }
            };
            match slot.send(message) {
                Ok(()) => return,
                Err(unsent) => {
                    slot.ended.cancelled().await;
                    message = unsent;
                }
            }
        }
    }

    /// The entity's slot; wakes it when it sleeps.
    async fn find(&self, id: Uuid) -> Result<Arc<Slot<M>>, Failure<M>> {
        if let Some(slot) = self.awake.get(&id)
            && slot.actor.get().is_some()
        {
            return Ok(Arc::clone(&slot));
        }
        self.wake(id).await
    }

    async fn wake(&self, id: Uuid) -> Result<Arc<Slot<M>>, Failure<M>> {
        self.epoch(id).ok_or(Failure::Elsewhere)?;
        let _waking = self.stripe(id).lock().await;
        let found = self.awake.get(&id).map(|slot| Arc::clone(&slot));
        if let Some(slot) = found {
            return Ok(slot);
        }
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Failure::Stopping);
        }
        if self.crashes.resting(id, self.shared.clock.now()) {
            return Err(Failure::Recovering);
        }
        if self.crashes.crashed(id) {
            self.shared.store.barrier().await;
        }
        let stored = self.shared.store.load(Key { kind: M::KIND, id }).await?.ok_or(Failure::Missing)?;
        let image = Image::<M>::read(&stored)?;
        self.awaken(id, image, false).await
    }

    /// Spawns the actor; the caller holds the id's lock.
    async fn awaken(&self, id: Uuid, image: Image<M>, fresh: bool) -> Result<Arc<Slot<M>>, Failure<M>> {
        let (Some(inner), Some(supervisor)) = (self.me.upgrade(), self.supervisor.get()) else {
            return Err(Failure::Stopping);
        };
        let slot = Slot::new(&image, self.shared.clock.now());
        self.awake.insert(id, Arc::clone(&slot));
        let waking = Waking { id, image, slot: Arc::clone(&slot), inner, fresh };
        match ractor::Actor::spawn_linked(None, Entity::new(), waking, supervisor.get_cell()).await {
            Ok((actor, _)) => {
                slot.actor.set(actor).ok();
                Ok(slot)
            }
            Err(error) => {
                tracing::error!(entity = M::NAME, %id, %error, "an entity could not be woken");
                self.awake.remove_if(&id, |_, there| Arc::ptr_eq(there, &slot));
                Err(Failure::Recovering)
            }
        }
    }

    /// Takes note that an actor has ended, and decides whether and when it comes back.
    pub(super) fn ended(&self, id: Uuid, slot: &Arc<Slot<M>>, version: u64) {
        let crashed = !slot.retiring.load(Ordering::Relaxed);
        // What a child told it may have gone with it.
        let asking = crashed && slot.asking.load(Ordering::Relaxed);
        let busy = slot.busy.load(Ordering::Relaxed) || asking;
        let now = self.shared.clock.now();
        let back = if crashed {
            self.crashes.record(id, version, now, &self.shared.clock)
        } else {
            Some(Duration::ZERO)
        };
        self.awake.remove_if(&id, |_, there| Arc::ptr_eq(there, slot));
        slot.ended.cancel();
        let Some(inner) = self.me.upgrade().filter(|_| !self.stopping.load(Ordering::Relaxed)) else {
            return;
        };
        match back {
            Some(after) if busy => self.shared.tasks.spawn("wake again", async move {
                tokio::time::sleep(after).await;
                if let Err(failure) = inner.wake(id).await {
                    tracing::warn!(entity = M::NAME, %id, %failure, "an entity did not come back");
                }
            }),
            Some(_) => (),
            None => self.shared.tasks.spawn("park", async move {
                if inner.park(id).await {
                    return;
                }
                tokio::time::sleep(PARKED_AGAIN_AFTER).await;
                inner.wake(id).await.ok();
            }),
        }
    }

    /// Leaves an entity alone until somebody brings it back; false when that could not be saved.
    async fn park(&self, id: Uuid) -> bool {
        let key = Key { kind: M::KIND, id };
        let _waking = self.stripe(id).lock().await;
        self.shared.store.barrier().await;
        let stored = match self.shared.store.load(key).await {
            Ok(Some(stored)) => stored,
            Ok(None) => return true,
            Err(error) => {
                tracing::error!(entity = M::NAME, %id, %error, "an entity cannot be parked");
                return false;
            }
        };
        let header = stored.header;
        let nudges: Vec<Key> =
            Image::<M>::read(&stored).ok().and_then(|image| image.machine.awaited_by()).into_iter().collect();
        let Some(epoch) = self.epoch(id) else { return true };
        let change = Change {
            key,
            epoch,
            expected_version: header.version,
            schema: header.schema,
            working: false,
            parked: true,
            due_at: None,
            events: None,
            snapshot: None,
        };
        let save = Save { changes: vec![change], nudges: nudges.clone(), ..Save::default() };
        let outcome = self.shared.store.save(save).await;
        tracing::error!(entity = M::NAME, %id, ?outcome, "an entity crashed repeatedly and is parked");
        if outcome == Outcome::Saved {
            self.crashes.forget(id);
            self.shared.kinds.nudge_all(&self.shared.tasks, &nudges);
        }
        outcome == Outcome::Saved
    }

    /// Puts one to sleep that has nothing to do, unless somebody waits for its answer: what they asked may
    /// start work.
    fn rest(slot: &Slot<M>) {
        // While all permits are held here, no command is on its way to it.
        if let Ok(_all) = slot.permits.try_acquire_many(WAITING_MAX)
            && !slot.busy.load(Ordering::Relaxed)
        {
            Self::retire(slot);
        }
    }

    /// Gives effects that cannot be taken back the time to report: else a person would have to say what
    /// became of them.
    async fn settled(&self) {
        let mut looks = tokio::time::interval(SETTLED_LOOK);
        for _ in 0..SETTLED_LOOKS {
            if !self.awake.iter().any(|slot| slot.irrevocable.load(Ordering::Relaxed)) {
                return;
            }
            looks.tick().await;
        }
    }

    /// Puts one to sleep: it handles what it was sent and ends.
    fn retire(slot: &Slot<M>) {
        slot.permits.close();
        if let Some(actor) = slot.actor.get()
            && !slot.retiring.swap(true, Ordering::Relaxed)
        {
            actor.drain().ok();
        }
    }
}

#[async_trait::async_trait]
impl<M: Machine> super::sweeper::Kind for Inner<M> {
    async fn wake(&self, id: Uuid) {
        if let Err(failure) = self.find(id).await {
            tracing::warn!(entity = M::NAME, %id, %failure, "an entity did not wake");
        }
    }

    async fn nudge(&self, id: Uuid) {
        self.report(id, Message::Nudge).await;
    }

    fn is_awake(&self, id: Uuid) -> bool {
        self.awake.contains_key(&id)
    }

    fn sweep(&self) {
        let now = self.shared.clock.now();
        let crowded = self.awake.len() > self.shared.rest.awake_max;
        let idle = if crowded { Duration::ZERO } else { self.shared.rest.idle };
        for slot in &self.awake {
            let used = Timestamp(slot.used.load(Ordering::Relaxed));
            if !slot.busy.load(Ordering::Relaxed) && now.since(used) >= idle {
                Self::rest(&slot);
            }
        }
        self.crashes.sweep(now);
    }

    async fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.settled().await;
        let slots: Vec<Arc<Slot<M>>> = self.awake.iter().map(|slot| Arc::clone(&slot)).collect();
        for slot in &slots {
            Self::retire(slot);
        }
        for slot in slots {
            slot.ended.cancelled().await;
        }
        if let Some(supervisor) = self.supervisor.get() {
            supervisor.stop(None);
        }
    }
}
