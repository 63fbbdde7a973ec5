//! A seeded simulation: the shell, the directory and the sweeper around real runs, on a store that delays,
//! fails and dies, with the process killed at random moments, and clients that ask again as real ones do.
//!
//! Each incarnation of the process is a runtime of its own in virtual time; dropping it is `kill -9`, and
//! only the disk survives. `CENDRIIX_SIM_SEEDS` says how many seeds are tried, `CENDRIIX_SIM_SEED` names a
//! single one.
//!
//! What must hold at the end, with the faults off: every acknowledged command is in the journal, once and as
//! it was answered; nobody saw a state that was not on disk, nor an older one than before; every run rests
//! and no timer is overdue; no irrevocable effect began more often than a save intended it; and `verify`
//! finds no fault.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use cendriix_persistence::{
    codec::decode,
    memory::{Disk, MemoryStore},
    placement::Alone,
    store::{Key, Store},
};
use cendriix_protocol::{
    agent_steps::StopReason,
    ids::{self, AgentStepId, UserId, WorkflowId, WorkspaceId},
    model_router::TaskType,
    money::MicroUsd,
    time::Timestamp,
    workspaces::Role,
};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    directory::{Rest, Shared},
    faulty::{Faults, Faulty},
    stream::Hub,
    sweeper::{self, Former, Kinds},
    tasks::Tasks,
    *,
};
use crate::{
    agent_steps::{
        self, AgentStep,
        state::{Policy, Spent},
    },
    kinds,
    metering::ledger::Outcome,
    runs::state::{
        Activity, Birth, Command, CommitId, Course, Event, Mend, Payload, Plan, Reason, Repository,
        Resolution, Run, Seen, Source, Step, StepKind, Work, WorkKey, effect,
    },
};

/// How many seeds are tried unless the environment says otherwise.
const SEEDS: u64 = 500;
const CLIENTS: u64 = 3;
const RUNS_MAX: usize = 5;
const BEGAN: Timestamp = Timestamp(1_780_000_000_000);
const PERSON: Actor = Actor::User(UserId(Uuid::from_u128(7)));

/// How often each irrevocable effect began, by run, activity and attempt.
type Effects = Arc<Mutex<BTreeMap<(Uuid, Activity, u32), usize>>>;
type Answer = Result<Shown<Run>, Failure<Run>>;

/// What survives the process: the disk, what clients know, and what happened outside.
struct Outside {
    disk: Disk,
    clients: Vec<Mutex<Client>>,
    runs: Mutex<Vec<Uuid>>,
    effects: Effects,
}

/// A client: what it wants, and what it was told.
struct Client {
    chance: fastrand::Rng,
    asking: Option<Asking>,
    /// For each run, the highest version it was shown.
    seen: BTreeMap<Uuid, u64>,
    /// Commands that were acknowledged and had an effect: run, command, version of the effect.
    acknowledged: Vec<(Uuid, Uuid, u64)>,
}

#[derive(Clone, Debug)]
struct Asking {
    run: Uuid,
    id: Uuid,
    what: What,
    tries: u32,
}

#[derive(Clone, Debug)]
enum What {
    Create(Box<Birth>),
    Command(Command),
}

/// Performs what runs want, with random delays and outcomes.
#[derive(Debug)]
struct Stage {
    chance: Mutex<fastrand::Rng>,
    effects: Effects,
    agents: OnceLock<Entities<AgentStep>>,
}

impl Stage {
    fn roll(&self, sides: u32) -> u32 {
        self.chance.lock().unwrap().u32(..sides)
    }
}

#[async_trait]
impl World<Run> for Stage {
    async fn perform(&self, task: Task<Run>) -> Option<Command> {
        if let Work::Perform { activity, attempt, .. } = task.work {
            let is_irrevocable = effect(task.work) == Effect::Irrevocable;
            assert_eq!(task.intent.is_some(), is_irrevocable);
            if is_irrevocable {
                *self.effects.lock().unwrap().entry((task.id, activity, attempt)).or_default() += 1;
            }
        }
        let pause = Duration::from_millis(u64::from(self.roll(1500)));
        let obeys = self.roll(2) == 0;
        tokio::select! {
            biased;
            () = task.stop.cancelled(), if obeys => (),
            () = tokio::time::sleep(pause) => (),
        }
        let roll = self.roll(16);
        if roll == 0 {
            // Unwinds without the noise of a panic that nobody expects.
            resume_unwind(Box::new("a mistake"));
        }
        let reason = || Reason::new("broken", "it broke");
        Some(match task.work {
            Work::Evaluate { step, attempt } if roll == 1 => {
                Command::StepFailed { step, attempt, reason: reason(), cost: MicroUsd(0) }
            }
            Work::Evaluate { step, attempt } => succeeded(step, attempt, MicroUsd(0)),
            Work::AwaitStep { step, attempt } => return self.outcome(&task.state, step, attempt).await,
            Work::AwaitAsked { id } => Command::AskedEnded { id, cost: self.cost(id).await? },
            Work::Look { attempt } => {
                let seen = match roll {
                    0..7 => Seen::Merged(commit(roll)),
                    7..12 => Seen::NotMerged,
                    _ => Seen::Nothing,
                };
                Command::Looked { attempt, seen }
            }
            Work::EndStep { step, attempt } => self.end(&task, step, attempt).await?,
            Work::EndAsked { id } => {
                self.stop(id.0).await;
                Command::AskedEnded { id, cost: self.cost(id).await.unwrap_or(MicroUsd(0)) }
            }
            Work::Perform { activity, attempt, .. } => delivered(activity, attempt, roll),
        })
    }
}

/// What comes of an activity.
fn delivered(activity: Activity, attempt: u32, roll: u32) -> Command {
    let mend = match roll {
        0..3 => Mend::Agent,
        3..6 => Mend::Person,
        _ => Mend::Nobody,
    };
    if matches!(activity, Activity::Test | Activity::Review) && roll < 8 {
        let (summary, report) = ("looked at".into(), Payload::Inline("{}".into()));
        let (passed, spent) = (roll > 5, Vec::new());
        return Command::Checked { activity, attempt, passed, mend, summary, report, spent };
    }
    let may_move = matches!(activity, Activity::OpenPullRequest | Activity::Merge);
    if may_move && roll > 12 {
        return Command::MainMoved { activity, attempt, main: commit(roll) };
    }
    if roll < 4 {
        let reason = Reason::new("broken", "it broke");
        return Command::Undone { activity, attempt, reason, mend };
    }
    let commit = (roll > 4).then(|| format!("commit of {attempt}"));
    Command::Done { activity, attempt, commit, branch: None }
}

fn commit(roll: u32) -> CommitId {
    format!("4b825dc642cb6eb9a060e54bf8d69288fbee49{roll:02}").parse().unwrap()
}

fn succeeded(step: u32, attempt: u32, cost: MicroUsd) -> Command {
    Command::StepSucceeded { step, attempt, output: Payload::Inline("1".into()), commit: None, cost }
}

impl Stage {
    /// The outcome of an agent, as runs hear of it.
    async fn outcome(&self, run: &Run, step: u32, attempt: u32) -> Option<Command> {
        let shown = self.agents.get()?.show(run.agent_step(step, attempt).0).await.ok()??;
        let cost = shown.machine.cost;
        Some(match &shown.machine.ended()?.reason {
            None => succeeded(step, attempt, cost),
            Some(reason) => Command::StepFailed { step, attempt, reason: reason.clone(), cost },
        })
    }

    async fn end(&self, task: &Task<Run>, step: u32, attempt: u32) -> Option<Command> {
        let id = task.state.agent_step(step, attempt).0;
        self.stop(id).await;
        let told = self.outcome(&task.state, step, attempt).await;
        match (task.key, told) {
            (WorkKey::Ending { .. }, _) => Some(Command::StepEnded { step, attempt, cost: MicroUsd(0) }),
            (_, Some(told)) => Some(told),
            (_, None) => {
                let reason = Reason::new("cancelled", "it was stopped");
                Some(Command::StepFailed { step, attempt, reason, cost: MicroUsd(0) })
            }
        }
    }
}

impl Stage {
    async fn stop(&self, agent: Uuid) {
        let Some(agents) = self.agents.get() else { return };
        agents.command(agent, agent_steps::state::Command::Cancel, Order::of(Actor::System)).await.ok();
        agents.wait(agent, Duration::from_secs(30), |step| step.ended().is_some()).await.ok();
    }

    /// What an agent has cost, once it has ended.
    async fn cost(&self, agent: AgentStepId) -> Option<MicroUsd> {
        let step = self.agents.get()?.show(agent.0).await.ok()??;
        step.machine.ended().map(|_| step.machine.cost)
    }
}

/// Performs what agents want, with random delays and outcomes.
#[derive(Debug)]
struct Agents(Mutex<fastrand::Rng>);

#[async_trait]
impl World<AgentStep> for Agents {
    async fn perform(&self, task: Task<AgentStep>) -> Option<agent_steps::state::Command> {
        use agent_steps::state::{Command, Work};
        let roll = |sides| self.0.lock().unwrap().u32(..sides);
        let pause = Duration::from_millis(u64::from(roll(700)));
        let obeys = roll(2) == 0;
        tokio::select! {
            biased;
            () = task.stop.cancelled(), if obeys => (),
            () = tokio::time::sleep(pause) => (),
        }
        let roll = roll(16);
        if roll == 0 {
            resume_unwind(Box::new("a mistake"));
        }
        let content = || Payload::Inline("{}".into());
        let commit = || commit(4);
        let turn = task.state.turn();
        let spent = vec![Spent {
            call: Uuid::from_u128(task.id.as_u128() ^ u128::from(turn)),
            model: "m".into(),
            provider: "p".into(),
            input_tokens: 3,
            output_tokens: 1,
            cached_tokens: 0,
            cost: MicroUsd(1),
            latency_ms: 1,
            outcome: Outcome::Succeeded,
            estimated: false,
        }];
        Some(match task.work {
            _ if roll == 1 => {
                let end = agent_steps::state::badly(StopReason::Error, "broken", "it broke");
                Command::Broke { turn, end, spent: Vec::new() }
            }
            Work::Prepare => {
                let policy = Policy {
                    turns: 4,
                    tokens: 100,
                    tokens_per_call: 1,
                    tool_timeout_ms: 1,
                    task_type: TaskType::General,
                    contained: roll > 3,
                };
                let (base, conflicts) = (commit(), Vec::new());
                Command::Prepared { base, conflicts, brief: content(), name: "a".into(), policy }
            }
            Work::Think { turn } => {
                let end = (roll < 8).then(agent_steps::state::End::well);
                let calls = u32::from(end.is_none());
                Command::Thought { turn, answer: content(), calls, likeness: roll.into(), end, spent }
            }
            Work::Act { turn, contained } => {
                assert_eq!(task.intent.is_some(), !contained);
                let (results, likeness) = (content(), roll.into());
                Command::Acted { turn, results, calls: Vec::new(), likeness, commit: commit() }
            }
        })
    }
}

/// One incarnation of the process.
struct Node {
    store: Arc<Faulty>,
    runs: Entities<Run>,
    shared: Shared,
}

impl Node {
    async fn start(outside: &Outside, seed: u64, at: Timestamp, faults: Faults) -> Self {
        let tasks = Tasks::default();
        let store = Faulty::open(MemoryStore::open(outside.disk.clone()), seed, &tasks);
        store.set(faults);
        let shared = Shared {
            placement: Arc::new(Alone { epoch: store.epoch() }),
            store: store.clone(),
            clock: Clock::seeded_at(seed, at),
            hub: Hub::default(),
            tasks,
            kinds: Kinds::default(),
            rest: Rest {
                idle: Duration::from_millis(seed % 3 * 700),
                awake_max: 2 + usize::try_from(seed % 9).unwrap(),
            },
            meters: crate::kit::Meters::new().unwrap(),
            stop: CancellationToken::new(),
        };
        let chance = Mutex::new(fastrand::Rng::with_seed(seed));
        let agents = Arc::new(Agents(Mutex::new(fastrand::Rng::with_seed(seed ^ 1))));
        let agents = Entities::start(shared.clone(), agents).await.unwrap();
        let stage = Stage { chance, effects: Arc::clone(&outside.effects), agents: agents.into() };
        let runs = Entities::start(shared.clone(), Arc::new(stage)).await.unwrap();
        let (resumes, sweeps) = (shared.clone(), shared.clone());
        shared.tasks.spawn("resume", async move { sweeper::resume(&resumes).await });
        shared.tasks.spawn("sweeper", sweeper::sweep(sweeps, Former::TakenUp));
        Self { store, runs, shared }
    }

    /// A client at work: asks, waits for the answer, and asks again under the same name when there was none.
    async fn serve(&self, outside: &Outside, place: usize, wishes: bool) {
        let client = &outside.clients[place];
        loop {
            let (asking, pause) = {
                let mut client = client.lock().unwrap();
                if client.asking.is_none() {
                    if !wishes {
                        return;
                    }
                    client.asking = Some(wish(&mut client.chance, outside, &self.shared.clock));
                }
                (client.asking.clone(), Duration::from_millis(client.chance.u64(..400)))
            };
            tokio::time::sleep(pause).await;
            let Some(asking) = asking else { continue };
            let answer = self.ask(outside, &asking).await;
            let known = self.known(&asking, answer.as_ref()).await;
            let mut client = client.lock().unwrap();
            match answer {
                Some(Ok(shown)) => client.hear(&asking, &shown, known),
                Some(Err(Failure::Refused(_) | Failure::Missing)) => client.asking = None,
                Some(Err(_)) | None => client.again(),
            }
        }
    }

    async fn ask(&self, outside: &Outside, asking: &Asking) -> Option<Answer> {
        let order = Order { command: Some(asking.id), ..Order::of(PERSON) };
        match &asking.what {
            What::Command(command) => {
                let command = self.sensible(asking.run, command).await?;
                Some(self.runs.command(asking.run, command, order).await)
            }
            What::Create(birth) => {
                // Whether an earlier try took effect is seen by reading, as behind an Idempotency-Key.
                let created = match self.runs.show(asking.run).await.ok()? {
                    Some(shown) => Ok(shown),
                    None => self.runs.create(asking.run, birth, order).await,
                };
                let mut runs = outside.runs.lock().unwrap();
                if created.is_ok() && !runs.contains(&asking.run) {
                    runs.push(asking.run);
                }
                Some(created)
            }
        }
    }

    /// Names the last gate that is open; what is asked stays the same otherwise.
    async fn sensible(&self, run: Uuid, command: &Command) -> Option<Command> {
        let shown = self.runs.show(run).await.ok()??;
        let on_disk = self.store.sound().header(key(run)).await.unwrap().unwrap();
        assert!(
            shown.seq <= on_disk.seq && shown.version <= on_disk.version,
            "a state was shown that is not on disk"
        );
        let last = shown.machine.gates.last().map(|gate| gate.id);
        let mut command = command.clone();
        if let Command::Approve { gate, .. } | Command::Reject { gate, .. } = &mut command {
            *gate = last;
        }
        Some(command)
    }

    /// The version that an acknowledged command led to, from the journal.
    async fn known(&self, asking: &Asking, answer: Option<&Answer>) -> Option<u64> {
        let Some(Ok(_)) = answer else { return None };
        let found = journal(self.store.sound(), asking.run).await;
        found.into_iter().find(|(_, entry)| entry.command == Some(asking.id)).map(|(version, _)| version)
    }
}

impl Client {
    fn hear(&mut self, asking: &Asking, shown: &Shown<Run>, effect: Option<u64>) {
        let before = self.seen.insert(asking.run, shown.version).unwrap_or(0);
        assert!(
            before <= shown.version,
            "a version was shown that is older than one before: {before} {}",
            shown.version
        );
        if let Some(version) = effect {
            assert!(version <= shown.version, "an answer does not show its own effect");
            self.acknowledged.push((asking.run, asking.id, version));
        } else {
            // Who asks to cancel what is being cancelled changes nothing.
            let cancel = matches!(asking.what, What::Command(Command::Cancel));
            assert!(cancel, "{asking:?} left no trace");
        }
        self.asking = None;
    }

    fn again(&mut self) {
        let given_up = self.asking.as_mut().is_none_or(|asking| {
            asking.tries += 1;
            asking.tries > 40
        });
        if given_up {
            self.asking = None;
        }
    }
}

fn key(run: Uuid) -> Key {
    Key { kind: kinds::RUN, id: run }
}

async fn journal(store: &dyn Store, run: Uuid) -> Vec<(u64, Journaled<Event>)> {
    let entries = store.journal(key(run), 0, usize::MAX).await.unwrap();
    entries.iter().map(|entry| (entry.version, decode("entry", &entry.bytes).unwrap())).collect()
}

fn wish(chance: &mut fastrand::Rng, outside: &Outside, clock: &Clock) -> Asking {
    let runs = outside.runs.lock().unwrap().clone();
    let id = Uuid::from_u128(chance.u128(..));
    if runs.is_empty() || (runs.len() < RUNS_MAX && chance.u32(..6) == 0) {
        let what = What::Create(Box::new(birth(chance)));
        return Asking { run: clock.id(), id, what, tries: 0 };
    }
    let run = runs[chance.usize(..runs.len())];
    let role = if chance.u32(..8) == 0 { Role::Viewer } else { Role::Admin };
    let resolution = if chance.bool() { Resolution::Happened } else { Resolution::Repeat };
    let command = match chance.u32(..16) {
        0 => Command::Cancel,
        1 => Command::Reject { gate: None, reason: None, role },
        2..=4 => Command::Retry { from: chance.bool().then(|| "s0".to_owned()), repository: None },
        5 | 6 => Command::Advance,
        7 => {
            let id = AgentStepId(ids::derive(run, chance.u128(..)));
            Command::AskStep { id, name: "aside".into(), brief: Payload::Inline("{}".into()) }
        }
        _ => Command::Approve { gate: None, note: None, resolution: Some(resolution), role },
    };
    Asking { run, id, what: What::Command(command), tries: 0 }
}

fn birth(chance: &mut fastrand::Rng) -> Birth {
    let steps = (0..chance.u32(1..7)).map(|place| Step {
        id: format!("s{place}"),
        kind: match chance.u32(..6) {
            0 => StepKind::Gate { role: Role::Member, timeout_ms: chance.u64(1..60_000) },
            1 | 2 => StepKind::Agent,
            _ => StepKind::Transform,
        },
        needs: (0..place).filter(|_| chance.bool()).collect(),
    });
    let plan = Plan { version: 1, steps: steps.collect() };
    let often = |chance: &mut fastrand::Rng| chance.u32(..3) > 0;
    Birth {
        workspace: WorkspaceId(Uuid::from_u128(u128::from(chance.u64(1..3)))),
        created_by: UserId(Uuid::from_u128(7)),
        workflow: WorkflowId(Uuid::from_u128(2)),
        workflow_version: 1,
        title: "x".repeat(if chance.u32(..4) == 0 { 20_000 } else { 5 }),
        input: Payload::Inline("{}".into()),
        course: Course {
            plan_gate: chance.u32(..4) == 0,
            testing: chance.bool(),
            review: chance.bool(),
            pull_request: often(chance),
            merge_gate: chance.bool(),
            deploy: often(chance),
            deploy_gate: chance.bool(),
            verify: chance.bool(),
            watch_every_ms: chance.bool().then_some(3_000),
            uncontained: chance.u32(..4) == 0,
        },
        plan: Arc::new(plan),
        advancing: often(chance),
        repository: Some(Repository {
            source: Source::Managed {
                workspace: WorkspaceId(Uuid::from_u128(1)),
                project: Uuid::from_u128(3),
            },
            project: None,
            base: None,
            main: None,
        }),
        model: None,
        planned: None,
    }
}

/// One life of the process, from its start to the moment it is killed; says when that was.
async fn live(outside: &Outside, chance: &mut fastrand::Rng, at: Timestamp) -> Timestamp {
    let faults = Faults {
        delay: Duration::from_millis(chance.u64(..60)),
        unknown: if chance.bool() { chance.u32(..40) } else { 0 },
    };
    let node = Node::start(outside, chance.u64(..), at, faults).await;
    let mut dead = node.store.dead();
    let until = Duration::from_millis(chance.u64(1..9000));
    let gently = chance.u32(..4) == 0;
    let clients = join_all((0..outside.clients.len()).map(|place| node.serve(outside, place, true)));
    tokio::select! {
        biased;
        // A process ends soon after its engine has failed, but not at once.
        () = async {
            dead.wait_for(|dead| *dead).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        } => (),
        () = tokio::time::sleep(until) => if gently {
            node.shared.stop.cancel();
            tokio::time::timeout(Duration::from_secs(25), node.shared.kinds.stop()).await.ok();
        },
        _ = clients => (),
    }
    node.shared.clock.now()
}

/// The last life, without faults: everything comes to rest and is looked at.
async fn settle(outside: &Outside, seed: u64, at: Timestamp) {
    let node = Node::start(outside, seed, at, Faults::default()).await;
    join_all((0..outside.clients.len()).map(|place| node.serve(outside, place, false))).await;
    let runs = outside.runs.lock().unwrap().clone();
    for run in &runs {
        let is_still = |run: &Run| run.rests() && run.asked.is_empty() && run.ending.is_empty();
        let shown = node.runs.wait(*run, Duration::from_mins(10), is_still).await.unwrap().unwrap();
        assert!(is_still(&shown.machine), "run {run} does not come to rest: {:?}", shown.machine.work());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let store = node.store.sound();
    let overdue = store.due(node.shared.clock.now().0 - 900, 10).await.unwrap();
    assert_eq!(overdue, [], "timers are overdue");
    for run in &runs {
        let header = store.header(key(*run)).await.unwrap().unwrap();
        assert!(!header.parked, "run {run} is parked");
        intended(outside, store, *run).await;
    }
    for client in &outside.clients {
        let acknowledged = client.lock().unwrap().acknowledged.clone();
        for (run, id, version) in acknowledged {
            let entries = journal(store, run).await;
            let taken: Vec<u64> = entries
                .iter()
                .filter(|(_, entry)| entry.command == Some(id))
                .map(|(version, _)| *version)
                .collect();
            assert_eq!(taken, [version], "command {id} of run {run} was acknowledged");
        }
    }
    let proof = crate::verify::verify(store, None).await.unwrap();
    assert_eq!(proof.report.faults, [""; 0]);
}

/// No irrevocable effect began more often than a save newly wanted it.
async fn intended(outside: &Outside, store: &dyn Store, id: Uuid) {
    let mut intents: BTreeMap<(Activity, u32), usize> = BTreeMap::new();
    let mut run: Option<Run> = None;
    for (_, entry) in journal(store, id).await {
        let before = run.as_ref().map(Run::work).unwrap_or_default();
        for event in &entry.events {
            let run = run.get_or_insert_with(|| Run::found(event).unwrap());
            run.apply(run.seq + 1, event);
        }
        for (key, wanted) in run.as_ref().map(Run::work).unwrap_or_default() {
            if let (WorkKey::Activity(activity), Wanted::Do(Work::Perform { attempt, .. })) = (key, &wanted)
                && before.get(&key) != Some(&wanted)
            {
                *intents.entry((activity, *attempt)).or_default() += 1;
            }
        }
    }
    for ((run, activity, attempt), begun) in outside.effects.lock().unwrap().iter() {
        let intended = intents.get(&(*activity, *attempt)).copied().unwrap_or(0);
        assert!(
            *run != id || *begun <= intended,
            "{activity:?} of attempt {attempt} began {begun} times, not {intended}"
        );
    }
}

fn simulate(seed: u64) {
    let mut chance = fastrand::Rng::with_seed(seed);
    let client = |chance: &mut fastrand::Rng| Client {
        chance: fastrand::Rng::with_seed(chance.u64(..)),
        asking: None,
        seen: BTreeMap::new(),
        acknowledged: Vec::new(),
    };
    let outside = Outside {
        disk: Disk::default(),
        clients: (0..CLIENTS).map(|_| Mutex::new(client(&mut chance))).collect(),
        runs: Mutex::default(),
        effects: Arc::default(),
    };
    let mut now = BEGAN;
    for _ in 0..chance.u32(1..6) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        now = runtime.block_on(live(&outside, &mut chance, now));
        drop(runtime);
        now = now.after(Duration::from_millis(chance.u64(1..5000)));
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(settle(&outside, seed, now));
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_happens_twice_unseen() {
    let seeds = match number("CENDRIIX_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CENDRIIX_SIM_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| simulate(seed))) {
            panic!("CENDRIIX_SIM_SEED={seed}: {}", tasks::message(&*panic));
        }
    }
}
