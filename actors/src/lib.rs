//! The mind: what the product does, without a word about HTTP.
//!
//! ```text
//! System ─┬─ supervisor of runs ── one actor per run that is awake
//!         ├─ supervisor of models ── one worker per model of an endpoint
//!         ├─ sweeper (wakes what is due, puts to sleep what is idle)
//!         └─ tasks (work of entities, ended with them)
//! ```
//!
//! Living areas ([`runs`]) are machines in the shell of [`kit`]; kept areas ([`workspaces`], [`workflows`],
//! [`identity`], [`api_keys`]) are records and checks on them.

pub mod agent_steps;
pub mod api_keys;
pub mod audit;
pub mod caller;
pub mod content;
pub mod egress;
pub mod entities;
pub mod error;
#[cfg(test)]
mod golden;
pub mod idempotency;
pub mod identity;
pub mod kinds;
pub mod kit;
pub mod metering;
pub mod model_router;
pub mod orchestrator;
pub mod rate_limits;
pub mod reason;
pub mod repositories;
pub mod runs;
pub mod sandboxes;
pub mod secret;
pub mod system;
pub mod verify;
pub mod workflows;
pub mod workspaces;

pub use error::Error;
pub use system::{Settings, System};
