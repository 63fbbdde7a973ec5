//! Follows a run: its journal, entry by entry, as events that clients see.

use cendriix_persistence::{codec::decode, store::Key};
use cendriix_protocol::{ids::RunId, runs::RunEvent};

use super::{
    Run, Runs, Step,
    state::{Event, Status},
    wire,
};
use crate::{
    Error,
    caller::Caller,
    kinds,
    kit::{Journaled, stream::Follower},
    workspaces::Standing,
};

/// How many journal entries are read at a time.
const PAGE: usize = 64;

/// The fix steps of a run as its journal tells them. A retry of everything takes them out of the plan, but
/// what happened to them stays, and names them by their place alone.
#[derive(Debug, Default)]
pub(super) struct Fixes {
    /// Also those that were taken out; the next one at the same place overwrites.
    known: Vec<Step>,
    in_plan: usize,
    merged: bool,
}

impl Fixes {
    /// Takes in what an event does to them.
    fn hear(&mut self, event: &Event) {
        if let Event::Moved { status: Status::Merged, .. } | Event::Ended { status: Status::Merged, .. } =
            event
        {
            self.merged = true;
        } else if let Event::FixAdded { step, .. } = event {
            self.known.splice(self.in_plan..(self.in_plan + 1).min(self.known.len()), [step.clone()]);
            self.in_plan += 1;
        } else if let Event::Retried { from: None, .. } = event
            && !self.merged
        {
            self.in_plan = 0;
        }
    }

    /// The step at a place of a run's plan, as it was after the last event that was heard.
    pub(super) fn step<'a>(&'a self, run: &'a Run, place: u32) -> Option<&'a Step> {
        let planned = run.plan.steps.len() - run.fix_steps as usize;
        match (place as usize).checked_sub(planned) {
            Some(fix) => self.known.get(fix),
            None => run.plan.steps.get(place as usize),
        }
    }
}

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
        let run = &*shown.machine;
        // In the first attempt a run with no fix step never had one.
        let had_fixes = run.attempt > 1 || run.fix_steps > 0;
        let fixes = if had_fixes { self.fixes(id, after).await? } else { Fixes::default() };
        let standing = Standing::of(caller, self.entities.shared());
        Ok(Following { runs: self.clone(), id, standing, after, fixes, follower, waits: true, fresh: true })
    }

    /// The fix steps after event number `until`.
    async fn fixes(&self, id: RunId, until: u64) -> Result<Fixes, Error> {
        let (store, mut fixes, mut read) = (&self.entities.shared().store, Fixes::default(), 0);
        while read < until {
            let entries = store.journal(Key { kind: kinds::RUN, id: id.0 }, read, PAGE).await?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                let journaled: Journaled<Event> = decode("journal entry", &entry.bytes)?;
                for (seq, event) in
                    (entry.first_seq..).zip(&journaled.events).filter(|(seq, _)| *seq <= until)
                {
                    fixes.hear(event);
                    read = seq;
                }
            }
        }
        Ok(fixes)
    }
}

/// A cursor over the events of a run.
#[derive(Debug)]
pub struct Following {
    runs: Runs,
    id: RunId,
    standing: Standing,
    after: u64,
    /// The fix steps up to there.
    fixes: Fixes,
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
    /// the journal, or whoever follows may not be told more.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<RunEvent>>, Error> {
        match self.told().await? {
            Some(events) if self.standing.holds().await? => Ok(Some(events)),
            Some(_) | None => Ok(None),
        }
    }

    async fn told(&mut self) -> Result<Option<Vec<RunEvent>>, Error> {
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
                    self.fixes.hear(event);
                    let (run, fixes) = (&*shown.machine, &self.fixes);
                    events.push(wire::event(run, fixes, seq, journaled.at, journaled.by, event));
                    self.after = seq;
                }
            }
        }
        Ok(events)
    }
}
