//! Sandboxes: where commands of agents and tests of repositories run, contained.
//!
//! Each attempt of a run has one, from its first command to its end. [`state`] decides what may happen and
//! holds no I/O; [`work`] learns when the attempt is over and ends what is left; [`site`] is the place that
//! commands run in meanwhile; [`local`] contains them.

pub mod local;
mod machine;
mod site;
pub mod state;
mod work;

use std::{path::PathBuf, sync::Arc, time::Duration};

use cendriix_protocol::ids::{RunId, SandboxId, WorkspaceId};
use tokio_util::sync::CancellationToken;

pub use self::{
    local::{
        Allowed, Change, Enforcement, Entry, Error, ExecSpec, Exit, FileError, Files, Filesystem, Finished,
        Kind, Limiter, Limits, Local, Mode, NOT_STARTED, Network, Output, Running, Unchanged, Version,
        confine,
    },
    site::Site,
    state::Sandbox,
};
use self::{
    site::Sites,
    state::{Birth, Runtime, Status},
    work::SandboxWorld,
};
use crate::{
    kit::{Actor, Entities, Failure, Order, machine::child_id, shared::Shared},
    reason::chain,
};

/// When a sandbox that could not be made is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The attempt of a run that a sandbox is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Whose run it is.
    pub workspace: WorkspaceId,
    /// The run.
    pub run: RunId,
    /// Which attempt of it.
    pub number: u32,
}

impl Attempt {
    /// The sandbox of the attempt.
    pub fn sandbox(self) -> SandboxId {
        // No node of a workflow has a name that begins like that.
        SandboxId(child_id(self.run.0, "-sandbox", self.number))
    }
}

/// The sandboxes of all runs. A clone is the same.
#[derive(Clone, Debug)]
pub struct Sandboxes {
    entities: Entities<Sandbox>,
    sites: Sites,
}

impl Sandboxes {
    /// Starts the sandboxes whose commands are contained by `local` as `mode` says.
    ///
    /// # Errors
    ///
    /// When their supervisor does not start.
    pub async fn start(shared: &Shared, local: Local, mode: Mode) -> Result<Self, ractor::SpawnErr> {
        let sites = Sites::new(local, mode);
        let world = SandboxWorld { store: Arc::clone(&shared.store), sites: sites.clone() };
        Ok(Self { entities: Entities::start(shared.clone(), Arc::new(world)).await?, sites })
    }

    /// How commands are contained.
    pub fn mode(&self) -> Mode {
        self.sites.mode
    }

    /// What contains them.
    pub fn local(&self) -> &Local {
        &self.sites.local
    }

    /// The sandbox of an attempt, which comes to life with the first that enters it. While it cannot be
    /// saved, for instance because the disk is nearly full, this waits, until `stop` is cancelled.
    ///
    /// # Errors
    ///
    /// [`Error::Terminated`] when the attempt is over, [`Error::Stopped`] when it was stopped meanwhile.
    pub async fn enter(&self, attempt: Attempt, stop: &CancellationToken) -> Result<Site, Error> {
        let id = attempt.sandbox();
        let runtime = if self.mode() == Mode::Local { Runtime::Local } else { Runtime::None };
        let Attempt { workspace, run, number } = attempt;
        let birth = Birth { workspace, run, attempt: number, runtime };
        loop {
            let site = self.sites.open(id);
            let tried = match self.entities.show(id.0).await {
                Ok(Some(shown)) if shown.machine.status == Status::Running => return Ok(site),
                Ok(Some(_)) => {
                    self.sites.close(id, Duration::ZERO).await;
                    return Err(Error::Terminated);
                }
                Ok(None) => self.entities.create(id.0, &birth, Order::of(Actor::System)).await.map(drop),
                Err(error) => Err(Failure::Store(error)),
            };
            match tried {
                Ok(()) => (),
                Err(Failure::Stopping) => return Err(Error::Stopped),
                Err(failure) => {
                    let failure = chain(&failure);
                    tracing::debug!(sandbox.id = %id, failure, "a sandbox is not there yet");
                    tokio::select! {
                        () = stop.cancelled() => return Err(Error::Stopped),
                        () = tokio::time::sleep(AGAIN_AFTER) => (),
                    }
                }
            }
        }
    }

    /// Gives everything in a tree to the user that commands in it run as.
    ///
    /// # Errors
    ///
    /// When it is no directory, or holds what cannot be given away.
    pub async fn adopt(&self, tree: impl Into<PathBuf>) -> Result<(), Error> {
        self.sites.local.adopt(tree).await
    }

    /// Ends all commands and waits until they are gone, at most `patience`; false when some are not.
    pub async fn close(&self, patience: Duration) -> bool {
        self.sites.local.close(patience).await
    }
}

#[cfg(test)]
mod tests;
