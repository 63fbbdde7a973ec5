//! Performs what runs want: computes transforms over the outputs upstream.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use async_trait::async_trait;
use cendriix_persistence::{
    blobs::{Blobs, Digest},
    codec::decode,
    store::{Key, SharedStore},
};
use cendriix_protocol::ids::WorkspaceId;
use quick_cache::{Weighter, sync::Cache};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::state::{Command, Content, Event, Payload, Reason, Run, StepState, Work};
use crate::{
    Error,
    content::{self, INLINE_MAX},
    kinds,
    kit::{Journaled, Task, World},
    workflows::{Compiled, Workflows, logic::Reads, rules},
};

/// How much memory contents that were read may take, in bytes.
const CACHE_BYTES: u64 = 16 << 20;
/// Data above this size is computed on beside the other work, in bytes.
const APART_ABOVE: usize = 32 << 10;
/// How many such computations go on at once.
const APART_MAX: usize = 2;
/// How long one may take.
const APART_WITHIN: Duration = Duration::from_secs(30);

/// Where contents of runs are read.
#[derive(Clone, Debug)]
pub struct Contents {
    store: SharedStore,
    blobs: Blobs,
    cache: Arc<Cache<(Uuid, u64), Arc<str>, Bytes>>,
}

#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<(Uuid, u64), Arc<str>> for Bytes {
    fn weight(&self, _key: &(Uuid, u64), text: &Arc<str>) -> u64 {
        text.len() as u64 + 64
    }
}

impl Contents {
    /// Reads contents from a store and its blobs.
    pub fn new(store: SharedStore, blobs: Blobs) -> Self {
        let cache = Arc::new(Cache::with_weighter(1024, CACHE_BYTES, Bytes));
        Self { store, blobs, cache }
    }

    /// The text of a content.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn read(
        &self,
        workspace: WorkspaceId,
        run: Uuid,
        content: &Content,
    ) -> Result<Arc<str>, Error> {
        match content {
            Content::Event(seq) => self.event(run, *seq).await,
            Content::Blob { name, .. } => {
                let digest: Digest = name.parse().map_err(|_| missing())?;
                content::get(&self.blobs, workspace, digest).await.map(Arc::from)
            }
        }
    }

    async fn event(&self, run: Uuid, seq: u64) -> Result<Arc<str>, Error> {
        if let Some(text) = self.cache.get(&(run, seq)) {
            return Ok(text);
        }
        let entries = self.store.journal(Key { kind: kinds::RUN, id: run }, seq - 1, 1).await?;
        let entry = entries.first().ok_or_else(missing)?;
        let journaled: Journaled<Event> = decode("journal entry", &entry.bytes)?;
        let place = usize::try_from(seq - entry.first_seq).unwrap_or(usize::MAX);
        let payload = match journaled.events.get(place) {
            Some(Event::Created(created)) => &created.input,
            Some(Event::StepSucceeded { output, .. }) => output,
            _ => return Err(missing()),
        };
        let Payload::Inline(text) = payload else { return Err(missing()) };
        let text: Arc<str> = text.as_str().into();
        self.cache.insert((run, seq), Arc::clone(&text));
        Ok(text)
    }

    /// Text as it goes with an event: itself while it is small, else a blob.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub async fn keep(&self, workspace: WorkspaceId, text: String) -> Result<Payload, Error> {
        if text.len() <= INLINE_MAX {
            return Ok(Payload::Inline(text));
        }
        let len = text.len() as u64;
        let name = content::put(&self.blobs, workspace, text).await?.to_string();
        Ok(Payload::Blob { name, len })
    }
}

fn missing() -> Error {
    cendriix_persistence::StoreError::Unreadable {
        what: "content",
        detail: "its event or blob is not there".into(),
    }
    .into()
}

/// What runs reach.
#[derive(Debug)]
pub struct RunWorld {
    contents: Contents,
    workflows: Workflows,
    apart: Arc<Semaphore>,
}

impl RunWorld {
    /// Runs that compute with these workflows.
    pub fn new(contents: Contents, workflows: Workflows) -> Self {
        Self { contents, workflows, apart: Arc::new(Semaphore::new(APART_MAX)) }
    }

    async fn evaluate(&self, run: &Run, step: u32) -> Result<Payload, Reason> {
        let unavailable = |error: Error| Reason::new("internal_error", error.to_string());
        let compiled = self.workflows.version(run.workspace, run.workflow, run.workflow_version).await;
        let compiled = compiled.map_err(unavailable)?;
        let data = self.data(run, step as usize, &compiled).await.map_err(unavailable)?;
        let output = self.compute(compiled, step as usize, data).await?;
        self.contents.keep(run.workspace, output).await.map_err(unavailable)
    }

    /// The input and the outputs that the step looks at, as one JSON text.
    async fn data(&self, run: &Run, step: usize, compiled: &Compiled) -> Result<String, Error> {
        let input = self.contents.read(run.workspace, run.id.0, &run.input).await?;
        let mut data = format!(r#"{{"inputs":{input},"steps":{{"#);
        let reads = compiled.logics.get(step).and_then(Option::as_ref).map(|logic| &logic.reads);
        let mut first = true;
        for (place, planned) in run.plan.steps.iter().enumerate() {
            let wanted = match reads {
                Some(Reads::Steps(steps)) => steps.contains(&planned.id),
                Some(Reads::Any) => rules::upstream(&compiled.order, step).contains(&place),
                None => false,
            };
            let StepState::Succeeded { output } = &run.progress[place].state else { continue };
            if wanted {
                let output = self.contents.read(run.workspace, run.id.0, output).await?;
                let comma = if std::mem::take(&mut first) { "" } else { "," };
                // Ids of steps are plain: they need no escape.
                write!(data, r#"{comma}"{}":{{"output":{output}}}"#, planned.id).ok();
            }
        }
        data.push_str("}}");
        Ok(data)
    }

    async fn compute(&self, compiled: Arc<Compiled>, step: usize, data: String) -> Result<String, Reason> {
        let small = data.len() <= APART_ABOVE;
        let evaluate = move || match compiled.logics.get(step) {
            Some(Some(logic)) => {
                logic.evaluate(&data).map_err(|error| Reason::new("transform_failed", error))
            }
            _ => Err(Reason::new("internal_error", "the step computes nothing")),
        };
        if small {
            return evaluate();
        }
        let busy = || Reason::new("internal_error", "the server is stopping");
        let permit = Arc::clone(&self.apart).acquire_owned().await.map_err(|_| busy())?;
        let computed = tokio::task::spawn_blocking(move || {
            let computed = evaluate();
            drop(permit);
            computed
        });
        match tokio::time::timeout(APART_WITHIN, computed).await {
            Ok(Ok(computed)) => computed,
            Ok(Err(_)) => Err(busy()),
            Err(_) => {
                Err(Reason::new("timeout", format!("it computed for more than {} s", APART_WITHIN.as_secs())))
            }
        }
    }
}

#[async_trait]
impl World<Run> for RunWorld {
    async fn perform(&self, task: Task<Run>) -> Option<Command> {
        Some(match task.work {
            Work::Evaluate { step, attempt } => match self.evaluate(&task.state, step).await {
                Ok(output) => Command::StepSucceeded { step, attempt, output },
                Err(reason) => Command::StepFailed { step, attempt, reason },
            },
            Work::RunStep { step, attempt } => {
                let reason = Reason::new("engine_unavailable", "this server has no engine for agent steps");
                Command::StepFailed { step, attempt, reason }
            }
            Work::Perform { activity, attempt } => {
                let reason =
                    Reason::new("engine_unavailable", format!("this server has no engine for {activity:?}"));
                Command::Undone { activity, attempt, reason, fixable: false }
            }
        })
    }
}
