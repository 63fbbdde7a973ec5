//! What the server tells the process that becomes a sandboxed command.
//!
//! **Invariant:** the plan travels over stdin, ahead of the command's own input, so that neither arguments
//! nor variables of a command are shown to other users of the machine.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    os::fd::AsFd,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

/// The largest plan that is read.
const PLAN_MAX: usize = 8 << 20;

/// How a command is kept from the rest of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Wall {
    /// Namespaces of its own, made by bubblewrap.
    Bubblewrap {
        program: PathBuf,
        /// Binds what the sandbox's user could not reach into a private mount namespace first; needs root.
        staged: bool,
        /// Refuses further user namespaces inside.
        closed: bool,
    },
    /// Rules of the kernel about paths; the command sees the machine's real ones.
    Landlock,
    /// None.
    Open,
}

/// A place that a command may read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Place {
    /// A directory of the machine.
    Shared { from: PathBuf, at: PathBuf },
    /// A small file of the machine; a copy costs less than a mount, where there are mounts.
    Copied { from: PathBuf, at: PathBuf },
    /// A symbolic link.
    Link { to: PathBuf, at: PathBuf },
}

/// How much each process may use, as the kernel counts it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rlimits {
    /// Processes of the user; absent when a cgroup counts them.
    pub(super) processes: Option<u64>,
    /// Memory of its own; absent when a cgroup counts it.
    pub(super) memory_bytes: Option<u64>,
    pub(super) file_bytes: u64,
    pub(super) cpu_seconds: u64,
}

/// A command, and all that is done before it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) wall: Wall,
    /// The user it runs as; absent when the server is not root.
    pub(super) user: Option<u32>,
    /// Where it writes itself into its cgroups.
    pub(super) groups: Vec<PathBuf>,
    pub(super) rlimits: Rlimits,
    pub(super) tree: PathBuf,
    pub(super) cwd: PathBuf,
    /// A directory for temporary files, where there is no private `/tmp`.
    pub(super) scratch: Option<PathBuf>,
    /// How much fits into the private `/tmp`.
    pub(super) tmp_bytes: u64,
    pub(super) places: Vec<Place>,
    pub(super) argv: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    /// Whether input follows the plan.
    pub(super) has_stdin: bool,
}

impl Plan {
    /// The plan as it is sent: its length and itself.
    pub(super) fn framed(&self) -> io::Result<Vec<u8>> {
        let body = serde_json::to_vec(self)?;
        let length = u32::try_from(body.len()).map_err(|_| ErrorKind::InvalidInput)?;
        Ok([&length.to_be_bytes(), body.as_slice()].concat())
    }

    /// Reads a plan, and not a byte of what follows it.
    pub(super) fn read(from: impl AsFd) -> io::Result<Self> {
        let mut length = [0; 4];
        fill(&from, &mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > PLAN_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; length];
        fill(&from, &mut body)?;
        Ok(serde_json::from_slice(&body)?)
    }
}

fn fill(from: impl AsFd, mut rest: &mut [u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match nix::unistd::read(&from, rest)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            length => rest = &mut rest[length..],
        }
    }
    Ok(())
}
