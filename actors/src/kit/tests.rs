//! The shell, the directory and the sweeper around a small machine, in virtual time.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use cendriix_persistence::{
    memory::{Disk, MemoryStore},
    placement::Alone,
    store::{Change, Guard, Header, Key, Row, RowKey, Save, SharedStore, Store},
};
use cendriix_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    directory::{Rest, Shared},
    faulty::{Faults, Faulty},
    machine::{Actor, Effect, Given, Lost, Machine, Records, Wanted},
    stored,
    stream::Hub,
    sweeper::{self, Former, Kinds},
    tasks::Tasks,
    *,
};

const DAY: Duration = Duration::from_hours(24);

/// A small life: it counts, has one errand at a time, one alarm, and a question that it asks now and then.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Toy {
    count: u64,
    errand: Option<Errand>,
    stopping: bool,
    alarm: Option<Timestamp>,
    asking: bool,
    cursed: bool,
    heard: Vec<String>,
    ballast: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Errand {
    what: String,
    effect: Effect,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Say {
    Add(u64),
    Begin(Errand),
    Stop,
    Did(String),
    Alarm(Timestamp),
    Rang,
    Ask,
    Answer(String),
    Carry(String),
    Bear(Uuid),
    Nudge(Uuid),
    Curse,
    Lift,
    Panic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Errand,
    Alarm,
    Question,
}

#[derive(Debug, thiserror::Error)]
#[error("no")]
struct No;

impl Machine for Toy {
    const KIND: u8 = 200;
    const NAME: &'static str = "toy";
    const SCHEMA: u16 = 1;

    type Birth = Vec<Say>;
    type Command = Say;
    type Event = Say;
    type Refusal = No;
    type WorkKey = Name;
    type Work = Errand;

    fn create(birth: &Vec<Say>, _id: Uuid, _given: &Given) -> Result<Vec<Say>, No> {
        let first = Say::Add(0);
        Ok([first].into_iter().chain(birth.iter().cloned()).collect())
    }

    fn found(first: &Say) -> Option<Self> {
        (*first == Say::Add(0)).then(Self::default)
    }

    fn decide(&self, command: &Say, _given: &Given) -> Result<Vec<Say>, No> {
        match command {
            Say::Panic => panic!("as it was told"),
            Say::Did(_) if self.cursed => panic!("it is cursed"),
            Say::Begin(_) if self.errand.is_some() => Err(No),
            Say::Did(_) | Say::Stop if self.errand.is_none() => Err(No),
            Say::Rang if self.alarm.is_none() => Err(No),
            Say::Answer(_) if !self.asking => Err(No),
            Say::Lift if !self.cursed => Err(No),
            Say::Add(0) => Ok(Vec::new()),
            Say::Add(_)
            | Say::Begin(_)
            | Say::Stop
            | Say::Did(_)
            | Say::Alarm(_)
            | Say::Rang
            | Say::Ask
            | Say::Answer(_)
            | Say::Carry(_)
            | Say::Bear(_)
            | Say::Nudge(_)
            | Say::Curse
            | Say::Lift => Ok(vec![command.clone()]),
        }
    }

    fn apply(&mut self, _seq: u64, event: &Say) {
        match event {
            Say::Add(by) => self.count += by,
            Say::Begin(errand) => self.errand = Some(errand.clone()),
            Say::Stop => self.stopping = true,
            Say::Did(said) => {
                self.heard.push(said.clone());
                (self.errand, self.stopping) = (None, false);
            }
            Say::Alarm(at) => self.alarm = Some(*at),
            Say::Rang => {
                self.alarm = None;
                self.heard.push("rang".into());
            }
            Say::Ask => self.asking = true,
            Say::Answer(said) => {
                self.asking = false;
                self.heard.push(said.clone());
            }
            Say::Carry(ballast) => self.ballast.clone_from(ballast),
            Say::Curse => {
                self.cursed = true;
                self.errand = Some(Errand { what: "quick".into(), effect: Effect::Pure });
            }
            Say::Lift => self.cursed = false,
            Say::Bear(_) | Say::Nudge(_) | Say::Panic => (),
        }
    }

    fn work(&self) -> BTreeMap<Name, Wanted<Errand>> {
        let mut wanted = BTreeMap::new();
        if let Some(errand) = &self.errand {
            let errand = errand.clone();
            wanted
                .insert(Name::Errand, if self.stopping { Wanted::Stop(errand) } else { Wanted::Do(errand) });
        }
        if let Some(at) = self.alarm {
            wanted.insert(Name::Alarm, Wanted::At(at));
        }
        if self.asking {
            wanted.insert(
                Name::Question,
                Wanted::Ask(Errand { what: "question".into(), effect: Effect::ReadOnly }),
            );
        }
        wanted
    }

    fn effect(work: &Errand) -> Effect {
        work.effect
    }

    fn records(&self, _id: Uuid, _before: Option<&Self>, events: &[Say], given: &Given) -> Records {
        let mut records = Records::default();
        for event in events {
            if let Say::Bear(child) = event {
                let birth = vec![Say::Begin(errand("forever", Effect::Pure))];
                records.join(stored::child::<Self>(&birth, *child, given).unwrap());
            }
            if let Say::Nudge(other) = event {
                records.nudges.push(key(*other));
            }
        }
        records
    }

    fn due(&self, _key: &Name) -> Say {
        Say::Rang
    }

    fn lost(&self, _key: &Name, how: Lost) -> Say {
        Say::Did(format!("lost: {how:?}"))
    }

    fn unparks(command: &Say) -> bool {
        *command == Say::Lift
    }
}

/// Performs errands by their name.
#[derive(Debug, Default)]
struct Bench {
    started: Mutex<Vec<(String, bool)>>,
    answers: Mutex<VecDeque<Say>>,
}

#[async_trait]
impl World<Toy> for Bench {
    async fn perform(&self, task: Task<Toy>) -> Option<Say> {
        self.started.lock().unwrap().push((task.work.what.clone(), task.intent.is_some()));
        match task.work.what.as_str() {
            "quick" => Some(Say::Did("done".into())),
            "panic" => panic!("out of order"),
            "silent" => None,
            "patient" => {
                task.stop.cancelled().await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                Some(Say::Did("stopped in time".into()))
            }
            "question" => self.answers.lock().unwrap().pop_front(),
            _ => futures::future::pending().await,
        }
    }
}

/// A system of toys on a disk.
struct Toybox {
    store: SharedStore,
    toys: Entities<Toy>,
    bench: Arc<Bench>,
    shared: Shared,
}

impl Toybox {
    async fn open(disk: &Disk, clock: &Clock) -> Self {
        Self::over(Arc::new(MemoryStore::open(disk.clone())), clock, Rest::default(), Tasks::default()).await
    }

    async fn over(store: SharedStore, clock: &Clock, rest: Rest, tasks: Tasks) -> Self {
        let shared = Shared {
            placement: Arc::new(Alone { epoch: store.epoch() }),
            store: Arc::clone(&store),
            clock: clock.clone(),
            hub: Hub::default(),
            tasks,
            kinds: Kinds::default(),
            rest,
            meters: crate::kit::Meters::new().unwrap(),
            stop: CancellationToken::new(),
        };
        let bench = Arc::new(Bench::default());
        let toys = Entities::start(shared.clone(), bench.clone()).await.unwrap();
        let (resumes, sweeps) = (shared.clone(), shared.clone());
        shared.tasks.spawn("resume", async move { sweeper::resume(&resumes).await });
        shared.tasks.spawn("sweeper", sweeper::sweep(sweeps, Former::TakenUp));
        Self { store, toys, bench, shared }
    }

    async fn born(&self, birth: &[Say]) -> Uuid {
        let id = self.shared.clock.id();
        self.toys.create(id, &birth.to_vec(), Order::of(Actor::System)).await.unwrap();
        id
    }

    async fn say(&self, id: Uuid, say: Say) -> Result<Shown<Toy>, Failure<Toy>> {
        self.toys.command(id, say, Order::of(Actor::System)).await
    }

    async fn heard(&self, id: Uuid) -> Vec<String> {
        self.toys.show(id).await.unwrap().unwrap().machine.heard.clone()
    }

    fn started(&self) -> Vec<(String, bool)> {
        self.bench.started.lock().unwrap().clone()
    }

    async fn header(&self, id: Uuid) -> Header {
        self.store.header(key(id)).await.unwrap().unwrap()
    }

    async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.kinds.stop().await;
    }
}

fn key(id: Uuid) -> Key {
    Key { kind: Toy::KIND, id }
}

fn errand(what: &str, effect: Effect) -> Errand {
    Errand { what: what.into(), effect }
}

fn begin(what: &str, effect: Effect) -> Say {
    Say::Begin(errand(what, effect))
}

fn named(number: u128) -> Order {
    Order { command: Some(Uuid::from_u128(number)), ..Order::of(Actor::System) }
}

/// Virtual time in which everything that goes on by itself has happened.
async fn moment() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Time in which idle entities go to sleep.
async fn night() {
    tokio::time::sleep(Duration::from_secs(10)).await;
}

/// What makes the state of a toy so large.
fn heavy(bytes: usize) -> Say {
    Say::Carry("x".repeat(bytes))
}

#[tokio::test(start_paused = true)]
async fn a_command_is_on_disk_before_its_answer_and_then_shown_and_told() {
    let toys = Toybox::open(&Disk::default(), &Clock::seeded(1)).await;
    let id = toys.born(&[]).await;
    let mut follower = toys.toys.follow(id);
    let shown = toys.say(id, Say::Add(2)).await.unwrap();
    assert_eq!((shown.machine.count, shown.version, shown.seq), (2, 2, 2));
    let stored = toys.store.load(key(id)).await.unwrap().unwrap();
    assert_eq!((stored.header.version, stored.header.seq), (2, 2));
    stored::check::<Toy>(&stored, &toys.store.journal(key(id), 0, 10).await.unwrap()).unwrap();
    follower.moved().await;
    assert_eq!(toys.toys.show(id).await.unwrap().unwrap().version, 2);
    assert!(matches!(toys.say(id, Say::Stop).await, Err(Failure::Refused(No))));
    assert_eq!(toys.header(id).await.version, 2);
    assert!(matches!(toys.say(Uuid::from_u128(404), Say::Add(1)).await, Err(Failure::Missing)));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_asked_again_changes_nothing_even_after_sleep_and_restart() {
    let (disk, clock) = (Disk::default(), Clock::seeded(2));
    let toys = Toybox::open(&disk, &clock).await;
    let id = toys.born(&[heavy(20_000)]).await;
    for again in 0..3 {
        let shown = toys.toys.command(id, Say::Add(5), named(9)).await.unwrap();
        assert_eq!((shown.machine.count, shown.version), (5, 2), "{again}");
        night().await;
        assert_eq!(toys.toys.awake(), 0);
    }
    // The state is large, so the command stands in the tail and in no snapshot.
    let header = toys.header(id).await;
    assert!(header.seq > header.snapshot_seq);
    toys.stop().await;
    let toys = Toybox::open(&disk, &clock).await;
    assert_eq!(toys.toys.command(id, Say::Add(5), named(9)).await.unwrap().version, 2);
    for other in 100..116 {
        toys.toys.command(id, Say::Add(1), named(other)).await.unwrap();
    }
    // It is forgotten after 16 others.
    assert_eq!(toys.toys.command(id, Say::Add(5), named(9)).await.unwrap().machine.count, 26);
}

#[tokio::test(start_paused = true)]
async fn a_timer_of_a_day_wakes_the_entity_from_its_sleep() {
    let clock = Clock::seeded(3);
    let toys = Toybox::open(&Disk::default(), &clock).await;
    let id = toys.born(&[]).await;
    toys.say(id, Say::Alarm(clock.now().after(DAY))).await.unwrap();
    night().await;
    assert_eq!(toys.toys.awake(), 0);
    tokio::time::advance(Duration::from_secs(86_400 - 11)).await;
    moment().await;
    assert!(toys.heard(id).await.is_empty());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(toys.heard(id).await, ["rang"]);
    assert_eq!(toys.header(id).await.due_at, None);
}

#[tokio::test(start_paused = true)]
async fn a_timer_fires_in_a_system_that_was_down_when_its_instant_came() {
    let (disk, clock) = (Disk::default(), Clock::seeded(4));
    let toys = Toybox::open(&disk, &clock).await;
    let id = toys.born(&[Say::Alarm(clock.now().after(DAY))]).await;
    toys.stop().await;
    tokio::time::advance(DAY * 2).await;
    let toys = Toybox::open(&disk, &clock).await;
    moment().await;
    assert_eq!(toys.heard(id).await, ["rang"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_work_is_a_command_and_so_is_work_that_ends_without_an_outcome() {
    let toys = Toybox::open(&Disk::default(), &Clock::seeded(5)).await;
    let id = toys.born(&[begin("panic", Effect::Pure)]).await;
    moment().await;
    toys.say(id, begin("silent", Effect::Pure)).await.unwrap();
    moment().await;
    assert_eq!(
        toys.heard(id).await,
        ["lost: Panicked(\"out of order\")", "lost: Panicked(\"it ended without an outcome\")"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_decide_crashes_only_its_entity_which_wakes_from_disk() {
    let toys = Toybox::open(&Disk::default(), &Clock::seeded(6)).await;
    let (id, other) = (toys.born(&[]).await, toys.born(&[]).await);
    toys.say(id, Say::Add(1)).await.unwrap();
    assert!(matches!(toys.say(id, Say::Panic).await, Err(Failure::Unknown)));
    assert_eq!(toys.say(other, Say::Add(1)).await.unwrap().machine.count, 1);
    assert!(matches!(toys.say(id, Say::Add(1)).await, Err(Failure::Recovering)));
    moment().await;
    assert_eq!(toys.say(id, Say::Add(1)).await.unwrap().machine.count, 2);
}

#[tokio::test(start_paused = true)]
async fn an_entity_that_crashes_five_times_at_a_version_is_parked_until_it_is_brought_back() {
    let (disk, clock) = (Disk::default(), Clock::seeded(7));
    let toys = Toybox::open(&disk, &clock).await;
    let id = toys.born(&[]).await;
    toys.say(id, Say::Curse).await.unwrap();
    night().await;
    assert_eq!(toys.started().len(), 5);
    let header = toys.header(id).await;
    assert_eq!((header.parked, header.working, header.version), (true, false, 3));
    assert!(matches!(toys.say(id, Say::Add(1)).await, Err(Failure::Parked)));
    toys.stop().await;
    let toys = Toybox::open(&disk, &clock).await;
    night().await;
    assert!(toys.started().is_empty());
    assert!(matches!(toys.say(id, Say::Add(1)).await, Err(Failure::Parked)));
    toys.say(id, Say::Lift).await.unwrap();
    moment().await;
    assert_eq!(toys.heard(id).await, ["done"]);
    assert!(!toys.header(id).await.parked);
}

#[tokio::test(start_paused = true)]
async fn a_parked_entity_comes_back_as_it_was_when_the_command_itself_has_nothing_to_add() {
    let toys = Toybox::open(&Disk::default(), &Clock::seeded(8)).await;
    let id = toys.born(&[begin("forever", Effect::Pure)]).await;
    for crash in 0..5 {
        assert!(matches!(toys.say(id, Say::Panic).await, Err(Failure::Unknown)), "{crash}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(toys.header(id).await.parked);
    let shown = toys.say(id, Say::Lift).await.unwrap();
    let header = toys.header(id).await;
    assert_eq!((header.parked, header.working, header.seq), (false, true, shown.seq));
    assert_eq!(toys.say(id, Say::Add(1)).await.unwrap().machine.count, 1);
    let stored = toys.store.load(key(id)).await.unwrap().unwrap();
    stored::check::<Toy>(&stored, &toys.store.journal(key(id), 0, 10).await.unwrap()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn irrevocable_work_starts_with_an_intent_and_never_again_by_itself() {
    let (disk, clock) = (Disk::default(), Clock::seeded(9));
    let toys = Toybox::open(&disk, &clock).await;
    let born = toys.born(&[begin("forever", Effect::Irrevocable)]).await;
    let id = toys.born(&[]).await;
    toys.say(id, begin("forever", Effect::Irrevocable)).await.unwrap();
    toys.say(id, Say::Add(1)).await.unwrap();
    moment().await;
    assert_eq!(toys.started(), [("forever".to_owned(), true), ("forever".to_owned(), true)]);
    toys.stop().await;
    let toys = Toybox::open(&disk, &clock).await;
    moment().await;
    assert!(toys.started().is_empty());
    assert_eq!(toys.heard(id).await, ["lost: OutcomeUnknown"]);
    assert_eq!(toys.heard(born).await, ["lost: OutcomeUnknown"]);
}

#[tokio::test(start_paused = true)]
async fn an_irrevocable_effect_that_was_begun_survives_a_nudge_without_being_called_lost() {
    let clock = Clock::seeded(10);
    let toys = Toybox::open(&Disk::default(), &clock).await;
    let id = toys.born(&[begin("forever", Effect::Irrevocable)]).await;
    toys.say(id, Say::Alarm(clock.now().after(Duration::from_secs(1)))).await.unwrap();
    night().await;
    assert_eq!(toys.heard(id).await, ["rang"]);
}

#[tokio::test(start_paused = true)]
async fn work_that_may_be_repeated_is_taken_up_after_a_restart() {
    let (disk, clock) = (Disk::default(), Clock::seeded(11));
    let toys = Toybox::open(&disk, &clock).await;
    let mut ids = Vec::new();
    for effect in [Effect::Pure, Effect::ReadOnly, Effect::Contained, Effect::Keyed] {
        ids.push(toys.born(&[begin("forever", effect)]).await);
    }
    let idle = toys.born(&[]).await;
    toys.stop().await;
    let toys = Toybox::open(&disk, &clock).await;
    moment().await;
    assert_eq!(toys.started(), vec![("forever".to_owned(), false); 4]);
    assert_eq!(toys.toys.awake(), 4);
    assert_eq!(toys.say(idle, Say::Add(1)).await.unwrap().machine.count, 1);
}

#[tokio::test(start_paused = true)]
async fn stopped_work_ends_by_itself_or_is_reported_lost_when_it_no_longer_runs() {
    let (disk, clock) = (Disk::default(), Clock::seeded(12));
    let toys = Toybox::open(&disk, &clock).await;
    let patient = toys.born(&[begin("patient", Effect::Contained)]).await;
    let deaf = toys.born(&[begin("forever", Effect::Contained)]).await;
    toys.say(patient, Say::Stop).await.unwrap();
    toys.say(deaf, Say::Stop).await.unwrap();
    moment().await;
    assert_eq!(toys.heard(patient).await, ["stopped in time"]);
    assert!(toys.heard(deaf).await.is_empty());
    toys.stop().await;
    let toys = Toybox::open(&disk, &clock).await;
    moment().await;
    assert_eq!(toys.heard(deaf).await, ["lost: Stopped"]);
}

#[tokio::test(start_paused = true)]
async fn the_sixty_fifth_caller_who_waits_is_told_to_come_again() {
    let toys = Toybox::open(&Disk::default(), &Clock::seeded(13)).await;
    let id = toys.born(&[]).await;
    toys.say(id, Say::Add(1)).await.unwrap();
    let asked = (0..66).map(|_| toys.say(id, Say::Add(1)));
    let answers = futures::future::join_all(asked).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 64);
    assert!(answers[64..].iter().all(|answer| matches!(answer, Err(Failure::Busy))));
    assert_eq!(toys.say(id, Say::Add(1)).await.unwrap().machine.count, 66);
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_does_not_hold_refuses_and_leaves_the_entity_as_it_was() {
    let toys = Toybox::open(&Disk::default(), &Clock::seeded(14)).await;
    let id = toys.born(&[]).await;
    let row = RowKey { space: 250, key: b"claim".to_vec() };
    let order = || Order {
        attachment: Attachment {
            guards: vec![Guard::Absent(row.clone())],
            rows: vec![Row { key: row.clone(), value: Some(bytes::Bytes::from_static(b"taken")) }],
        },
        ..Order::of(Actor::System)
    };
    toys.toys.command(id, Say::Add(1), order()).await.unwrap();
    assert!(matches!(toys.toys.command(id, Say::Add(1), order()).await, Err(Failure::Guard(0))));
    let other = toys.shared.clock.id();
    assert!(matches!(toys.toys.create(other, &Vec::new(), order()).await, Err(Failure::Guard(0))));
    assert!(toys.toys.show(other).await.unwrap().is_none());
    assert_eq!(toys.say(id, Say::Add(1)).await.unwrap().machine.count, 2);
}

#[tokio::test(start_paused = true)]
async fn an_entity_that_was_changed_behind_its_back_reads_itself_again() {
    let toys = Toybox::open(&Disk::default(), &Clock::seeded(15)).await;
    let id = toys.born(&[]).await;
    toys.say(id, Say::Add(1)).await.unwrap();
    let header = toys.header(id).await;
    let change = Change {
        key: key(id),
        epoch: header.epoch,
        expected_version: header.version,
        schema: 1,
        working: false,
        parked: false,
        due_at: None,
        events: None,
        snapshot: None,
    };
    toys.store.save(Save { changes: vec![change], ..Save::default() }).await;
    assert!(matches!(toys.say(id, Say::Add(1)).await, Err(Failure::Unknown)));
    moment().await;
    let shown = toys.say(id, Say::Add(1)).await.unwrap();
    assert_eq!((shown.machine.count, shown.version), (2, header.version + 2));
}

#[tokio::test(start_paused = true)]
async fn a_state_is_written_once_its_journal_outweighs_it() {
    let toys = Toybox::open(&Disk::default(), &Clock::seeded(23)).await;
    let id = toys.born(&[]).await;
    let mut snapshots = Vec::new();
    for _ in 0..10 {
        toys.say(id, heavy(1_500)).await.unwrap();
        snapshots.push(toys.header(id).await.snapshot_seq);
    }
    assert_eq!(snapshots, [1, 1, 4, 4, 4, 7, 7, 7, 10, 10]);
    // Near the largest one it is written at once, so that what is too large is never taken.
    toys.say(id, heavy(stored::SNAPSHOT_MAX - 1_000)).await.unwrap();
    let header = toys.header(id).await;
    assert_eq!(header.snapshot_seq, header.seq);
    assert!(matches!(toys.say(id, heavy(stored::SNAPSHOT_MAX)).await, Err(Failure::TooLarge)));
    assert_eq!(toys.say(id, Say::Add(1)).await.unwrap().machine.ballast.len(), stored::SNAPSHOT_MAX - 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_state_is_written_every_32_events_and_wakes_equal() {
    let toys = Toybox::open(&Disk::default(), &Clock::seeded(16)).await;
    let id = toys.born(&[heavy(20_000)]).await;
    let mut snapshots = Vec::new();
    for _ in 0..70 {
        let shown = toys.say(id, Say::Add(1)).await.unwrap();
        let header = toys.header(id).await;
        assert_eq!(header.seq, shown.seq);
        if snapshots.last() != Some(&header.snapshot_seq) {
            snapshots.push(header.snapshot_seq);
        }
    }
    assert_eq!(snapshots, [2, 34, 66]);
    let before = toys.toys.show(id).await.unwrap().unwrap();
    night().await;
    assert_eq!(toys.toys.awake(), 0);
    let after = toys.say(id, Say::Add(0)).await.unwrap();
    assert_eq!((&after.machine, after.version, after.seq), (&before.machine, before.version, before.seq));
}

#[tokio::test(start_paused = true)]
async fn a_state_of_more_than_a_mebibyte_is_refused_and_the_entity_goes_on() {
    let toys = Toybox::open(&Disk::default(), &Clock::seeded(17)).await;
    let id = toys.born(&[]).await;
    assert!(matches!(toys.say(id, heavy(stored::SNAPSHOT_MAX)).await, Err(Failure::TooLarge)));
    assert_eq!(toys.say(id, Say::Add(1)).await.unwrap().machine.ballast, "");
    let other = toys.shared.clock.id();
    let born = toys.toys.create(other, &vec![heavy(stored::SNAPSHOT_MAX)], Order::of(Actor::System)).await;
    assert!(matches!(born, Err(Failure::TooLarge)));
}

#[tokio::test(start_paused = true)]
async fn children_are_born_in_the_save_of_their_parent_and_wake_at_once() {
    let toys = Toybox::open(&Disk::default(), &Clock::seeded(18)).await;
    // What wakes them is not the start of the system.
    moment().await;
    let (first, second) = (toys.shared.clock.id(), toys.shared.clock.id());
    let parent = toys.born(&[Say::Bear(first)]).await;
    moment().await;
    let before = toys.store.commits();
    toys.say(parent, Say::Bear(second)).await.unwrap();
    assert_eq!(toys.store.commits(), before + 1);
    assert!(toys.store.load(key(second)).await.unwrap().is_some());
    moment().await;
    assert_eq!(toys.started().len(), 2);
    // An id that is taken already stops the whole save.
    assert!(matches!(toys.say(parent, Say::Bear(first)).await, Err(Failure::Unknown)));
    moment().await;
    assert_eq!(toys.say(parent, Say::Add(1)).await.unwrap().version, 3);
}

#[tokio::test(start_paused = true)]
async fn a_nudge_wakes_an_entity_to_ask_its_question_again() {
    let toys = Toybox::open(&Disk::default(), &Clock::seeded(19)).await;
    let (id, other) = (toys.born(&[]).await, toys.born(&[]).await);
    toys.say(id, Say::Ask).await.unwrap();
    night().await;
    assert_eq!((toys.toys.awake(), toys.started().len()), (0, 0));
    toys.bench.answers.lock().unwrap().push_back(Say::Answer("it is born".into()));
    toys.say(other, Say::Nudge(id)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(toys.heard(id).await, ["it is born"]);
    assert_eq!(toys.header(id).await.due_at, None);
    night().await;
    assert_eq!(toys.toys.awake(), 0);
}

#[tokio::test(start_paused = true)]
async fn idle_entities_go_to_sleep_and_busy_ones_do_not() {
    let store = Arc::new(MemoryStore::open(Disk::default()));
    // With more than one awake, those without work sleep at once.
    let rest = Rest { idle: DAY, awake_max: 1 };
    let toys = Toybox::over(store, &Clock::seeded(20), rest, Tasks::default()).await;
    let busy = toys.born(&[begin("forever", Effect::Pure)]).await;
    for _ in 0..2 {
        let idle = toys.born(&[]).await;
        toys.say(idle, Say::Add(1)).await.unwrap();
    }
    assert_eq!(toys.toys.awake(), 3);
    night().await;
    assert_eq!(toys.toys.awake(), 1);
    assert_eq!(toys.say(busy, Say::Add(1)).await.unwrap().machine.count, 1);
    assert_eq!(toys.started().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_while_it_goes_to_sleep_waits_and_is_answered() {
    let store = Arc::new(MemoryStore::open(Disk::default()));
    let rest = Rest { idle: Duration::ZERO, awake_max: 0 };
    let toys = Toybox::over(store, &Clock::seeded(21), rest, Tasks::default()).await;
    let id = toys.born(&[]).await;
    for count in 1..500 {
        let shown = toys.say(id, Say::Add(1)).await.unwrap();
        assert_eq!(shown.machine.count, count);
        tokio::time::sleep(Duration::from_millis(count % 7 * 50)).await;
    }
    let begun = toys.say(id, begin("forever", Effect::Irrevocable)).await.unwrap();
    night().await;
    assert_eq!(toys.toys.show(id).await.unwrap().unwrap().version, begun.version);
    assert_eq!(toys.started(), [("forever".to_owned(), true)]);
}

#[tokio::test(start_paused = true)]
async fn what_came_of_work_is_told_again_until_the_disk_has_space_for_it() {
    let (disk, clock, tasks) = (Disk::default(), Clock::seeded(22), Tasks::default());
    let faulty = Faulty::open(MemoryStore::open(disk), 22, &tasks);
    let toys = Toybox::over(faulty.clone(), &clock, Rest::default(), tasks).await;
    let id = toys.born(&[begin("patient", Effect::Irrevocable)]).await;
    let late = toys.born(&[Say::Alarm(clock.now().after(Duration::from_secs(5)))]).await;
    toys.say(id, Say::Stop).await.unwrap();
    faulty.set_full(true);
    assert!(matches!(toys.say(id, Say::Add(1)).await, Err(Failure::Full)));
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(toys.heard(id).await, [""; 0]);
    assert!(toys.say(late, Say::Add(0)).await.is_ok());
    faulty.set_full(false);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(toys.heard(id).await, ["stopped in time"]);
    assert_eq!(toys.heard(late).await, ["rang"]);
    assert!(!toys.header(id).await.parked);
}

#[tokio::test(start_paused = true)]
async fn a_save_that_outlives_its_actor_is_not_overtaken_by_the_wake() {
    let tasks = Tasks::default();
    let faulty = Faulty::open(MemoryStore::open(Disk::default()), 23, &tasks);
    let toys = Toybox::over(faulty.clone(), &Clock::seeded(23), Rest::default(), tasks).await;
    let id = toys.born(&[]).await;
    for count in 1..50 {
        toys.say(id, Say::Add(0)).await.unwrap();
        faulty.set(Faults { delay: Duration::from_millis(200), unknown: 0 });
        let killed = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            toys.toys.kill(id);
        };
        let (answer, ()) = futures::future::join(toys.say(id, Say::Add(1)), killed).await;
        assert!(answer.is_ok() || matches!(answer, Err(Failure::Unknown)));
        tokio::time::sleep(Duration::from_millis(20)).await;
        let shown = toys.say(id, Say::Add(1)).await.unwrap();
        assert_eq!(shown.machine.count, 2 * count);
        faulty.set(Faults::default());
        // Crashes are forgotten.
        tokio::time::advance(Duration::from_secs(61)).await;
        moment().await;
    }
    let stored = faulty.sound().load(key(id)).await.unwrap().unwrap();
    let journal = faulty.sound().journal(key(id), 0, 1000).await.unwrap();
    stored::check::<Toy>(&stored, &journal).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_system_that_stops_answers_what_it_took_and_takes_no_more() {
    let toys = Toybox::open(&Disk::default(), &Clock::seeded(24)).await;
    let id = toys.born(&[]).await;
    toys.say(id, Say::Add(1)).await.unwrap();
    let (answer, ()) = futures::future::join(toys.say(id, Say::Add(1)), toys.stop()).await;
    assert_eq!(answer.unwrap().machine.count, 2);
    assert_eq!(toys.toys.awake(), 0);
    assert!(matches!(toys.say(id, Say::Add(1)).await, Err(Failure::Stopping)));
    assert_eq!(toys.header(id).await.version, 3);
}
