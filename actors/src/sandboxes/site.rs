//! The commands of a sandbox in this process: they belong to it, and all of them end with it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use cendriix_protocol::ids::SandboxId;
use dashmap::DashMap;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::local::{Error, ExecSpec, FileError, Files, Local, Mode, Running};

/// What the commands of a sandbox have in common. A clone is the same.
#[derive(Clone, Debug)]
pub(super) struct Commands {
    /// Ends them all.
    pub(super) closing: CancellationToken,
    /// Counts them.
    pub(super) tracker: TaskTracker,
}

impl Commands {
    pub(super) fn new(closing: CancellationToken) -> Self {
        Self { closing, tracker: TaskTracker::new() }
    }
}

/// A sandbox as a place to run commands in. A clone is the same.
#[derive(Clone, Debug)]
pub struct Site {
    local: Local,
    mode: Mode,
    pub(super) commands: Commands,
}

impl Site {
    /// A place of its own that no sandbox ends; everything in it ends with the process.
    pub fn apart(local: Local, mode: Mode) -> Self {
        let commands = local.commands();
        Self { local, mode, commands }
    }

    /// How its commands are contained.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Where a command finds its tree.
    pub fn inside(&self, tree: &Path) -> PathBuf {
        match self.mode {
            Mode::Local => self.local.inside(tree),
            Mode::None => tree.to_owned(),
        }
    }

    /// The server's own way to the files of a tree.
    ///
    /// # Errors
    ///
    /// When it is no directory.
    pub fn files(&self, tree: &Path) -> Result<Files, FileError> {
        self.local.files(tree)
    }

    /// Starts a command, once it is its turn; it is contained as the sandbox is, and ends with it.
    ///
    /// # Errors
    ///
    /// When it makes no sense, cannot be contained here, cannot be started, or the sandbox ends.
    pub async fn exec(&self, spec: ExecSpec) -> Result<Running, Error> {
        self.local.exec_among(ExecSpec { mode: self.mode, ..spec }, &self.commands).await
    }
}

/// The sandboxes that commands run in here. A clone is the same.
#[derive(Clone, Debug)]
pub(super) struct Sites {
    pub(super) local: Local,
    pub(super) mode: Mode,
    open: Arc<DashMap<SandboxId, Commands>>,
}

impl Sites {
    pub(super) fn new(local: Local, mode: Mode) -> Self {
        Self { local, mode, open: Arc::default() }
    }

    /// The place of a sandbox. Whoever opens it looks afterwards whether the sandbox still runs, and closes
    /// it again otherwise: so none is left open that nobody ends.
    pub(super) fn open(&self, id: SandboxId) -> Site {
        let commands = self.open.entry(id).or_insert_with(|| self.local.commands()).clone();
        Site { local: self.local.clone(), mode: self.mode, commands }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Ends all commands of a sandbox and waits until they are gone, at most `patience`; false when some are
    /// not.
    pub(super) async fn close(&self, id: SandboxId, patience: Duration) -> bool {
        let Some((_, commands)) = self.open.remove(&id) else { return true };
        commands.closing.cancel();
        commands.tracker.close();
        tokio::time::timeout(patience, commands.tracker.wait()).await.is_ok()
    }
}
