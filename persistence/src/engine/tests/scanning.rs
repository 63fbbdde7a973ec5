//! Rows in order, and that a scan never leaves its prefix: a tenant's rows are told apart by nothing else.

use std::ops::Bound;

use super::on_both_engines;
use crate::{
    kit::{no_row, row},
    store::{Row, RowKey, Save, Scan, Store},
};

on_both_engines!(
    a_prefix_has_its_rows_in_order_and_no_others,
    newest_first_turns_the_order_and_goes_on_before_the_cursor,
    a_cursor_outside_the_prefix_shows_no_row_of_another,
    a_prefix_of_the_highest_bytes_has_an_end,
    spaces_do_not_mix,
    rows_between_bounds_are_read_either_way,
    bounds_that_exclude_everything_read_nothing,
    a_row_is_overwritten_and_deleted,
    an_empty_key_and_an_empty_value_are_a_row,
);

async fn keys(store: &dyn Store, scan: Scan) -> Vec<String> {
    let found = store.rows(scan).await.unwrap();
    found.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect()
}

async fn put(store: &dyn Store, rows: Vec<Row>) {
    store.save(Save { rows, ..Save::default() }).await;
}

/// Three tenants' rows, and in spaces beside theirs more of the same names.
async fn tenants(store: &dyn Store) {
    for space in [3, 4, 5] {
        put(store, ["a/1", "a/2", "b/1", "b/2", "b/3", "c/1", "c/2"].map(|name| row(space, name, "")).into())
            .await;
    }
}

async fn a_prefix_has_its_rows_in_order_and_no_others(store: &dyn Store) {
    tenants(store).await;
    assert_eq!(keys(store, Scan::prefix(4, b"b/", 10)).await, ["b/1", "b/2", "b/3"]);
    assert_eq!(keys(store, Scan::prefix(4, b"b/", 2)).await, ["b/1", "b/2"]);
    assert_eq!(keys(store, Scan::prefix(4, b"b/", 0)).await, [""; 0]);
    assert_eq!(keys(store, Scan::prefix(4, b"d/", 10)).await, [""; 0]);
    assert_eq!(keys(store, Scan::prefix(4, b"", 10)).await.len(), 7);
}

async fn newest_first_turns_the_order_and_goes_on_before_the_cursor(store: &dyn Store) {
    tenants(store).await;
    let page =
        |cursor: Option<&str>, limit| Scan::prefix(4, b"b/", limit).newest_first(cursor.map(Into::into));
    assert_eq!(keys(store, page(None, 10)).await, ["b/3", "b/2", "b/1"]);
    assert_eq!(keys(store, page(None, 2)).await, ["b/3", "b/2"]);
    assert_eq!(keys(store, page(Some("b/2"), 2)).await, ["b/1"]);
    assert_eq!(keys(store, page(Some("b/25"), 2)).await, ["b/2", "b/1"]);
    assert_eq!(keys(store, page(Some("b/1"), 2)).await, [""; 0]);
}

async fn a_cursor_outside_the_prefix_shows_no_row_of_another(store: &dyn Store) {
    tenants(store).await;
    let page = |cursor: &[u8]| Scan::prefix(4, b"b/", 10).newest_first(Some(cursor.into()));
    for below in [&b""[..], b"a/2", b"a/9", b"b", b"b/", b"\0"] {
        assert_eq!(keys(store, page(below)).await, [""; 0], "{below:?}");
    }
    for above in [&b"b0"[..], b"b/\xff\xff", b"c", b"c/1", b"c/2", b"\xff\xff\xff\xff"] {
        assert_eq!(keys(store, page(above)).await, ["b/3", "b/2", "b/1"], "{above:?}");
    }
}

async fn a_prefix_of_the_highest_bytes_has_an_end(store: &dyn Store) {
    let at = |space, key: &[u8]| Row { key: RowKey { space, key: key.into() }, value: Some("".into()) };
    put(
        store,
        vec![
            at(254, b"\xff\xff"),
            at(255, b"\xfe"),
            at(255, b"\xff"),
            at(255, b"\xff\xff\x01"),
            at(0, b"\xff\xff"),
        ],
    )
    .await;
    let read =
        async |scan| store.rows(scan).await.unwrap().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(read(Scan::prefix(254, b"\xff", 10)).await, [b"\xff\xff"]);
    assert_eq!(read(Scan::prefix(0, b"\xff\xff", 10)).await, [b"\xff\xff"]);
    assert_eq!(read(Scan::prefix(255, b"\xff", 10)).await, [&b"\xff"[..], b"\xff\xff\x01"]);
    assert_eq!(
        read(Scan::prefix(255, b"\xff", 10).newest_first(None)).await,
        [&b"\xff\xff\x01"[..], b"\xff"]
    );
    assert_eq!(
        read(Scan::prefix(254, b"\xff", 10).newest_first(Some(b"\xff\xff\xff".into()))).await,
        [b"\xff\xff"]
    );
    assert_eq!(read(Scan::prefix(255, b"\xff", 10).newest_first(Some(b"\xff\xff".into()))).await, [b"\xff"]);
}

async fn spaces_do_not_mix(store: &dyn Store) {
    tenants(store).await;
    put(store, vec![no_row(4, "b/2")]).await;
    assert_eq!(keys(store, Scan::prefix(3, b"b/", 10)).await, ["b/1", "b/2", "b/3"]);
    assert_eq!(keys(store, Scan::prefix(4, b"b/", 10)).await, ["b/1", "b/3"]);
    let all = Scan { space: 4, from: Bound::Unbounded, to: Bound::Unbounded, reverse: false, limit: 100 };
    assert_eq!(keys(store, all.clone()).await.len(), 6);
    assert_eq!(keys(store, Scan { reverse: true, ..all }).await.len(), 6);
}

async fn rows_between_bounds_are_read_either_way(store: &dyn Store) {
    use Bound::{Excluded, Included, Unbounded};
    tenants(store).await;
    let read = async |from: Bound<&str>, to: Bound<&str>, reverse| {
        let scan = Scan { space: 4, from: from.map(Into::into), to: to.map(Into::into), reverse, limit: 10 };
        keys(store, scan).await
    };
    assert_eq!(read(Excluded("b/1"), Included("c/1"), false).await, ["b/2", "b/3", "c/1"]);
    assert_eq!(read(Included("b/1"), Excluded("c/1"), true).await, ["b/3", "b/2", "b/1"]);
    assert_eq!(read(Unbounded, Included("a/2"), true).await, ["a/2", "a/1"]);
    assert_eq!(read(Excluded("c/1"), Unbounded, false).await, ["c/2"]);
}

async fn bounds_that_exclude_everything_read_nothing(store: &dyn Store) {
    use Bound::{Excluded, Included};
    tenants(store).await;
    let bounds = [
        (Included("c/1"), Included("a/1")),
        (Excluded("b/1"), Excluded("b/1")),
        (Included("b/1"), Excluded("b/1")),
        (Excluded("b/1"), Included("b/1")),
        (Excluded("c/1"), Excluded("a/1")),
    ];
    for (from, to) in bounds {
        for reverse in [false, true] {
            let scan =
                Scan { space: 4, from: from.map(Into::into), to: to.map(Into::into), reverse, limit: 10 };
            assert_eq!(keys(store, scan).await, [""; 0]);
        }
    }
}

async fn a_row_is_overwritten_and_deleted(store: &dyn Store) {
    let name = crate::kit::row_key(1, "a");
    put(store, vec![row(1, "a", "one")]).await;
    put(store, vec![row(1, "a", "two")]).await;
    assert_eq!(store.row(&name).await.unwrap().unwrap(), "two");
    put(store, vec![no_row(1, "a"), no_row(1, "never there")]).await;
    assert_eq!(store.row(&name).await.unwrap(), None);
}

async fn an_empty_key_and_an_empty_value_are_a_row(store: &dyn Store) {
    put(store, vec![row(0, "", ""), row(255, "", "")]).await;
    for space in [0, 255] {
        assert_eq!(store.row(&crate::kit::row_key(space, "")).await.unwrap().unwrap(), "");
        assert_eq!(keys(store, Scan::prefix(space, b"", 10)).await, [""]);
    }
}
