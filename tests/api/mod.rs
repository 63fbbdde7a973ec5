//! One module per area, tests named as sentences.

mod identity;
mod model_router;
mod operations;
mod runs;
mod workflows;
mod workspaces;
