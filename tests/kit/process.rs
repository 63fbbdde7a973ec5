//! The real binary in a process of its own.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use super::TestClient;

/// A number that the environment gives, as how often to kill and with which seed.
pub(crate) fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// The command line, on a data directory.
pub(crate) fn cendriix(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cendriix"));
    command.arg("--data").arg(data).env_remove("CENDRIIX_SERVER").env_remove("CENDRIIX_TOKEN");
    command.stdin(Stdio::null());
    command
}

/// Runs the command line to its end.
pub(crate) fn run(data: &Path, arguments: &[&str]) -> Output {
    cendriix(data).args(arguments).output().unwrap()
}

/// What a command printed to stdout, when it succeeded.
pub(crate) fn printed(data: &Path, arguments: &[&str]) -> String {
    let output = run(data, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} ended with {}: {said}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn serves(command: &mut Command) {
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("CENDRIIX_LOG__LEVEL", "warn");
}

/// A server in a process of its own; killed when this goes away.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) url: String,
}

impl Process {
    /// Starts one and waits until it listens.
    pub(crate) async fn serve(data: &Path) -> Self {
        Self::serve_with(data, |_| ()).await
    }

    /// Starts one whose command `change` has changed.
    pub(crate) async fn serve_with(data: &Path, change: impl FnOnce(&mut Command)) -> Self {
        drop(std::fs::remove_file(data.join("control.json")));
        let mut command = cendriix(data);
        serves(&mut command);
        change(&mut command);
        Self::started(command.spawn().unwrap(), |_| data.to_owned()).await
    }

    /// Starts one on a small disk of its own, in memory, at a folder that is empty to everybody else. Gives
    /// the disk as this process sees it, too.
    pub(crate) async fn serve_on_disk(
        folder: &Path,
        bytes: usize,
        change: impl FnOnce(&mut Command),
    ) -> (Self, PathBuf) {
        let server = cendriix(&folder.join("data"));
        let mut command = Command::new("bwrap");
        command.args(["--die-with-parent", "--dev-bind", "/", "/", "--size", &bytes.to_string(), "--tmpfs"]);
        command.arg(folder).arg(server.get_program()).args(server.get_args()).stdin(Stdio::null());
        serves(&mut command);
        change(&mut command);
        let disk = |pid: u32| {
            let child =
                std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            let folder = folder.strip_prefix("/").unwrap();
            Path::new("/proc").join(child.trim()).join("root").join(folder)
        };
        let server = Self::started(command.spawn().unwrap(), |pid| disk(pid).join("data")).await;
        let disk = disk(server.child.id());
        (server, disk)
    }

    /// Waits until a server listens, whose process sees its data directory there.
    async fn started(mut child: Child, data: impl Fn(u32) -> PathBuf) -> Self {
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        loop {
            looks.tick().await;
            assert!(child.try_wait().unwrap().is_none(), "the server did not start");
            let control = std::fs::read(data(child.id()).join("control.json")).unwrap_or_default();
            // The file is there before it is whole.
            if let Ok(control) = serde_json::from_slice::<serde_json::Value>(&control) {
                return Self { child, url: super::text(&control["url"]) };
            }
        }
    }

    pub(crate) fn client(&self) -> TestClient {
        TestClient::new(self.url.clone())
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; gives how it ended.
    pub(crate) async fn terminate(self) -> std::process::ExitStatus {
        self.tell_to_stop();
        self.ended().await
    }

    /// SIGTERM.
    pub(crate) fn tell_to_stop(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits until it has ended; gives how.
    pub(crate) async fn ended(mut self) -> std::process::ExitStatus {
        tokio::task::spawn_blocking(move || self.child.wait().unwrap()).await.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
