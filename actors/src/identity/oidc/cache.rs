//! The issuer's keys, held for a while and fetched again: beside the requests every ten minutes, and by a
//! request when a token names a key that is not held.
//!
//! **Invariant:** at most one fetch goes on, it does not end with the request that began it, and however many
//! tokens name unknown keys, those lead to at most one fetch in thirty seconds. While the issuer is down the
//! keys that are held are used on, for a day at most.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use cendriix_protocol::time::Timestamp;
use futures::future::BoxFuture;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use super::jwks::{Key, KeySet};
use crate::kit::{Clock, tasks::Tasks};

/// How old keys get before they are fetched again.
const FRESH: Duration = Duration::from_mins(10);
/// How old keys may be that are used while the issuer is down.
const STALE_MAX: Duration = Duration::from_hours(24);
/// How long after a fetch that failed the next one may be, and after one for a key that was not held.
const AGAIN: Duration = Duration::from_secs(30);
/// The same while there are no keys.
const AGAIN_WITHOUT: Duration = Duration::from_secs(2);

/// How keys are fetched; on failure it says why.
pub(super) type Fetch = Arc<dyn Fn() -> BoxFuture<'static, Result<KeySet, String>> + Send + Sync>;

/// Why a key is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The issuer publishes none of that id.
    Unknown,
    /// The issuer could not be asked; the log says why.
    Unreachable,
}

/// The keys of an issuer. A clone is the same.
#[derive(Clone)]
pub(super) struct Cache {
    fetch: Fetch,
    clock: Clock,
    tasks: Tasks,
    held: Arc<RwLock<Held>>,
    flight: Arc<Mutex<()>>,
}

#[derive(Clone, Default)]
struct Held {
    keys: Option<Arc<KeySet>>,
    fetched_at: Timestamp,
    /// When the last fetch ended.
    tried_at: Option<Timestamp>,
    /// When the last fetch for a key that was not held ended.
    sought_at: Option<Timestamp>,
    /// Whether the last try failed.
    failed: bool,
}

impl Held {
    /// The keys, while they may be used.
    fn usable(&self, now: Timestamp) -> Option<&Arc<KeySet>> {
        self.keys.as_ref().filter(|_| now.since(self.fetched_at) <= STALE_MAX)
    }
}

/// Whether something is so long ago.
fn is_past(at: Option<Timestamp>, wait: Duration, now: Timestamp) -> bool {
    at.is_none_or(|at| now.since(at) >= wait)
}

impl Cache {
    /// Holds no keys, and begins to fetch them.
    pub(super) fn start(fetch: Fetch, clock: Clock, tasks: Tasks) -> Self {
        let (held, flight) = (Arc::default(), Arc::default());
        let cache = Self { fetch, clock, tasks, held, flight };
        cache.freshen(cache.clock.now());
        cache
    }

    fn held(&self) -> Held {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a key is still one of the issuer's, as far as is known.
    pub(super) fn holds(&self, print: &[u8; 32]) -> bool {
        let now = self.clock.now();
        self.freshen(now);
        self.held().usable(now).is_some_and(|keys| keys.holds(print))
    }

    /// Hands the key of that id to `work`; where it is not held, the issuer is asked for it.
    ///
    /// # Errors
    ///
    /// When there is no such key, or the issuer could not be asked.
    pub(super) async fn with<T>(
        &self,
        kid: Option<&str>,
        work: impl FnOnce(&Key) -> T,
    ) -> Result<T, Missing> {
        let now = self.clock.now();
        if let Some(keys) = self.held().usable(now)
            && let Some(key) = keys.find(kid)
        {
            self.freshen(now);
            return Ok(work(key));
        }
        self.seek(kid).await;
        let (held, now) = (self.held(), self.clock.now());
        let found = held.usable(now).and_then(|keys| keys.find(kid));
        match found {
            Some(key) => Ok(work(key)),
            None if held.failed || held.keys.is_none() => Err(Missing::Unreachable),
            None => Err(Missing::Unknown),
        }
    }

    /// Fetches the keys beside whoever asks, when it is time to.
    fn freshen(&self, now: Timestamp) {
        let due = {
            let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
            is_past(held.tried_at, if held.failed { AGAIN } else { FRESH }, now)
        };
        if due && let Ok(flight) = Arc::clone(&self.flight).try_lock_owned() {
            drop(self.launch(flight, false));
        }
    }

    /// Fetches the keys for one that is not held, unless that was just done; waits for a fetch that goes on.
    async fn seek(&self, kid: Option<&str>) {
        let flight = Arc::clone(&self.flight).lock_owned().await;
        let (held, now) = (self.held(), self.clock.now());
        let due = match held.usable(now) {
            // It came with a fetch that was waited for.
            Some(keys) if keys.find(kid).is_some() => false,
            Some(_) => is_past(held.sought_at, AGAIN, now),
            None => is_past(held.tried_at, AGAIN_WITHOUT, now),
        };
        if due {
            // An error says that the task is gone; what it left is looked at in any case.
            drop(self.launch(flight, true).await);
        }
    }

    fn launch(&self, flight: OwnedMutexGuard<()>, sought: bool) -> oneshot::Receiver<()> {
        let (done, wait) = oneshot::channel();
        let cache = self.clone();
        self.tasks.spawn("keys of the issuer", async move {
            cache.fetch_and_hold(sought).await;
            drop(flight);
            // Nobody may be waiting.
            done.send(()).ok();
        });
        wait
    }

    async fn fetch_and_hold(&self, sought: bool) {
        let fetched = (self.fetch)().await;
        let now = self.clock.now();
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        (held.tried_at, held.failed) = (Some(now), fetched.is_err());
        held.sought_at = Some(now).filter(|_| sought).or(held.sought_at);
        match fetched {
            Ok(keys) => (held.keys, held.fetched_at) = (Some(Arc::new(keys)), now),
            Err(trouble) => {
                let left = held.usable(now).map(|_| STALE_MAX.saturating_sub(now.since(held.fetched_at)));
                let usable_h = left.map_or(0, |left| left.as_secs() / 3600);
                tracing::warn!(trouble, usable_h, "the keys of the issuer could not be fetched");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex as Plain,
        atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use serde_json::json;
    use tokio::time::{advance, sleep};

    use super::*;

    /// An issuer that takes a second to answer.
    #[derive(Clone, Default)]
    struct Issuer {
        published: Arc<Plain<Vec<&'static str>>>,
        fetches: Arc<AtomicUsize>,
    }

    impl Issuer {
        /// Publishes keys of these ids; of none, it is down.
        fn publish(&self, kids: &[&'static str]) {
            *self.published.lock().unwrap() = kids.to_vec();
        }

        fn fetches(&self) -> usize {
            self.fetches.load(SeqCst)
        }

        /// A cache that has fetched once.
        async fn cache(&self) -> Cache {
            let issuer = self.clone();
            let fetch = move || -> BoxFuture<'static, Result<KeySet, String>> {
                let issuer = issuer.clone();
                Box::pin(async move {
                    issuer.fetches.fetch_add(1, SeqCst);
                    sleep(Duration::from_secs(1)).await;
                    let published = issuer.published.lock().unwrap().clone();
                    let key =
                        |kid| json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": "A".repeat(43) });
                    let keys: Vec<_> = published.into_iter().map(key).collect();
                    KeySet::read(json!({ "keys": keys }).to_string().as_bytes())
                })
            };
            let cache = Cache::start(Arc::new(fetch), Clock::seeded(1), Tasks::default());
            sleep(Duration::from_secs(2)).await;
            cache
        }
    }

    async fn find(cache: &Cache, kid: &str) -> Result<(), Missing> {
        cache.with(Some(kid), |_| ()).await
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_tokens_name_a_new_key_it_is_fetched_once() {
        let issuer = Issuer::default();
        issuer.publish(&["a"]);
        let cache = issuer.cache().await;
        issuer.publish(&["a", "b"]);
        let found = futures::future::join_all((0..100).map(|_| find(&cache, "b"))).await;
        assert!(found.iter().all(Result::is_ok));
        assert_eq!(issuer.fetches(), 2);
        issuer.publish(&["c"]);
        let found = futures::future::join_all((0..100).map(|_| find(&cache, "c"))).await;
        assert!(found.iter().all(|found| *found == Err(Missing::Unknown)));
        assert_eq!(issuer.fetches(), 2, "not within thirty seconds");
        advance(AGAIN).await;
        assert_eq!((find(&cache, "c").await, issuer.fetches()), (Ok(()), 3));
        assert_eq!(find(&cache, "a").await, Err(Missing::Unknown), "it is no longer published");
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_fetched_again_beside_the_requests_that_use_them() {
        let issuer = Issuer::default();
        issuer.publish(&["a"]);
        let cache = issuer.cache().await;
        for _ in 0..10 {
            assert_eq!(find(&cache, "a").await, Ok(()));
        }
        assert_eq!(issuer.fetches(), 1);
        advance(FRESH).await;
        issuer.publish(&["b"]);
        assert_eq!(find(&cache, "a").await, Ok(()), "it is answered at once");
        sleep(Duration::from_secs(2)).await;
        assert_eq!((find(&cache, "b").await, issuer.fetches()), (Ok(()), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_issuer_is_down_its_keys_are_used_for_a_day() {
        let issuer = Issuer::default();
        issuer.publish(&["a"]);
        let cache = issuer.cache().await;
        issuer.publish(&[]);
        assert_eq!(find(&cache, "new").await, Err(Missing::Unreachable));
        advance(STALE_MAX.saturating_sub(Duration::from_mins(1))).await;
        assert_eq!(find(&cache, "a").await, Ok(()));
        advance(Duration::from_mins(2)).await;
        assert_eq!(find(&cache, "a").await, Err(Missing::Unreachable));
        issuer.publish(&["a"]);
        advance(AGAIN_WITHOUT).await;
        assert_eq!(find(&cache, "a").await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_goes_on_when_whoever_began_it_goes_away() {
        let issuer = Issuer::default();
        issuer.publish(&["a"]);
        let cache = issuer.cache().await;
        issuer.publish(&["a", "b"]);
        let gone = tokio::time::timeout(Duration::from_millis(10), find(&cache, "b")).await;
        assert!(gone.is_err());
        assert_eq!((find(&cache, "b").await, issuer.fetches()), (Ok(()), 2));
    }
}
