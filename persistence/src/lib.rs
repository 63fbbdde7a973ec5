//! The memory: storage engines behind one trait, and nothing that knows what a run is.
//!
//! - [`store`]: the trait [`Store`](store::Store), and what is saved and read: changes, guards, rows, audit
//!   drafts.
//! - [`engine`]: what a save does, written once over any ordered tables.
//! - [`redb`]: the embedded engine: one writer with group commit, reads beside it, online copies.
//! - [`memory`]: the same engine on maps, for tests in virtual time.
//! - [`chain`]: the hash chain of the audit log. [`blobs`]: large things, by their content. [`placement`]:
//!   who owns an id.
//! - [`verify`]: proves from what is on disk that nothing is missing.

pub mod blobs;
pub mod chain;
pub mod codec;
pub mod engine;
mod folders;
#[cfg(test)]
mod kit;
pub mod memory;
pub mod placement;
pub mod redb;
pub mod store;
pub mod verify;

pub use store::{Store, StoreError};
