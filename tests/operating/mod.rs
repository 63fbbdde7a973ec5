//! What operators use: the configuration, `doctor`, metrics, the page of the API.

mod command_line;
mod metrics;
mod page;
