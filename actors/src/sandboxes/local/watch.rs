//! The process in front of a command that no process namespace holds: it outlives everything the command
//! starts.
//!
//! **Invariant:** orphans become children of this process, so whoever leaves the session or forks twice is
//! still found and killed. Only this process being killed itself lets them get away, which is why it is asked
//! to end, not killed.

use std::{collections::BTreeMap, fs, process::Command};

use nix::{
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{self, Pid},
};

use super::confine::{Refusal, SUBCOMMAND, die_with};

/// What is added to a signal's number where an exit code is wanted.
const SIGNALLED: i32 = 128;

/// Starts the command as a child, waits for its end or for SIGTERM, and leaves nothing behind.
pub(super) fn over(parent: Pid) -> Result<u8, Refusal> {
    unistd::setsid().map_err(Refusal::at("begin a session"))?;
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.add(Signal::SIGTERM);
    signals.thread_block().map_err(Refusal::at("hold signals back"))?;
    prctl::set_child_subreaper(true).map_err(Refusal::at("adopt orphans"))?;
    die_with(parent, Signal::SIGTERM)?;
    let me = unistd::getpid();
    // The path of the program may have been replaced meanwhile; the link leads to what is running.
    let child = Command::new("/proc/self/exe").args([SUBCOMMAND, &me.to_string()]).spawn();
    let child = child.map_err(Refusal::at("start the command"))?;
    let child = i32::try_from(child.id()).map(Pid::from_raw).map_err(Refusal::at("start the command"))?;
    let code = loop {
        if signals.wait().map_err(Refusal::at("wait"))? == Signal::SIGTERM {
            break SIGNALLED + Signal::SIGTERM as i32;
        }
        if let Some(code) = reap(child) {
            break code;
        }
    };
    kill_all(me);
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Buries all children that have ended; the exit code of `child` when it is among them.
fn reap(child: Pid) -> Option<i32> {
    let mut code = None;
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        match status {
            WaitStatus::StillAlive => break,
            WaitStatus::Exited(pid, exited) if pid == child => code = Some(exited),
            WaitStatus::Signaled(pid, signal, _) if pid == child => code = Some(SIGNALLED + signal as i32),
            WaitStatus::Exited(..)
            | WaitStatus::Signaled(..)
            | WaitStatus::Stopped(..)
            | WaitStatus::PtraceEvent(..)
            | WaitStatus::PtraceSyscall(_)
            | WaitStatus::Continued(_) => {}
        }
    }
    code
}

/// Kills all descendants until there are none.
fn kill_all(me: Pid) {
    // Most commands leave nobody behind, and to look for somebody is to read all of `/proc`. Orphans are
    // children here, so who has no child has no descendant.
    while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok() {
        for pid in descendants(me.as_raw()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        // Blocks until one has ended; its children are ours then.
        if waitpid(None, None).is_err() {
            return;
        }
    }
}

/// Everyone whose line of parents leads to `ancestor`.
fn descendants(ancestor: i32) -> Vec<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        if let Some(pid) = pid
            && let Some(parent) = parent_of(pid)
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![ancestor];
    while let Some(pid) = next.pop() {
        let below = children.remove(&pid).unwrap_or_default();
        found.extend(&below);
        next.extend(below);
    }
    found
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything; state and parent follow the last one.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
