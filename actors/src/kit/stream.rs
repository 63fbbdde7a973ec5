//! How far each journal has come, for those who follow it.
//!
//! The hub carries only the highest saved `seq`; a follower is a cursor over the journal. So there is no gap,
//! no reorder and no loss, whatever happens between a save and the one who follows.

use std::sync::Arc;

use cendriix_persistence::store::Key;
use dashmap::DashMap;
use tokio::sync::watch;

/// The heads of the journals that somebody follows.
#[derive(Clone, Debug, Default)]
pub struct Hub(Arc<DashMap<Key, watch::Sender<u64>>>);

/// Follows one journal.
#[derive(Debug)]
pub struct Follower {
    hub: Hub,
    key: Key,
    head: watch::Receiver<u64>,
}

impl Hub {
    /// Says that events up to `seq` are saved.
    pub fn bump(&self, key: Key, seq: u64) {
        if let Some(head) = self.0.get(&key) {
            head.send_if_modified(|head| {
                let further = seq > *head;
                *head = seq.max(*head);
                further
            });
        }
    }

    /// Follows a journal from now on; read it once after this, then whenever [`Follower::moved`] returns.
    pub fn follow(&self, key: Key) -> Follower {
        let head = self.0.entry(key).or_insert_with(|| watch::Sender::new(0)).subscribe();
        Follower { hub: self.clone(), key, head }
    }

    /// How many journals are followed.
    pub fn followed(&self) -> usize {
        self.0.len()
    }
}

impl Follower {
    /// Waits until the journal has come further than when this returned last.
    pub async fn moved(&mut self) {
        // The sender lives in the hub as long as anybody follows.
        if self.head.changed().await.is_err() {
            futures::future::pending::<()>().await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // Ours is the receiver that is about to go.
        self.hub.0.remove_if(&self.key, |_, head| head.receiver_count() <= 1);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_follower_hears_of_what_is_saved_after_it_came_and_leaves_nothing_behind() {
        let hub = Hub::default();
        let key = Key { kind: 1, id: Uuid::from_u128(1) };
        hub.bump(key, 3);
        let mut follower = hub.follow(key);
        let other = hub.follow(key);
        hub.bump(key, 4);
        follower.moved().await;
        drop(other);
        assert_eq!(hub.followed(), 1);
        drop(follower);
        assert_eq!(hub.followed(), 0);
    }
}
