//! What is asked of a sandbox, and what comes back.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

/// The exit code of a command that could not be started; stderr says why.
pub const NOT_STARTED: i32 = 125;

/// What becomes of a command before it is executed needs this much memory.
const MEMORY_BYTES_MIN: u64 = 16 << 20;

/// Files as large as this are made before a command is executed.
const FILE_BYTES_MIN: u64 = 1 << 20;

/// How a command is kept from everything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Contained with the best that this machine has; refused where it has nothing.
    #[default]
    Local,
    /// Not contained at all: only limits, and an end to all it started. Never chosen by itself.
    None,
}

/// How much a command may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time on the wall; then everything it started is killed.
    pub wall: Duration,
    /// Memory of all its processes, temporary files included.
    pub memory_bytes: u64,
    /// Processes and threads at the same time.
    pub processes: u64,
    /// Seconds of processor time of all its processes.
    pub cpu_seconds: u64,
    /// The largest file it may write.
    pub file_bytes: u64,
    /// Space on the tree's disk that it must leave to everybody else; it is killed when less is free, whoever
    /// took it.
    pub disk_free_bytes: u64,
    /// Output that is passed on, of stdout and stderr together; the rest is read and forgotten.
    pub output_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(30),
            memory_bytes: 1 << 30,
            processes: 256,
            cpu_seconds: 60,
            file_bytes: 1 << 30,
            disk_free_bytes: 256 << 20,
            output_bytes: 1 << 20,
        }
    }
}

/// A command to run in a tree of files.
#[derive(Clone, Debug)]
pub struct ExecSpec {
    /// The directory that is the command's world: `/workspace` in bubblewrap, its own path otherwise.
    pub tree: PathBuf,
    /// The program and its arguments; no shell is put around them.
    pub argv: Vec<String>,
    /// Where it starts, relative to the tree.
    pub cwd: PathBuf,
    /// Variables beside the few that every command gets; nothing of the server's own is passed on.
    pub env: BTreeMap<String, String>,
    /// What it reads on stdin; nothing when absent.
    pub stdin: Option<Vec<u8>>,
    /// How much it may use.
    pub limits: Limits,
    /// How it is contained.
    pub mode: Mode,
    /// Ends it, and everything it started, when cancelled.
    pub stop: CancellationToken,
}

impl ExecSpec {
    /// A contained command at the top of `tree`, with the usual limits.
    pub fn new(tree: impl Into<PathBuf>, argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            tree: tree.into(),
            argv: argv.into_iter().map(Into::into).collect(),
            cwd: PathBuf::new(),
            env: BTreeMap::new(),
            stdin: None,
            limits: Limits::default(),
            mode: Mode::Local,
            stop: CancellationToken::new(),
        }
    }

    /// Refuses what no sandbox can run.
    pub(super) fn check(&self) -> Result<(), Error> {
        let invalid = |what: &str| Err(Error::Invalid(what.to_owned()));
        let name = |name: &String| {
            let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
            first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if self.argv.first().is_none_or(String::is_empty) {
            return invalid("the command is empty");
        }
        if self.argv.iter().chain(self.env.values()).any(|text| text.contains('\0')) {
            return invalid("an argument or a variable has a zero byte");
        }
        if !self.env.keys().all(name) {
            return invalid("the name of a variable is not made of letters, digits and underscores");
        }
        if !self.tree.is_absolute() {
            return invalid("the tree is not an absolute path");
        }
        if !self.cwd.as_os_str().is_empty() {
            super::files::beneath(&self.cwd).map_err(|error| Error::Invalid(format!("cwd: {error}")))?;
        }
        let Limits { wall, memory_bytes, processes, cpu_seconds, file_bytes, .. } = self.limits;
        if wall.is_zero() || processes == 0 || cpu_seconds == 0 {
            return invalid("a limit is zero");
        }
        if memory_bytes < MEMORY_BYTES_MIN || file_bytes < FILE_BYTES_MIN {
            return invalid(
                "a limit is less than what making the sandbox takes: 16 MiB of memory, files of 1 MiB",
            );
        }
        Ok(())
    }
}

/// A piece of what a command wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Stdout(Bytes),
    Stderr(Bytes),
}

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and several can be true")]
pub struct Exit {
    /// What it exited with; 128 and the signal's number when a signal ended it, [`NOT_STARTED`] when it never
    /// ran.
    pub code: Option<i32>,
    /// The signal that ended what watched over it.
    pub signal: Option<i32>,
    /// It was killed because its time on the wall was over.
    pub timed_out: bool,
    /// It was killed because its processor time was used up.
    pub out_of_cpu: bool,
    /// It was killed because the disk was nearly full.
    pub out_of_disk: bool,
    /// Not all of its output was passed on.
    pub truncated: bool,
    /// A process of it was killed because the memory was used up. Known only where memory is limited by a
    /// cgroup.
    pub out_of_memory: bool,
    /// From its start to the end of all its processes.
    pub duration: Duration,
}

impl Exit {
    /// Whether it ran to its own end and found nothing wrong.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

/// A command's whole output and how it ended.
#[derive(Clone, Debug)]
pub struct Finished {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit: Exit,
}

/// Why a command was not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked is not possible anywhere.
    #[error("{0}")]
    Invalid(String),
    /// This machine cannot contain it.
    #[error("this machine cannot contain a command: {0}")]
    Unavailable(String),
    /// The tree cannot be given to the command.
    #[error("the tree cannot be used: {0}")]
    Tree(String),
    /// It was stopped while it waited for its turn.
    #[error("it was stopped before it began")]
    Stopped,
    /// The attempt that the sandbox was for is over.
    #[error("the sandbox was terminated, since its attempt of the run is over")]
    Terminated,
    /// It could not be started.
    #[error("the sandbox could not be started")]
    Start(#[from] std::io::Error),
}
