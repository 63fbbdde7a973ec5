//! The machine: its clock, how many files may be open, and which program this is.

use cendriix_actors::kit::Clock;
use nix::sys::resource::{Resource, getrlimit};

use super::{Finding, beside};
use crate::{config::Config, data_dir::DataDir, version::VERSION};

/// Files that are open beside those of clients: the store, logs, work trees, commands.
const FILES_BESIDE: u64 = 1_024;

/// A moment that has certainly passed, in milliseconds since 1970: January 2026.
const PASSED_MS: u64 = 1_767_225_600_000;

/// How far a file may be ahead of the clock, in milliseconds.
const AHEAD_MS: u64 = 60_000;

/// Looks at the machine.
pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let (store, connections) = (DataDir::at(&config.storage.data).store(), config.server.connections_max);
    beside("machine", move || {
        let written = std::fs::metadata(store).and_then(|file| file.modified()).ok();
        let written = written.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let written_ms = written.and_then(|since| u64::try_from(since.as_millis()).ok());
        let connections = u64::try_from(connections).unwrap_or(u64::MAX);
        vec![clock(Clock::system().now().0, written_ms), files(connections), program()]
    })
    .await
}

fn clock(now_ms: u64, written_ms: Option<u64>) -> Finding {
    const NAME: &str = "clock";
    const MEND: &str = "set the clock, and keep it set (Debian: apt-get install chrony)";
    if now_ms < PASSED_MS {
        return Finding::bad(NAME, "the clock stands before 2026, so tokens and deadlines are wrong", MEND);
    }
    match written_ms {
        Some(written) if written > now_ms + AHEAD_MS => {
            let minutes = (written - now_ms) / 60_000;
            Finding::weak(NAME, format!("the database was written {minutes} minutes in the future"), MEND)
        }
        Some(_) | None => Finding::good(NAME, "it does not contradict the data"),
    }
}

fn files(connections: u64) -> Finding {
    const NAME: &str = "open files";
    let wanted = connections.saturating_add(FILES_BESIDE);
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, _)) if soft >= wanted => {
            Finding::good(NAME, format!("{soft} may be open, enough for {connections} connections"))
        }
        Ok((soft, hard)) => {
            let mend = if hard >= wanted {
                format!("raise it before the start: ulimit -n {wanted} (systemd: LimitNOFILE={wanted})")
            } else {
                format!(
                    "lower server.connections_max to {}, or raise the limit (systemd: LimitNOFILE={wanted})",
                    soft.saturating_sub(FILES_BESIDE).max(1)
                )
            };
            let said =
                format!("{soft} may be open, too few for {connections} connections (server.connections_max)");
            Finding::weak(NAME, said, mend)
        }
        Err(error) => Finding::weak(NAME, format!("the limit cannot be read: {error}"), "look at ulimit -n"),
    }
}

fn program() -> Finding {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Finding::good("program", format!("cendriix {VERSION}, kernel {}", kernel.trim()))
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    #[test]
    fn a_clock_that_contradicts_what_is_known_is_told() {
        assert_eq!(clock(0, None).verdict, Verdict::Bad);
        assert_eq!(clock(PASSED_MS, Some(PASSED_MS)).verdict, Verdict::Good);
        let ahead = clock(PASSED_MS, Some(PASSED_MS + 600_000));
        assert_eq!((ahead.verdict, ahead.said.contains("10 minutes")), (Verdict::Weak, true));
    }

    #[test]
    fn too_few_files_are_told_with_what_to_do() {
        assert_eq!(files(0).name, "open files");
        let found = files(u64::MAX);
        assert!(found.mend.unwrap().contains("connections_max"));
    }
}
