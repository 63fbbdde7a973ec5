//! How many requests a workspace may make: so many a minute and so many a day, as its plan says, over all
//! its members, keys and routes together.
//!
//! `minute` holds buckets in memory that refill steadily. `day` counts on disk, by blocks that are taken
//! ahead of their use, so that a request costs no commit; what a crash leaves of a block counts as used.

mod day;
mod minute;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use cendriix_persistence::store::SharedStore;
use cendriix_protocol::{ids::WorkspaceId, workspaces::Plan};
use dashmap::DashMap;
use tokio::{sync::Mutex, time::Instant};

pub use self::minute::Buckets;
use self::{day::Day, minute::Minute};
use crate::{Error, kit::Clock, workspaces::Workspaces};

/// How long a plan that was read is believed.
const PLAN_BELIEVED: Duration = Duration::from_secs(5);
/// How many workspaces are remembered before those that are quiet are forgotten.
const REMEMBERED: usize = 10_000;
/// When a workspace is quiet.
const QUIET_AFTER: Duration = Duration::from_mins(10);

/// How many requests a plan allows; nothing means: as many as they like.
pub fn allowed(plan: Plan) -> Option<(u32, u32)> {
    match plan {
        Plan::Starter => Some((60, 5_000)),
        Plan::Team => Some((300, 100_000)),
        Plan::Enterprise => None,
    }
}

/// A span of time in which only so many requests are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// What it is called.
    pub name: &'static str,
    /// How long it is.
    pub length: Duration,
    /// How many requests are allowed in it.
    pub limit: u32,
    /// How many of them are left.
    pub remaining: u32,
    /// After how long all of them are there again.
    pub resets_after: Duration,
}

/// Whether one more request is allowed, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// After how long it is worth asking again; absent when the request is allowed.
    pub retry_after: Option<Duration>,
    /// All windows that apply; empty when there is no limit.
    pub windows: Vec<Window>,
}

impl Verdict {
    /// There is no limit.
    pub fn unlimited() -> Self {
        Self { retry_after: None, windows: Vec::new() }
    }

    /// The window that is used up first.
    pub fn tightest(&self) -> Option<&Window> {
        let used_up =
            |window: &&Window| u64::from(window.remaining) * 1_000_000 / u64::from(window.limit.max(1));
        self.windows.iter().min_by_key(used_up)
    }
}

/// Who counts the requests of workspaces: this node, or the node that owns the workspace.
#[async_trait]
pub trait RateLimits: std::fmt::Debug + Send + Sync {
    /// Counts one request.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn take(&self, workspace: WorkspaceId) -> Result<Verdict, Error>;
    /// Gives back what was taken ahead and not used.
    async fn close(&self);
}

/// Counts the requests of all workspaces here.
#[derive(Debug)]
pub struct Here {
    store: SharedStore,
    workspaces: Workspaces,
    clock: Clock,
    allowances: DashMap<WorkspaceId, Arc<Mutex<Allowance>>>,
}

/// What is left to a workspace.
#[derive(Debug)]
struct Allowance {
    /// The plan, and when it was read.
    plan: Option<(Plan, Instant)>,
    used_at: Instant,
    minute: Option<Minute>,
    day: Day,
}

impl Here {
    /// Nobody has asked for anything yet, but for what is on disk.
    pub fn new(store: SharedStore, workspaces: Workspaces, clock: Clock) -> Self {
        Self { store, workspaces, clock, allowances: DashMap::new() }
    }

    fn allowance(&self, workspace: WorkspaceId) -> Arc<Mutex<Allowance>> {
        if let Some(known) = self.allowances.get(&workspace) {
            return Arc::clone(&known);
        }
        if self.allowances.len() >= REMEMBERED {
            let is_quiet = |known: &Mutex<Allowance>| {
                known.try_lock().is_ok_and(|known| known.used_at.elapsed() > QUIET_AFTER)
            };
            self.allowances.retain(|_, known| Arc::strong_count(known) > 1 || !is_quiet(known));
        }
        let fresh = Allowance { plan: None, used_at: Instant::now(), minute: None, day: Day::default() };
        Arc::clone(&self.allowances.entry(workspace).or_insert_with(|| Arc::new(Mutex::new(fresh))))
    }
}

#[async_trait]
impl RateLimits for Here {
    async fn take(&self, workspace: WorkspaceId) -> Result<Verdict, Error> {
        let allowance = self.allowance(workspace);
        let mut allowance = allowance.lock().await;
        allowance.used_at = Instant::now();
        let plan = match allowance.plan {
            Some((plan, read_at)) if read_at.elapsed() < PLAN_BELIEVED => plan,
            former => {
                let plan = self.workspaces.plan(workspace).await?;
                if former.is_none_or(|(former, _)| former != plan) {
                    allowance.minute = allowed(plan).map(|(per_minute, _)| Minute::new(per_minute));
                }
                allowance.plan = Some((plan, Instant::now()));
                plan
            }
        };
        let (Some((_, per_day)), Some(minute)) = (allowed(plan), &allowance.minute) else {
            return Ok(Verdict::unlimited());
        };
        let (minute, too_soon) = minute.take();
        if too_soon.is_some() {
            let day = allowance.day.window(per_day, self.clock.now());
            return Ok(Verdict { retry_after: too_soon, windows: vec![minute, day] });
        }
        let over = allowance.day.take(&self.store, workspace, per_day, self.clock.now()).await?;
        let day = allowance.day.window(per_day, self.clock.now());
        Ok(Verdict { retry_after: over, windows: vec![minute, day] })
    }

    async fn close(&self) {
        let known: Vec<_> =
            self.allowances.iter().map(|known| (*known.key(), Arc::clone(known.value()))).collect();
        for (workspace, allowance) in known {
            allowance.lock().await.day.give_back(&self.store, workspace).await;
        }
    }
}

#[cfg(test)]
mod tests;
