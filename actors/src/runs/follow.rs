//! Follows a run: its journal, entry by entry, as events that clients see.

use cendriix_persistence::{codec::decode, store::Key};
use cendriix_protocol::{ids::RunId, runs::RunEvent};

use super::{Runs, state::Event, wire};
use crate::{
    Error,
    caller::Caller,
    kinds,
    kit::{Journaled, stream::Follower},
};

/// How many journal entries are read at a time.
const PAGE: usize = 64;

impl Runs {
    /// Follows a run's events after number `after`.
    ///
    /// # Errors
    ///
    /// When it is not there or not the caller's.
    pub async fn follow(&self, caller: &Caller, id: RunId, after: u64) -> Result<Following, Error> {
        let follower = self.entities.follow(id.0);
        let shown = self.get(caller, id).await?;
        // A number we never gave out starts from the beginning.
        let after = if after > shown.seq { 0 } else { after };
        Ok(Following { runs: self.clone(), id, after, follower, waits: true, fresh: true })
    }
}

/// A cursor over the events of a run.
#[derive(Debug)]
pub struct Following {
    runs: Runs,
    id: RunId,
    after: u64,
    follower: Follower,
    /// Whether it waits for what is yet to happen.
    waits: bool,
    fresh: bool,
}

impl Following {
    /// The same, ending once everything that has happened is told.
    #[must_use]
    pub fn without_waiting(self) -> Self {
        Self { waits: false, ..self }
    }

    /// The next events in order, at least one; `None` once the last event of an ended attempt is the head of
    /// the journal.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<RunEvent>>, Error> {
        loop {
            if !std::mem::take(&mut self.fresh) {
                if !self.waits || self.ended().await? {
                    return Ok(None);
                }
                self.follower.moved().await;
            }
            let events = self.read().await?;
            if !events.is_empty() {
                self.fresh = true;
                return Ok(Some(events));
            }
        }
    }

    async fn ended(&self) -> Result<bool, Error> {
        let shown = self.runs.entities.show(self.id.0).await?.ok_or(Error::Missing { what: "run" })?;
        Ok(shown.machine.status.is_end() && shown.seq <= self.after)
    }

    async fn read(&mut self) -> Result<Vec<RunEvent>, Error> {
        let store = &self.runs.entities.shared().store;
        let entries = store.journal(Key { kind: kinds::RUN, id: self.id.0 }, self.after, PAGE).await?;
        let shown = self.runs.entities.show(self.id.0).await?.ok_or(Error::Missing { what: "run" })?;
        let mut events = Vec::new();
        for entry in entries {
            let journaled: Journaled<Event> = decode("journal entry", &entry.bytes)?;
            for (seq, event) in (entry.first_seq..).zip(&journaled.events) {
                if seq > self.after {
                    events.push(wire::event(&shown.machine, seq, journaled.at, journaled.by, event));
                    self.after = seq;
                }
            }
        }
        Ok(events)
    }
}
