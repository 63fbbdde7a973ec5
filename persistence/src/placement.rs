//! Who owns an id.
//!
//! One node owns everything, always. In a cluster the owner of a shard is whoever holds its lease; areas only
//! ever ask this trait, so they need no change for it.

use uuid::Uuid;

/// Who may write an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This node, in that epoch; it goes with every save.
    Me {
        /// Grows with every change of owner.
        epoch: u64,
    },
    /// Another node, to which commands are forwarded.
    Node {
        /// Where it listens for other nodes, as `host:port`.
        address: String,
    },
}

/// Knows who owns an id.
pub trait Placement: std::fmt::Debug + Send + Sync + 'static {
    /// The owner of the shard that the id belongs to.
    fn owner(&self, id: Uuid) -> Owner;
}

/// A node on its own: everything is its.
#[derive(Clone, Copy, Debug)]
pub struct Alone {
    /// How often the store was opened.
    pub epoch: u64,
}

impl Placement for Alone {
    fn owner(&self, _id: Uuid) -> Owner {
        Owner::Me { epoch: self.epoch }
    }
}
