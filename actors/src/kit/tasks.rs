//! Everything that runs beside an actor: spawned here, ended with its owner, counted until it is gone.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// Spawns tasks and waits for them at the end.
#[derive(Clone, Debug, Default)]
pub struct Tasks(TaskTracker);

/// A task that ends when this is dropped.
#[derive(Debug)]
pub struct Owned(JoinHandle<()>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Tasks {
    /// Runs `work` until it ends by itself. A panic in it is logged.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.start(name, work));
    }

    /// Runs `work` until it ends or the returned owner is dropped. A panic in it is logged.
    #[must_use]
    pub fn own(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) -> Owned {
        Owned(self.start(name, work))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    fn start(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        tokio::spawn(self.0.track_future(async move {
            if let Err(panic) = AssertUnwindSafe(work).catch_unwind().await {
                tracing::error!(task = name, panic = message(&*panic), "a task panicked");
            }
        }))
    }

    /// Waits until every task has ended, at most `patience`; false when some have not.
    pub async fn ended(&self, patience: Duration) -> bool {
        self.0.close();
        tokio::time::timeout(patience, self.0.wait()).await.is_ok()
    }
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}
