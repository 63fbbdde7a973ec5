//! Plans and their limits, on a store in memory and in virtual time.

use cendriix_persistence::{
    memory::{Disk, MemoryStore},
    placement::Alone,
    store::Store,
};
use cendriix_protocol::{identity::Via, ids::UserId, workspaces::Role};
use uuid::Uuid;

use super::*;
use crate::caller::Caller;

fn owner() -> Caller {
    let (user, workspace) = (UserId(Uuid::from_u128(7)), WorkspaceId(Uuid::from_u128(1)));
    Caller {
        user,
        workspace,
        role: Role::Owner,
        needs: Role::Viewer,
        key: None,
        request: None,
        via: Via::Dev,
    }
}

struct Bench {
    limits: Here,
    workspace: WorkspaceId,
}

impl Bench {
    async fn on(disk: &Disk, clock: &Clock, plan: Plan) -> Self {
        let store = Arc::new(MemoryStore::open(disk.clone()));
        let placement = Arc::new(Alone { epoch: store.epoch() });
        let workspaces = Workspaces::new(store.clone(), placement, clock.clone());
        let workspace = workspaces.create(&owner(), "w", plan, None).await.unwrap().id;
        Self { limits: Here::new(store, workspaces, clock.clone()), workspace }
    }

    async fn take(&self) -> Verdict {
        self.limits.take(self.workspace).await.unwrap()
    }

    /// How many of so many requests are let through.
    async fn let_through(&self, of: u32) -> u32 {
        let mut through = 0;
        for _ in 0..of {
            through += u32::from(self.take().await.retry_after.is_none());
        }
        through
    }
}

fn remaining(verdict: &Verdict) -> Vec<(&'static str, u32)> {
    verdict.windows.iter().map(|window| (window.name, window.remaining)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_minute_has_as_many_requests_as_the_plan_says_and_refills_steadily() {
    let bench = Bench::on(&Disk::default(), &Clock::seeded(1), Plan::Starter).await;
    let first = bench.take().await;
    assert_eq!(remaining(&first), [("minute", 59), ("day", 4_999)]);
    assert_eq!(bench.let_through(100).await, 59);
    let refused = bench.take().await;
    assert_eq!(
        (refused.retry_after, remaining(&refused)),
        (Some(Duration::from_secs(1)), vec![("minute", 0), ("day", 4_940)])
    );
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(bench.let_through(100).await, 10);
    let team = Bench::on(&Disk::default(), &Clock::seeded(2), Plan::Team).await;
    assert_eq!(team.let_through(400).await, 300);
}

#[tokio::test(start_paused = true)]
async fn an_enterprise_has_no_limit() {
    let bench = Bench::on(&Disk::default(), &Clock::seeded(1), Plan::Enterprise).await;
    assert_eq!(bench.let_through(10_000).await, 10_000);
    assert_eq!(bench.take().await.windows, []);
}

#[tokio::test(start_paused = true)]
async fn a_day_ends_at_its_limit_also_over_restarts_and_a_crash_costs_a_block_at_most() {
    let (disk, clock) = (Disk::default(), Clock::seeded(1));
    let mut bench = Bench::on(&disk, &clock, Plan::Starter).await;
    // At midnight, so that it stays one day.
    let ms = clock.now().0 % 86_400_000;
    tokio::time::advance(Duration::from_millis(86_400_000 - ms)).await;
    let mut through = 0;
    for turn in 0..120 {
        through += bench.let_through(60).await;
        tokio::time::advance(Duration::from_mins(1)).await;
        if turn % 10 == 9 {
            // A stop gives back what was not used.
            bench.limits.close().await;
            let store = Arc::clone(&bench.limits.store);
            let limits = Here::new(store, bench.limits.workspaces.clone(), clock.clone());
            bench = Bench { limits, ..bench };
        }
    }
    assert_eq!(through, 5_000);
    let refused = bench.take().await;
    assert_eq!(refused.tightest().unwrap().name, "day");
    assert!(refused.retry_after.unwrap() > Duration::from_hours(20));
    tokio::time::advance(Duration::from_hours(24)).await;
    assert_eq!(bench.let_through(1).await, 1);
    // A crash: nothing is given back.
    let store = Arc::clone(&bench.limits.store);
    let bench = Bench { limits: Here::new(store, bench.limits.workspaces.clone(), clock.clone()), ..bench };
    assert_eq!(remaining(&bench.take().await)[1], ("day", 5_000 - 50 - 1));
}

#[tokio::test(start_paused = true)]
async fn workspaces_do_not_share_their_limits() {
    let bench = Bench::on(&Disk::default(), &Clock::seeded(1), Plan::Starter).await;
    assert_eq!(bench.let_through(100).await, 60);
    let other = bench.limits.workspaces.create(&owner(), "other", Plan::Starter, None).await.unwrap().id;
    assert_eq!(Bench { workspace: other, ..bench }.let_through(100).await, 60);
}

#[tokio::test(start_paused = true)]
async fn strangers_have_a_bucket_each_and_share_one_when_there_are_too_many() {
    let buckets = Buckets::<u32>::new(2);
    let through = |key| buckets.take(&key).retry_after.is_none();
    assert_eq!([through(1), through(1), through(1), through(2)], [true, true, false, true]);
    let many = (0..200_000).filter(|key| through(*key)).count();
    assert!(many <= 100_000 + 20, "{many}");
    tokio::time::advance(Duration::from_mins(2)).await;
    assert!(through(300_000), "those who are gone are forgotten");
}
