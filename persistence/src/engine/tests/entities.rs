//! Entities: compare-and-set, epochs, journals and what is loaded.

use super::on_both_engines;
use crate::{
    kit::{all_of, change, events, key, row, save_all},
    store::{Change, Entry, Header, Key, Outcome, Save, Store, StoreError},
};

on_both_engines!(
    a_created_entity_is_loaded_as_it_was_saved,
    what_was_never_saved_is_not_there,
    creating_twice_conflicts,
    a_change_of_an_old_version_conflicts_and_changes_nothing,
    an_owner_of_an_older_epoch_conflicts_and_one_of_a_later_takes_over,
    one_conflict_among_several_changes_saves_none_of_them,
    the_same_entity_twice_in_a_save_conflicts,
    the_snapshot_comes_with_the_events_after_it,
    a_snapshot_in_the_last_save_leaves_no_tail,
    a_journal_is_read_from_the_middle_of_an_entry,
    a_journal_is_read_page_by_page,
    a_journal_has_nothing_after_its_last_event,
    an_entity_without_events_has_no_journal,
    journals_of_neighbours_do_not_mix,
    an_entity_without_a_snapshot_is_unreadable,
    a_save_of_nothing_is_saved,
    working_entities_are_listed_until_they_rest,
    due_entities_are_listed_earliest_first_until_they_wait_for_something_else,
    an_instant_of_zero_is_due_at_once_and_only_until_the_next_change,
    a_nudge_makes_due_without_a_version,
    a_nudge_goes_with_the_save_of_the_same_entity,
    keys_are_listed_page_by_page,
    both_engines_tell_the_same_story,
);

async fn a_created_entity_is_loaded_as_it_was_saved(store: &dyn Store) {
    let created = Change {
        epoch: 4,
        schema: 3,
        working: true,
        parked: true,
        due_at: Some(99),
        events: events(&["created", "planned"]),
        ..change(1, 0)
    };
    assert_eq!(store.save(created.into()).await, Outcome::Saved);
    let expected = Header {
        epoch: 4,
        version: 1,
        seq: 2,
        snapshot_seq: 2,
        due_at: Some(99),
        schema: 3,
        working: true,
        parked: true,
    };
    let stored = store.load(key(1)).await.unwrap().unwrap();
    assert_eq!(stored.header, expected);
    assert_eq!(stored.snapshot, "state 1 after 0");
    assert_eq!(stored.tail, []);
    assert_eq!(store.header(key(1)).await.unwrap(), Some(expected));
}

async fn what_was_never_saved_is_not_there(store: &dyn Store) {
    assert!(store.load(key(1)).await.unwrap().is_none());
    assert!(store.header(key(1)).await.unwrap().is_none());
    assert!(store.journal(key(1), 0, 10).await.unwrap().is_empty());
    assert!(store.row(&crate::kit::row_key(1, "a")).await.unwrap().is_none());
    assert!(store.keys(None, 10).await.unwrap().is_empty());
    assert!(store.working(None, 10).await.unwrap().is_empty());
    assert!(store.due(u64::MAX, 10).await.unwrap().is_empty());
    assert!(store.audited().await.unwrap().is_empty());
}

async fn creating_twice_conflicts(store: &dyn Store) {
    assert_eq!(store.save(change(1, 0).into()).await, Outcome::Saved);
    assert_eq!(store.save(change(1, 0).into()).await, Outcome::Conflict);
}

async fn a_change_of_an_old_version_conflicts_and_changes_nothing(store: &dyn Store) {
    store.save(change(1, 0).into()).await;
    store.save(change(1, 1).into()).await;
    let before = all_of(store).await;
    for version in [0, 1, 3] {
        let save = Save { rows: vec![row(1, "a", "b")], ..change(1, version).into() };
        assert_eq!(store.save(save).await, Outcome::Conflict);
    }
    assert_eq!(store.save(change(2, 1).into()).await, Outcome::Conflict);
    assert_eq!(all_of(store).await, before);
}

async fn an_owner_of_an_older_epoch_conflicts_and_one_of_a_later_takes_over(store: &dyn Store) {
    let of = |epoch, version| Save::from(Change { epoch, ..change(1, version) });
    assert_eq!(store.save(of(5, 0)).await, Outcome::Saved);
    assert_eq!(store.save(of(4, 1)).await, Outcome::Conflict);
    assert_eq!(store.save(of(5, 1)).await, Outcome::Saved);
    assert_eq!(store.save(of(6, 2)).await, Outcome::Saved);
    assert_eq!(store.save(of(5, 3)).await, Outcome::Conflict);
}

async fn one_conflict_among_several_changes_saves_none_of_them(store: &dyn Store) {
    store.save(change(2, 0).into()).await;
    let before = all_of(store).await;
    let save = Save { changes: vec![change(1, 0), change(2, 0), change(3, 0)], ..Save::default() };
    assert_eq!(store.save(save).await, Outcome::Conflict);
    assert_eq!(all_of(store).await, before);
}

async fn the_same_entity_twice_in_a_save_conflicts(store: &dyn Store) {
    let first = Change { due_at: Some(5), events: events(&["lost"]), ..change(1, 0) };
    let save = Save { changes: vec![first, change(1, 0)], ..Save::default() };
    assert_eq!(store.save(save).await, Outcome::Conflict);
    assert!(store.keys(None, 1).await.unwrap().is_empty());
}

/// Saves six events as 2, 3 and 1, of which the snapshot holds the first 2.
async fn six_events(store: &dyn Store, number: u8) -> Vec<Entry> {
    let batches = [events(&["1", "2"]), events(&["3", "4", "5"]), events(&["6"])];
    let mut first_seq = 1;
    let mut entries = Vec::new();
    for (version, batch) in (0..).zip(batches) {
        let mut change = Change { events: batch.clone(), ..change(number, version) };
        change.snapshot = change.snapshot.filter(|_| version == 0);
        assert_eq!(store.save(change.into()).await, Outcome::Saved);
        let batch = batch.unwrap();
        entries.push(Entry { first_seq, version: version + 1, bytes: batch.bytes });
        first_seq += u64::from(batch.count);
    }
    entries
}

async fn the_snapshot_comes_with_the_events_after_it(store: &dyn Store) {
    let entries = six_events(store, 1).await;
    let stored = store.load(key(1)).await.unwrap().unwrap();
    assert_eq!(stored.snapshot, "state 1 after 0");
    assert_eq!((stored.header.seq, stored.header.snapshot_seq, stored.header.version), (6, 2, 3));
    assert_eq!(stored.tail, entries[1..]);
}

async fn a_snapshot_in_the_last_save_leaves_no_tail(store: &dyn Store) {
    six_events(store, 1).await;
    store.save(Change { events: events(&["7"]), ..change(1, 3) }.into()).await;
    let stored = store.load(key(1)).await.unwrap().unwrap();
    assert_eq!(stored.snapshot, "state 1 after 3");
    assert_eq!((stored.header.seq, stored.header.snapshot_seq), (7, 7));
    assert_eq!(stored.tail, []);
}

async fn a_journal_is_read_from_the_middle_of_an_entry(store: &dyn Store) {
    let entries = six_events(store, 1).await;
    for (after, holding) in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 1), (5, 2)] {
        assert_eq!(store.journal(key(1), after, 10).await.unwrap(), entries[holding..], "after {after}");
    }
}

async fn a_journal_is_read_page_by_page(store: &dyn Store) {
    let entries = six_events(store, 1).await;
    assert_eq!(store.journal(key(1), 0, 0).await.unwrap(), []);
    assert_eq!(store.journal(key(1), 0, 2).await.unwrap(), entries[..2]);
    assert_eq!(store.journal(key(1), 3, 1).await.unwrap(), entries[1..2]);
    assert_eq!(store.journal(key(1), 5, 2).await.unwrap(), entries[2..]);
}

async fn a_journal_has_nothing_after_its_last_event(store: &dyn Store) {
    six_events(store, 1).await;
    for after in [6, 7, u64::MAX] {
        assert_eq!(store.journal(key(1), after, 10).await.unwrap(), []);
    }
}

async fn an_entity_without_events_has_no_journal(store: &dyn Store) {
    store.save(change(1, 0).into()).await;
    assert_eq!(store.journal(key(1), 0, 10).await.unwrap(), []);
}

async fn journals_of_neighbours_do_not_mix(store: &dyn Store) {
    let entries = six_events(store, 2).await;
    six_events(store, 1).await;
    six_events(store, 3).await;
    store.save(change(4, 0).into()).await;
    assert_eq!(store.journal(key(2), 0, usize::MAX).await.unwrap(), entries);
    assert_eq!(store.journal(key(4), 0, usize::MAX).await.unwrap(), []);
}

async fn an_entity_without_a_snapshot_is_unreadable(store: &dyn Store) {
    store.save(Change { snapshot: None, ..change(1, 0) }.into()).await;
    assert!(matches!(store.load(key(1)).await, Err(StoreError::Unreadable { what: "snapshot", .. })));
}

async fn a_save_of_nothing_is_saved(store: &dyn Store) {
    assert_eq!(store.save(Save::default()).await, Outcome::Saved);
    store.barrier().await;
}

async fn working_entities_are_listed_until_they_rest(store: &dyn Store) {
    let works = |number, version, working| Save::from(Change { working, ..change(number, version) });
    let saves = [works(3, 0, true), works(1, 0, true), works(2, 0, false), works(4, 0, true)];
    save_all(store, saves.into()).await;
    assert_eq!(store.working(None, 10).await.unwrap(), [key(1), key(3), key(4)]);
    assert_eq!(store.working(None, 2).await.unwrap(), [key(1), key(3)]);
    assert_eq!(store.working(Some(key(1)), 10).await.unwrap(), [key(3), key(4)]);
    assert_eq!(store.working(Some(key(2)), 1).await.unwrap(), [key(3)]);
    assert_eq!(store.due(u64::MAX, 10).await.unwrap(), []);
    save_all(store, vec![works(1, 1, true), works(2, 1, true), works(3, 1, false)]).await;
    assert_eq!(store.working(None, 10).await.unwrap(), [key(1), key(2), key(4)]);
}

async fn due_entities_are_listed_earliest_first_until_they_wait_for_something_else(store: &dyn Store) {
    let waits =
        |number, version, due_at| Save::from(Change { due_at, working: true, ..change(number, version) });
    save_all(
        store,
        vec![waits(1, 0, Some(300)), waits(2, 0, Some(100)), waits(3, 0, None), waits(4, 0, Some(200))],
    )
    .await;
    assert_eq!(store.due(99, 10).await.unwrap(), []);
    assert_eq!(store.due(100, 10).await.unwrap(), [key(2)]);
    assert_eq!(store.due(1000, 10).await.unwrap(), [key(2), key(4), key(1)]);
    assert_eq!(store.due(1000, 2).await.unwrap(), [key(2), key(4)]);
    save_all(
        store,
        vec![waits(1, 1, Some(50)), waits(2, 1, None), waits(3, 1, Some(150)), waits(4, 1, Some(200))],
    )
    .await;
    assert_eq!(store.due(1000, 10).await.unwrap(), [key(1), key(3), key(4)]);
    assert_eq!(store.working(None, 10).await.unwrap(), [1, 2, 3, 4].map(key));
}

async fn an_instant_of_zero_is_due_at_once_and_only_until_the_next_change(store: &dyn Store) {
    store.save(Change { due_at: Some(0), ..change(1, 0) }.into()).await;
    assert_eq!(store.header(key(1)).await.unwrap().unwrap().due_at, Some(1));
    assert_eq!(store.due(1, 10).await.unwrap(), [key(1)]);
    assert_eq!(store.working(None, 10).await.unwrap(), []);
    store.save(change(1, 1).into()).await;
    assert_eq!(store.due(u64::MAX, 10).await.unwrap(), []);
}

async fn a_nudge_makes_due_without_a_version(store: &dyn Store) {
    let waiting = Change { due_at: Some(700), working: true, events: events(&["waits"]), ..change(1, 0) };
    store.save(waiting.into()).await;
    let before = store.header(key(1)).await.unwrap().unwrap();
    let nudge = Save { nudges: vec![key(1), key(1), key(2)], ..Save::default() };
    assert_eq!(store.save(nudge.clone()).await, Outcome::Saved);
    assert_eq!(store.header(key(1)).await.unwrap(), Some(Header { due_at: Some(1), ..before }));
    assert_eq!(store.header(key(2)).await.unwrap(), None);
    assert_eq!(store.due(1000, 10).await.unwrap(), [key(1)]);
    assert_eq!(store.due(1, 10).await.unwrap(), [key(1)]);
    assert_eq!(store.working(None, 10).await.unwrap(), [key(1)]);
    assert_eq!(store.save(Change { due_at: Some(800), ..change(1, 1) }.into()).await, Outcome::Saved);
    assert_eq!(store.due(799, 10).await.unwrap(), []);
    assert_eq!(store.due(800, 10).await.unwrap(), [key(1)]);
}

async fn a_nudge_goes_with_the_save_of_the_same_entity(store: &dyn Store) {
    let save = Save { nudges: vec![key(1)], ..Change { due_at: Some(50), ..change(1, 0) }.into() };
    assert_eq!(store.save(save).await, Outcome::Saved);
    assert_eq!(store.due(1, 10).await.unwrap(), [key(1)]);
    assert_eq!(store.due(u64::MAX, 10).await.unwrap(), [key(1)]);
    let refused = Save { nudges: vec![key(1)], ..Change { due_at: Some(50), ..change(1, 0) }.into() };
    assert_eq!(store.save(refused).await, Outcome::Conflict);
}

async fn keys_are_listed_page_by_page(store: &dyn Store) {
    let other = Change { key: Key { kind: 2, ..key(9) }, ..change(9, 0) };
    save_all(
        store,
        vec![change(3, 0).into(), change(1, 0).into(), other.clone().into(), change(2, 0).into()],
    )
    .await;
    assert_eq!(store.keys(None, 10).await.unwrap(), [other.key, key(1), key(2), key(3)]);
    assert_eq!(store.keys(None, 2).await.unwrap(), [other.key, key(1)]);
    assert_eq!(store.keys(Some(key(1)), 10).await.unwrap(), [key(2), key(3)]);
    assert_eq!(store.keys(Some(key(3)), 10).await.unwrap(), []);
}

async fn both_engines_tell_the_same_story(store: &dyn Store) {
    let model = crate::memory::MemoryStore::open(crate::memory::Disk::default());
    crate::kit::tell(&model).await;
    crate::kit::tell(store).await;
    assert_eq!(all_of(store).await, all_of(&model).await);
}
