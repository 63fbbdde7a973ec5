//! How a process becomes a sandboxed command: it gives up what it has, step by step, and then executes it.
//!
//! ```text
//! server ── sandbox-exec (this) ══ bwrap ── command                  bubblewrap and cgroups
//! server ── sandbox-exec --watch ── sandbox-exec (this) ══ command   all else (══ one process)
//! ```
//!
//! **Invariant:** this runs while the process has a single thread, and only file descriptors 0, 1 and 2
//! outlive it.
//! **Invariant:** what cannot be given up ends the process before the command starts.

use std::{
    convert::Infallible,
    ffi::{OsStr, OsString},
    fmt::Display,
    fs, io,
    os::{
        fd::AsFd,
        unix::{fs::MetadataExt, process::CommandExt},
    },
    path::Path,
    process::Command,
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        signal::Signal,
        stat::{Mode, umask},
    },
    unistd::{self, Gid, Pid, Uid},
};

use super::{
    access,
    bubble::Bubble,
    plan::{Plan, Rlimits, Wall},
    seccomp,
    spec::NOT_STARTED,
    stage, watch,
};

/// The subcommand that leads here.
pub const SUBCOMMAND: &str = "sandbox-exec";

/// Asks for a watcher in front.
pub(super) const WATCH: &str = "--watch";

/// What bubblewrap, its first process and a watcher add to the processes of a command.
pub(super) const OWN_PROCESSES: u64 = 3;

/// Files a command may hold open.
const OPEN_FILES: u64 = 4096;

/// Why a command was not started.
#[derive(Debug)]
pub(super) struct Refusal(String);

impl Refusal {
    /// What was being done when an error came.
    pub(super) fn at<E: Display>(what: impl Display) -> impl FnOnce(E) -> Self {
        move |error| Self(format!("cannot {what}: {error}"))
    }
}

/// Runs the subcommand; the arguments are those behind its name. Comes back only with an exit code.
pub fn main(arguments: impl Iterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.collect();
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let ended = match words.as_slice() {
        [WATCH, parent] => begin(parent).and_then(watch::over),
        [parent] => begin(parent).and_then(become_command).map(|never| match never {}),
        _ => Err(Refusal("this subcommand is used by the server alone".to_owned())),
    };
    ended.unwrap_or_else(|Refusal(why)| {
        // Nobody is left to tell when stderr is gone.
        drop(io::Write::write_all(&mut io::stderr(), format!("{SUBCOMMAND}: {why}\n").as_bytes()));
        u8::try_from(NOT_STARTED).unwrap_or(u8::MAX)
    })
}

/// Drops what was inherited, and reads who the parent is.
fn begin(parent: &str) -> Result<Pid, Refusal> {
    let parent = parent.parse().map(Pid::from_raw).map_err(Refusal::at("read the parent's id"))?;
    close_strangers().map_err(Refusal::at("close inherited files"))?;
    Ok(parent)
}

/// Closes every file descriptor but 0, 1 and 2.
fn close_strangers() -> io::Result<()> {
    let mut strangers: Vec<i32> = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        strangers.extend(
            entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()).filter(|fd| *fd > 2),
        );
    }
    for stranger in strangers {
        // The directory that was just read is among them, and closed already.
        let _ = unistd::close(stranger);
    }
    Ok(())
}

/// Asks the kernel to end this process with its parent, which must still be there.
pub(super) fn die_with(parent: Pid, signal: Signal) -> Result<(), Refusal> {
    prctl::set_pdeathsig(signal).map_err(Refusal::at("follow the server"))?;
    if unistd::getppid() == parent { Ok(()) } else { Err(Refusal("the server is gone".to_owned())) }
}

fn become_command(parent: Pid) -> Result<Infallible, Refusal> {
    let mut plan = Plan::read(io::stdin().as_fd()).map_err(Refusal::at("read the plan"))?;
    if !plan.has_stdin {
        let null = open("/dev/null", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
        null.and_then(unistd::dup2_stdin).map_err(Refusal::at("close stdin"))?;
    }
    umask(Mode::from_bits_truncate(0o022));
    for group in &plan.groups {
        // The one thread that this process has: in version 1, moving a whole process waits for all
        // processors.
        fs::write(group, "0").map_err(Refusal::at(format_args!("enter the cgroup {}", group.display())))?;
    }
    unistd::setsid().map_err(Refusal::at("begin a session"))?;
    if let Wall::Bubblewrap { staged: true, .. } = plan.wall {
        stage::build(&mut plan).map_err(Refusal::at("build a stage"))?;
    }
    let mut command = command(&plan)?;
    limit(&plan.rlimits)?;
    if let Some(user) = plan.user {
        drop_to(user)?;
    }
    die_with(parent, Signal::SIGKILL)?;
    enter(&plan)?;
    prctl::set_no_new_privs().map_err(Refusal::at("give up new privileges"))?;
    if plan.wall == Wall::Landlock {
        if !access::restrict(&plan).map_err(Refusal::at("restrict paths"))? {
            return Err(Refusal("the kernel does not enforce landlock".to_owned()));
        }
        for program in &seccomp::programs(false).map_err(Refusal::at("write the filter"))? {
            seccompiler::apply_filter(program).map_err(Refusal::at("load the filter"))?;
        }
    }
    let program = command.get_program().to_string_lossy().into_owned();
    Err(Refusal::at(format_args!("run {program}"))(command.exec()))
}

/// The program that this process turns into, which is bubblewrap or the command itself.
fn command(plan: &Plan) -> Result<Command, Refusal> {
    let mut command;
    if let Wall::Bubblewrap { program, closed, .. } = &plan.wall {
        let bubble = Bubble::new(plan, *closed).and_then(|bubble| bubble.arguments(&plan.argv));
        let (words, kept) = bubble.map_err(Refusal::at("describe the sandbox"))?;
        command = Command::new(program);
        command.args(words).env_clear();
        // They stay open until bubblewrap has read them.
        kept.into_iter().for_each(std::mem::forget);
    } else {
        let program = plan.argv.first().map(OsStr::new).unwrap_or_default();
        command = Command::new(program);
        command.args(plan.argv.iter().skip(1)).env_clear().envs(&plan.env);
    }
    Ok(command)
}

/// Goes to where the command starts: the tree, or beneath it without following links. Bubblewrap goes there
/// by itself.
fn enter(plan: &Plan) -> Result<(), Refusal> {
    let why = || format!("enter {}", plan.tree.join(&plan.cwd).display());
    if matches!(plan.wall, Wall::Bubblewrap { .. }) {
        return unistd::chdir("/").map_err(Refusal::at("enter /"));
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let tree = open(&plan.tree, flags, Mode::empty()).map_err(Refusal::at(why()))?;
    let below = if plan.cwd.as_os_str().is_empty() { Path::new(".") } else { &plan.cwd };
    let how =
        OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let dir = openat2(&tree, below, how).map_err(Refusal::at(why()))?;
    unistd::fchdir(dir).map_err(Refusal::at(why()))
}

fn limit(rlimits: &Rlimits) -> Result<(), Refusal> {
    let Rlimits { processes, memory_bytes, file_bytes, cpu_seconds } = rlimits;
    let processes = processes.map(|most| most.saturating_add(OWN_PROCESSES + already_running()));
    let limits = [
        (Resource::RLIMIT_CORE, Some(0)),
        (Resource::RLIMIT_NOFILE, Some(OPEN_FILES)),
        (Resource::RLIMIT_FSIZE, Some(*file_bytes)),
        (Resource::RLIMIT_CPU, Some(*cpu_seconds)),
        (Resource::RLIMIT_DATA, *memory_bytes),
        (Resource::RLIMIT_NPROC, processes),
    ];
    for (resource, most) in limits {
        let Some(most) = most else { continue };
        let refused = || format!("limit {resource:?} to {most}");
        let (_, hard) = getrlimit(resource).map_err(Refusal::at(refused()))?;
        let most = most.min(hard);
        // At the first limit of processor time a signal tells why, a second later another one does not ask.
        let last = if resource == Resource::RLIMIT_CPU { most.saturating_add(1).min(hard) } else { most };
        setrlimit(resource, most, last).map_err(Refusal::at(refused()))?;
    }
    Ok(())
}

/// Threads that this process's user has: the kernel counts them together with the command's. A user that only
/// the sandbox has begins with none.
fn already_running() -> u64 {
    let me = unistd::getuid();
    if me.is_root() {
        return 0;
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mine = entries.filter(|entry| entry.metadata().is_ok_and(|of| of.uid() == me.as_raw()));
    let threads = |entry: fs::DirEntry| fs::read_dir(entry.path().join("task")).map_or(0, Iterator::count);
    u64::try_from(mine.map(threads).sum::<usize>()).unwrap_or(0)
}

/// Becomes a user that nothing else of the machine belongs to; there is no way back.
fn drop_to(user: u32) -> Result<(), Refusal> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    // A pipe belongs to whom opened it; programs that open /dev/stdout by its name must be allowed to.
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    for pipe in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
        if fs::metadata(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pipe)))
            .is_ok_and(|of| std::os::unix::fs::FileTypeExt::is_fifo(&of.file_type()))
        {
            unistd::fchown(pipe, Some(uid), Some(gid)).map_err(Refusal::at("hand over a pipe"))?;
        }
    }
    unistd::setgroups(&[]).map_err(Refusal::at("leave all groups"))?;
    unistd::setresgid(gid, gid, gid).map_err(Refusal::at("change the group"))?;
    unistd::setresuid(uid, uid, uid).map_err(Refusal::at("change the user"))?;
    if uid.is_root() || unistd::setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok() {
        return Err(Refusal("the way back to root is open".to_owned()));
    }
    Ok(())
}
