//! Who asks the models: a supervisor with one worker for each model of each endpoint, which keeps its
//! breaker, and one bounded queue for each endpoint.
//!
//! ```text
//! ask ─▶ place in the endpoint's queue ─▶ pass from the worker ─▶ the provider ─▶ end told to the worker
//! ```
//!
//! The exchange runs in the task of whoever asks, so a worker never waits and ends with nobody.
//!
//! **Invariant:** each pass comes back to its worker, also when the one who asked is gone. **Invariant:** a
//! worker's mailbox holds at most two messages for each place of its endpoint's queue.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cendriix_protocol::{money::MicroUsd, time::Timestamp};
use ractor::{ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{
    breaker::{Breaker, End, Limits, Pass, Resting, Shown},
    chat::{Answer, Request, Usage},
    provider::{Call, Class, Error, Provider},
};
use crate::kit::{Clock, meters::ModelMeters};

/// When to ask again where a queue is full.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What a pool asks: a model of an endpoint.
#[derive(Debug)]
pub(super) struct Seat {
    /// The model's id in the catalogue.
    pub(super) model: String,
    /// What the endpoint is called.
    pub(super) endpoint: String,
    /// The endpoint's own name of the model.
    pub(super) name: String,
    /// Who is asked.
    pub(super) provider: Arc<dyn Provider>,
    /// The queue of the endpoint.
    pub(super) lane: Arc<Lane>,
    /// What calls of it count.
    pub(super) meters: ModelMeters,
}

/// The queue of an endpoint.
#[derive(Debug)]
pub(super) struct Lane {
    /// Those who wait and those who are served.
    places: Arc<Semaphore>,
    served: Arc<Semaphore>,
    patience: Duration,
}

impl Lane {
    pub(super) fn new(concurrency: usize, queue: usize, patience: Duration) -> Self {
        let served = concurrency.clamp(1, Semaphore::MAX_PERMITS / 2);
        let places = served + queue.min(Semaphore::MAX_PERMITS / 2);
        Self { places: Arc::new(Semaphore::new(places)), served: Arc::new(Semaphore::new(served)), patience }
    }

    /// Waits until it is one's turn.
    async fn enter(&self, endpoint: &str, call: &Call) -> Result<[OwnedSemaphorePermit; 2], Error> {
        let full = || Error {
            class: Class::RateLimited,
            message: format!("too many requests wait for {endpoint}"),
            retry_after: Some(AGAIN_AFTER),
        };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| full())?;
        let turn = tokio::time::timeout(self.patience, Arc::clone(&self.served).acquire_owned());
        tokio::select! {
            biased;
            () = call.stop.cancelled() => Err(stopped()),
            turn = turn => match turn {
                Ok(Ok(turn)) => Ok([place, turn]),
                Ok(Err(_)) | Err(_) => Err(full()),
            },
        }
    }
}

fn stopped() -> Error {
    Error { class: Class::Stopped, message: "it was stopped".into(), retry_after: None }
}

/// Why a model gave no answer.
#[derive(Debug)]
pub(super) struct Missed {
    pub(super) error: Error,
    /// Whether the request went out, so that it may have cost something.
    pub(super) was_sent: bool,
}

/// How a model does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The model's id in the catalogue.
    pub model: String,
    /// The endpoint that serves it.
    pub endpoint: String,
    /// Its breaker.
    pub breaker: Shown,
    /// How long answers took of late.
    pub latency_ms: Option<u64>,
}

/// The workers of all models.
#[derive(Debug)]
pub(super) struct Pool {
    workers: BTreeMap<String, Arc<Post>>,
    supervisor: ActorRef<()>,
    clock: Clock,
}

/// A worker's post, which outlives the worker.
#[derive(Debug)]
struct Post {
    seat: Seat,
    worker: Mutex<Option<ActorRef<Message>>>,
    published: Mutex<Published>,
}

/// What a worker shows of itself, so that nobody has to ask it.
#[derive(Clone, Copy, Debug)]
struct Published {
    breaker: Breaker,
    latency_ms: Option<u64>,
}

impl Pool {
    pub(super) async fn start(seats: Vec<Seat>, limits: Limits, clock: Clock) -> Result<Self, SpawnErr> {
        let published = Published { breaker: Breaker::new(limits), latency_ms: None };
        let posts = seats.into_iter().map(|seat| {
            let post = Post { worker: Mutex::default(), published: Mutex::new(published), seat };
            (post.seat.model.clone(), Arc::new(post))
        });
        let workers: BTreeMap<String, Arc<Post>> = posts.collect();
        let watched = Watched { posts: workers.values().cloned().collect(), clock: clock.clone() };
        let (supervisor, _) = ractor::Actor::spawn(None, Supervisor, watched).await?;
        for post in workers.values() {
            post.fill(&clock, supervisor.get_cell()).await?;
        }
        Ok(Self { workers, supervisor, clock })
    }

    /// Asks a model, when it is its turn and its breaker lets it.
    pub(super) async fn ask(&self, model: &str, request: &Request, call: Call) -> Result<Answer, Missed> {
        let unsent = |error| Missed { error, was_sent: false };
        let Some(post) = self.workers.get(model) else {
            let message = format!("{model} has no worker");
            return Err(unsent(Error { class: Class::Failed, message, retry_after: None }));
        };
        let _places = {
            // Nobody queues for what rests anyway.
            let now = self.clock.now();
            let mut breaker = post.published().breaker;
            breaker.begin(now).map_err(|resting| unsent(rests(model, resting, now)))?;
            post.seat.lane.enter(&post.seat.endpoint, &call).await.map_err(unsent)?
        };
        let turn = post.begin(&self.clock).await.map_err(unsent)?;
        let began = self.clock.now();
        let answered = post.seat.provider.ask(&post.seat.name, request, call).await;
        let took = self.clock.now().since(began);
        post.seat.meters.seconds.observe(took.as_secs_f64());
        post.seat.meters.called(answered.as_ref().map_or_else(|error| error.class.name(), |_| "answered"));
        turn.ended(&answered, took);
        answered.map_err(|error| Missed { error, was_sent: true })
    }

    /// How long a model's answers took of late.
    pub(super) fn latency_ms(&self, model: &str) -> Option<u64> {
        self.workers.get(model)?.published().latency_ms
    }

    /// Counts what an answer used.
    pub(super) fn charge(&self, model: &str, usage: &Usage, cost: MicroUsd) {
        let Some(post) = self.workers.get(model) else { return };
        post.seat.meters.used(usage.input_tokens, usage.output_tokens, usage.cached_tokens);
        post.seat.meters.cost_usd.inc_by(cost.dollars());
    }

    /// Says of each model whether it rests.
    pub(super) fn measure(&self) {
        let now = self.clock.now();
        for post in self.workers.values() {
            let is_resting = post.published().breaker.shown(now).opened_at.is_some();
            post.seat.meters.resting.set(i64::from(is_resting));
        }
    }

    /// How all models do.
    pub(super) fn snapshots(&self) -> Vec<Snapshot> {
        let now = self.clock.now();
        let snapshot = |post: &Arc<Post>| {
            let Published { breaker, latency_ms } = *post.published();
            Snapshot {
                model: post.seat.model.clone(),
                endpoint: post.seat.endpoint.clone(),
                breaker: breaker.shown(now),
                latency_ms,
            }
        };
        self.workers.values().map(snapshot).collect()
    }

    /// Ends the workers; what is under way ends by itself.
    pub(super) fn stop(&self) {
        self.supervisor.stop(None);
    }
}

fn rests(model: &str, resting: Resting, now: Timestamp) -> Error {
    let Resting { until, failures, last_error } = resting;
    let class = last_error.unwrap_or(Class::Failed);
    let message = match until {
        Some(until) => format!("{model} rests until {until} (failures in a row: {failures}, last: {class})"),
        None => format!("{model} failed (last: {class}) and is being tried by another request"),
    };
    let retry_after = until.map_or(AGAIN_AFTER, |until| until.since(now));
    Error { class, message, retry_after: Some(retry_after) }
}

impl Post {
    fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn worker(&self) -> MutexGuard<'_, Option<ActorRef<Message>>> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a worker on the post.
    async fn fill(self: &Arc<Self>, clock: &Clock, supervisor: ActorCell) -> Result<(), SpawnErr> {
        let begins = (Arc::clone(self), clock.clone());
        let (worker, _) = ractor::Actor::spawn_linked(None, Worker, begins, supervisor).await?;
        *self.worker() = Some(worker);
        Ok(())
    }

    fn tell(&self, message: Message) -> bool {
        self.worker().as_ref().is_some_and(|worker| worker.cast(message).is_ok())
    }

    async fn begin(&self, clock: &Clock) -> Result<Turn, Error> {
        let (reply, begun) = oneshot::channel();
        self.tell(Message::Begin { reply });
        match begun.await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(resting)) => Err(rests(&self.seat.model, resting, clock.now())),
            Err(_) => Err(Error {
                class: Class::Failed,
                message: format!("the worker of {} is being started again", self.seat.model),
                retry_after: Some(AGAIN_AFTER),
            }),
        }
    }
}

/// What a worker is told.
#[derive(Debug)]
enum Message {
    /// Somebody wants to ask.
    Begin { reply: oneshot::Sender<Result<Turn, Resting>> },
    /// What came of it.
    Ended { pass: Pass, end: End, took: Duration },
}

/// A pass on its way; it comes back to the worker whatever happens.
#[derive(Debug)]
struct Turn {
    pass: Option<Pass>,
    post: Arc<Post>,
}

impl Turn {
    fn ended(mut self, answered: &Result<Answer, Error>, took: Duration) {
        let end = match answered {
            Ok(_) => End::Answered,
            Err(error) => End::Failed(error.class, error.retry_after),
        };
        if let Some(pass) = self.pass.take() {
            self.post.tell(Message::Ended { pass, end, took });
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            let end = End::Failed(Class::Stopped, None);
            self.post.tell(Message::Ended { pass, end, took: Duration::ZERO });
        }
    }
}

/// Keeps the breaker of one model.
#[derive(Debug)]
struct Worker;

/// What a worker knows.
#[derive(Debug)]
struct Kept {
    post: Arc<Post>,
    clock: Clock,
    now: Published,
}

impl ractor::Actor for Worker {
    type Msg = Message;
    type State = Kept;
    type Arguments = (Arc<Post>, Clock);

    async fn pre_start(
        &self,
        _me: ActorRef<Message>,
        (post, clock): (Arc<Post>, Clock),
    ) -> Result<Kept, ActorProcessingErr> {
        let mut now = *post.published();
        now.breaker.resumed(clock.now());
        Ok(Kept { post, clock, now })
    }

    async fn handle(
        &self,
        _me: ActorRef<Message>,
        message: Message,
        kept: &mut Kept,
    ) -> Result<(), ActorProcessingErr> {
        let at = kept.clock.now();
        match message {
            Message::Begin { reply } => {
                let begun = kept.now.breaker.begin(at);
                let turn = begun.map(|pass| Turn { pass: Some(pass), post: Arc::clone(&kept.post) });
                *kept.post.published() = kept.now;
                // A turn that nobody takes any more comes back by itself.
                drop(reply.send(turn));
            }
            Message::Ended { pass, end, took } => {
                kept.ended(pass, end, took, at);
                *kept.post.published() = kept.now;
            }
        }
        Ok(())
    }
}

impl Kept {
    fn ended(&mut self, pass: Pass, end: End, took: Duration, at: Timestamp) {
        let before = self.now.breaker.shown(at);
        self.now.breaker.end(pass, end, at);
        let after = self.now.breaker.shown(at);
        if before.opened_at.is_none() && after.opened_at.is_some() {
            tracing::warn!(model = self.post.seat.model, class = ?after.last_error, "a model rests");
        } else if before.opened_at.is_some() && after.opened_at.is_none() {
            tracing::info!(model = self.post.seat.model, "a model answers again");
        }
        if end == End::Answered {
            let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            let smoothed = |before: u64| (before.saturating_mul(7).saturating_add(took)) / 8;
            self.now.latency_ms = Some(self.now.latency_ms.map_or(took, smoothed));
        }
    }
}

/// Watches the workers and puts another on a post whose worker ended.
#[derive(Debug)]
struct Supervisor;

/// What the supervisor watches.
#[derive(Debug)]
struct Watched {
    posts: Vec<Arc<Post>>,
    clock: Clock,
}

impl ractor::Actor for Supervisor {
    type Msg = ();
    type State = Watched;
    type Arguments = Watched;

    async fn pre_start(&self, _me: ActorRef<()>, watched: Watched) -> Result<Watched, ActorProcessingErr> {
        Ok(watched)
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<()>,
        event: SupervisionEvent,
        watched: &mut Watched,
    ) -> Result<(), ActorProcessingErr> {
        let ended = match event {
            SupervisionEvent::ActorFailed(ended, error) => {
                tracing::warn!(%error, "the worker of a model crashed and is started again");
                ended
            }
            SupervisionEvent::ActorTerminated(ended, _, _) => ended,
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => return Ok(()),
        };
        let is_its = |post: &&Arc<Post>| {
            post.worker().as_ref().is_some_and(|worker| worker.get_id() == ended.get_id())
        };
        let Some(post) = watched.posts.iter().find(is_its) else { return Ok(()) };
        if let Err(error) = post.fill(&watched.clock, me.get_cell()).await {
            tracing::error!(model = post.seat.model, %error, "the worker of a model cannot be started again");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
