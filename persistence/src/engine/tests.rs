//! What every engine must do, run on each.

mod counting;
mod entities;
mod logging;
mod same;
mod scanning;

/// Makes of each behaviour a test on either engine.
macro_rules! on_both_engines {
    ($($behaviour:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $behaviour() {
                super::$behaviour(&crate::memory::MemoryStore::open(crate::memory::Disk::default())).await;
            })+
        }
        mod redb {
            $(#[tokio::test]
            async fn $behaviour() {
                super::$behaviour(&crate::engine::tests::redb_in_memory()).await;
            })+
        }
    };
}
use on_both_engines;

fn redb_in_memory() -> crate::redb::RedbStore {
    let options = crate::redb::Options { cache_bytes: 1 << 20, ..Default::default() };
    crate::redb::RedbStore::open_backend(::redb::backends::InMemoryBackend::new(), &options).unwrap()
}
