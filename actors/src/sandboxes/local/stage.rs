//! Makes what only root can reach reachable for a sandbox's user, and for that sandbox alone.
//!
//! A work tree lies in the data directory and a toolchain in a home directory, and both are closed to other
//! users, as they should be. So root binds them below `/tmp` in a mount namespace that nobody else has, and
//! opens nothing.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, open},
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::stat::Mode,
};

use super::plan::{Place, Plan};

/// Covered by the stage, in this namespace only.
const STAGE: &str = "/tmp";

/// Enters a private mount namespace and binds there what is closed; the plan names the new paths.
pub(super) fn build(plan: &mut Plan) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    let closed = closed(plan);
    // Opened before the stage covers what lies below it.
    let opened: Vec<OwnedFd> = closed.iter().map(|path| hold(path)).collect::<nix::Result<_>>()?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), STAGE, Some("tmpfs"), flags, Some("size=1m,mode=0755"))?;
    for (number, (path, held)) in closed.iter().zip(&opened).enumerate() {
        let slot = Path::new(STAGE).join(number.to_string());
        fs::create_dir(&slot)?;
        let from = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
        mount(Some(&from), &slot, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
        rename(plan, path, &slot);
    }
    Ok(())
}

/// The paths of a plan that another user than root cannot reach.
fn closed(plan: &Plan) -> Vec<PathBuf> {
    let shared = plan.places.iter().filter_map(|place| match place {
        Place::Shared { from, .. } => Some(from),
        Place::Copied { .. } | Place::Link { .. } => None,
    });
    let mut closed: Vec<PathBuf> = shared.filter(|path| !is_open(path)).cloned().collect();
    closed.push(plan.tree.clone());
    closed
}

/// Whether every user can reach a path, and the stage does not cover it.
fn is_open(path: &Path) -> bool {
    let passable = |dir: &Path| fs::metadata(dir).is_ok_and(|dir| dir.permissions().mode() & 0o001 != 0);
    !path.starts_with(STAGE) && path.ancestors().skip(1).all(passable)
}

fn hold(path: &Path) -> nix::Result<OwnedFd> {
    open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}

fn rename(plan: &mut Plan, path: &Path, slot: &Path) {
    if plan.tree == path {
        slot.clone_into(&mut plan.tree);
    }
    for place in &mut plan.places {
        if let Place::Shared { from, .. } = place
            && from == path
        {
            slot.clone_into(from);
        }
    }
}
