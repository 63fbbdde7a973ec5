//! The `git` program, which is asked only for what the library cannot: to talk to another server.
//!
//! **Invariant:** it sees no configuration, no helper, no hook and no variable that is not said here, and
//! what is secret never stands on its command line.
//! **Invariant:** while the server lives it ends, with all that it started: when it has ended by itself, at
//! its deadline, when it has taken too much of the disk, or when nobody waits for it any more. When the
//! server is killed, what it was asked may still happen; so a push names what it expects, and is looked for.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
    sync::OnceCell,
    time::{interval, timeout},
};

use super::{Failure, failure::io};

/// The first release that can be told which addresses a host has (`http.curloptResolve`).
const VERSION_MIN: (u32, u32) = (2, 37);
/// What to do where there is none.
const INSTALL: &str =
    "repositories that are given by address need the git program, 2.37 or later; install the package `git`";
/// The most that it may answer, in bytes.
const STDOUT_MAX: u64 = 16 << 20;
/// How much of what it says last is kept, in bytes.
const STDERR_KEPT: usize = 4 << 10;
/// How much of what it says is exchanged is kept, in bytes.
const TRACE_KEPT: usize = 1 << 20;
/// How often it is looked how much of the disk it takes.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Space that a fetch leaves to everybody else, in bytes.
const DISK_FREE_MIN: u64 = 256 << 20;
/// Nothing is read from there, and nothing is there.
const NOWHERE: &str = "/dev/null";

/// What holds for every call.
const SETTINGS: [(&str, &str); 23] = [
    // No other server than the one that was checked.
    ("http.followRedirects", "false"),
    ("http.proxy", ""),
    ("fetch.uriProtocols", ""),
    ("transfer.bundleURI", "false"),
    ("submodule.recurse", "false"),
    ("push.recurseSubmodules", "no"),
    // Nobody else's credentials.
    ("credential.helper", ""),
    ("core.askPass", ""),
    // No other programs.
    ("core.hooksPath", NOWHERE),
    ("core.fsmonitor", "false"),
    ("core.sshCommand", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    // What comes in is looked at, kept as one file that can be watched, and on the disk before it is relied
    // on.
    ("transfer.fsckObjects", "true"),
    // Harmless, and common in old histories.
    ("fetch.fsck.badTimezone", "warn"),
    ("fetch.fsck.missingSpaceBeforeDate", "warn"),
    ("fetch.fsck.zeroPaddedFilemode", "warn"),
    ("fetch.unpackLimit", "1"),
    ("core.fsync", "all"),
    ("push.followTags", "false"),
    ("push.gpgSign", "false"),
    // A server that stalls.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
];

/// The program, once it was found.
#[derive(Debug, Default)]
pub(super) struct Program {
    found: OnceCell<String>,
}

/// One call. It cannot be printed: its settings may be secret.
pub(super) struct Call<'c> {
    /// The repository on this disk, when it is about one.
    pub(super) repository: Option<&'c Path>,
    /// What it is asked; a command and its arguments.
    pub(super) arguments: Vec<String>,
    /// More settings, which may be secret.
    pub(super) settings: Vec<(String, String)>,
    /// The only protocol that it may speak.
    pub(super) protocol: &'c str,
    /// How long it may take.
    pub(super) within: Duration,
    /// The most bytes that the packs of the repository may take, when it may write any.
    pub(super) bytes_max: Option<u64>,
    /// Whether it says what is exchanged.
    pub(super) is_traced: bool,
}

/// What became of a call.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) succeeded: bool,
    pub(super) stdout: String,
    /// The end of what it said, without control characters.
    pub(super) said: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Silent {
    #[error("it took longer than {} s", .0.as_secs())]
    Late(Duration),
    #[error(
        "the repository takes more than {} MiB; the operator sets how much it may take with \
         repositories.remote_mib_max",
        .0 >> 20
    )]
    TooLarge(u64),
    #[error("the disk is nearly full; make space first")]
    DiskFull,
    #[error("the server says more than {} MiB about its branches", STDOUT_MAX >> 20)]
    TooMuch,
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Kills a process and all that it started, unless it has ended.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Nobody waited for the leader, so its number is still its own; it may have ended, though.
            let _has_ended = killpg(leader, Signal::SIGKILL);
        }
    }
}

impl Program {
    /// Makes sure that the program is there and knows what is asked of it.
    pub(super) async fn probe(&self) -> Result<(), Failure> {
        self.found.get_or_try_init(probe).await.map(drop)
    }

    /// Asks the program and waits for its answer.
    pub(super) async fn ask(&self, call: &Call<'_>) -> Result<Answer, Silent> {
        self.probe().await?;
        let mut command = command(call);
        let mut child = command.spawn().map_err(io("start the git program"))?;
        // Declared after the child, so that it goes first.
        let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let kept = if call.is_traced { TRACE_KEPT } else { STDERR_KEPT };
        let talk = async {
            let (stdout, said) = tokio::try_join!(whole(stdout), tail(stderr, kept))?;
            Ok::<_, Silent>((stdout, said, child.wait().await.map_err(io("wait for the git program"))?))
        };
        let (stdout, said, status) = tokio::select! {
            ended = timeout(call.within, talk) => ended.map_err(|_| Silent::Late(call.within))??,
            too_large = outgrown(call) => return Err(too_large),
        };
        group.0 = None;
        Ok(Answer { succeeded: status.success(), stdout, said })
    }
}

/// Finds out whether the program can be used, and which release it is.
///
/// # Errors
///
/// When there is none, or too old a one; says what to do.
pub async fn probe() -> Result<String, Failure> {
    let missing = |said: &str| Failure::Refused(format!("{INSTALL} ({said})"));
    let asked = bare().arg("version").output().await;
    let output = asked.map_err(|error| {
        let is_gone = error.kind() == ErrorKind::NotFound;
        if is_gone { missing("there is none on the server's PATH") } else { missing(&error.to_string()) }
    })?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match version(&said) {
        Some(version) if version >= VERSION_MIN => Ok(said),
        _ => Err(missing(&said)),
    }
}

/// Reads `git version 2.47.3`, whatever a distribution adds to it.
fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.strip_prefix("git version ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The program without anything of this process.
fn bare() -> Command {
    let mut command = Command::new("git");
    command
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .envs([("LC_ALL", "C"), ("HOME", NOWHERE), ("XDG_CONFIG_HOME", NOWHERE)])
        .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", NOWHERE), ("GIT_ATTR_NOSYSTEM", "1")])
        .envs([("GIT_TERMINAL_PROMPT", "0"), ("GIT_NO_LAZY_FETCH", "1"), ("GIT_PROTOCOL_FROM_USER", "0")])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

fn command(call: &Call<'_>) -> Command {
    let mut command = bare();
    // Said also where there is none, so that none is looked for in the folders around.
    command.env("GIT_DIR", call.repository.unwrap_or(Path::new(NOWHERE)));
    command.env("GIT_ALLOW_PROTOCOL", call.protocol);
    command.envs(call.is_traced.then_some(("GIT_TRACE_PACKET", "1")));
    let fixed = SETTINGS.iter().map(|(key, value)| (*key, *value));
    let more = call.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let mut count = 0;
    for (key, value) in fixed.chain(more) {
        command.env(format!("GIT_CONFIG_KEY_{count}"), key).env(format!("GIT_CONFIG_VALUE_{count}"), value);
        count += 1;
    }
    command.env("GIT_CONFIG_COUNT", count.to_string());
    command.args(&call.arguments);
    command
}

/// Reads an answer to its end.
async fn whole(pipe: Option<impl AsyncRead + Unpin>) -> Result<String, Silent> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let read = pipe.take(STDOUT_MAX + 1).read_to_end(&mut bytes).await;
        read.map_err(io("read what git answers"))?;
    }
    if bytes.len() as u64 > STDOUT_MAX {
        return Err(Silent::TooMuch);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads to the end and keeps the last of it, as text.
async fn tail(pipe: Option<impl AsyncRead + Unpin>, most: usize) -> Result<String, Silent> {
    let mut last = Vec::new();
    if let Some(mut pipe) = pipe {
        let mut part = [0; 1024];
        loop {
            match pipe.read(&mut part).await.map_err(io("read what git says"))? {
                0 => break,
                read => last.extend_from_slice(&part[..read]),
            }
            if last.len() > 2 * most {
                last.drain(..last.len() - most);
            }
        }
    }
    last.drain(..last.len().saturating_sub(most));
    let text = String::from_utf8_lossy(&last);
    Ok(text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect())
}

/// Returns once the packs of a repository take too much.
async fn outgrown(call: &Call<'_>) -> Silent {
    let (Some(packs), Some(bytes_max)) = (call.repository.map(packs), call.bytes_max) else {
        return std::future::pending().await;
    };
    let repository = call.repository.unwrap_or(Path::new("/"));
    let mut looks = interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        let packs = packs.clone();
        let bytes = tokio::task::spawn_blocking(move || size(&packs)).await.unwrap_or(0);
        if bytes > bytes_max {
            return Silent::TooLarge(bytes_max);
        }
        let is_full = |disk: rustix::fs::StatVfs| disk.f_bavail.saturating_mul(disk.f_frsize) < DISK_FREE_MIN;
        if rustix::fs::statvfs(repository).is_ok_and(is_full) {
            return Silent::DiskFull;
        }
    }
}

fn packs(repository: &Path) -> PathBuf {
    repository.join("objects/pack")
}

/// What the files of a folder take; they come and go meanwhile.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Removes what a call that was killed had begun to write; to be asked while no call goes on.
pub(super) fn sweep(repository: &Path) -> Result<(), Failure> {
    let folder = packs(repository);
    let failed = || io(format!("look for abandoned files in {}", folder.display()));
    for entry in fs::read_dir(&folder).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        if entry.file_name().to_string_lossy().starts_with("tmp_") {
            fs::remove_file(entry.path()).map_err(failed())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call<'c>(arguments: &[&str], within: Duration) -> Call<'c> {
        Call {
            repository: None,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            settings: vec![("a.secret".to_owned(), "hidden value".to_owned())],
            protocol: "https",
            within,
            bytes_max: Some(u64::MAX),
            is_traced: false,
        }
    }

    #[test]
    fn a_version_is_read_whatever_is_added_to_it() {
        for (said, found) in [
            ("git version 2.47.3", Some((2, 47))),
            ("git version 2.39.5 (Apple Git-154)", Some((2, 39))),
            ("git version 3.0.rc1", Some((3, 0))),
            ("git version 2", None),
            ("command not found", None),
        ] {
            assert_eq!(version(said), found, "{said}");
        }
    }

    #[tokio::test]
    async fn settings_reach_the_program_and_its_command_line_does_not_show_them() {
        let program = Program::default();
        let asked =
            call(&["config", "--get-regexp", "^(a|core)[.](secret|hookspath)$"], Duration::from_mins(1));
        let answer = program.ask(&asked).await.unwrap();
        assert!(answer.succeeded, "{}", answer.said);
        assert_eq!(answer.stdout, "core.hookspath /dev/null\na.secret hidden value\n");
        let shown = format!("{:?}", command(&asked).as_std().get_args().collect::<Vec<_>>());
        assert!(!shown.contains("hidden"), "{shown}");
    }

    #[tokio::test]
    async fn a_call_ends_at_its_deadline() {
        // An alias that is not said here does not exist; a server that never answers needs a socket only.
        let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x", deaf.local_addr().unwrap());
        let mut asked = call(&["ls-remote", "--", &url], Duration::from_millis(200));
        asked.protocol = "http";
        let silent = Program::default().ask(&asked).await.unwrap_err();
        assert!(matches!(silent, Silent::Late(_)), "{silent}");
        asked.protocol = "https";
        let refused = Program::default().ask(&asked).await.unwrap();
        assert!(!refused.succeeded && refused.said.contains("not allowed"), "{}", refused.said);
    }

    #[tokio::test]
    async fn a_repository_that_takes_too_much_ends_the_call() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(packs(folder.path())).unwrap();
        fs::write(packs(folder.path()).join("tmp_pack_1"), [0; 2_000]).unwrap();
        let mut fetch = call(&[], Duration::from_mins(1));
        (fetch.repository, fetch.bytes_max) = (Some(folder.path()), Some(1_999));
        let silent = outgrown(&fetch).await;
        assert!(matches!(silent, Silent::TooLarge(1_999)), "{silent}");
        sweep(folder.path()).unwrap();
        assert_eq!(size(&packs(folder.path())), 0);
    }
}
