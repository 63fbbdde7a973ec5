//! Proves from what is on disk that nothing is missing: journals, snapshots and audit chains.

use uuid::Uuid;

use crate::{
    chain::Head,
    store::{Key, Store, StoreError, Stored},
};

const PAGE: usize = 256;

/// What was looked at and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many entities and records there are.
    pub entities: u64,
    /// How many journal entries they have.
    pub journal_entries: u64,
    /// How many audit entries there are.
    pub audit_entries: u64,
    /// What is wrong, a sentence each; at most 100.
    pub faults: Vec<String>,
}

impl Report {
    /// Notes something that is wrong.
    pub fn fault(&mut self, fault: String) {
        if self.faults.len() < 100 {
            self.faults.push(fault);
        }
    }
}

/// What the areas know of their stored values.
pub trait Areas: Sync {
    /// Looks at an entity, given all of its journal.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in a sentence.
    fn check(&self, key: Key, stored: &Stored, journal: &[crate::store::Entry]) -> Result<(), String>;
    /// The digest of an audit entry's canonical form.
    ///
    /// # Errors
    ///
    /// Why it has none.
    fn digest(&self, body: &[u8]) -> Result<[u8; 32], String>;
}

/// Looks at everything.
///
/// # Errors
///
/// When the store cannot be read at all.
pub async fn verify(store: &dyn Store, areas: &dyn Areas) -> Result<Report, StoreError> {
    let mut report = Report::default();
    let mut after = None;
    loop {
        let keys = store.keys(after, PAGE).await?;
        let Some(last) = keys.last() else { break };
        after = Some(*last);
        for key in keys {
            entity(store, areas, key, &mut report).await?;
        }
    }
    for workspace in store.audited().await? {
        chain(store, areas, workspace, &mut report).await?;
    }
    Ok(report)
}

async fn entity(
    store: &dyn Store,
    areas: &dyn Areas,
    key: Key,
    report: &mut Report,
) -> Result<(), StoreError> {
    report.entities += 1;
    let name = format!("entity {} of kind {}", key.id, key.kind);
    let (stored, journal) = match (store.load(key).await, store.journal(key, 0, usize::MAX).await) {
        (Ok(Some(stored)), Ok(journal)) => (stored, journal),
        (Ok(None), _) => return Ok(()),
        (Err(error @ StoreError::Unreadable { .. }), _) | (_, Err(error @ StoreError::Unreadable { .. })) => {
            report.fault(format!("{name}: {error}"));
            return Ok(());
        }
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    report.journal_entries += journal.len() as u64;
    let mut next = 1;
    for entry in &journal {
        if entry.first_seq != next {
            report.fault(format!(
                "{name}: event {next} is missing from the journal, which goes on at {}",
                entry.first_seq
            ));
        }
        let count = events(&entry.bytes);
        if count.is_none() {
            report.fault(format!("{name}: journal entry {} cannot be read", entry.first_seq));
        }
        next = entry.first_seq + count.unwrap_or(1);
    }
    if next != stored.header.seq + 1 {
        report.fault(format!("{name}: the journal ends at {} and not at {}", next - 1, stored.header.seq));
    }
    if let Err(why) = areas.check(key, &stored, &journal) {
        report.fault(format!("{name}: {why}"));
    }
    Ok(())
}

async fn chain(
    store: &dyn Store,
    areas: &dyn Areas,
    workspace: Uuid,
    report: &mut Report,
) -> Result<(), StoreError> {
    let mut head = Head::default();
    loop {
        let links = store.audit(workspace, head.seq + 1, PAGE).await?;
        if links.is_empty() {
            return Ok(());
        }
        for link in links {
            report.audit_entries += 1;
            match areas.digest(&link.body) {
                Ok(digest) if head.continues(&link, &digest) => (),
                Ok(_) => report.fault(format!(
                    "the audit chain of workspace {workspace} breaks at entry {}",
                    head.seq + 1
                )),
                Err(why) => report.fault(format!("audit entry {} of workspace {workspace}: {why}", link.seq)),
            }
            head = Head { seq: link.seq, hash: link.hash };
        }
    }
}

/// How many events a journal entry holds: the length of its `events` list.
fn events(bytes: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Counted {
        events: Vec<serde::de::IgnoredAny>,
    }
    rmp_serde::from_slice::<Counted>(bytes).ok().map(|counted| counted.events.len() as u64)
}

#[cfg(test)]
mod tests;
