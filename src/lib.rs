//! The door: everything that knows HTTP and the command line, and nothing that knows how a run works.

pub mod app;
pub mod cli;
pub mod config;
pub mod data_dir;
pub mod doctor;
pub mod http;
pub mod server;
pub mod telemetry;
pub mod version;

pub use config::Config;
pub use server::Server;
