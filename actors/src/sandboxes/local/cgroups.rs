//! Limits for all processes of a command together: cgroups, version 2 where it is delegated to us, else
//! version 1.
//!
//! **Invariant:** a group is removed with its command, or by the next server that finds its own one dead.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, getpid},
};

use super::{
    confine::OWN_PROCESSES,
    leftovers::{is_of_the_dead, name},
    spec::Limits,
};

/// The most processes that a group can be limited to.
const PIDS_MAX: u64 = 4_194_304;
/// Where the server itself goes: in version 2, a group with processes cannot limit groups below it.
const OWN: &str = "cendriix-server";

/// Where groups can be made, by what they limit.
#[derive(Clone, Debug, Default)]
pub(super) struct Cgroups {
    /// Version 2 limits everything in one place.
    unified: Option<PathBuf>,
    pub(super) memory: Option<PathBuf>,
    pub(super) processes: Option<PathBuf>,
    pub(super) cpu: Option<PathBuf>,
}

impl Cgroups {
    /// Finds where this process may make groups.
    pub(super) fn find() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let unified = place(&mounts, &own, "cgroup2", "").and_then(|dir| delegated(&dir));
        if let Some(base) = unified {
            let [memory, processes, cpu] = [(); 3].map(|()| Some(base.clone()));
            return Self { unified: Some(base), memory, processes, cpu };
        }
        let writable = |controller: &str| {
            let dir = place(&mounts, &own, "cgroup", controller)?;
            let trial = dir.join(name());
            (fs::create_dir(&trial).is_ok() && fs::remove_dir(&trial).is_ok()).then_some(dir)
        };
        Self {
            unified: None,
            memory: writable("memory"),
            processes: writable("pids"),
            cpu: writable("cpuacct"),
        }
    }

    /// Makes a group with these limits.
    pub(super) fn group(&self, limits: &Limits) -> io::Result<Group> {
        let name = name();
        let beneath = |base: &Option<PathBuf>| base.as_ref().map(|base| base.join(&name));
        let group = Group {
            unified: self.unified.is_some(),
            memory: beneath(&self.memory),
            processes: beneath(&self.processes),
            cpu: beneath(&self.cpu),
        };
        for dir in group.dirs() {
            fs::create_dir(dir)?;
        }
        let memory = limits.memory_bytes.to_string();
        if let Some(dir) = &group.memory {
            let [most, with_swap] = if group.unified {
                ["memory.max", "memory.swap.max"]
            } else {
                ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
            };
            fs::write(dir.join(most), &memory)?;
            // Absent where the kernel does not count swap.
            drop(fs::write(dir.join(with_swap), if group.unified { "0" } else { &memory }));
        }
        if let Some(dir) = &group.processes {
            let most = limits.processes.saturating_add(OWN_PROCESSES).min(PIDS_MAX);
            fs::write(dir.join("pids.max"), most.to_string())?;
        }
        Ok(group)
    }

    /// Removes what servers that are dead left behind; gives how many groups.
    pub(super) fn reap(&self) -> usize {
        let mut reaped = 0;
        let mut bases = vec![&self.memory, &self.processes, &self.cpu];
        bases.dedup();
        for base in bases.into_iter().flatten() {
            for entry in fs::read_dir(base).into_iter().flatten().flatten() {
                if is_of_the_dead(&entry.file_name()) {
                    kill_in(&entry.path());
                    reaped += usize::from(fs::remove_dir(entry.path()).is_ok());
                }
            }
        }
        reaped
    }
}

/// The cgroups of one command; killed and removed when this goes away.
#[derive(Debug)]
pub(super) struct Group {
    unified: bool,
    memory: Option<PathBuf>,
    processes: Option<PathBuf>,
    cpu: Option<PathBuf>,
}

impl Group {
    /// Where forks are counted comes first: no killing elsewhere outruns a fork bomb.
    fn dirs(&self) -> Vec<&PathBuf> {
        let mut dirs: Vec<&PathBuf> =
            [&self.processes, &self.memory, &self.cpu].into_iter().flatten().collect();
        dirs.dedup();
        dirs
    }

    /// Where a process writes itself to be in the group.
    pub(super) fn doors(&self) -> Vec<PathBuf> {
        let door = if self.unified { "cgroup.procs" } else { "tasks" };
        self.dirs().into_iter().map(|dir| dir.join(door)).collect()
    }

    /// Kills everyone in it; true when nobody was left.
    pub(super) fn kill(&self) -> bool {
        self.dirs().into_iter().all(|dir| kill_in(dir))
    }

    /// Whether the kernel killed a process of it for want of memory.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        let file = if self.unified { "memory.events" } else { "memory.oom_control" };
        let Some(dir) = &self.memory else { return false };
        counted(&dir.join(file), "oom_kill").is_some_and(|kills| kills > 0)
    }

    /// Processor time that all its processes have used.
    pub(super) fn cpu_used(&self) -> Option<Duration> {
        let dir = self.cpu.as_ref()?;
        if self.unified {
            return counted(&dir.join("cpu.stat"), "usage_usec").map(Duration::from_micros);
        }
        let used = fs::read_to_string(dir.join("cpuacct.usage")).ok()?;
        used.trim().parse().ok().map(Duration::from_nanos)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        for dir in self.dirs() {
            // Someone who is still dying keeps it; the next start removes it.
            drop(fs::remove_dir(dir));
        }
    }
}

/// Kills everyone in a group; true when nobody was left. In version 1 nobody can fork meanwhile.
fn kill_in(dir: &Path) -> bool {
    let Ok(procs) = fs::read_to_string(dir.join("cgroup.procs")) else { return true };
    if procs.trim().is_empty() {
        return true;
    }
    if fs::write(dir.join("cgroup.kill"), "1").is_err() {
        // Only where it exists, which is where forks are counted.
        drop(
            fs::OpenOptions::new()
                .write(true)
                .open(dir.join("pids.max"))
                .map(|mut file| io::Write::write_all(&mut file, b"0")),
        );
        for pid in procs.lines().filter_map(|line| line.parse().ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    false
}

fn counted(file: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.split_once(' ').filter(|(name, _)| *name == key)?.1.trim().parse().ok())
}

/// The directory of this process's own group under a controller; version 2 has the controller without a name.
fn place(mounts: &str, own: &str, kind: &str, controller: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    })?;
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut words = after.split(' ');
        let of_kind = words.next()? == kind;
        let options = words.nth(1)?;
        if !of_kind || !controller.is_empty() && !options.split(',').any(|name| name == controller) {
            return None;
        }
        let (root, mounted) = (before.split(' ').nth(3)?, before.split(' ').nth(4)?);
        let below = path.strip_prefix(root).unwrap_or(path).trim_start_matches('/');
        [Path::new(mounted).join(below), PathBuf::from(mounted)].into_iter().find(|dir| dir.is_dir())
    })
}

/// Where groups of version 2 can be made, when the group `own` of this process was given to us.
fn delegated(own: &Path) -> Option<PathBuf> {
    let base = if own.ends_with(OWN) { own.parent()? } else { own };
    let controllers = fs::read_to_string(base.join("cgroup.controllers")).ok()?;
    let wanted = ["memory", "pids", "cpu"];
    if !wanted.iter().all(|name| controllers.split_whitespace().any(|has| has == *name)) {
        return None;
    }
    let enable = || fs::write(base.join("cgroup.subtree_control"), "+memory +pids +cpu");
    if enable().is_err() {
        let me = getpid().to_string();
        let server = base.join(OWN);
        drop(fs::create_dir(&server));
        let moved = fs::write(server.join("cgroup.procs"), &me).and_then(|()| enable());
        if moved.is_err() {
            drop(fs::write(base.join("cgroup.procs"), &me));
            drop(fs::remove_dir(&server));
            return None;
        }
    }
    let trial = base.join(name());
    (fs::create_dir(&trial).is_ok() && fs::remove_dir(&trial).is_ok()).then(|| base.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_below_each_kind_of_mount() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().to_str().unwrap();
        fs::create_dir_all(home.path().join("memory/box")).unwrap();
        fs::create_dir_all(home.path().join("unified/user.slice/app")).unwrap();
        let mounts = format!(
            "30 25 0:26 / {root}/memory rw shared:8 - cgroup cgroup rw,memory\n\
             31 25 0:27 / {root}/unified rw shared:9 - cgroup2 cgroup2 rw\n"
        );
        let own = "4:memory:/box\n0::/user.slice/app\n";
        let found = |kind, controller| place(&mounts, own, kind, controller);
        assert_eq!(found("cgroup", "memory"), Some(home.path().join("memory/box")));
        assert_eq!(found("cgroup2", ""), Some(home.path().join("unified/user.slice/app")));
        assert_eq!(found("cgroup", "pids"), None);
    }

    #[test]
    fn only_groups_of_dead_servers_are_reaped() {
        let home = tempfile::tempdir().unwrap();
        let base = home.path().join("memory");
        let dead = base.join(format!("cendriix-{}-1-7", getpid()));
        let alive = base.join(name());
        let strange = base.join("init.scope");
        for dir in [&dead, &alive, &strange] {
            fs::create_dir_all(dir).unwrap();
        }
        let cgroups = Cgroups { memory: Some(base), ..Cgroups::default() };
        assert_eq!(cgroups.reap(), 1);
        assert_eq!([dead, alive, strange].map(|dir| dir.exists()), [false, true, true]);
    }
}
