//! What goes on in a step at this moment, for those who watch: pieces of text and output that nobody keeps.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::broadcast;
use uuid::Uuid;

/// How many pieces wait for a reader before the oldest are dropped.
const PIECES: usize = 256;

/// A piece of what goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// What the model writes.
    Text { text: String },
    /// What a command prints.
    Output { call: String, text: String },
}

/// Those who watch, by step. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Live(Arc<DashMap<Uuid, broadcast::Sender<Piece>>>);

/// Somebody who watches a step.
#[derive(Debug)]
pub struct Watcher {
    live: Live,
    step: Uuid,
    pieces: broadcast::Receiver<Piece>,
}

impl Live {
    /// Tells those who watch a step; nobody else is kept waiting for them.
    pub(super) fn tell(&self, step: Uuid, piece: Piece) {
        if let Some(watched) = self.0.get(&step) {
            // All of them may have gone this moment.
            watched.send(piece).ok();
        }
    }

    /// Watches a step from now on.
    pub(super) fn watch(&self, step: Uuid) -> Watcher {
        let pieces = self.0.entry(step).or_insert_with(|| broadcast::Sender::new(PIECES)).subscribe();
        Watcher { live: self.clone(), step, pieces }
    }
}

impl Watcher {
    /// The next piece; those that this reader was too slow for are gone.
    pub(super) async fn next(&mut self) -> Piece {
        loop {
            match self.pieces.recv().await {
                Ok(piece) => return piece,
                Err(broadcast::error::RecvError::Lagged(_)) => (),
                // The sender lives as long as anybody watches.
                Err(broadcast::error::RecvError::Closed) => futures::future::pending().await,
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Ours is the receiver that is about to go.
        self.live.0.remove_if(&self.step, |_, watched| watched.receiver_count() <= 1);
    }
}
