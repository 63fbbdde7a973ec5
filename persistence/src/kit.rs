//! What the tests of this crate share: short ways to say a save, everything a store shows, and a story of
//! saves.

use std::{future::poll_fn, task::Poll};

use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    codec::encode,
    store::{Batch, Change, Draft, Guard, Key, Outcome, Row, RowKey, Save, Scan, Store},
};

pub(crate) const FIRST: Uuid = Uuid::from_u128(1);
pub(crate) const SECOND: Uuid = Uuid::from_u128(2);

/// The entity of that number.
pub(crate) fn key(number: u8) -> Key {
    Key { kind: 7, id: Uuid::from_u128(u128::from(number)) }
}

/// A change that nothing happens in but a snapshot.
pub(crate) fn change(number: u8, expected_version: u64) -> Change {
    Change {
        key: key(number),
        epoch: 1,
        expected_version,
        schema: 1,
        working: false,
        parked: false,
        due_at: None,
        events: None,
        snapshot: Some(format!("state {number} after {expected_version}").into()),
    }
}

/// Events as areas write them: a list of that name.
#[expect(clippy::unnecessary_wraps, reason = "stands where a change may have none")]
pub(crate) fn events(events: &[&str]) -> Option<Batch> {
    #[derive(Serialize)]
    struct Journaled<'e> {
        events: &'e [&'e str],
    }
    let bytes = encode(&Journaled { events }).unwrap();
    Some(Batch { count: u32::try_from(events.len()).unwrap(), bytes })
}

pub(crate) fn row_key(space: u8, key: &str) -> RowKey {
    RowKey { space, key: key.into() }
}

pub(crate) fn row(space: u8, key: &str, value: &str) -> Row {
    Row { key: row_key(space, key), value: Some(Bytes::copy_from_slice(value.as_bytes())) }
}

pub(crate) fn no_row(space: u8, key: &str) -> Row {
    Row { key: row_key(space, key), value: None }
}

pub(crate) fn add(counter: &str, by: i64, limit: i64) -> Guard {
    Guard::Add { counter: row_key(9, counter), by, limit }
}

/// An entry whose canonical form is its body.
pub(crate) fn draft(workspace: Uuid, body: &str) -> Draft {
    Draft { workspace, digest: sha256(body.as_bytes()), body: Bytes::copy_from_slice(body.as_bytes()) }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().try_into().unwrap()
}

impl From<Change> for Save {
    fn from(change: Change) -> Self {
        Self { changes: vec![change], ..Self::default() }
    }
}

/// Hands in all saves at once, in their order, before any is awaited.
pub(crate) async fn save_all(store: &dyn Store, saves: Vec<Save>) -> Vec<Outcome> {
    let mut waiting: Vec<_> = saves.into_iter().map(|save| (store.save(save), None)).collect();
    poll_fn(|context| {
        for (save, outcome) in waiting.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
            if let Poll::Ready(answer) = save.as_mut().poll(context) {
                *outcome = Some(answer);
            }
        }
        match waiting.iter().map(|(_, outcome)| *outcome).collect::<Option<Vec<_>>>() {
            Some(outcomes) => Poll::Ready(outcomes),
            None => Poll::Pending,
        }
    })
    .await
}

/// Everything that a store shows, a line each.
pub(crate) async fn all_of(store: &dyn Store) -> Vec<String> {
    let mut lines = Vec::new();
    for key in store.keys(None, usize::MAX).await.unwrap() {
        lines.push(format!("{key:?} is {:?}", store.load(key).await));
        lines.push(format!("{key:?} has {:?}", store.header(key).await));
        lines.push(format!("{key:?} went through {:?}", store.journal(key, 0, usize::MAX).await));
    }
    for space in 0..=u8::MAX {
        for (key, value) in store.rows(Scan::prefix(space, b"", usize::MAX)).await.unwrap() {
            lines.push(format!("row {space} {key:?} is {value:?}"));
        }
    }
    lines.push(format!("working: {:?}", store.working(None, usize::MAX).await));
    for at in [0, 1, 10, 1000, u64::MAX] {
        lines.push(format!("due at {at}: {:?}", store.due(at, usize::MAX).await));
    }
    for workspace in store.audited().await.unwrap() {
        lines.push(format!("log of {workspace}: {:?}", store.audit(workspace, 0, usize::MAX).await));
    }
    lines
}

/// Saves of every sort, with what each is answered; those of a group are handed in at once.
pub(crate) fn story() -> Vec<Vec<(Save, Outcome)>> {
    use Outcome::{Conflict, Refused, Saved};
    let large = "x".repeat(20_000);
    let created = Change { events: events(&["created", "planned"]), working: true, ..change(1, 0) };
    let tail = Change { events: events(&["started"]), snapshot: None, due_at: Some(500), ..change(1, 1) };
    let ended = Change { events: events(&["failed", "retried", "ended"]), parked: true, ..change(1, 2) };
    let born = Change { events: events(&["born"]), working: true, due_at: Some(20), ..change(2, 0) };
    let parent = Change { working: true, snapshot: Some(large.clone().into()), ..change(3, 0) };
    let with_rows = |change: Change, rows: Vec<Row>| Save { rows, ..change.into() };
    let guarded = |guards: Vec<Guard>, rows: Vec<Row>| Save { guards, rows, ..Save::default() };
    let logged = |audit: Vec<Draft>| Save { audit, ..Save::default() };
    vec![
        vec![(with_rows(created, vec![row(1, "a/1", "one"), row(1, "a/2", "two")]), Saved)],
        vec![(tail.into(), Saved), (change(1, 1).into(), Conflict)],
        vec![(Save { changes: vec![parent, born], ..Save::default() }, Saved)],
        vec![
            (guarded(vec![add("seats", 2, 3)], vec![row(2, "b", &large)]), Saved),
            (guarded(vec![add("seats", 2, 3)], vec![row(2, "never", "")]), Refused(0)),
            (guarded(vec![add("seats", 1, 3), add("seats", -2, 3)], vec![]), Saved),
        ],
        vec![(logged(vec![draft(FIRST, "came"), draft(SECOND, "came too")]), Saved)],
        vec![(Save { nudges: vec![key(2), key(99)], ..logged(vec![draft(FIRST, &large)]) }, Saved)],
        vec![
            (with_rows(ended, vec![no_row(1, "a/1"), row(1, "a/3", &large)]), Saved),
            (guarded(vec![Guard::Absent(row_key(1, "a/3"))], vec![]), Refused(0)),
            (guarded(vec![Guard::Present(row_key(1, "a/3"))], vec![row(1, "a/4", "four")]), Saved),
        ],
        vec![(change(2, 1).into(), Saved), (logged(vec![draft(SECOND, "went")]), Saved)],
        vec![(with_rows(change(3, 1), vec![no_row(2, "b"), no_row(1, "a/3")]), Saved)],
    ]
}

/// Plays the story to its end.
pub(crate) async fn tell(store: &dyn Store) {
    for group in story() {
        let (saves, expected): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        assert_eq!(save_all(store, saves).await, expected);
    }
}
