//! The hidden subcommand that becomes a sandboxed command; see `cendriix_actors::sandboxes::confine`.

use std::process::ExitCode;

use cendriix_actors::sandboxes::confine;

/// Becomes a sandboxed command when that was asked for.
///
/// Must run before any thread is started and any file is opened.
pub(super) fn asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let is_asked = arguments.next().is_some_and(|name| name == confine::SUBCOMMAND);
    is_asked.then(|| ExitCode::from(confine::main(arguments)))
}
