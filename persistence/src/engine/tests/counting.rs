//! Guards: what must hold, counters and their limits, and that a refusal changes nothing.

use super::on_both_engines;
use crate::{
    kit::{add, all_of, change, draft, key, no_row, row, row_key, save_all},
    store::{Guard, Outcome, Row, Save, Store},
};

on_both_engines!(
    a_row_that_must_be_absent_refuses_the_second_claim,
    a_row_that_must_be_present_refuses_until_it_is_there,
    a_counter_goes_to_its_limit_and_not_beyond,
    a_counter_that_is_given_back_has_room_again,
    a_counter_never_falls_below_zero,
    two_additions_to_one_counter_in_a_save_count_together,
    counters_in_a_refused_save_do_not_count,
    the_refusal_names_the_guard_that_does_not_hold,
    a_conflict_goes_before_a_refusal,
    a_refused_save_changes_nothing,
    a_refused_save_does_not_fail_those_handed_in_with_it,
    guards_see_the_saves_handed_in_before,
);

fn guarded(guards: Vec<Guard>, rows: Vec<Row>) -> Save {
    Save { guards, rows, ..Save::default() }
}

async fn count(store: &dyn Store, counter: &str) -> Option<i64> {
    let value = store.row(&row_key(9, counter)).await.unwrap()?;
    Some(i64::from_be_bytes(value.as_ref().try_into().unwrap()))
}

async fn a_row_that_must_be_absent_refuses_the_second_claim(store: &dyn Store) {
    let claim = |who| guarded(vec![Guard::Absent(row_key(1, "name"))], vec![row(1, "name", who)]);
    assert_eq!(store.save(claim("first")).await, Outcome::Saved);
    assert_eq!(store.save(claim("second")).await, Outcome::Refused(0));
    assert_eq!(store.row(&row_key(1, "name")).await.unwrap().unwrap(), "first");
    store.save(guarded(vec![], vec![no_row(1, "name")])).await;
    assert_eq!(store.save(claim("third")).await, Outcome::Saved);
}

async fn a_row_that_must_be_present_refuses_until_it_is_there(store: &dyn Store) {
    let needs = || guarded(vec![Guard::Present(row_key(1, "parent"))], vec![row(1, "child", "")]);
    assert_eq!(store.save(needs()).await, Outcome::Refused(0));
    store.save(guarded(vec![], vec![row(1, "parent", "")])).await;
    assert_eq!(store.save(needs()).await, Outcome::Saved);
}

async fn a_counter_goes_to_its_limit_and_not_beyond(store: &dyn Store) {
    assert_eq!(store.save(guarded(vec![add("seats", 2, 3)], vec![])).await, Outcome::Saved);
    assert_eq!(store.save(guarded(vec![add("seats", 2, 3)], vec![])).await, Outcome::Refused(0));
    assert_eq!(count(store, "seats").await, Some(2));
    assert_eq!(store.save(guarded(vec![add("seats", 1, 3)], vec![])).await, Outcome::Saved);
    assert_eq!(count(store, "seats").await, Some(3));
    assert_eq!(store.save(guarded(vec![add("seats", i64::MAX, 3)], vec![])).await, Outcome::Refused(0));
}

async fn a_counter_that_is_given_back_has_room_again(store: &dyn Store) {
    store.save(guarded(vec![add("seats", 3, 3)], vec![])).await;
    assert_eq!(store.save(guarded(vec![add("seats", -1, 3)], vec![])).await, Outcome::Saved);
    assert_eq!(store.save(guarded(vec![add("seats", 1, 3)], vec![])).await, Outcome::Saved);
    assert_eq!(count(store, "seats").await, Some(3));
}

async fn a_counter_never_falls_below_zero(store: &dyn Store) {
    store.save(guarded(vec![add("absent", -5, 3)], vec![])).await;
    assert_eq!(count(store, "absent").await, Some(0));
    store.save(guarded(vec![add("seats", 2, 3)], vec![])).await;
    store.save(guarded(vec![add("seats", i64::MIN, 3)], vec![])).await;
    assert_eq!(count(store, "seats").await, Some(0));
}

async fn two_additions_to_one_counter_in_a_save_count_together(store: &dyn Store) {
    let twice = |by| guarded(vec![add("seats", by, 3), add("other", 1, 9), add("seats", by, 3)], vec![]);
    assert_eq!(store.save(twice(2)).await, Outcome::Refused(2));
    assert_eq!(store.save(twice(1)).await, Outcome::Saved);
    assert_eq!((count(store, "seats").await, count(store, "other").await), (Some(2), Some(1)));
}

async fn counters_in_a_refused_save_do_not_count(store: &dyn Store) {
    let save = guarded(vec![add("seats", 1, 3), Guard::Present(row_key(1, "nothing"))], vec![]);
    assert_eq!(store.save(save).await, Outcome::Refused(1));
    assert_eq!(count(store, "seats").await, None);
}

async fn the_refusal_names_the_guard_that_does_not_hold(store: &dyn Store) {
    let absent = || Guard::Absent(row_key(1, "a"));
    let present = || Guard::Present(row_key(1, "a"));
    assert_eq!(store.save(guarded(vec![present(), absent()], vec![])).await, Outcome::Refused(0));
    assert_eq!(store.save(guarded(vec![absent(), present()], vec![])).await, Outcome::Refused(1));
    assert_eq!(
        store.save(guarded(vec![absent(), absent(), add("seats", 1, 0)], vec![])).await,
        Outcome::Refused(2)
    );
}

async fn a_conflict_goes_before_a_refusal(store: &dyn Store) {
    let save = Save { guards: vec![Guard::Present(row_key(1, "nothing"))], ..change(1, 5).into() };
    assert_eq!(store.save(save).await, Outcome::Conflict);
}

/// A save of everything, whose last guard does not hold.
fn refused(number: u8) -> Save {
    Save {
        changes: vec![change(number, 0)],
        guards: vec![add("seats", 1, 100), Guard::Present(row_key(1, "nothing"))],
        rows: vec![row(1, "kept", "overwritten"), no_row(1, "also kept")],
        audit: vec![draft(crate::kit::FIRST, "never happened")],
        nudges: vec![key(1)],
    }
}

async fn a_refused_save_changes_nothing(store: &dyn Store) {
    let rows = vec![row(1, "kept", "here"), row(1, "also kept", "here")];
    store.save(Save { rows, audit: vec![draft(crate::kit::FIRST, "happened")], ..change(1, 0).into() }).await;
    let before = all_of(store).await;
    assert_eq!(store.save(refused(2)).await, Outcome::Refused(1));
    assert_eq!(all_of(store).await, before);
}

async fn a_refused_save_does_not_fail_those_handed_in_with_it(store: &dyn Store) {
    let log = |body| Save { audit: vec![draft(crate::kit::FIRST, body)], ..Save::default() };
    let saves =
        vec![log("one"), refused(1), change(1, 0).into(), change(1, 0).into(), refused(2), log("two")];
    let outcomes = save_all(store, saves).await;
    let (done, refused) = (Outcome::Saved, Outcome::Refused(1));
    assert_eq!(outcomes, [done, refused, done, Outcome::Conflict, refused, done]);
    let links = store.audit(crate::kit::FIRST, 1, 10).await.unwrap();
    assert_eq!(
        links.iter().map(|link| (link.seq, &link.body[..])).collect::<Vec<_>>(),
        [(1, &b"one"[..]), (2, b"two")]
    );
    assert_eq!(store.keys(None, 10).await.unwrap(), [key(1)]);
    assert_eq!(count(store, "seats").await, None);
}

async fn guards_see_the_saves_handed_in_before(store: &dyn Store) {
    let saves = (0..5).map(|_| guarded(vec![add("seats", 1, 3)], vec![])).collect();
    let outcomes = save_all(store, saves).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Saved).count(), 3);
    assert_eq!(count(store, "seats").await, Some(3));
}
