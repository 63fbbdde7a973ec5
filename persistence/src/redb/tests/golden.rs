//! Files that were written once and must be read for ever. `CENDRIIX_WRITE_GOLDEN=1` writes those that are
//! missing; one that is there is never written again.

use std::{fs, path::PathBuf};

use super::*;
use crate::{
    chain::Head,
    codec::{read_header, write_header},
    kit::{FIRST, change, draft, events, key, row, row_key, sha256},
    store::Change,
};

/// The place of a fixture, which `write` makes when it is missing and may be made.
fn fixture(name: &str, write: impl FnOnce(&Path)) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if !path.exists() {
        let may = std::env::var_os("CENDRIIX_WRITE_GOLDEN").is_some_and(|value| value == "1");
        assert!(may, "{} is missing; CENDRIIX_WRITE_GOLDEN=1 writes it", path.display());
        write(&path);
    }
    path
}

#[test]
fn a_header_of_format_1_is_read() {
    let header = Header {
        epoch: 3,
        version: 9,
        seq: 20,
        snapshot_seq: 18,
        due_at: Some(1_700_000_000_000),
        schema: 2,
        working: true,
        parked: true,
    };
    let path = fixture("header-1.bin", |path| fs::write(path, write_header(&header)).unwrap());
    let bytes = fs::read(path).unwrap();
    assert_eq!(read_header(&bytes).unwrap(), header);
    assert_eq!(write_header(&header)[..], bytes);
}

fn write_store(path: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = RedbStore::open(path, &Options::default()).unwrap();
    let created = Change { events: events(&["created", "planned"]), working: true, ..change(1, 0) };
    let started = Change {
        events: events(&["started"]),
        snapshot: None,
        due_at: Some(1234),
        working: true,
        ..change(1, 1)
    };
    let audit = vec![draft(FIRST, "came"), draft(FIRST, "went")];
    let saves = [
        Save { rows: vec![row(1, "a/1", "one")], guards: vec![kit::add("seats", 2, 3)], ..created.into() },
        Save { audit, ..started.into() },
    ];
    for save in saves {
        assert_eq!(runtime.block_on(store.save(save)), Outcome::Saved);
    }
}

#[tokio::test]
async fn a_store_of_format_1_is_read() {
    let written = tokio::task::spawn_blocking(|| fixture("store-1.redb", write_store)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    fs::copy(written, &path).unwrap();
    let store = RedbStore::open(&path, &Options::default()).unwrap();
    assert_eq!(store.epoch(), 2);
    assert_eq!(store.keys(None, 10).await.unwrap(), [key(1)]);
    let stored = store.load(key(1)).await.unwrap().unwrap();
    let header = Header {
        epoch: 1,
        version: 2,
        seq: 3,
        snapshot_seq: 2,
        due_at: Some(1234),
        schema: 1,
        working: true,
        parked: false,
    };
    assert_eq!(stored.header, header);
    assert_eq!(stored.snapshot, "state 1 after 0");
    let tail =
        Entry { first_seq: 3, version: 2, bytes: Bytes::from_static(b"\x81\xa6events\x91\xa7started") };
    assert_eq!(stored.tail, [tail]);
    assert_eq!(store.journal(key(1), 0, 10).await.unwrap().len(), 2);
    assert_eq!(store.row(&row_key(1, "a/1")).await.unwrap().unwrap(), "one");
    assert_eq!(store.row(&row_key(9, "seats")).await.unwrap().unwrap()[..], 2_u64.to_be_bytes());
    assert_eq!(store.working(None, 10).await.unwrap(), [key(1)]);
    assert_eq!(
        (store.due(1233, 10).await.unwrap(), store.due(1234, 10).await.unwrap()),
        (vec![], vec![key(1)])
    );
    let mut head = Head::default();
    for (link, body) in store.audit(FIRST, 1, 10).await.unwrap().iter().zip(["came", "went"]) {
        assert_eq!(link.body, body);
        assert!(head.continues(link, &sha256(body.as_bytes())));
        head = Head { seq: link.seq, hash: link.hash };
    }
    assert_eq!(head.seq, 2);
    let next = Change { events: events(&["ended"]), ..change(1, 2) };
    assert_eq!(store.save(next.into()).await, Outcome::Saved);
}
