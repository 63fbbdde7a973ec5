//! Names by which a later server knows what a dead one left behind.

use std::{
    ffi::OsStr,
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::unistd::getpid;

/// What all names begin with.
const PREFIX: &str = "cendriix-";

/// Counts the names of this process, over all engines in it.
static GIVEN: AtomicU64 = AtomicU64::new(0);

/// A name that nothing else has; it holds the server's id, and when the server started.
pub(super) fn name() -> String {
    let (pid, number) = (getpid().as_raw(), GIVEN.fetch_add(1, Ordering::Relaxed));
    format!("{PREFIX}{pid}-{}-{number}", started(pid).unwrap_or(0))
}

/// Whether a name was given by a server that is gone, though another process may have its number.
pub(super) fn is_of_the_dead(name: &OsStr) -> bool {
    let owner = |name: &str| {
        let mut parts = name.strip_prefix(PREFIX)?.split('-');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    name.to_str().and_then(owner).is_some_and(|(pid, began)| started(pid) != Some(began))
}

/// When a process started, in ticks since boot.
fn started(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
