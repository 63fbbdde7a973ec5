//! Requests of a calendar day (UTC), counted on disk by blocks.

use std::time::Duration;

use cendriix_persistence::store::{Guard, Outcome, Row, RowKey, Save, Scan, SharedStore};
use cendriix_protocol::{ids::WorkspaceId, time::Timestamp};

use super::Window;
use crate::{Error, kinds::space};

const DAY: Duration = Duration::from_hours(24);
const DAY_MS: u64 = 86_400_000;
/// A day's requests are taken in so many blocks.
const BLOCKS: u32 = 100;
/// How many counters of former days are looked for.
const FORMER_MAX: usize = 16;

/// What is left of a day's requests.
#[derive(Debug, Default)]
pub(super) struct Day {
    /// Days since 1970.
    number: u64,
    /// How many requests were taken from the disk by now, by everybody.
    taken: u32,
    /// How many of those may still be used here.
    left: u32,
}

impl Day {
    /// Counts one request; after how long it is worth asking again if it was one too many.
    pub(super) async fn take(
        &mut self,
        store: &SharedStore,
        workspace: WorkspaceId,
        limit: u32,
        now: Timestamp,
    ) -> Result<Option<Duration>, Error> {
        let today = now.0 / DAY_MS;
        if self.number != today {
            *self = Self { number: today, ..Self::default() };
            self.refill(store, workspace, limit, true).await?;
        } else if self.left == 0 && self.taken < limit {
            self.refill(store, workspace, limit, false).await?;
        }
        if self.left == 0 {
            return Ok(Some(until_midnight(now)));
        }
        self.left -= 1;
        Ok(None)
    }

    /// How it stands.
    pub(super) fn window(&self, limit: u32, now: Timestamp) -> Window {
        let used = if self.number == now.0 / DAY_MS { self.taken.saturating_sub(self.left) } else { 0 };
        let remaining = limit.saturating_sub(used);
        Window { name: "day", length: DAY, limit, remaining, resets_after: until_midnight(now) }
    }

    /// Takes a block, or what is left.
    async fn refill(
        &mut self,
        store: &SharedStore,
        workspace: WorkspaceId,
        limit: u32,
        is_first: bool,
    ) -> Result<(), Error> {
        let counter = counter(workspace, self.number);
        let mut rows = Vec::new();
        if is_first {
            let scan = Scan::prefix(space::REQUESTS, workspace.0.as_bytes(), FORMER_MAX);
            let former = store.rows(scan).await?.into_iter().filter(|(key, _)| *key < counter.key);
            rows.extend(
                former.map(|(key, _)| Row { key: RowKey { space: space::REQUESTS, key }, value: None }),
            );
        }
        let mut block = (limit / BLOCKS).max(1);
        // Somebody else may take some between the look and the save.
        for _ in 0..3 {
            let by = i64::from(block);
            let guard = Guard::Add { counter: counter.clone(), by, limit: limit.into() };
            let save = Save { guards: vec![guard], rows: rows.clone(), ..Save::default() };
            match store.save(save).await {
                Outcome::Saved => {
                    self.taken = count(store, &counter).await?;
                    self.left = block;
                    return Ok(());
                }
                Outcome::Refused(_) => {
                    self.taken = count(store, &counter).await?.min(limit);
                    block = limit - self.taken;
                    if block == 0 {
                        return Ok(());
                    }
                }
                outcome @ (Outcome::Full | Outcome::Conflict | Outcome::Unknown) => {
                    // What only reads is still of use when nothing can be saved.
                    tracing::warn!(workspace.id = %workspace, ?outcome, "requests are not counted on disk");
                    self.taken = self.taken.saturating_add(block).min(limit);
                    self.left = block;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Gives back what was taken and not used.
    pub(super) async fn give_back(&mut self, store: &SharedStore, workspace: WorkspaceId) {
        let left = std::mem::take(&mut self.left);
        if left == 0 {
            return;
        }
        let counter = counter(workspace, self.number);
        self.number = 0;
        let guards = vec![Guard::Add { counter, by: -i64::from(left), limit: i64::MAX }];
        let outcome = store.save(Save { guards, ..Save::default() }).await;
        if outcome != Outcome::Saved {
            tracing::debug!(workspace.id = %workspace, ?outcome, left, "requests were not given back");
        }
    }
}

fn until_midnight(now: Timestamp) -> Duration {
    Duration::from_millis(DAY_MS - now.0 % DAY_MS)
}

/// The counter's row: workspace, then day.
fn counter(workspace: WorkspaceId, day: u64) -> RowKey {
    RowKey { space: space::REQUESTS, key: [workspace.0.as_bytes().as_slice(), &day.to_be_bytes()].concat() }
}

async fn count(store: &SharedStore, counter: &RowKey) -> Result<u32, Error> {
    let row = store.row(counter).await?;
    let bytes = row.and_then(|row| <[u8; 8]>::try_from(row.as_ref()).ok());
    Ok(bytes.map_or(0, |bytes| u32::try_from(i64::from_be_bytes(bytes)).unwrap_or(u32::MAX)))
}
