//! The real binary in a process of its own, on a directory that goes away with it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Done,
    http::{Client, text},
    load::count,
};

/// How many ticks of `/proc` a second has; the same on every Linux.
const TICKS: f64 = 100.0;
/// How long a server may take to start.
const START_WITHIN: Duration = Duration::from_mins(2);

/// A directory for data on the disk that holds `target`.
pub(crate) fn home() -> Done<TempDir> {
    Ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// A server; killed when this goes away.
pub(crate) struct Server {
    child: Child,
    data: PathBuf,
    pub(crate) addr: SocketAddr,
    /// When its process was started.
    pub(crate) started: Instant,
    /// How long it took until it listened.
    pub(crate) listening: Duration,
}

impl Server {
    /// Starts one with these variables set and waits until it listens.
    pub(crate) async fn start(data: &Path, variables: &[(&str, &str)]) -> Done<Self> {
        drop(std::fs::remove_file(data.join("control.json")));
        let mut command = Command::new(env!("CARGO_BIN_EXE_cendriix"));
        command.arg("--data").arg(data).args(["serve", "--listen", "127.0.0.1:0"]).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CENDRIIX_")) {
            command.env_remove(name);
        }
        command.env("CENDRIIX_LOG__LEVEL", "warn").envs(variables.iter().copied());
        let started = Instant::now();
        let mut child = command.spawn()?;
        let mut looks = tokio::time::interval(Duration::from_millis(1));
        loop {
            looks.tick().await;
            if child.try_wait()?.is_some() || started.elapsed() > START_WITHIN {
                drop(child.kill());
                return Err("the server did not start".into());
            }
            // The file is there before it is whole.
            let control = std::fs::read(data.join("control.json")).unwrap_or_default();
            if let Ok(control) = serde_json::from_slice::<Value>(&control) {
                let listening = started.elapsed();
                let addr = text(&control["url"])?.trim_start_matches("http://").parse()?;
                return Ok(Self { child, data: data.to_owned(), addr, started, listening });
            }
        }
    }

    /// Logs in.
    pub(crate) async fn login(&self) -> Done<Client> {
        Client::login(self.addr).await
    }

    /// The processor time it has used, in seconds.
    pub(crate) fn cpu(&self) -> Done<f64> {
        let stat = self.proc("stat")?;
        // The name of the command stands in parentheses and may hold anything.
        let (_, after) = stat.rsplit_once(')').ok_or("a stat without a command")?;
        let ticks = after.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u32>);
        let ticks: u32 = ticks.sum::<Result<u32, _>>()?;
        Ok(f64::from(ticks) / TICKS)
    }

    /// The memory it holds, in MiB.
    pub(crate) fn rss(&self) -> Done<f64> {
        let status = self.proc("status")?;
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("a status without VmRSS")?;
        let kib: u32 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(f64::from(kib) / 1024.0)
    }

    fn proc(&self, file: &str) -> Done<String> {
        Ok(std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))?)
    }

    /// How large the database is on disk, in MiB.
    pub(crate) fn stored(&self) -> Done<f64> {
        let bytes = std::fs::metadata(self.data.join("store.redb"))?.len();
        Ok(count(bytes >> 10) / 1024.0)
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) -> Done {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Tells it to stop, waits for it, and starts another on the same directory.
    pub(crate) async fn restart(mut self, variables: &[(&str, &str)]) -> Done<Self> {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        if !told.success() || !self.child.wait()?.success() {
            return Err("a server that was told to stop did not stop well".into());
        }
        Self::start(&self.data, variables).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
