//! What is tampered with is found.

use std::path::PathBuf;

use super::*;
use crate::{
    chain,
    engine::Table,
    kit::{FIRST, SECOND, change, draft, events, key, sha256, tell},
    redb::{
        Options, RedbStore,
        tests::{put, take, tamper},
    },
    store::{Change, Entry, Save},
};

/// Values of which only the outer form is known.
struct Plain;

impl Areas for Plain {
    fn check(&self, _key: Key, stored: &Stored, _journal: &[Entry]) -> Result<(), String> {
        if stored.snapshot.starts_with(b"wrong") { Err("its snapshot is wrong".into()) } else { Ok(()) }
    }

    fn digest(&self, body: &[u8]) -> Result<[u8; 32], String> {
        if body.starts_with(b"wrong") { Err("it cannot be read".into()) } else { Ok(sha256(body)) }
    }
}

/// A closed file with five events of one entity (2, 2 and 1), another entity, and two logs.
struct File {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl File {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        let store = RedbStore::open(&path, &Options::default()).unwrap();
        for (version, batch) in (0..).zip([events(&["1", "2"]), events(&["3", "4"]), events(&["5"])]) {
            store.save(Change { events: batch, ..change(1, version) }.into()).await;
        }
        let audit =
            ["a", "b", "c"].iter().map(|body| draft(FIRST, body)).chain([draft(SECOND, "d")]).collect();
        store.save(Save { audit, ..change(2, 0).into() }).await;
        Self { path, _folder: folder }
    }

    async fn report(&self) -> Report {
        verify(&RedbStore::open(&self.path, &Options::default()).unwrap(), &Plain).await.unwrap()
    }

    /// The faults after such a change of the file.
    async fn faults(work: impl FnOnce(&::redb::WriteTransaction)) -> Vec<String> {
        let file = Self::new().await;
        tamper(&file.path, work);
        file.report().await.faults
    }
}

fn entry(number: u8, first_seq: u64) -> Vec<u8> {
    [&key(number).bytes()[..], &first_seq.to_be_bytes()].concat()
}

fn of_first(fault: &str) -> String {
    format!("entity {} of kind 7: {fault}", key(1).id)
}

#[tokio::test]
async fn a_sound_store_has_no_faults() {
    let expected = Report { entities: 2, journal_entries: 3, audit_entries: 4, faults: vec![] };
    assert_eq!(File::new().await.report().await, expected);
}

#[tokio::test]
async fn a_story_leaves_a_sound_store_on_either_engine() {
    let memory = crate::memory::MemoryStore::open(crate::memory::Disk::default());
    tell(&memory).await;
    let report = verify(&memory, &Plain).await.unwrap();
    assert_eq!(report.faults, [""; 0]);
    assert_eq!((report.entities, report.journal_entries, report.audit_entries), (3, 4, 4));
}

#[tokio::test]
async fn a_gap_in_a_journal_is_found() {
    let faults = File::faults(|file| take(file, Table::Journal, &entry(1, 3))).await;
    assert_eq!(faults, [of_first("event 3 is missing from the journal, which goes on at 5")]);
}

#[tokio::test]
async fn a_journal_that_begins_late_is_found() {
    let faults = File::faults(|file| take(file, Table::Journal, &entry(1, 1))).await;
    assert_eq!(faults, [of_first("event 1 is missing from the journal, which goes on at 3")]);
}

#[tokio::test]
async fn a_journal_that_ends_early_is_found() {
    let faults = File::faults(|file| take(file, Table::Journal, &entry(1, 5))).await;
    assert_eq!(faults, [of_first("the journal ends at 4 and not at 5")]);
}

#[tokio::test]
async fn a_journal_that_is_lost_is_found() {
    let faults =
        File::faults(|file| [1, 3, 5].iter().for_each(|seq| take(file, Table::Journal, &entry(1, *seq))))
            .await;
    assert_eq!(faults, [of_first("the journal ends at 0 and not at 5")]);
}

#[tokio::test]
async fn a_journal_entry_with_fewer_events_is_found() {
    let less = [&2_u64.to_be_bytes()[..], &events(&["3"]).unwrap().bytes].concat();
    let faults = File::faults(|file| put(file, Table::Journal, &entry(1, 3), &less)).await;
    assert_eq!(faults, [of_first("event 4 is missing from the journal, which goes on at 5")]);
}

#[tokio::test]
async fn a_journal_entry_that_cannot_be_read_is_found() {
    let faults =
        File::faults(|file| put(file, Table::Journal, &entry(1, 5), b"\0\0\0\0\0\0\0\x03garbage")).await;
    assert_eq!(faults, [of_first("journal entry 5 cannot be read")]);
    let faults = File::faults(|file| put(file, Table::Journal, &entry(1, 5), b"short")).await;
    assert_eq!(faults, [of_first("a stored journal entry cannot be read: its key or value is too short")]);
}

#[tokio::test]
async fn a_snapshot_that_is_lost_or_wrong_is_found() {
    let faults = File::faults(|file| take(file, Table::Snapshots, &key(1).bytes())).await;
    assert_eq!(faults, [of_first("a stored snapshot cannot be read: it is missing")]);
    let faults = File::faults(|file| put(file, Table::Snapshots, &key(1).bytes(), b"wrong")).await;
    assert_eq!(faults, [of_first("its snapshot is wrong")]);
}

#[tokio::test]
async fn a_header_that_cannot_be_read_is_found() {
    let faults = File::faults(|file| put(file, Table::Headers, &key(1).bytes(), b"short")).await;
    assert_eq!(faults, [of_first("a stored header cannot be read: it has 5 bytes")]);
}

#[tokio::test]
async fn an_audit_entry_that_is_lost_changed_or_put_in_is_found() {
    let breaks_at = |seq| format!("the audit chain of workspace {FIRST} breaks at entry {seq}");
    let faults = File::faults(|file| take(file, Table::Audit, &chain::key(FIRST, 2))).await;
    assert_eq!(faults, [breaks_at(2)]);
    let faults = File::faults(|file| take(file, Table::Audit, &chain::key(FIRST, 1))).await;
    assert_eq!(faults, [breaks_at(1)]);
    let head = Head::default();
    let hash = head.following(&sha256(b"a"));
    let forged = chain::write(&head.hash, &hash, b"A");
    assert_eq!(
        File::faults(|file| put(file, Table::Audit, &chain::key(FIRST, 1), &forged)).await,
        [breaks_at(1)]
    );
    let consistent = chain::write(&head.hash, &head.following(&sha256(b"A")), b"A");
    assert_eq!(
        File::faults(|file| put(file, Table::Audit, &chain::key(FIRST, 1), &consistent)).await,
        [breaks_at(2)]
    );
    let put_in = chain::write(&[0; 32], &hash, b"a");
    assert_eq!(
        File::faults(|file| put(file, Table::Audit, &chain::key(FIRST, 4), &put_in)).await,
        [breaks_at(4)]
    );
}

#[tokio::test]
async fn an_audit_entry_that_cannot_be_read_is_found() {
    let wrong = chain::write(&[0; 32], &[0; 32], b"wrong");
    let faults = File::faults(|file| put(file, Table::Audit, &chain::key(SECOND, 1), &wrong)).await;
    assert_eq!(faults, [format!("audit entry 1 of workspace {SECOND}: it cannot be read")]);
}

#[tokio::test]
async fn no_more_than_a_hundred_faults_are_noted() {
    let faults = File::faults(|file| {
        for seq in 10..300 {
            put(file, Table::Audit, &chain::key(SECOND, seq * 2), &chain::write(&[0; 32], &[0; 32], b"x"));
        }
    });
    assert_eq!(faults.await.len(), 100);
}
