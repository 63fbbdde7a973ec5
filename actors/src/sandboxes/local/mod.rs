//! What contains commands on this machine, without a daemon.
//!
//! ```text
//! exec ── plan ── sandbox-exec ── (user, limits, walls) ── the command in its tree
//!   └─ running: output, limits of all processes together, an end to every one of them
//! ```
//!
//! - [`spec`]: what is asked and what comes back. [`probe`]: what this machine can enforce. [`files`]: the
//!   server's own way into a tree.
//! - `plan`: what the server tells the process that becomes the command; `confine`: how it becomes that. In
//!   front of it stands `watch`, or bubblewrap (`bubble`), whose view `stage` completes; `access` and
//!   `seccomp` are the kernel's rules.
//! - `reach`: what of the machine is shared. `owners`: whom trees belong to. `cgroups`: limits for all
//!   processes together.
//! - `running`: the command beside its handle. `scratch`, `removal`, `leftovers`: what is cleared away, and
//!   how.
//!
//! **Invariant:** a command is never contained less than [`Local::capabilities`] says; what fails, fails
//! it.

mod access;
mod bubble;
mod cgroups;
pub mod confine;
pub mod files;
mod leftovers;
mod owners;
mod plan;
pub mod probe;
mod reach;
mod removal;
mod running;
mod scratch;
mod seccomp;
pub mod spec;
mod stage;
mod watch;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::{
    process::Command,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;

use self::{
    cgroups::Cgroups,
    owners::{Owners, barrier},
    plan::{Plan, Rlimits, Wall},
    reach::Reach,
    running::Job,
    scratch::Scratch,
};
pub use self::{
    files::{Change, Entry, FileError, Files, Kind, Unchanged, Version},
    probe::{Allowed, Enforcement, Filesystem, Limiter, Network},
    running::Running,
    spec::{Error, ExecSpec, Exit, Finished, Limits, Mode, NOT_STARTED, Output},
};
use super::site::Commands;
use crate::{kit::tasks::Tasks, reason::chain};

/// A private `/tmp` takes a quarter of the memory, within these bounds.
const TMP_BYTES: std::ops::RangeInclusive<u64> = 16 << 20..=1 << 30;

/// How many commands run at the same time, for each processor.
const COMMANDS_PER_CPU: usize = 8;

/// How long the trial of a wall may take.
const TRIAL: Duration = Duration::from_secs(10);

/// What contains commands on this machine. A clone is the same.
#[derive(Clone, Debug)]
pub struct Local(Arc<Engine>);

#[derive(Clone, Debug)]
struct Engine {
    /// The program that has the subcommand of [`confine`].
    helper: PathBuf,
    wall: Wall,
    cgroups: Cgroups,
    reach: Reach,
    owners: Arc<Owners>,
    enforcement: Enforcement,
    tasks: Tasks,
    /// Whose turn it is; the others wait.
    turns: Arc<Semaphore>,
    closing: CancellationToken,
}

impl Local {
    /// Finds out what this machine can enforce; `helper` is this product's own program.
    pub async fn probe(helper: PathBuf) -> Self {
        Self::probe_allowing(helper, Allowed::default()).await
    }

    /// Finds out what this machine can enforce with what is allowed.
    pub async fn probe_allowing(helper: PathBuf, allowed: Allowed) -> Self {
        let looked = tokio::task::spawn_blocking(move || {
            let cgroups = Cgroups::find();
            let reaped = cgroups.reap();
            Scratch::reap();
            if reaped > 0 {
                tracing::info!(groups = reaped, "removed what a dead server left of its sandboxes");
            }
            (if allowed.cgroups { cgroups } else { Cgroups::default() }, Reach::discover())
        });
        let (cgroups, reach) = looked.await.unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let owners = Owners::new();
        let is_root = owners.is_root();
        let mut notes = Vec::new();
        let walls = probe::walls(allowed, is_root, &mut notes);
        let mut engine = Engine {
            helper,
            enforcement: probe::enforcement(&Wall::Open, &cgroups, is_root, Vec::new()),
            wall: Wall::Open,
            cgroups,
            reach,
            owners: Arc::new(owners),
            tasks: Tasks::default(),
            turns: Arc::new(Semaphore::new(cpus * COMMANDS_PER_CPU)),
            closing: CancellationToken::new(),
        };
        let mut found = Wall::Open;
        for wall in walls {
            engine.wall = wall.clone();
            match Self(Arc::new(engine.clone())).trial().await {
                Ok(()) => {
                    found = wall;
                    break;
                }
                Err(why) => notes.push(format!("{} does not work here: {why}", wall.name())),
            }
        }
        engine.enforcement = probe::enforcement(&found, &engine.cgroups, is_root, notes);
        engine.wall = found;
        Self(Arc::new(engine))
    }

    /// Runs a command that does nothing.
    async fn trial(&self) -> Result<(), String> {
        let tree = Scratch::make(None).map_err(|error| error.to_string())?;
        let mut spec = ExecSpec::new(tree.path(), ["true"]);
        spec.limits.wall = TRIAL;
        let running = self.exec(spec).await.map_err(|error| chain(&error))?;
        let Finished { stderr, exit, .. } = running.finished().await;
        drop(tokio::task::spawn_blocking(move || drop(tree)).await);
        match exit.code {
            Some(0) => Ok(()),
            _ if exit.timed_out => Err("it takes too long".to_owned()),
            _ => Err(probe::last_line(&stderr)),
        }
    }

    /// What is enforced here.
    pub fn capabilities(&self) -> &Enforcement {
        &self.0.enforcement
    }

    /// Where a contained command finds its tree.
    pub fn inside(&self, tree: &Path) -> PathBuf {
        match self.0.wall {
            Wall::Bubblewrap { .. } => bubble::WORKSPACE.into(),
            Wall::Landlock | Wall::Open => tree.to_owned(),
        }
    }

    /// Starts a command that belongs to no sandbox, once it is its turn: eight for each processor run at the
    /// same time.
    ///
    /// # Errors
    ///
    /// When it makes no sense, cannot be contained here, or cannot be started.
    pub async fn exec(&self, spec: ExecSpec) -> Result<Running, Error> {
        self.exec_among(spec, &self.commands()).await
    }

    /// What commands that end together have in common; they end with this at the latest.
    pub(super) fn commands(&self) -> Commands {
        Commands::new(self.0.closing.child_token())
    }

    /// Starts a command that ends with the others, as [`Self::exec`] does.
    pub(super) async fn exec_among(&self, spec: ExecSpec, commands: &Commands) -> Result<Running, Error> {
        spec.check()?;
        let turn = tokio::select! {
            biased;
            () = commands.closing.cancelled() => return Err(Error::Stopped),
            () = spec.stop.cancelled() => return Err(Error::Stopped),
            turn = Arc::clone(&self.0.turns).acquire_owned() => turn.map_err(io::Error::other)?,
        };
        let (engine, closing) = (self.0.clone(), commands.closing.clone());
        let prepared = tokio::task::spawn_blocking(move || engine.prepare(spec, turn, closing)).await;
        let job = prepared.map_err(io::Error::other)??;
        let (running, work) = running::start(job).await?;
        self.0.tasks.spawn("sandbox", commands.tracker.track_future(work));
        Ok(running)
    }

    /// Gives everything in a tree to the user that commands in it run as; needed again after the server put
    /// files there by other means than [`Self::files`].
    ///
    /// # Errors
    ///
    /// When it is no directory, or holds what cannot be given away.
    pub async fn adopt(&self, tree: impl Into<PathBuf>) -> Result<(), Error> {
        let (tree, owners) = (tree.into(), self.0.owners.clone());
        let adopted = tokio::task::spawn_blocking(move || owners.adopt(&tree)).await;
        adopted.map_err(io::Error::other)?.map(drop)
    }

    /// The server's own way to the files of a tree.
    ///
    /// # Errors
    ///
    /// When it is no directory.
    pub fn files(&self, tree: &Path) -> Result<Files, FileError> {
        Files::open(tree, self.0.owners.of(tree))
    }

    /// Ends all commands and waits until they are gone, at most `patience`; false when some are not.
    pub async fn close(&self, patience: Duration) -> bool {
        self.0.closing.cancel();
        self.0.tasks.ended(patience).await
    }
}

impl Engine {
    /// Does everything that comes before the start.
    fn prepare(
        &self,
        spec: ExecSpec,
        turn: OwnedSemaphorePermit,
        closing: CancellationToken,
    ) -> Result<Job, Error> {
        let wall = match (spec.mode, &self.wall) {
            (Mode::Local, Wall::Open) => return Err(Error::Unavailable(self.enforcement.notes.join("; "))),
            (Mode::Local, wall) => wall.clone(),
            (Mode::None, _) => Wall::Open,
        };
        if !probe::is_directory(&spec.tree) {
            return Err(Error::Tree(format!("{} is no directory", spec.tree.display())));
        }
        let user = self.user(&spec.tree, &wall)?;
        let scratch = match wall {
            Wall::Bubblewrap { .. } => None,
            Wall::Landlock | Wall::Open => Some(Scratch::make(user)?),
        };
        let is_limited = self.cgroups.memory.is_some() || self.cgroups.processes.is_some();
        let group = is_limited.then(|| self.cgroups.group(&spec.limits)).transpose()?;
        let ExecSpec { tree, argv, cwd, env, stdin, limits, stop, .. } = spec;
        let by_rlimit = |cgroup: &Option<PathBuf>, most: u64| cgroup.is_none().then_some(most);
        let plan = Plan {
            env: self.env(env, scratch.as_ref()),
            user,
            groups: group.as_ref().map(cgroups::Group::doors).unwrap_or_default(),
            rlimits: Rlimits {
                processes: by_rlimit(&self.cgroups.processes, limits.processes),
                memory_bytes: by_rlimit(&self.cgroups.memory, limits.memory_bytes),
                file_bytes: limits.file_bytes,
                cpu_seconds: limits.cpu_seconds,
            },
            tree,
            cwd,
            scratch: scratch.as_ref().map(|scratch| scratch.path().to_owned()),
            tmp_bytes: (limits.memory_bytes / 4).clamp(*TMP_BYTES.start(), *TMP_BYTES.end()),
            places: self.reach.places.clone(),
            argv,
            has_stdin: stdin.is_some(),
            wall,
        };
        let (command, ending) = self.helper(&plan.wall, group.is_some());
        let stdin = [plan.framed()?, stdin.unwrap_or_default()].concat();
        Ok(Job { command, tree: plan.tree, turn, stdin, limits, stop, closing, group, scratch, ending })
    }

    /// The user that a command in a tree runs as; none when it is the server's own.
    fn user(&self, tree: &Path, wall: &Wall) -> Result<Option<u32>, Error> {
        if *wall == Wall::Open {
            return Ok(None);
        }
        let user = match self.owners.of(tree) {
            Some(user) => Some(user),
            None => self.owners.adopt(tree)?,
        };
        let is_staged = matches!(wall, Wall::Bubblewrap { staged: true, .. });
        match barrier(tree) {
            Some(dir) if user.is_some() && !is_staged => {
                let dir = dir.display();
                Err(Error::Tree(format!(
                    "{dir} is closed to the sandbox's user; give it mode 0711 to let it pass"
                )))
            }
            _ => Ok(user),
        }
    }

    /// A command's variables: a few usual ones, where toolchains are, and what was asked for.
    fn env(&self, asked: BTreeMap<String, String>, scratch: Option<&Scratch>) -> BTreeMap<String, String> {
        let home = scratch.map_or("/tmp".to_owned(), |scratch| scratch.path().to_string_lossy().into_owned());
        let usual =
            [("HOME", home.as_str()), ("LANG", "C.UTF-8"), ("TERM", "dumb"), ("TMPDIR", home.as_str())];
        let mut env = self.reach.env.clone();
        env.extend(usual.map(|(name, value)| (name.to_owned(), value.to_owned())));
        env.extend(asked);
        env
    }

    /// The process that becomes the command, and the signal that ends it.
    ///
    /// Bubblewrap's process namespace dies with it, though a moment later; the group tells when it has. Where
    /// there is no group, and for what no namespace holds, a watcher waits until everything is gone.
    fn helper(&self, wall: &Wall, has_group: bool) -> (Command, Signal) {
        let is_held = matches!(wall, Wall::Bubblewrap { .. }) && has_group;
        let mut command = Command::new(&self.helper);
        command.arg(confine::SUBCOMMAND).args((!is_held).then_some(confine::WATCH));
        command.arg(std::process::id().to_string()).env_clear().current_dir("/");
        // The program's allocator would clear 2 MiB for a process that uses a few KiB.
        command.env("MIMALLOC_ALLOW_THP", "0");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        (command, if is_held { Signal::SIGKILL } else { Signal::SIGTERM })
    }
}

impl Wall {
    /// What it is called in a note.
    fn name(&self) -> &'static str {
        match self {
            Self::Bubblewrap { staged: true, closed: true, .. } => "bubblewrap",
            Self::Bubblewrap { staged: false, closed: true, .. } => {
                "bubblewrap without a private mount namespace"
            }
            Self::Bubblewrap { closed: false, .. } => "bubblewrap without --disable-userns",
            Self::Landlock => "landlock",
            Self::Open => "no wall",
        }
    }
}
