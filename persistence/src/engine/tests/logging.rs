//! The audit log: numbers without a gap and hashes that hold together, each workspace for itself.

use uuid::Uuid;

use super::on_both_engines;
use crate::{
    chain::{Head, Link},
    kit::{FIRST, SECOND, draft, save_all, sha256},
    store::{Draft, Save, Store},
};

on_both_engines!(
    each_workspace_has_a_chain_of_its_own_from_one,
    a_log_is_read_page_by_page,
    chains_go_on_when_their_ends_were_forgotten,
    logs_are_listed_by_workspace,
);

fn log(audit: Vec<Draft>) -> Save {
    Save { audit, ..Save::default() }
}

fn assert_whole(links: &[Link]) {
    let mut head = Head::default();
    for link in links {
        assert!(head.continues(link, &sha256(&link.body)), "breaks at {}", link.seq);
        head = Head { seq: link.seq, hash: link.hash };
    }
}

async fn each_workspace_has_a_chain_of_its_own_from_one(store: &dyn Store) {
    store.save(log(vec![draft(FIRST, "a"), draft(SECOND, "b"), draft(FIRST, "c")])).await;
    save_all(store, vec![log(vec![draft(SECOND, "d")]), log(vec![draft(FIRST, "e"), draft(SECOND, "f")])])
        .await;
    for (workspace, bodies) in [(FIRST, ["a", "c", "e"]), (SECOND, ["b", "d", "f"])] {
        let links = store.audit(workspace, 1, 10).await.unwrap();
        assert_eq!(links.iter().map(|link| link.seq).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(links.iter().map(|link| &link.body[..]).collect::<Vec<_>>(), bodies.map(str::as_bytes));
        assert_eq!(links[0].prev, [0; 32]);
        assert_whole(&links);
    }
}

async fn a_log_is_read_page_by_page(store: &dyn Store) {
    store.save(log((1..=7).map(|number| draft(FIRST, &number.to_string())).collect())).await;
    store.save(log(vec![draft(SECOND, "other")])).await;
    let numbers = async |from, limit| {
        store.audit(FIRST, from, limit).await.unwrap().iter().map(|link| link.seq).collect::<Vec<_>>()
    };
    assert_eq!(numbers(0, 2).await, [1, 2]);
    assert_eq!(numbers(1, 2).await, [1, 2]);
    assert_eq!(numbers(6, 9).await, [6, 7]);
    assert_eq!(numbers(8, 9).await, [0; 0]);
    assert_eq!(numbers(u64::MAX, 9).await, [0; 0]);
}

async fn chains_go_on_when_their_ends_were_forgotten(store: &dyn Store) {
    let many =
        |first: u128| log((first..first + 3000).map(|id| draft(Uuid::from_u128(id), "entry")).collect());
    for first in [1, 2000, 1] {
        store.save(many(first)).await;
    }
    for (id, expected) in [(1, 2), (1999, 2), (2500, 3), (4500, 1)] {
        let links = store.audit(Uuid::from_u128(id), 1, 10).await.unwrap();
        assert_eq!(links.len(), expected, "{id}");
        assert_whole(&links);
    }
}

async fn logs_are_listed_by_workspace(store: &dyn Store) {
    let last = Uuid::from_u128(u128::MAX);
    store.save(log(vec![draft(last, "z"), draft(SECOND, "b"), draft(FIRST, "a"), draft(SECOND, "c")])).await;
    assert_eq!(store.audited().await.unwrap(), [FIRST, SECOND, last]);
}
