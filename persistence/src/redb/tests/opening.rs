//! Opening: what is refused, and that the refusal says what to do.

use std::fs;

use super::*;
use crate::kit::{change, key};

fn refusal(path: &Path) -> StoreError {
    RedbStore::open(path, &Options::default()).unwrap_err()
}

#[tokio::test]
async fn a_closed_file_shows_what_was_saved_and_counts_its_openings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let before = told(&path).await;
    for epoch in 2..5 {
        let store = RedbStore::open(&path, &Options::default()).unwrap();
        assert_eq!(store.epoch(), epoch);
        assert_eq!(store.commits(), 0);
        assert_eq!(all_of(&store).await, before);
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["store.redb"]);
}

#[tokio::test]
async fn a_file_in_use_is_refused_until_it_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = RedbStore::open(&path, &Options::default()).unwrap();
    let refusal = refusal(&path);
    assert!(matches!(refusal, StoreError::Locked { .. }));
    let expected = "is in use by another process; stop that server or name another --data directory";
    assert!(refusal.to_string().ends_with(expected) && refusal.to_string().contains(path.to_str().unwrap()));
    assert_eq!(store.save(change(1, 0).into()).await, Outcome::Saved);
    drop(store);
    assert!(RedbStore::open(&path, &Options::default()).unwrap().header(key(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_file_of_a_newer_format_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let before = told(&path).await;
    let set_format =
        |format: u64| tamper(&path, |file| put(file, Table::Meta, b"format", &format.to_be_bytes()));
    set_format(2);
    let refusal = refusal(&path);
    assert!(matches!(refusal, StoreError::Newer { found: 2, known: FORMAT }));
    let expected =
        "the data file is of format 2, this program reads up to 1; use the newer program or a backup";
    assert_eq!(refusal.to_string(), expected);
    set_format(1);
    let store = RedbStore::open(&path, &Options::default()).unwrap();
    assert_eq!((store.epoch(), all_of(&store).await), (2, before));
}

#[test]
fn a_newer_format_is_told_before_tables_that_are_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    drop(RedbStore::open(&path, &Options::default()).unwrap());
    tamper(&path, |file| {
        file.delete_table(definition(Table::Rows)).unwrap();
        file.open_table(TableDefinition::<u64, u64>::new(Table::Rows.name())).unwrap();
        put(file, Table::Meta, b"format", &2_u64.to_be_bytes());
    });
    assert!(matches!(refusal(&path), StoreError::Newer { found: 2, .. }));
}

#[test]
fn a_file_that_is_no_data_file_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let (zeros, letters) = (vec![0; 200_000], vec![b'x'; 200_000]);
    for garbage in [&b""[..], b"{}", b"\0", &zeros, &letters] {
        fs::write(&path, garbage).unwrap();
        let refusal = refusal(&path);
        assert!(matches!(refusal, StoreError::Damaged { .. }), "{refusal:?}");
        assert!(refusal.to_string().ends_with("restore a backup with `cendriix restore`"));
        assert_eq!(fs::read(&path).unwrap(), garbage);
    }
}

#[tokio::test]
async fn a_truncated_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, path) = (folder.path().join("whole.redb"), folder.path().join("store.redb"));
    told(&whole).await;
    let content = fs::read(&whole).unwrap();
    let pages = (0..content.len()).step_by(4096);
    for length in pages.chain([1, 8, 9, 63, 320, 4095, 4097, content.len() - 1]) {
        fs::write(&path, &content[..length]).unwrap();
        let refusal = refusal(&path);
        assert!(matches!(refusal, StoreError::Damaged { .. }), "{length} of {}: {refusal:?}", content.len());
    }
}

#[test]
fn a_directory_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = refusal(&folder.path().join("absent").join("store.redb"));
    assert!(refusal.to_string().ends_with("see that its directory exists, may be written and has space"));
    assert!(
        matches!(refusal, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    );
}

#[test]
fn a_directory_in_the_place_of_the_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(refusal(folder.path()), StoreError::Io { .. } | StoreError::Damaged { .. }));
}

#[test]
fn a_draft_left_behind_by_a_crash_does_not_hinder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    fs::write(path.with_extension(format!("{}.new", std::process::id())), [0; 4096]).unwrap();
    assert_eq!(RedbStore::open(&path, &Options::default()).unwrap().epoch(), 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_saves_nothing_and_still_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let before = told(&path).await;
    let options = Options { free_bytes_min: u64::MAX, ..Options::default() };
    let store = RedbStore::open(&path, &options).unwrap();
    assert_eq!(store.save(change(9, 0).into()).await, Outcome::Full);
    store.barrier().await;
    assert_eq!(all_of(&store).await, before);
    assert_eq!(store.commits(), 0);
    assert!(!*store.dead().borrow());
}
