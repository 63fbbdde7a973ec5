//! Performs what a sandbox wants: learns whether its attempt is over, and ends its commands.

use std::time::Duration;

use async_trait::async_trait;
use cendriix_persistence::store::SharedStore;

use super::{
    site::Sites,
    state::{Command, Sandbox, Work},
};
use crate::{
    kit::{Task, World, stored},
    runs::Run,
};

/// How long commands may take to be gone.
const EMPTY_WITHIN: Duration = Duration::from_secs(10);

/// What sandboxes reach.
#[derive(Debug)]
pub(super) struct SandboxWorld {
    pub(super) store: SharedStore,
    pub(super) sites: Sites,
}

#[async_trait]
impl World<Sandbox> for SandboxWorld {
    async fn perform(&self, task: Task<Sandbox>) -> Option<Command> {
        let sandbox = &*task.state;
        match task.work {
            Work::AskRun => match stored::load::<Run>(&*self.store, sandbox.run.0).await {
                Ok(Some(run)) if !run.is_over(sandbox.attempt) => None,
                Ok(_) => Some(Command::AttemptOver),
                Err(error) => {
                    tracing::warn!(sandbox.id = %sandbox.id, %error, "the run of a sandbox cannot be read");
                    None
                }
            },
            Work::Empty => {
                let is_empty = self.sites.close(sandbox.id, EMPTY_WITHIN).await;
                if !is_empty {
                    tracing::warn!(sandbox.id = %sandbox.id, "commands of a sandbox did not end in time");
                }
                Some(Command::Emptied { survivors: !is_empty })
            }
        }
    }
}
