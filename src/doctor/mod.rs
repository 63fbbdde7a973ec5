//! What works on this machine, what does not, and how to mend it.
//!
//! - [`disk`]: the data directory. [`door`]: the server on it, the address, who may come in. [`tools`]: the
//!   sandbox and other programs. [`machine`]: clock, files, the program itself. [`endpoints`]: models.
//!
//! **Invariant:** every check has a deadline, and none changes anything that a running server uses: the
//! database is not opened, and an address is only tried where nobody listens.

mod disk;
mod door;
mod endpoints;
mod machine;
mod tools;

use std::{future::Future, time::Duration};

use serde::Serialize;

use crate::config::Config;

/// How long a check may take.
const WITHIN: Duration = Duration::from_secs(8);

/// How long trying what contains commands may take: each kind of wall is tried.
const SANDBOX_WITHIN: Duration = Duration::from_secs(45);

/// How it stands with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It works.
    Good,
    /// It works, though not as well as it could, or something else is missing that may be wanted.
    Weak,
    /// What is necessary, or what was asked for, does not work.
    Bad,
}

/// What was found out about something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub name: &'static str,
    /// How it stands with it.
    pub verdict: Verdict,
    /// What was found.
    pub said: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    fn good(name: &'static str, said: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Good, said: said.into(), mend: None }
    }

    fn weak(name: &'static str, said: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Weak, said: said.into(), mend: Some(mend.into()) }
    }

    fn bad(name: &'static str, said: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Bad, said: said.into(), mend: Some(mend.into()) }
    }
}

/// Looks at everything, all at the same time, and tells it in a fixed order.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let (disk, door, sandbox, git, toolchains, models, machine) = futures::join!(
        bounded("data directory", WITHIN, disk::examine(config)),
        bounded("address", WITHIN, door::examine(config)),
        bounded("sandbox", SANDBOX_WITHIN, tools::sandbox(config)),
        bounded("git", WITHIN, tools::git()),
        bounded("toolchains", WITHIN, tools::toolchains()),
        bounded("models", WITHIN, endpoints::examine(config)),
        bounded("machine", WITHIN, machine::examine(config)),
    );
    [disk, door, sandbox, git, toolchains, models, machine].into_iter().flatten().collect()
}

async fn bounded(
    name: &'static str,
    within: Duration,
    check: impl Future<Output = Vec<Finding>>,
) -> Vec<Finding> {
    tokio::time::timeout(within, check).await.unwrap_or_else(|_| {
        let said = format!("it could not be found out within {} s", within.as_secs());
        vec![Finding::bad(name, said, "see whether a disk or the network hangs, and try again")]
    })
}

/// Runs what waits for the disk beside the rest.
async fn beside(name: &'static str, check: impl FnOnce() -> Vec<Finding> + Send + 'static) -> Vec<Finding> {
    tokio::task::spawn_blocking(check).await.unwrap_or_else(|error| {
        vec![Finding::bad(
            name,
            format!("the check broke off: {error}"),
            "report this as a fault of cendriix",
        )]
    })
}
