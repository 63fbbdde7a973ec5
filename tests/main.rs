//! The one test binary: black box over 127.0.0.1, and the repository's own rules.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod api;
mod cli;
mod conventions;
mod crash;
mod disk;
mod kit;
mod listener;
mod openapi;
mod openness;
mod operating;
mod remote;
mod run;
mod sandbox;
mod streams;
mod tidy;
mod tidy_dependencies;
mod tools;
mod unheld;
