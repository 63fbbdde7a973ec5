//! A disk that fails after the n-th write or sync, for every n: what was answered is there, and nothing is
//! half there.

use std::{
    io,
    sync::{Mutex, MutexGuard},
};

use super::*;
use crate::{
    kit::{change, save_all, story},
    memory::{Disk as Model, MemoryStore},
};

/// Something done since the last sync.
#[derive(Clone, Debug)]
enum Done {
    Wrote(u64, Vec<u8>),
    Resized(u64),
}

impl Done {
    fn on(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Resized(len) => bytes.resize(usize::try_from(*len).unwrap(), 0),
            Self::Wrote(offset, data) => {
                let from = usize::try_from(*offset).unwrap();
                bytes.resize(bytes.len().max(from + data.len()), 0);
                bytes[from..from + data.len()].copy_from_slice(data);
            }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    since: Vec<Done>,
    steps_left: u32,
    failed: bool,
}

/// A disk that does so many writes, resizes and syncs and no more.
#[derive(Clone, Debug, Default)]
struct Failing(Arc<Mutex<State>>);

impl Failing {
    fn after(steps_left: u32) -> Self {
        Self::of(Vec::new(), steps_left)
    }

    fn of(bytes: Vec<u8>, steps_left: u32) -> Self {
        Self(Arc::new(Mutex::new(State { synced: bytes.clone(), bytes, steps_left, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn step(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.failed |= state.steps_left == 0;
        if state.failed {
            return Err(io::Error::other("this disk fails on purpose"));
        }
        state.steps_left -= 1;
        Ok(state)
    }

    fn does(&self, done: Done) -> io::Result<()> {
        let mut state = self.step()?;
        done.on(&mut state.bytes);
        state.since.push(done);
        Ok(())
    }

    /// What may be on the disk after a power cut: all of it, what was synced, or some of what was done since.
    fn survivors(&self, seed: u32) -> [(&'static str, Vec<u8>); 4] {
        let state = self.state();
        let some = |salt: u32| {
            let mut bytes = state.synced.clone();
            let kept = (0_u32..).zip(&state.since).filter(|(place, _)| {
                let mixed = (place.wrapping_mul(0x9E37_79B9) ^ seed.wrapping_mul(0x85EB_CA6B) ^ salt)
                    .wrapping_mul(0xC2B2_AE35);
                mixed >> 31 == 1
            });
            kept.for_each(|(_, done)| done.on(&mut bytes));
            bytes
        };
        [
            ("all", state.bytes.clone()),
            ("synced", state.synced.clone()),
            ("some", some(1)),
            ("some others", some(2)),
        ]
    }
}

impl StorageBackend for Failing {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().bytes.len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        let state = self.state();
        out.copy_from_slice(state.bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.does(Done::Resized(len))
    }
    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.step()?;
        state.synced = state.bytes.clone();
        state.since.clear();
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.does(Done::Wrote(offset, data.to_vec()))
    }
}

fn options() -> Options {
    Options { cache_bytes: 1 << 20, ..Options::default() }
}

/// What the story shows after each of its saves, and before the first.
async fn moments() -> Vec<Vec<String>> {
    let model = MemoryStore::open(Model::default());
    let mut moments = vec![all_of(&model).await];
    for (save, _) in story().into_iter().flatten() {
        model.save(save).await;
        moments.push(all_of(&model).await);
    }
    moments
}

/// Plays the story until it fails; says how many saves were answered and how many handed in.
async fn play(store: &RedbStore) -> (usize, usize) {
    let (mut answered, mut handed_in) = (0, 0);
    for group in story() {
        let (saves, expected): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        handed_in += saves.len();
        let outcomes = save_all(store, saves).await;
        let told = outcomes.iter().take_while(|outcome| **outcome != Outcome::Unknown).count();
        assert_eq!(outcomes[..told], expected[..told]);
        assert!(
            outcomes[told..].iter().all(|outcome| *outcome == Outcome::Unknown),
            "answered after a failure: {outcomes:?}"
        );
        answered += told;
        if told < outcomes.len() {
            assert_eq!(store.save(change(200, 0).into()).await, Outcome::Unknown);
            assert!(*store.dead().wait_for(|dead| *dead).await.unwrap());
            break;
        }
    }
    (answered, handed_in)
}

#[tokio::test]
async fn whenever_the_disk_fails_what_was_saved_is_there_and_nothing_is_half_there() {
    let moments = moments().await;
    let first = Failing::after(u32::MAX);
    drop(RedbStore::open_backend(first.clone(), &options()).unwrap());
    let empty = first.state().bytes.clone();
    for steps in 0.. {
        let disk = Failing::of(empty.clone(), steps);
        let (answered, handed_in) = match RedbStore::open_backend(disk.clone(), &options()) {
            Ok(store) => play(&store).await,
            Err(refusal) => {
                assert!(matches!(refusal, StoreError::Io { .. }), "not what the disk said: {refusal:?}");
                (0, 0)
            }
        };
        for (what, bytes) in disk.survivors(steps) {
            let store = RedbStore::open_backend(Failing::of(bytes, u32::MAX), &options()).unwrap();
            let found = all_of(&store).await;
            let possible = &moments[answered..=handed_in];
            assert!(possible.contains(&found), "after {steps} steps {what} shows neither: {found:#?}");
        }
        if !disk.state().failed {
            assert_eq!(handed_in, moments.len() - 1);
            assert!(steps > 100, "the story takes {steps} steps only");
            return;
        }
    }
}

#[tokio::test]
async fn a_store_that_survived_a_failure_goes_on() {
    let whole = MemoryStore::open(Model::default());
    kit::tell(&whole).await;
    let first = Failing::after(u32::MAX);
    drop(RedbStore::open_backend(first.clone(), &options()).unwrap());
    let empty = first.state().bytes.clone();
    for steps in 0..40 {
        let disk = Failing::of(empty.clone(), steps * 3);
        let Ok(store) = RedbStore::open_backend(disk.clone(), &options()) else { continue };
        play(&store).await;
        drop(store);
        let [_, (_, synced), ..] = disk.survivors(steps);
        let store = RedbStore::open_backend(Failing::of(synced, u32::MAX), &options()).unwrap();
        let mut version = store.header(kit::key(1)).await.unwrap().map_or(0, |header| header.version);
        for _ in 0..3 {
            assert_eq!(store.save(change(1, version).into()).await, Outcome::Saved);
            version += 1;
        }
        assert_eq!(store.header(kit::key(1)).await.unwrap().unwrap().version, version);
    }
}

#[test]
fn a_disk_that_fails_while_the_file_is_made_is_told_and_holds_no_half_store() {
    for steps in 0.. {
        let disk = Failing::after(steps);
        let opened = RedbStore::open_backend(disk.clone(), &options()).map(drop);
        if opened.is_ok() && !disk.state().failed {
            return;
        }
        for (_, bytes) in disk.survivors(steps) {
            match RedbStore::open_backend(Failing::of(bytes, u32::MAX), &options()) {
                Ok(_) | Err(StoreError::Damaged { .. }) => (),
                Err(other) => panic!("after {steps} steps: {other:?}"),
            }
        }
    }
}
