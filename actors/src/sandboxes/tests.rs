//! Sandboxes and the runs that they are for, on a store in memory; commands, which need the real program,
//! are tried from outside.

use async_trait::async_trait;
use cendriix_persistence::{
    memory::{Disk, MemoryStore},
    placement::Alone,
    store::Store,
};
use cendriix_protocol::{
    ids::{self, UserId, WorkflowId},
    workspaces::Role,
};
use uuid::Uuid;

use super::*;
use crate::{
    content::Payload,
    kit::{
        Clock, Task, World,
        directory::Rest,
        stream::Hub,
        sweeper::{self, Former, Kinds},
        tasks::Tasks,
    },
    repositories::Source,
    runs::{
        Run,
        state::{self as run, Course, Plan, Repository, Step, StepKind},
    },
};

/// Runs that wait for a person want nothing done.
struct Nothing;

#[async_trait]
impl World<Run> for Nothing {
    async fn perform(&self, task: Task<Run>) -> Option<run::Command> {
        panic!("nothing was to be done: {:?}", task.work)
    }
}

struct Bench {
    shared: Shared,
    sandboxes: Sandboxes,
    runs: Entities<Run>,
}

impl Bench {
    async fn on(disk: &Disk, clock: &Clock) -> Self {
        let store = Arc::new(MemoryStore::open(disk.clone()));
        let shared = Shared {
            placement: Arc::new(Alone { epoch: store.epoch() }),
            store,
            clock: clock.clone(),
            hub: Hub::default(),
            tasks: Tasks::default(),
            kinds: Kinds::default(),
            rest: Rest::default(),
            stop: CancellationToken::new(),
        };
        let local = Local::probe("/nowhere/cendriix".into()).await;
        let sandboxes = Sandboxes::start(&shared, local, Mode::Local).await.unwrap();
        let runs = Entities::start(shared.clone(), Arc::new(Nothing)).await.unwrap();
        Self { shared, sandboxes, runs }
    }

    fn resume(&self) {
        let (resumes, sweeps) = (self.shared.clone(), self.shared.clone());
        self.shared.tasks.spawn("resume", async move { sweeper::resume(&resumes).await });
        self.shared.tasks.spawn("sweeper", sweeper::sweep(sweeps, Former::TakenUp));
    }

    /// A run that waits at a gate.
    async fn waiting(&self) -> Attempt {
        let workspace = WorkspaceId(Uuid::from_u128(1));
        let source = Source::Managed { workspace, project: Uuid::from_u128(3) };
        let kind = StepKind::Gate { role: Role::Member, timeout_ms: 86_400_000 };
        let birth = run::Birth {
            workspace,
            created_by: UserId(Uuid::from_u128(7)),
            workflow: WorkflowId(Uuid::from_u128(2)),
            workflow_version: 1,
            title: "a run".into(),
            input: Payload::Inline("{}".into()),
            course: Course::default(),
            plan: Arc::new(Plan { version: 1, steps: vec![Step { id: "a".into(), kind, needs: vec![] }] }),
            advancing: true,
            repository: Some(Repository { source, project: None, base: None, main: None }),
            model: None,
            planned: None,
        };
        let run = RunId(ids::compose(1_780_000_000_000, 5, 99));
        self.runs.create(run.0, &birth, Order::of(Actor::System)).await.unwrap();
        Attempt { workspace, run, number: 1 }
    }

    async fn enter(&self, attempt: Attempt) -> Result<Site, Error> {
        self.sandboxes.enter(attempt, &CancellationToken::new()).await
    }

    async fn cancel(&self, attempt: Attempt) {
        let order = Order::of(Actor::System);
        self.runs.command(attempt.run.0, run::Command::Cancel, order).await.unwrap();
    }

    async fn ended(&self, attempt: Attempt) -> Status {
        let is_ended = |sandbox: &Sandbox| matches!(sandbox.status, Status::Terminated { .. });
        let within = Duration::from_mins(1);
        let shown = self.sandboxes.entities.wait(attempt.sandbox().0, within, is_ended).await.unwrap();
        shown.unwrap().machine.status.clone()
    }
}

#[tokio::test]
async fn a_sandbox_lives_from_its_first_command_to_the_end_of_its_attempt() {
    let bench = Bench::on(&Disk::default(), &Clock::seeded(1)).await;
    let attempt = bench.waiting().await;
    let enter = || bench.enter(attempt);
    let (first, second) = tokio::join!(enter(), enter());
    let (first, second) = (first.unwrap().commands, second.unwrap().commands);
    // Both are in the same one, which ends for both.
    bench.cancel(attempt).await;
    assert!(matches!(bench.ended(attempt).await, Status::Terminated { survivors: false, .. }));
    assert!(first.closing.is_cancelled() && second.closing.is_cancelled());
    assert!(matches!(bench.enter(attempt).await, Err(Error::Terminated)));
    assert!(bench.sandboxes.sites.is_empty());
}

#[tokio::test]
async fn a_sandbox_that_outlived_its_run_in_a_crash_ends_at_the_next_start() {
    let (disk, clock) = (Disk::default(), Clock::seeded(2));
    let attempt = {
        let bench = Bench::on(&disk, &clock).await;
        let attempt = bench.waiting().await;
        bench.enter(attempt).await.unwrap();
        // The process dies before the sandbox hears of it.
        bench.sandboxes.entities.kill(attempt.sandbox().0);
        bench.cancel(attempt).await;
        bench.shared.stop.cancel();
        attempt
    };
    let bench = Bench::on(&disk, &clock).await;
    bench.resume();
    assert!(matches!(bench.ended(attempt).await, Status::Terminated { .. }));
}
