//! The runtime that every living area shares.
//!
//! - [`machine`]: what an area writes: a pure state machine.
//! - [`entity`]: the shell around one machine: decide, save, and only then memory, stream, work and answer.
//! - [`stored`]: how an entity stands in the store. [`failure`]: why a command did not take effect.
//! - [`shared`]: what all kinds of entities of a node have in common. [`directory`]: finds an entity or
//!   wakes it, one wake at a time, and puts idle ones to sleep.
//! - [`supervisor`]: brings crashed entities back with back-off, and parks those that keep crashing.
//! - [`stream`]: tells subscribers how far a journal has come. [`sweeper`]: wakes what is due, puts to sleep
//!   what is idle.
//! - [`meters`]: what is counted and measured.
//! - [`clock`]: time, ids and chance, through one handle. [`tasks`]: everything that runs beside an actor.

mod cause;
pub mod clock;
pub mod directory;
pub mod entity;
pub mod failure;
#[cfg(test)]
mod faulty;
pub mod machine;
pub mod meters;
pub mod order;
pub mod shared;
#[cfg(test)]
mod simulation;
pub mod stored;
pub mod stream;
pub mod supervisor;
pub mod sweeper;
pub mod tasks;
#[cfg(test)]
mod tests;

pub use cause::{Cause, RequestId};
pub use clock::Clock;
pub use directory::{Attachment, Entities, Order, Shown};
pub use entity::{Intent, Task, World};
pub use failure::Failure;
pub use machine::{Actor, Effect, Given, Lost, Machine, Records, Wanted};
pub use meters::Meters;
pub use stored::Journaled;
