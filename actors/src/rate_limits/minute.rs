//! Buckets that refill steadily (the generic cell rate algorithm): all of a minute may be used at once.

use std::{hash::Hash, num::NonZeroU32, time::Duration};

use governor::{
    NotUntil, Quota, RateLimiter,
    clock::Clock,
    middleware::{StateInformationMiddleware, StateSnapshot},
    nanos::Nanos,
    state::{InMemoryState, NotKeyed, keyed::HashMapStateStore},
};
use tokio::time::Instant;

use super::{Verdict, Window};

const MINUTE: Duration = Duration::from_mins(1);
/// How many buckets there are before those that are full again are forgotten.
const BUCKETS_MAX: usize = 100_000;
/// How many times a bucket's requests all newcomers together have while there are too many buckets.
const SHARED_TIMES: u32 = 10;

/// The runtime's own monotonic clock, which tests move.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticks {
    began: Instant,
}

impl Default for Ticks {
    fn default() -> Self {
        Self { began: Instant::now() }
    }
}

impl Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.began.elapsed().into()
    }
}

/// What is left of a minute's requests.
#[derive(Debug)]
pub(super) struct Minute {
    limit: u32,
    limiter: RateLimiter<NotKeyed, InMemoryState, Ticks, StateInformationMiddleware>,
    ticks: Ticks,
}

impl Minute {
    pub(super) fn new(limit: u32) -> Self {
        let ticks = Ticks::default();
        let limiter = RateLimiter::direct_with_clock(quota(limit), ticks).with_middleware();
        Self { limit, limiter, ticks }
    }

    /// Counts one request: how it stands, and after how long it is worth asking again if it was one too many.
    pub(super) fn take(&self) -> (Window, Option<Duration>) {
        judged(self.limit, self.ticks, self.limiter.check())
    }
}

/// A minute's requests for each of many; bounded, also when there are very many.
#[derive(Debug)]
pub struct Buckets<K: Hash + Eq + Clone> {
    limit: u32,
    limiter: RateLimiter<K, HashMapStateStore<K>, Ticks, StateInformationMiddleware>,
    /// For all together while there are too many.
    shared: Minute,
    ticks: Ticks,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    /// Each has so many requests a minute.
    pub fn new(limit: u32) -> Self {
        let ticks = Ticks::default();
        let store = HashMapStateStore::default();
        let limiter = RateLimiter::new(quota(limit), store, ticks);
        Self { limit, limiter, shared: Minute::new(limit.saturating_mul(SHARED_TIMES)), ticks }
    }

    /// Counts one request.
    pub fn take(&self, key: &K) -> Verdict {
        if self.limiter.len() >= BUCKETS_MAX {
            let (window, retry_after) = self.shared.take();
            if retry_after.is_some() {
                return Verdict { retry_after, windows: vec![window] };
            }
            // As seldom as the shared bucket lets somebody through.
            self.limiter.retain_recent();
        }
        let (window, retry_after) = judged(self.limit, self.ticks, self.limiter.check_key(key));
        Verdict { retry_after, windows: vec![window] }
    }
}

fn quota(limit: u32) -> Quota {
    Quota::per_minute(NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN))
}

fn judged(
    limit: u32,
    ticks: Ticks,
    checked: Result<StateSnapshot, NotUntil<Nanos>>,
) -> (Window, Option<Duration>) {
    let (remaining, wait) = match checked {
        Ok(snapshot) => (snapshot.remaining_burst_capacity(), None),
        Err(not_until) => (0, Some(not_until.wait_time_from(ticks.now()))),
    };
    let resets_after = MINUTE / limit.max(1) * limit.saturating_sub(remaining);
    (Window { name: "minute", length: MINUTE, limit, remaining, resets_after }, wait)
}
