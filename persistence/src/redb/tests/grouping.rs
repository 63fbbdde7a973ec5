//! Group commit: saves that wait together share one sync, and a writer that ends is told to all.

use std::{
    io,
    sync::{Mutex, mpsc},
};

use ::redb::backends::InMemoryBackend;

use super::*;
use crate::{
    kit::{add, change, key, save_all},
    store::Guard,
};

/// What happens at the next sync.
#[derive(Debug)]
enum AtSync {
    Pass,
    /// Says that it was reached, and waits to be let go.
    Wait(mpsc::Sender<()>, mpsc::Receiver<()>),
    Panic,
}

/// Memory whose next sync can be held up.
#[derive(Clone, Debug)]
struct Held {
    memory: Arc<InMemoryBackend>,
    at_sync: Arc<Mutex<AtSync>>,
}

impl Held {
    fn new() -> Self {
        Self { memory: Arc::new(InMemoryBackend::new()), at_sync: Arc::new(Mutex::new(AtSync::Pass)) }
    }

    fn open(&self) -> RedbStore {
        RedbStore::open_backend(self.clone(), &Options::default()).unwrap()
    }

    fn next(&self, at_sync: AtSync) {
        *self.at_sync.lock().unwrap() = at_sync;
    }
}

impl StorageBackend for Held {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.memory.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.memory.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        let at_sync = std::mem::replace(&mut *self.at_sync.lock().unwrap(), AtSync::Pass);
        match at_sync {
            AtSync::Pass => Ok(()),
            AtSync::Wait(reached, go) => {
                reached.send(()).unwrap();
                go.recv().map_err(io::Error::other)
            }
            AtSync::Panic => panic!("this backend panics on purpose"),
        }
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.memory.write(offset, data)
    }
}

/// Hands in `first`, and all of `rest` while it is being synced.
async fn while_syncing(
    held: &Held,
    store: &RedbStore,
    first: Save,
    rest: Vec<Save>,
) -> (Outcome, Vec<Outcome>) {
    let (reached, at_sync) = mpsc::channel();
    let (go, let_go) = mpsc::channel();
    held.next(AtSync::Wait(reached, let_go));
    let (first, (), rest, ()) = tokio::join!(
        biased;
        store.save(first),
        async { at_sync.recv().unwrap() },
        save_all(store, rest),
        async { go.send(()).unwrap() },
    );
    (first, rest)
}

#[tokio::test]
async fn saves_that_wait_for_a_commit_share_the_next_one() {
    let held = Held::new();
    let store = held.open();
    let rest = (1..101).map(|number| change(number, 0).into()).collect();
    let (first, rest) = while_syncing(&held, &store, change(0, 0).into(), rest).await;
    assert_eq!(first, Outcome::Saved);
    assert_eq!(rest, [Outcome::Saved; 100]);
    assert_eq!(store.commits(), 2);
    assert_eq!(store.keys(None, 1000).await.unwrap().len(), 101);
}

#[tokio::test]
async fn saves_of_one_commit_see_each_other_in_their_order() {
    let held = Held::new();
    let store = held.open();
    let rest = vec![change(1, 0).into(), change(1, 1).into(), change(1, 1).into(), change(1, 2).into()];
    let (_, rest) = while_syncing(&held, &store, change(0, 0).into(), rest).await;
    assert_eq!(rest, [Outcome::Saved, Outcome::Saved, Outcome::Conflict, Outcome::Saved]);
    assert_eq!(store.header(key(1)).await.unwrap().unwrap().version, 3);
    assert_eq!(store.commits(), 2);
}

#[tokio::test]
async fn saves_that_are_all_refused_commit_nothing() {
    let held = Held::new();
    let store = held.open();
    let full = || Save { guards: vec![add("seats", 1, 0)], ..Save::default() };
    let absent = || Save { guards: vec![Guard::Present(kit::row_key(1, "no"))], ..Save::default() };
    let rest = vec![full(), change(9, 4).into(), absent()];
    let (_, rest) = while_syncing(&held, &store, change(0, 0).into(), rest).await;
    assert_eq!(rest, [Outcome::Refused(0), Outcome::Conflict, Outcome::Refused(0)]);
    assert_eq!(store.commits(), 1);
    assert_eq!(store.save(full()).await, Outcome::Refused(0));
    assert_eq!(store.commits(), 1);
}

#[tokio::test]
async fn a_barrier_waits_for_what_was_handed_in_before() {
    let held = Held::new();
    let store = held.open();
    let (reached, at_sync) = mpsc::channel();
    let (go, let_go) = mpsc::channel();
    held.next(AtSync::Wait(reached, let_go));
    let ((), (), second, ()) = tokio::join!(
        biased;
        async { assert_eq!(store.save(change(1, 0).into()).await, Outcome::Saved) },
        async { at_sync.recv().unwrap() },
        async {
            let (saved, ()) = tokio::join!(biased; store.save(change(2, 0).into()), store.barrier());
            saved
        },
        async { go.send(()).unwrap() },
    );
    assert_eq!(second, Outcome::Saved);
    assert_eq!(store.keys(None, 10).await.unwrap(), [key(1), key(2)]);
}

#[tokio::test]
async fn closing_waits_until_everything_handed_in_is_saved() {
    let held = Held::new();
    let store = held.open();
    // Handed in and then forgotten by whoever asked, as a request that was cut off.
    let mut forgotten: Vec<_> = (1..20).map(|number| store.save(change(number, 0).into())).collect();
    let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
    for save in &mut forgotten {
        assert!(save.as_mut().poll(context).is_pending() || store.commits() > 0);
    }
    drop(forgotten);
    drop(store);
    assert_eq!(held.open().keys(None, 100).await.unwrap().len(), 19);
}

#[tokio::test]
async fn a_sync_that_fails_answers_all_who_wait_with_unknown() {
    let held = Held::new();
    let store = held.open();
    let (reached, at_sync) = mpsc::channel();
    let (go, let_go) = mpsc::channel::<()>();
    held.next(AtSync::Wait(reached, let_go));
    let rest = (1..50).map(|number| change(number, 0).into()).collect();
    let (first, (), rest, ()) = tokio::join!(
        biased;
        store.save(change(0, 0).into()),
        async { at_sync.recv().unwrap() },
        save_all(&store, rest),
        async { drop(go) },
    );
    assert_eq!(first, Outcome::Unknown);
    assert_eq!(rest, [Outcome::Unknown; 49]);
    assert!(*store.dead().wait_for(|dead| *dead).await.unwrap());
    assert_eq!(store.save(change(99, 0).into()).await, Outcome::Unknown);
    store.barrier().await;
    assert_eq!(store.commits(), 0);
}

#[tokio::test]
async fn a_panic_in_the_engine_is_told_as_a_failed_commit_is() {
    let held = Held::new();
    let store = held.open();
    held.next(AtSync::Panic);
    assert_eq!(store.save(change(1, 0).into()).await, Outcome::Unknown);
    assert!(*store.dead().wait_for(|dead| *dead).await.unwrap());
    assert_eq!(store.save(change(1, 0).into()).await, Outcome::Unknown);
}

#[tokio::test]
async fn nobody_waits_for_ever_on_an_engine_that_is_ending() {
    for _ in 0..500 {
        let held = Held::new();
        let store = held.open();
        let (reached, at_sync) = mpsc::channel();
        let (go, let_go) = mpsc::channel::<()>();
        held.next(AtSync::Wait(reached, let_go));
        let failed = async { assert_eq!(store.save(change(0, 0).into()).await, Outcome::Unknown) };
        tokio::join!(biased; failed, async { at_sync.recv().unwrap() }, async { drop(go) });
        // The writer is on its way out.
        let saves = (1..8).map(|number| change(number, 0).into()).collect();
        assert_eq!(save_all(&store, saves).await, [Outcome::Unknown; 7]);
        store.barrier().await;
    }
}
