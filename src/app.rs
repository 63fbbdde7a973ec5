//! What handlers reach: one handle per area.

use std::sync::Arc;

use axum::body::Bytes;
use cendriix_actors::{
    System,
    agent_steps::AgentSteps,
    entities::Entities,
    identity::Identity,
    kit::{Clock, shared::Shared},
    model_router::ModelRouter,
    orchestrator::Orchestrator,
    runs::Runs,
    workflows::Workflows,
    workspaces::Workspaces,
};
use cendriix_persistence::store::SharedStore;
use cendriix_protocol::{ids::RunId, time::Timestamp};
use quick_cache::{Weighter, sync::Cache};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{config::Config, data_dir::DataDir, http::metrics::DoorMeters};

/// How much memory answers may take that are kept, in bytes.
const RENDERED_BYTES: u64 = 16 << 20;

/// Weighs answers that are kept.
#[derive(Clone, Debug)]
pub struct Weight;

impl Weighter<(RunId, u64), Bytes> for Weight {
    fn weight(&self, _key: &(RunId, u64), answer: &Bytes) -> u64 {
        answer.len() as u64 + 64
    }
}

/// What handlers reach. A clone is cheap and the same.
#[derive(Clone, Debug)]
pub struct App(Arc<Parts>);

/// The handles of the areas and what the door itself needs.
#[derive(Debug)]
pub struct Parts {
    /// Who there is.
    pub identity: Identity,
    /// Tenants and members.
    pub workspaces: Workspaces,
    /// Graphs to run.
    pub workflows: Workflows,
    /// Runs of them.
    pub runs: Runs,
    /// Plans of them.
    pub orchestrator: Orchestrator,
    /// Agents at work in them.
    pub agent_steps: AgentSteps,
    /// Things to build with.
    pub entities: Entities,
    /// Models to ask.
    pub models: ModelRouter,
    /// What all entities share.
    pub shared: Shared,
    /// What the door counts.
    pub door: DoorMeters,
    /// When the server started.
    pub began: Timestamp,
    /// Time, ids and chance.
    pub clock: Clock,
    /// Where everything is kept.
    pub store: SharedStore,
    /// The directory of it.
    pub data: DataDir,
    /// The configuration.
    pub config: Config,
    /// The operator's secret for `/control`.
    pub control_token: String,
    /// Cancelled when the server begins to stop.
    pub draining: CancellationToken,
    /// One permit for each event stream.
    pub streams: Arc<Semaphore>,
    /// Runs as they were answered lately, by their version.
    pub rendered: Cache<(RunId, u64), Bytes, Weight>,
    /// The port that the server listens on.
    pub port: u16,
}

impl App {
    /// Puts together what handlers reach.
    pub fn new(
        system: &System,
        door: DoorMeters,
        config: Config,
        data: DataDir,
        control_token: String,
        port: u16,
    ) -> Self {
        Self(Arc::new(Parts {
            identity: system.identity.clone(),
            workspaces: system.workspaces.clone(),
            workflows: system.workflows.clone(),
            runs: system.runs.clone(),
            orchestrator: system.orchestrator.clone(),
            agent_steps: system.agent_steps.clone(),
            entities: system.entities.clone(),
            models: system.models.clone(),
            shared: system.shared.clone(),
            door,
            began: system.shared.clock.now(),
            clock: system.shared.clock.clone(),
            store: Arc::clone(&system.shared.store),
            data,
            control_token,
            draining: CancellationToken::new(),
            streams: Arc::new(Semaphore::new(config.server.streams_max)),
            rendered: Cache::with_weighter(4096, RENDERED_BYTES, Weight),
            port,
            config,
        }))
    }
}

impl std::ops::Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}
