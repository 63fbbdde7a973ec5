//! Time, ids and chance, through one handle, so that a whole system can run under a seed.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cendriix_protocol::{ids, time::Timestamp};
use tokio::time::Instant;
use uuid::Uuid;

/// Where time and chance come from. A clone shares both.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    System,
    Virtual { began: Instant, base: Timestamp, chance: Mutex<fastrand::Rng> },
}

impl Clock {
    /// The machine's own clock and the operating system's randomness.
    pub fn system() -> Self {
        Self(Arc::new(Source::System))
    }

    /// A clock that follows tokio's (which tests pause) from a fixed instant, with chance from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self::seeded_at(seed, Timestamp(1_780_000_000_000))
    }

    /// A seeded clock that goes on from `base`, for a system that is started again in another runtime.
    pub fn seeded_at(seed: u64, base: Timestamp) -> Self {
        let chance = Mutex::new(fastrand::Rng::with_seed(seed));
        Self(Arc::new(Source::Virtual { began: Instant::now(), base, chance }))
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::System => system_now(),
            Source::Virtual { began, base, .. } => base.after(began.elapsed()),
        }
    }

    /// 128 random bits; from the operating system unless seeded.
    pub fn random(&self) -> u128 {
        match &*self.0 {
            Source::System => {
                let mut bytes = [0; 16];
                match aws_lc_rs::rand::fill(&mut bytes) {
                    Ok(()) => u128::from_ne_bytes(bytes),
                    // Ids need to be unlike each other, not unguessable.
                    Err(_) => fastrand::u128(..),
                }
            }
            Source::Virtual { chance, .. } => chance.lock().unwrap_or_else(PoisonError::into_inner).u128(..),
        }
    }

    /// A new id on a random shard.
    pub fn id(&self) -> Uuid {
        let random = self.random();
        let shard = u16::try_from(random >> 112).unwrap_or(0);
        ids::compose(self.now().0, shard, random)
    }

    /// A random part of `most`, for waits that should not all end together.
    pub fn jitter(&self, most: Duration) -> Duration {
        let part = u32::try_from(self.random() % 1024).unwrap_or(0);
        most * part / 1024
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
fn system_now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
