//! What handlers reach: one handle per area.

use std::{net::IpAddr, sync::Arc};

use axum::body::Bytes;
use cendriix_actors::{
    System,
    agent_steps::AgentSteps,
    api_keys::ApiKeys,
    entities::Entities,
    identity::Identity,
    kit::{Clock, shared::Shared},
    model_router::ModelRouter,
    orchestrator::Orchestrator,
    rate_limits::RateLimits,
    runs::Runs,
    workflows::Workflows,
    workspaces::Workspaces,
};
use cendriix_persistence::store::SharedStore;
use cendriix_protocol::{
    ids::{RunId, WorkspaceId},
    time::Timestamp,
};
use quick_cache::{Weighter, sync::Cache};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    data_dir::DataDir,
    http::{limits::Addresses, metrics::DoorMeters, places::Places, tickets::Tickets},
};

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
    /// Secrets of programs.
    pub api_keys: ApiKeys,
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
    /// How often workspaces may ask.
    pub rate_limits: Arc<dyn RateLimits>,
    /// How often strangers may ask.
    pub addresses: Addresses,
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
    /// Cancelled when the server begins to stop; it goes on to answer for a while.
    pub stopping: CancellationToken,
    /// Cancelled when nothing further comes in.
    pub draining: CancellationToken,
    /// The connections of each address.
    pub connections: Places<IpAddr>,
    /// The event streams of each workspace.
    pub streams: Places<WorkspaceId>,
    /// Tickets for event streams that have not been used.
    pub tickets: Tickets,
    /// Runs as they were answered lately, by their version.
    pub rendered: Cache<(RunId, u64), Bytes, Weight>,
    /// The ports that the server listens on.
    pub ports: Ports,
}

/// The ports that a server listens on.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The one for everybody.
    pub public: u16,
    /// The command line's own, on loopback and without TLS, where the other has TLS.
    pub control: Option<u16>,
}

impl App {
    /// Puts together what handlers reach.
    pub fn new(
        system: &System,
        door: DoorMeters,
        config: Config,
        data: DataDir,
        control_token: String,
        ports: Ports,
    ) -> Self {
        let server = &config.server;
        Self(Arc::new(Parts {
            identity: system.identity.clone(),
            workspaces: system.workspaces.clone(),
            api_keys: system.api_keys.clone(),
            workflows: system.workflows.clone(),
            runs: system.runs.clone(),
            orchestrator: system.orchestrator.clone(),
            agent_steps: system.agent_steps.clone(),
            entities: system.entities.clone(),
            models: system.models.clone(),
            rate_limits: Arc::clone(&system.rate_limits),
            addresses: Addresses::new(&config),
            shared: system.shared.clone(),
            door,
            began: system.shared.clock.now(),
            clock: system.shared.clock.clone(),
            store: Arc::clone(&system.shared.store),
            data,
            control_token,
            stopping: CancellationToken::new(),
            draining: CancellationToken::new(),
            connections: Places::new(usize::MAX, server.connections_per_address_max),
            streams: Places::new(server.streams_max, server.streams_per_workspace_max),
            tickets: Tickets::new(),
            rendered: Cache::with_weighter(4096, RENDERED_BYTES, Weight),
            ports,
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
