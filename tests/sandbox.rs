//! Commands run contained: what they cannot reach, what they cannot use up, and that nothing of them stays.
//!
//! Every test runs behind each wall that the product has, and all of them once more as a user without rights.

mod endings;
mod files;
mod limits;
mod walls;

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use cendriix_actors::sandboxes::{Allowed, ExecSpec, Filesystem, Finished, Local, Running};
use tempfile::TempDir;

/// Says in a test process that it is the one without rights.
const UNPRIVILEGED: &str = "CENDRIIX_TEST_UNPRIVILEGED";

/// Says in a test process where the program is, when it cannot reach where it was built.
const PROGRAM: &str = "CENDRIIX_TEST_PROGRAM";

/// A user that exists everywhere and owns nothing.
const NOBODY: u32 = 65_534;

/// Commands behind one wall, and a tree to run commands in.
struct Bench {
    local: Local,
    home: TempDir,
    tree: PathBuf,
}

impl Bench {
    async fn with(allowed: Allowed) -> Self {
        let built = || PathBuf::from(env!("CARGO_BIN_EXE_cendriix"));
        let program = std::env::var_os(PROGRAM).map_or_else(built, PathBuf::from);
        let local = Local::probe_allowing(program, allowed).await;
        let home = tempfile::tempdir().unwrap();
        let tree = home.path().join("tree");
        fs::create_dir(&tree).unwrap();
        Self { local, home, tree }
    }

    /// Behind bubblewrap, in a directory that is closed to everybody else.
    async fn bubblewrap() -> Self {
        let bench = Self::with(Allowed::default()).await;
        let found = bench.local.capabilities();
        assert_eq!(found.filesystem, Filesystem::Bubblewrap, "install bubblewrap: {:?}", found.notes);
        bench
    }

    /// Behind landlock, in a directory that lets others pass.
    async fn landlock() -> Self {
        Self::behind_landlock(Allowed { bubblewrap: false, ..Allowed::default() }).await
    }

    async fn behind_landlock(allowed: Allowed) -> Self {
        let bench = Self::with(allowed).await;
        let found = bench.local.capabilities();
        assert_eq!(found.filesystem, Filesystem::Landlock, "this kernel has no landlock: {:?}", found.notes);
        fs::set_permissions(bench.home.path(), fs::Permissions::from_mode(0o711)).unwrap();
        bench
    }

    /// Behind each wall.
    async fn each() -> [Self; 2] {
        [Self::bubblewrap().await, Self::landlock().await]
    }

    fn is_bubblewrap(&self) -> bool {
        self.local.capabilities().filesystem == Filesystem::Bubblewrap
    }

    /// Another tree beside the first.
    fn beside(&self, name: &str) -> PathBuf {
        let tree = self.home.path().join(name);
        fs::create_dir(&tree).unwrap();
        tree
    }

    fn shell(&self, script: impl Into<String>) -> ExecSpec {
        ExecSpec::new(&self.tree, ["sh".to_owned(), "-c".to_owned(), script.into()])
    }

    async fn start(&self, spec: ExecSpec) -> Running {
        self.local.exec(spec).await.unwrap()
    }

    async fn run(&self, spec: ExecSpec) -> Finished {
        self.start(spec).await.finished().await
    }

    /// What a script prints to both outputs.
    async fn says(&self, script: &str) -> String {
        let finished = self.run(self.shell(format!("exec 2>&1; {script}"))).await;
        String::from_utf8_lossy(&finished.stdout).into_owned()
    }
}

/// Says why a command ended, for an assertion that fails.
fn why(finished: &Finished) -> String {
    let [stdout, stderr] = [&finished.stdout, &finished.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{:?}\nstdout: {stdout}\nstderr: {stderr}", finished.exit)
}

/// Text that no other process of the machine has in its arguments.
fn marker() -> String {
    format!("31{:09}", fastrand::u32(..1_000_000_000))
}

/// The processes that have a text in their arguments.
fn processes_with(marker: &str) -> Vec<i32> {
    let me = i32::try_from(std::process::id()).unwrap();
    let pids =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has = |pid: &i32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid != me && String::from_utf8_lossy(&arguments).contains(marker)
    };
    pids.filter(has).collect()
}

/// Waits until no process has a text in its arguments.
pub(crate) async fn all_gone(marker: &str) {
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..1_000 {
        looks.tick().await;
        if processes_with(marker).is_empty() {
            return;
        }
    }
    panic!("{:?} are still there", processes_with(marker));
}

/// Memory of this process that is not shared with a file.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Runs tests of this binary in a process of its own.
fn tests(filter: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([filter, "--test-threads", "2", "--nocapture"]).current_dir("/");
    command
}

#[test]
fn a_server_without_rights_contains_as_well() {
    if !is_root() {
        // Every test of this file has shown it.
        return;
    }
    // The checkout may lie where others cannot go.
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (binary, program) = (home.path().join("tests"), home.path().join("cendriix"));
    fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_cendriix"), &program).unwrap();
    let mut command = Command::new(binary);
    command.args(["sandbox::", "--test-threads", "2", "--nocapture"]).current_dir("/");
    command.args(["--skip", "a_server_without_rights_contains_as_well"]);
    command.env(UNPRIVILEGED, "1").env(PROGRAM, program);
    command.env_remove("HOME").env("PATH", "/usr/local/bin:/usr/bin:/bin").uid(NOBODY).gid(NOBODY);
    let output = command.output().unwrap();
    let [said, complained] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{said}\n{complained}");
}

#[tokio::test]
async fn what_is_enforced_is_shown() {
    for bench in Bench::each().await {
        let shown = serde_json::to_value(bench.local.capabilities()).unwrap();
        eprintln!("{shown:#}");
        let expected =
            if bench.is_bubblewrap() { ["bubblewrap", "namespace"] } else { ["landlock", "seccomp"] };
        assert_eq!([&shown["filesystem"], &shown["network"]], expected);
        for limit in ["memory", "processes", "cpu"] {
            assert!(["cgroup", "rlimit"].contains(&shown[limit].as_str().unwrap()), "{shown}");
        }
        let notes = shown["notes"].to_string();
        assert_eq!(notes.contains("landlock:"), !bench.is_bubblewrap(), "{notes}");
    }
}

#[tokio::test]
async fn a_start_costs_milliseconds() {
    for bench in Bench::each().await {
        let mut plain = Vec::new();
        let mut contained = Vec::new();
        for _ in 0..40 {
            let began = tokio::time::Instant::now();
            assert!(tokio::process::Command::new("true").status().await.unwrap().success());
            plain.push(began.elapsed());
            let began = tokio::time::Instant::now();
            assert!(bench.start(ExecSpec::new(&bench.tree, ["true"])).await.exit().await.is_success());
            contained.push(began.elapsed());
        }
        plain.sort();
        contained.sort();
        let wall = bench.local.capabilities().filesystem;
        eprintln!("true, median of 40: plain {:?}, {wall:?} {:?}", plain[20], contained[20]);
    }
}

/// The user that a path belongs to.
fn owner(path: &Path) -> u32 {
    std::os::unix::fs::MetadataExt::uid(&fs::symlink_metadata(path).unwrap())
}
