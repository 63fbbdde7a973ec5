//! What operators use: the configuration, `doctor`, logs, metrics, the page of the API.

mod command_line;
mod logs;
mod metrics;
mod page;
