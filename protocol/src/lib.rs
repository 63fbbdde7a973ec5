//! The contract: every type that crosses the wire, and nothing that knows how it is served.
//!
//! One module per area of the API, in the order of the reference. Saved state is not a wire type: the
//! machines of `cendriix-actors` keep their own structs and become these through one `From`, so that each
//! side can change alone.
#![warn(missing_docs)]

pub mod agent_steps;
pub mod api_keys;
pub mod entities;
pub mod error;
pub mod identity;
pub mod ids;
pub mod json;
pub mod model_router;
pub mod money;
pub mod orchestrator;
pub mod page;
pub mod runs;
pub mod tickets;
pub mod time;
pub mod workflows;
pub mod workspaces;
