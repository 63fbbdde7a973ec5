//! One module per area, tests named as sentences.

mod agent_steps;
mod api_keys;
mod entities;
mod identity;
mod limits;
mod model_router;
mod oidc;
mod operations;
mod orchestrator;
mod runs;
mod workflows;
mod workspaces;
