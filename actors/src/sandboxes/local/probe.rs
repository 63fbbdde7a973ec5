//! What this machine can enforce, found out by trying, and told in words.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{cgroups::Cgroups, plan::Wall};

/// What is tried; everything unless somebody wants to see how it goes without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    pub bubblewrap: bool,
    pub cgroups: bool,
}

impl Default for Allowed {
    fn default() -> Self {
        Self { bubblewrap: true, cgroups: true }
    }
}

/// What keeps a command to its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Filesystem {
    /// A file system of its own.
    Bubblewrap,
    /// Rules about the machine's file system.
    Landlock,
    None,
}

/// What keeps a command from the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Network {
    /// A network of its own with nobody in it.
    Namespace,
    /// Sockets are refused.
    Seccomp,
    None,
}

/// What limits a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Limiter {
    /// All its processes together.
    Cgroup,
    /// Each process, or each user.
    Rlimit,
    None,
}

/// What is enforced here, as it is shown to users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Enforcement {
    pub filesystem: Filesystem,
    pub network: Network,
    pub memory: Limiter,
    pub processes: Limiter,
    pub cpu: Limiter,
    /// What is weaker than it could be, and why.
    pub notes: Vec<String>,
}

/// The walls to try, the strongest first.
pub(super) fn walls(allowed: Allowed, is_root: bool, notes: &mut Vec<String>) -> Vec<Wall> {
    let mut walls = Vec::new();
    match program("bwrap") {
        _ if !allowed.bubblewrap => notes.push("bubblewrap is turned off".to_owned()),
        None => notes.push("bubblewrap is not installed; install it for a stronger sandbox".to_owned()),
        Some(program) => {
            let stages: &[bool] = if is_root { &[true, false] } else { &[false] };
            for closed in [true, false] {
                let wall = |&staged| Wall::Bubblewrap { program: program.clone(), staged, closed };
                walls.extend(stages.iter().map(wall));
            }
        }
    }
    walls.push(Wall::Landlock);
    walls
}

/// What a wall and cgroups enforce together.
pub(super) fn enforcement(
    wall: &Wall,
    cgroups: &Cgroups,
    is_root: bool,
    mut notes: Vec<String>,
) -> Enforcement {
    let (filesystem, network) = match wall {
        Wall::Bubblewrap { .. } => (Filesystem::Bubblewrap, Network::Namespace),
        Wall::Landlock => (Filesystem::Landlock, Network::Seccomp),
        Wall::Open => (Filesystem::None, Network::None),
    };
    let limiter = |group: &Option<PathBuf>| if group.is_some() { Limiter::Cgroup } else { Limiter::Rlimit };
    let [memory, processes, cpu] = [&cgroups.memory, &cgroups.processes, &cgroups.cpu].map(limiter);
    let mut note = |text: &str| notes.push(text.to_owned());
    if memory == Limiter::Rlimit {
        note("no cgroup for memory: each process is limited, not all of a command, nor memory they share");
    }
    match processes {
        Limiter::Rlimit if is_root => {
            note("no cgroup for processes: all commands in one tree are counted together");
        }
        Limiter::Rlimit => {
            note("no cgroup for processes: they are counted together with the server's user's others");
        }
        Limiter::Cgroup | Limiter::None => {}
    }
    if cpu == Limiter::Rlimit {
        note("no cgroup for processor time: each process is limited, not all of a command together");
    }
    match wall {
        Wall::Bubblewrap { staged: false, .. } if is_root => note(CLOSED_DIRECTORIES),
        Wall::Bubblewrap { .. } => {}
        Wall::Landlock => {
            note("landlock: names and sizes of the machine's files can be seen, though not their content");
            note("landlock: /proc is out of reach, and with it programs that need it");
            note("landlock: temporary files count as memory nowhere and have no common limit");
            if is_root {
                note(CLOSED_DIRECTORIES);
            } else {
                note("commands run as the server's own user");
            }
            if processes == Limiter::Rlimit {
                note("processes that leave their session outlive a watcher that is killed with SIGKILL");
            }
            kernel_notes(&mut note);
        }
        Wall::Open => note("nothing here can contain a command; contained ones are refused"),
    }
    note("the number of files in a tree and their common size are not limited, only the size of each");
    Enforcement { filesystem, network, memory, processes, cpu, notes }
}

const CLOSED_DIRECTORIES: &str =
    "toolchains in directories that are closed to other users cannot be used, and trees must not lie in such";

/// What an older kernel's landlock leaves open.
fn kernel_notes(note: &mut impl FnMut(&str)) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (6, 12) {
        note("this kernel's landlock does not keep signals in: processes of the same user can be reached");
    }
    if version < (6, 2) {
        note("this kernel's landlock does not keep a command from truncating files that its user may write");
    }
}

/// Where a program is on the server's path.
fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let candidates = env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name));
    let is_program = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.is_file());
    candidates.into_iter().find(is_program)
}

/// The last thing that was said, to go into a note.
pub(super) fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing").to_owned()
}

/// Whether a tree can be given to a command at all.
pub(super) fn is_directory(tree: &Path) -> bool {
    fs::symlink_metadata(tree).is_ok_and(|found| found.is_dir())
}
