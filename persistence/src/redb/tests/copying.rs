//! Copies of a store that goes on, and the way back.

use std::fs;

use super::*;
use crate::{
    kit::{FIRST, change, draft, key, row, row_key, save_all},
    store::Scan,
};

/// Everything in the folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_copy_is_restored_as_the_store_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let store = RedbStore::open(&path("store.redb"), &Options::default()).unwrap();
    kit::tell(&store).await;
    let before = all_of(&store).await;
    store.copy(&path("copy")).await.unwrap();
    store.save(change(50, 0).into()).await;
    restore(&path("copy"), &path("restored.redb")).unwrap();
    assert_eq!(names(folder.path()), ["copy", "restored.redb", "store.redb"]);
    let restored = RedbStore::open(&path("restored.redb"), &Options::default()).unwrap();
    assert_eq!(all_of(&restored).await, before);
    assert!(restored.epoch() > store.epoch());
    assert_eq!(restored.save(change(50, 0).into()).await, Outcome::Saved);
}

/// One save that keeps an entity, a counter row and the log at the same number.
fn step(number: u64) -> Save {
    let value = number.to_string();
    let save = change(1, number).into();
    Save { rows: vec![row(1, "number", &value)], audit: vec![draft(FIRST, &value)], ..save }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_made_while_saves_go_on_is_of_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&folder.path().join("store.redb"), &Options::default()).unwrap();
    save_all(&store, (0..20).map(step).collect()).await;
    let saving = async {
        for round in 2..12 {
            let outcomes = save_all(&store, (round * 10..round * 10 + 10).map(step).collect()).await;
            assert_eq!(outcomes, [Outcome::Saved; 10]);
        }
    };
    let copying = async {
        for copy in 0..4 {
            store.copy(&folder.path().join(copy.to_string())).await.unwrap();
        }
    };
    tokio::join!(saving, copying);
    for copy in 0..4 {
        let copy = RedbStore::open(&folder.path().join(copy.to_string()), &Options::default()).unwrap();
        let version = copy.header(key(1)).await.unwrap().unwrap().version;
        assert!((20..=120).contains(&version));
        let number = copy.row(&row_key(1, "number")).await.unwrap().unwrap();
        assert_eq!(number, (version - 1).to_string());
        assert_eq!(copy.audit(FIRST, 1, usize::MAX).await.unwrap().len() as u64, version);
        assert_eq!(copy.rows(Scan::prefix(1, b"", 10)).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_copy_does_not_overwrite() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&folder.path().join("store.redb"), &Options::default()).unwrap();
    let taken = folder.path().join("taken");
    fs::write(&taken, "mine").unwrap();
    let refusal = store.copy(&taken).await.unwrap_err();
    assert!(
        refusal.to_string().contains("will not overwrite")
            && refusal.to_string().contains("name a file that is not there")
    );
    assert_eq!(fs::read(&taken).unwrap(), b"mine");
}

#[tokio::test]
async fn a_copy_to_where_nothing_can_be_written_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(&folder.path().join("store.redb"), &Options::default()).unwrap();
    let refusal = store.copy(&folder.path().join("absent").join("copy")).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Io { .. }), "{refusal:?}");
}

#[tokio::test]
async fn a_store_in_memory_says_that_it_cannot_be_copied() {
    let store = crate::memory::MemoryStore::open(crate::memory::Disk::default());
    assert!(store.copy(Path::new("anywhere")).await.unwrap_err().to_string().contains("in memory"));
}

#[tokio::test]
async fn restoring_does_not_overwrite() {
    let folder = tempfile::tempdir().unwrap();
    let (copy, path) = (folder.path().join("copy"), folder.path().join("store.redb"));
    told(&copy).await;
    fs::write(&path, "mine").unwrap();
    assert!(restore(&copy, &path).unwrap_err().to_string().contains("will not overwrite"));
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    assert_eq!(names(folder.path()), ["copy", "store.redb"]);
}

#[tokio::test]
async fn a_damaged_copy_is_refused_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (copy, path) = (folder.path().join("copy"), folder.path().join("store.redb"));
    let original = folder.path().join("original");
    let store = RedbStore::open(&folder.path().join("live"), &Options::default()).unwrap();
    kit::tell(&store).await;
    store.copy(&original).await.unwrap();
    drop(store);
    let sound = fs::read(&original).unwrap();
    // A byte within what was saved, which only the sum over its page can tell to be wrong.
    let inside = sound.windows(15).position(|bytes| bytes == b"state 3 after 1").unwrap();
    let mut rotten = sound.clone();
    rotten[inside] ^= 1;
    for damaged in [&b""[..], b"garbage", &sound[..sound.len() / 2], &sound[..4096], &rotten] {
        fs::write(&copy, damaged).unwrap();
        let refusal = restore(&copy, &path).unwrap_err();
        assert!(matches!(refusal, StoreError::Damaged { .. }), "{refusal:?}");
        assert!(refusal.to_string().contains(copy.to_str().unwrap()), "names another file: {refusal}");
        assert_eq!(names(folder.path()), ["copy", "live", "original"]);
    }
}

#[test]
fn a_copy_that_holds_no_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (copy, path) = (folder.path().join("copy"), folder.path().join("store.redb"));
    drop(Database::create(&copy).unwrap());
    assert!(matches!(restore(&copy, &path), Err(StoreError::Damaged { .. })));
    assert_eq!(names(folder.path()), ["copy"]);
}

#[tokio::test]
async fn a_copy_of_a_newer_format_is_refused_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (copy, path) = (folder.path().join("copy"), folder.path().join("store.redb"));
    told(&copy).await;
    tamper(&copy, |file| put(file, Table::Meta, b"format", &7_u64.to_be_bytes()));
    assert!(matches!(restore(&copy, &path), Err(StoreError::Newer { found: 7, known: FORMAT })));
    assert_eq!(names(folder.path()), ["copy"]);
}

#[test]
fn a_copy_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = restore(&folder.path().join("absent"), &folder.path().join("store.redb")).unwrap_err();
    assert!(refusal.to_string().contains("absent"));
    assert!(names(folder.path()).is_empty());
}
