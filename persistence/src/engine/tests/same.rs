//! Any saves at all: both engines answer the same and show the same.

use std::ops::Bound;

use proptest::{collection::vec, prelude::*};

use super::redb_in_memory;
use crate::{
    kit::{FIRST, SECOND, add, all_of, change, draft, events, key, no_row, row, row_key},
    memory::{Disk, MemoryStore},
    store::{Change, Draft, Guard, Key, Row, Save, Scan, Store},
};

const NAMES: [&str; 6] = ["", "a", "a/1", "a/2", "b", "c"];

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES[..])
}

fn number() -> impl Strategy<Value = u8> {
    1..5_u8
}

/// A change of an entity whose version is only known when it is played; some are of another version than
/// that.
fn changes() -> impl Strategy<Value = (Change, bool)> {
    let due_at = prop::option::of(0..20_u64);
    let happened = vec(prop::sample::select(&["x", "y", "z"][..]), 0..4);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let late = prop::bool::weighted(0.1);
    (number(), 0..3_u64, due_at, happened, flags, late).prop_map(
        |(number, epoch, due_at, happened, flags, late)| {
            let (working, parked, snapshot) = flags;
            let mut change = Change { epoch, working, parked, due_at, ..change(number, 0) };
            change.events = events(&happened).filter(|batch| batch.count > 0);
            change.snapshot = change.snapshot.filter(|_| snapshot);
            (change, late)
        },
    )
}

fn guards() -> impl Strategy<Value = Guard> {
    prop_oneof![
        name().prop_map(|name| Guard::Absent(row_key(1, name))),
        name().prop_map(|name| Guard::Present(row_key(1, name))),
        (name(), -3..4_i64, 0..6_i64).prop_map(|(name, by, limit)| add(name, by, limit)),
        (name(), -3..4_i64, 0..6_i64).prop_map(|(name, by, limit)| add(name, by, limit)),
    ]
}

fn rows() -> impl Strategy<Value = Row> {
    (0..3_u8, name(), prop::option::of(name())).prop_map(|(space, name, value)| match value {
        Some(value) => row(space, name, value),
        None => no_row(space, name),
    })
}

fn drafts() -> impl Strategy<Value = Draft> {
    (prop::sample::select(&[FIRST, SECOND][..]), name()).prop_map(|(workspace, body)| draft(workspace, body))
}

/// A save, and which of its changes are of a wrong version.
#[derive(Clone, Debug)]
struct Play {
    save: Save,
    late: Vec<bool>,
}

fn plays() -> impl Strategy<Value = Play> {
    let nudges = vec(number().prop_map(key), 0..2);
    let parts = (vec(changes(), 0..3), vec(guards(), 0..3), vec(rows(), 0..4), vec(drafts(), 0..3), nudges);
    parts.prop_map(|(changes, guards, rows, audit, nudges)| {
        let (changes, late) = changes.into_iter().unzip();
        Play { save: Save { changes, guards, rows, audit, nudges }, late }
    })
}

impl Play {
    /// The save, with the versions that the store has.
    async fn on(mut self, store: &dyn Store) -> Save {
        for (change, late) in self.save.changes.iter_mut().zip(self.late) {
            let version = store.header(change.key).await.unwrap().map_or(0, |header| header.version);
            change.expected_version = version + u64::from(late);
            if version == 0 && change.snapshot.is_none() {
                change.snapshot = Some("first".into());
            }
        }
        self.save
    }
}

/// A question of any kind.
#[derive(Clone, Debug)]
enum Question {
    Rows(Scan),
    Page(Scan, Option<Vec<u8>>),
    Journal(Key, u64, usize),
    Working(Option<Key>, usize),
    Due(u64, usize),
    Audit(u64, usize),
    Keys(Option<Key>, usize),
}

fn bounds() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        Just(Bound::Unbounded),
        name().prop_map(|name| Bound::Included(name.into())),
        name().prop_map(|name| Bound::Excluded(name.into())),
    ]
}

fn questions() -> impl Strategy<Value = Question> {
    let limit = || 0..4_usize;
    let scans = (0..3_u8, bounds(), bounds(), any::<bool>(), limit())
        .prop_map(|(space, from, to, reverse, limit)| Scan { space, from, to, reverse, limit });
    let pages = (0..3_u8, name(), limit())
        .prop_map(|(space, prefix, limit)| Scan::prefix(space, prefix.as_bytes(), limit));
    let cursors = prop::option::of(name().prop_map(|name| name.as_bytes().to_vec()));
    let after = || prop::option::of(number().prop_map(key));
    prop_oneof![
        scans.prop_map(Question::Rows),
        (pages, cursors).prop_map(|(scan, cursor)| Question::Page(scan, cursor)),
        (number(), 0..12_u64, limit()).prop_map(|(number, after, limit)| Question::Journal(
            key(number),
            after,
            limit
        )),
        (after(), limit()).prop_map(|(after, limit)| Question::Working(after, limit)),
        (0..25_u64, limit()).prop_map(|(at, limit)| Question::Due(at, limit)),
        (0..9_u64, limit()).prop_map(|(from, limit)| Question::Audit(from, limit)),
        (after(), limit()).prop_map(|(after, limit)| Question::Keys(after, limit)),
    ]
}

impl Question {
    async fn ask(self, store: &dyn Store) -> String {
        match self {
            Self::Rows(scan) => format!("{:?}", store.rows(scan).await.unwrap()),
            Self::Page(scan, cursor) => {
                let all = store.rows(Scan { limit: usize::MAX, ..scan.clone() }).await.unwrap();
                let page = store.rows(scan.newest_first(cursor)).await.unwrap();
                assert!(page.iter().all(|row| all.contains(row)), "a page of rows from outside the prefix");
                format!("{page:?}")
            }
            Self::Journal(key, after, limit) => {
                format!("{:?}", store.journal(key, after, limit).await.unwrap())
            }
            Self::Working(after, limit) => format!("{:?}", store.working(after, limit).await.unwrap()),
            Self::Due(at, limit) => format!("{:?}", store.due(at, limit).await.unwrap()),
            Self::Audit(from, limit) => format!("{:?}", store.audit(FIRST, from, limit).await.unwrap()),
            Self::Keys(after, limit) => format!("{:?}", store.keys(after, limit).await.unwrap()),
        }
    }
}

/// What the lists of wakes must hold, told from the headers alone.
async fn assert_wakes_follow_headers(store: &dyn Store) {
    let (mut working, mut due) = (Vec::new(), Vec::new());
    for key in store.keys(None, usize::MAX).await.unwrap() {
        let header = store.header(key).await.unwrap().unwrap();
        working.extend(header.working.then_some(key));
        due.extend(header.due_at.map(|at| (at, key)));
    }
    due.sort_unstable();
    assert_eq!(store.working(None, usize::MAX).await.unwrap(), working);
    assert_eq!(
        store.due(1000, usize::MAX).await.unwrap(),
        due.into_iter().map(|(_, key)| key).collect::<Vec<_>>()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_saves_are_answered_and_shown_alike(story in vec((plays(), questions(), questions()), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (memory, redb) = (MemoryStore::open(Disk::default()), redb_in_memory());
            for (play, one, other) in story {
                let save = play.on(&memory).await;
                assert_eq!(memory.save(save.clone()).await, redb.save(save).await);
                for question in [one, other] {
                    assert_eq!(question.clone().ask(&memory).await, question.ask(&redb).await);
                }
                assert_wakes_follow_headers(&redb).await;
            }
            assert_eq!(all_of(&memory).await, all_of(&redb).await);
            assert_eq!(memory.commits(), redb.commits());
        });
    }
}
