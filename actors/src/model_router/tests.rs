//! The router with scripted providers in place of endpoints.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
};

use async_trait::async_trait;
use cendriix_persistence::memory::{Disk, MemoryStore};
use cendriix_protocol::{
    identity::Via,
    ids::{UserId, WorkspaceId},
    model_router::Complete,
    workspaces::Role,
};
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

use super::{
    breaker::{Limits, Position},
    catalogue::{ENGINE_PROVIDER, Price, Source},
    chat::{Finish, Message},
    provider::Error,
    *,
};
use crate::{caller::Caller, kinds::space, metering::ledger};

/// A provider that answers by script; it waits while it has no permit.
#[derive(Debug)]
pub(super) struct Scripted {
    turns: Mutex<VecDeque<Result<Answer, Error>>>,
    pub(super) leave: Semaphore,
    begun: mpsc::Sender<String>,
}

#[async_trait]
impl Provider for Scripted {
    async fn ask(&self, model: &str, _request: &Request, call: Call) -> Result<Answer, Error> {
        self.begun.send(model.to_owned()).await.unwrap();
        tokio::select! {
            biased;
            () = call.stop.cancelled() => return Err(failure(Class::Stopped)),
            permit = self.leave.acquire() => permit.unwrap().forget(),
        }
        self.turns.lock().unwrap().pop_front().unwrap_or_else(|| Ok(answer("again")))
    }
}

pub(super) fn scripted(turns: Vec<Result<Answer, Error>>) -> (Arc<Scripted>, mpsc::Receiver<String>) {
    let (begun, begins) = mpsc::channel(64);
    let turns = Mutex::new(turns.into());
    (Arc::new(Scripted { turns, leave: Semaphore::new(1000), begun }), begins)
}

pub(super) fn answer(text: &str) -> Answer {
    let usage = Some(Usage { input_tokens: 1000, output_tokens: 10, cached_tokens: 0 });
    Answer { text: text.to_owned(), calls: vec![], finish: Finish::Stop, usage }
}

pub(super) fn failure(class: Class) -> Error {
    Error { class, message: format!("it is {class:?}"), retry_after: None }
}

fn entry(id: &str, context_in: u64) -> Entry {
    Entry {
        id: id.to_owned(),
        source: Source::Custom,
        provider: id.to_owned(),
        name: id.to_owned(),
        context_in,
        max_output: 500,
        price: Price { input: MicroUsd(1_000_000), output: MicroUsd(2_000_000), cached: MicroUsd(0) },
        is_price_assumed: false,
        capabilities: vec![],
        note: None,
    }
}

/// A router over models `a` (small), `b` (large) and the engine, each with its script.
struct World {
    router: ModelRouter,
    store: Arc<MemoryStore>,
    begins: BTreeMap<&'static str, mpsc::Receiver<String>>,
    providers: BTreeMap<&'static str, Arc<Scripted>>,
}

impl World {
    async fn of(scripts: Vec<(&'static str, Vec<Result<Answer, Error>>)>) -> Self {
        let clock = Clock::seeded(1);
        let store = Arc::new(MemoryStore::open(Disk::default()));
        let (mut begins, mut providers) = (BTreeMap::new(), BTreeMap::new());
        let mut seats = Vec::new();
        for (model, turns) in scripts {
            let (provider, begun) = scripted(turns);
            begins.insert(model, begun);
            providers.insert(model, Arc::clone(&provider));
            let lane = Arc::new(Lane::new(8, 8, Duration::from_mins(1)));
            let (model, endpoint) = (model.to_owned(), model.to_owned());
            let meters = crate::kit::Meters::new().unwrap().model(&model);
            seats.push(Seat { name: model.clone(), model, endpoint, provider, lane, meters });
        }
        let engine =
            Entry { provider: ENGINE_PROVIDER.into(), price: Price::default(), ..entry(ENGINE, 1_000_000) };
        let all = [entry("a", 10_000), entry("b", 100_000), engine];
        let there = all.into_iter().filter(|entry| providers.contains_key(entry.id.as_str()));
        let catalogue = Catalogue::of(there.collect());
        let pool = Pool::start(seats, Limits::default(), clock.clone()).await.unwrap();
        let (tasks, stop) = (Tasks::default(), CancellationToken::new());
        let router =
            ModelRouter(Arc::new(Inner { catalogue, pool, clock, store: store.clone(), tasks, stop }));
        Self { router, store, begins, providers }
    }

    async fn ledger(&self) -> Vec<ledger::Entry> {
        let scan = cendriix_persistence::store::Scan::prefix(space::LEDGER, &[], 100);
        let rows = self.router.0.store.rows(scan).await.unwrap().into_iter();
        rows.map(|(_, value)| ledger::read(&value).unwrap()).collect()
    }
}

fn ask() -> Ask {
    let messages = vec![Message::User { text: "hello, who are you?".into() }];
    Ask { request: Request { messages, max_tokens: 1000, ..Request::default() }, ..Ask::default() }
}

fn caller() -> Caller {
    Caller {
        user: UserId(Uuid::from_u128(1)),
        workspace: WorkspaceId(Uuid::from_u128(2)),
        role: Role::Member,
        needs: Role::Member,
        key: None,
        request: None,
        via: Via::Dev,
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_model_is_asked_when_one_fails_and_every_failure_is_told() {
    let failing = vec![Err(failure(Class::Failed))];
    let world = World::of(vec![("a", failing), ("b", vec![Ok(answer("b here"))]), (ENGINE, vec![])]).await;
    let asked = world.router.ask(ask()).await.unwrap();
    assert_eq!(
        (asked.model.as_str(), asked.answer.text.as_str(), asked.used_fallback),
        ("b", "b here", true)
    );
    assert_eq!((asked.failures.len(), asked.failures[0].class), (1, Class::Failed));
    assert_eq!((asked.cost, asked.estimated), (MicroUsd(1020), false));
    let preferred = world.router.ask(Ask { prefer: Some(ENGINE.into()), ..ask() }).await.unwrap();
    assert_eq!(
        (preferred.model.as_str(), preferred.cost, preferred.used_fallback),
        (ENGINE, MicroUsd(0), false)
    );
    assert!(world.router.has_language_model());
}

#[tokio::test(start_paused = true)]
async fn a_wrong_request_goes_no_further_and_one_that_is_too_long_only_to_larger_models() {
    let world = World::of(vec![
        ("a", vec![Err(failure(Class::Caller)), Err(failure(Class::TooLong))]),
        ("b", vec![]),
    ])
    .await;
    let refused = world.router.ask(ask()).await.unwrap_err();
    assert!(matches!(&refused, Refused::Wrong(failures) if failures.len() == 1), "{refused:?}");
    assert_eq!(world.router.ask(ask()).await.unwrap().model, "b");
    let too_long = || vec![Err(failure(Class::TooLong))];
    let mut world = World::of(vec![("a", vec![]), ("b", too_long())]).await;
    let refused = world.router.ask(Ask { prefer: Some("b".into()), ..ask() }).await.unwrap_err();
    assert!(matches!(refused, Refused::Wrong(_)), "{refused:?}");
    assert!(world.begins.get_mut("a").unwrap().try_recv().is_err(), "a smaller one was asked");
}

#[tokio::test(start_paused = true)]
async fn usage_that_nobody_says_is_estimated_and_marked() {
    let silent = Answer { usage: None, ..answer(&"x".repeat(41)) };
    let world = World::of(vec![("a", vec![Ok(silent)])]).await;
    let asked = world.router.ask(ask()).await.unwrap();
    assert_eq!((asked.usage.input_tokens, asked.usage.output_tokens, asked.estimated), (5, 11, true));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_keeps_failing_rests_and_is_tried_again_later() {
    let failing = (0..5).map(|_| Err(failure(Class::TimedOut))).collect();
    let mut world = World::of(vec![("a", failing)]).await;
    for _ in 0..5 {
        world.router.ask(ask()).await.unwrap_err();
    }
    let refused = world.router.ask(ask()).await.unwrap_err();
    assert!(refused.to_string().contains("rests until"), "{refused}");
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(10)));
    assert!(!refused.failures()[0].was_sent);
    let begins = world.begins.get_mut("a").unwrap();
    assert_eq!(std::iter::from_fn(|| begins.try_recv().ok()).count(), 5);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(world.router.health()[0].breaker.position, Position::HalfOpen);
    assert_eq!(world.router.ask(ask()).await.unwrap().answer.text, "again");
}

#[tokio::test(start_paused = true)]
async fn each_request_that_went_out_leaves_a_row_and_an_audit_entry() {
    let failing = vec![Err(failure(Class::TimedOut))];
    let world = World::of(vec![("a", failing), ("b", vec![])]).await;
    let body = Complete { prompt: "hello, who are you?".into(), ..Complete::default() };
    let completion = world.router.complete(&caller(), body).await.unwrap();
    assert_eq!((completion.model_id.as_str(), completion.used_fallback), ("b", true));
    let mut rows = world.ledger().await;
    rows.sort_by(|one, other| one.model.cmp(&other.model));
    let [a, b] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((a.outcome, a.cost, a.estimated), (ledger::Outcome::Failed, MicroUsd(5), true));
    assert_eq!((b.outcome, b.cost, b.estimated), (ledger::Outcome::Succeeded, MicroUsd(1020), false));
    assert_ne!(a.call, b.call);
    assert_eq!(world.router.0.store.audit(caller().workspace.0, 0, 10).await.unwrap().len(), 2);
    assert_eq!(world.store_commits(), 1);
}

impl World {
    fn store_commits(&self) -> u64 {
        cendriix_persistence::store::Store::commits(&*self.store)
    }
}

#[tokio::test(start_paused = true)]
async fn a_completion_that_nobody_waits_for_any_more_is_kept_as_cancelled() {
    let mut world = World::of(vec![("a", vec![])]).await;
    world.providers["a"].leave.forget_permits(1000);
    let body = Complete { prompt: "hello, who are you?".into(), ..Complete::default() };
    {
        let caller = caller();
        let waiting = world.router.complete(&caller, body);
        tokio::pin!(waiting);
        tokio::select! {
            _ = &mut waiting => panic!("it has no permit to answer"),
            _ = world.begins.get_mut("a").unwrap().recv() => {}
        }
    }
    assert!(world.router.0.tasks.ended(Duration::from_secs(1)).await);
    let rows = world.ledger().await;
    assert_eq!((rows.len(), rows[0].outcome, rows[0].input_tokens), (1, ledger::Outcome::Cancelled, 5));
    assert_eq!(world.router.health()[0].breaker.failures, 0);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_needs_a_model_answers_with_its_sentence() {
    let needs = Answer { finish: Finish::NeedsModel("set OPENAI_API_KEY".into()), ..answer("") };
    let world = World::of(vec![(ENGINE, vec![Ok(needs.clone()), Ok(needs)])]).await;
    assert!(matches!(world.router.ask(ask()).await.unwrap().answer.finish, Finish::NeedsModel(_)));
    let body = Complete { prompt: "hi".into(), ..Complete::default() };
    let refused = world.router.complete(&caller(), body).await.unwrap_err();
    assert!(
        matches!(&refused, crate::Error::Conflict { message, .. } if message == "set OPENAI_API_KEY"),
        "{refused:?}"
    );
    assert!(!world.router.has_language_model());
}

#[test]
fn a_refused_account_is_not_tried_again_and_four_failures_are_enough() {
    let same = |id: &str| Entry { provider: "openai".into(), ..entry(id, 10_000) };
    let engine = Entry { provider: ENGINE_PROVIDER.into(), ..entry(ENGINE, 1_000_000) };
    let catalogue = Catalogue::of(vec![same("a"), same("b"), entry("c", 10_000), engine.clone()]);
    let failed = |class, was_sent| {
        let missed = pool::Missed { error: failure(class), was_sent };
        missed_by(&same("a"), &Request::default(), missed, 1)
    };
    let hopeless = |entry: &Entry, failures: &[Failure]| is_hopeless(entry, failures, &catalogue);
    for class in [Class::Auth, Class::Quota] {
        assert!(hopeless(&same("b"), &[failed(class, true)]));
        assert!(!hopeless(&same("b"), &[failed(class, false)]), "only that model rests");
        assert!(!hopeless(&entry("c", 10_000), &[failed(class, true)]));
    }
    assert!(hopeless(&entry("c", 10_000), &[failed(Class::TooLong, true)]));
    let four = vec![failed(Class::Failed, true); 4];
    assert!(hopeless(&entry("c", 10_000), &four) && !hopeless(&engine, &four));
}
