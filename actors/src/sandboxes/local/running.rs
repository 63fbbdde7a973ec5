//! A command while it runs: its output as it comes, then how it ended, and nothing of it afterwards.
//!
//! **Invariant:** the command and all it started are killed when it ends, when its time is over, when it is
//! stopped, and when its handle goes away; also when the server's own process dies, because the kernel kills
//! them then.

use std::{
    io,
    path::{Path, PathBuf},
    pin::pin,
    process::ExitStatus,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc as threads,
    },
    time::Duration,
};

use bytes::Bytes;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    runtime::Handle,
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    task::yield_now,
    time::{Instant, interval, sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    cgroups::Group,
    scratch::Scratch,
    spec::{Exit, Finished, Limits, Output},
};

/// Pieces of output that wait for their reader; the command waits when there are more.
const PIECES: usize = 16;
/// The largest piece of output.
const PIECE_BYTES: usize = 16 << 10;
/// How often processor time and the disk are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many files must be possible still.
const FILES_MIN: u64 = 4_096;
/// How long whoever is killed may take to be gone.
const DYING: Duration = Duration::from_secs(2);
/// Looks at whoever is dying before it is waited for: most are gone sooner than the shortest wait is over.
const QUICK_LOOKS: u32 = 10;
/// How long output that is left over waits for its reader.
const READING: Duration = Duration::from_mins(1);

/// A running command. It is killed when this goes away.
#[derive(Debug)]
pub struct Running {
    output: mpsc::Receiver<Output>,
    exit: oneshot::Receiver<Exit>,
    stop: CancellationToken,
    _stopped_with_this: DropGuard,
}

impl Running {
    /// The next piece of output; none after the last.
    pub async fn next(&mut self) -> Option<Output> {
        self.output.recv().await
    }

    /// Ends it, with everything it started.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// How it ended; output that was not asked for is dropped.
    pub async fn exit(mut self) -> Exit {
        while self.output.recv().await.is_some() {}
        // Only a runtime that is shut down drops the task that tells.
        (&mut self.exit).await.unwrap_or_default()
    }

    /// Its whole output, and how it ended.
    pub async fn finished(mut self) -> Finished {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(output) = self.next().await {
            match output {
                Output::Stdout(bytes) => stdout.extend_from_slice(&bytes),
                Output::Stderr(bytes) => stderr.extend_from_slice(&bytes),
            }
        }
        Finished { stdout, stderr, exit: self.exit().await }
    }
}

/// A command that is about to run.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) command: Command,
    pub(super) tree: PathBuf,
    /// Its turn, which is over with it.
    pub(super) turn: OwnedSemaphorePermit,
    /// The plan, and what the command reads behind it.
    pub(super) stdin: Vec<u8>,
    pub(super) limits: Limits,
    pub(super) stop: CancellationToken,
    /// Ends it with all others.
    pub(super) closing: CancellationToken,
    pub(super) group: Option<Group>,
    pub(super) scratch: Option<Scratch>,
    /// What ends it without a survivor: SIGTERM for a watcher, SIGKILL for bubblewrap.
    pub(super) ending: Signal,
}

/// Starts a job; what comes back must be run beside its handle.
pub(super) async fn start(mut job: Job) -> io::Result<(Running, impl Future<Output = ()> + Send)> {
    let command = std::mem::replace(&mut job.command, Command::new(""));
    let child = spawn(command).await?;
    let (to_output, output) = mpsc::channel(PIECES);
    let (to_exit, exit) = oneshot::channel();
    let stop = job.stop.child_token();
    let running = Running { output, exit, stop: stop.clone(), _stopped_with_this: stop.clone().drop_guard() };
    let work = async move {
        let exit = supervise(child, job, stop, to_output).await;
        // Whoever dropped the handle does not want to know.
        drop(to_exit.send(exit));
    };
    Ok((running, work))
}

/// Why a command is not waited for any longer.
enum Over {
    Ended(io::Result<ExitStatus>),
    TimedOut,
    OutOfCpu,
    OutOfDisk,
    Stopped,
}

async fn supervise(mut child: Child, job: Job, stop: CancellationToken, out: mpsc::Sender<Output>) -> Exit {
    let began = Instant::now();
    let Job { limits, group, scratch, ending, stdin, closing, tree, turn, .. } = job;
    let mut target = Target { pid: child.id(), ending, group };
    let budget = Budget(AtomicU64::new(limits.output_bytes));
    let (input, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let over;
    {
        let feed = async {
            if let Some(mut input) = input {
                // A command need not read all, or any, of its input.
                drop(input.write_all(&stdin).await);
            }
        };
        let pumps = futures::future::join3(
            feed,
            pump(stdout, Output::Stdout, &budget, &out),
            pump(stderr, Output::Stderr, &budget, &out),
        );
        let mut pumps = pin!(pumps);
        let mut is_drained = false;
        over = loop {
            tokio::select! {
                status = child.wait() => break Over::Ended(status),
                () = sleep(limits.wall.saturating_sub(began.elapsed())) => break Over::TimedOut,
                () = target.out_of_cpu(limits.cpu_seconds) => break Over::OutOfCpu,
                () = out_of_disk(&tree, limits.disk_free_bytes) => break Over::OutOfDisk,
                () = stop.cancelled() => break Over::Stopped,
                () = closing.cancelled() => break Over::Stopped,
                _ = &mut pumps, if !is_drained => is_drained = true,
            }
        };
        target.end(&mut child).await;
        if !is_drained && !out.is_closed() && timeout(READING, pumps).await.is_err() {
            budget.give_up();
        }
    }
    let mut exit = Exit { truncated: budget.is_overdrawn(), duration: began.elapsed(), ..Exit::default() };
    exit.out_of_memory = target.group.as_ref().is_some_and(Group::ran_out_of_memory);
    exit.timed_out = matches!(over, Over::TimedOut);
    exit.out_of_cpu = matches!(over, Over::OutOfCpu);
    exit.out_of_disk = matches!(over, Over::OutOfDisk);
    if let Over::Ended(Ok(status)) = over {
        use std::os::unix::process::ExitStatusExt;
        (exit.code, exit.signal) = (status.code(), status.signal());
        let by_kernel = 128 + Signal::SIGXCPU as i32;
        exit.out_of_cpu = exit.code == Some(by_kernel) || exit.signal == Some(Signal::SIGXCPU as i32);
    }
    let cleaning = tokio::task::spawn_blocking(move || drop((target, scratch, turn)));
    // Nothing is left to do when that panicked.
    drop(cleaning.await);
    exit
}

/// Comes back when the disk has less space than that, or hardly a file can be added.
async fn out_of_disk(tree: &Path, least: u64) {
    let mut looks = interval(LOOK_EVERY);
    let is_full = || {
        rustix::fs::statvfs(tree).is_ok_and(|disk| {
            let counts_files = disk.f_files > 0;
            disk.f_bavail.saturating_mul(disk.f_frsize) < least || counts_files && disk.f_favail < FILES_MIN
        })
    };
    while !is_full() {
        looks.tick().await;
    }
}

/// Whom to kill. Kills when it goes away, should nobody have done so before.
struct Target {
    pid: Option<u32>,
    ending: Signal,
    group: Option<Group>,
}

impl Target {
    /// Kills all processes, and waits until they are gone.
    async fn end(&mut self, child: &mut Child) {
        self.pid = child.id();
        self.signal(self.ending);
        if timeout(DYING, child.wait()).await.is_err() {
            self.kill_group();
            self.signal(Signal::SIGKILL);
            drop(timeout(DYING, child.wait()).await);
        }
        // Its number may belong to somebody else from here on.
        self.pid = None;
        let mut looks = interval(Duration::from_millis(1));
        let gone = async {
            let mut quick = 0..QUICK_LOOKS;
            while !self.kill_group() {
                match quick.next() {
                    Some(_) => yield_now().await,
                    None => drop(looks.tick().await),
                }
            }
        };
        if timeout(DYING, gone).await.is_err() {
            tracing::warn!("processes of a sandbox do not die; the next start removes their group");
        }
    }

    /// Comes back when the command has used its processor time.
    async fn out_of_cpu(&self, seconds: u64) {
        let mut looks = interval(LOOK_EVERY);
        let used = || self.group.as_ref().and_then(Group::cpu_used).unwrap_or_default();
        while used() <= Duration::from_secs(seconds) {
            looks.tick().await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid.and_then(|pid| i32::try_from(pid).ok()) {
            // It may have ended; it is not buried yet, so the number is still its own.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    fn kill_group(&self) -> bool {
        self.group.as_ref().is_none_or(Group::kill)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.signal(self.ending);
    }
}

/// How much output may still be passed on.
struct Budget(AtomicU64);

impl Budget {
    /// Stands for an output that was cut.
    const OVERDRAWN: u64 = u64::MAX;

    /// How many of `wanted` bytes may be passed on.
    fn take(&self, wanted: usize) -> usize {
        let left = match self.0.load(Ordering::Relaxed) {
            Self::OVERDRAWN => return 0,
            left => usize::try_from(left).unwrap_or(usize::MAX),
        };
        let rest = if wanted > left { Self::OVERDRAWN } else { u64::try_from(left - wanted).unwrap_or(0) };
        self.0.store(rest, Ordering::Relaxed);
        wanted.min(left)
    }

    fn give_up(&self) {
        self.0.store(Self::OVERDRAWN, Ordering::Relaxed);
    }

    fn is_overdrawn(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::OVERDRAWN
    }
}

/// Passes output on while the budget lasts, and reads it to its end in any case.
async fn pump(
    pipe: Option<impl AsyncRead + Unpin>,
    of: fn(Bytes) -> Output,
    budget: &Budget,
    out: &mpsc::Sender<Output>,
) {
    let Some(mut pipe) = pipe else { return };
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(length @ 1..) = pipe.read(&mut piece).await {
        let kept = budget.take(length);
        if kept > 0 && out.send(of(Bytes::copy_from_slice(&piece[..kept]))).await.is_err() {
            budget.give_up();
        }
    }
}

/// A command to start, where its pipes are waited for, and who wants the process.
type Order = (Command, Handle, oneshot::Sender<io::Result<Child>>);

/// Starts a process from a thread that lives as long as the server.
///
/// The kernel ends a sandbox with the *thread* that started it, and a runtime ends its threads when it likes.
async fn spawn(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Option<threads::SyncSender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, waiting) = threads::sync_channel::<Order>(PIECES);
        let work = move || {
            for (mut command, runtime, answer) in waiting {
                let _entered = runtime.enter();
                // When nobody waits any longer, its stdin closes, and it ends for want of a plan.
                drop(answer.send(command.spawn()));
            }
        };
        std::thread::Builder::new().name("sandboxes".to_owned()).spawn(work).ok().map(|_| orders)
    });
    let (answer, child) = oneshot::channel();
    let starter = starter.clone().ok_or_else(|| io::Error::other("no thread to start processes from"))?;
    let order = (command, Handle::current(), answer);
    let sent = tokio::task::spawn_blocking(move || starter.send(order).is_ok()).await;
    match sent {
        Ok(true) => child.await.map_err(io::Error::other)?,
        _ => Err(io::Error::other("the thread that starts processes is gone")),
    }
}
