//! Everything that runs on a node, put together.

use std::{path::PathBuf, sync::Arc, time::Duration};

use cendriix_persistence::{blobs::Blobs, placement::Alone, store::SharedStore};
use dashmap::DashMap;
use tokio_util::sync::CancellationToken;

pub use crate::kit::sweeper::Former;
use crate::{
    agent_steps::{AgentSteps, live::Live, work::AgentWorld},
    api_keys::ApiKeys,
    content::Contents,
    entities::Entities as Kept,
    identity::{self, Identity},
    kit::{
        Clock, Entities, Meters,
        directory::{Rest, Shared},
        stream::Hub,
        sweeper::{self, Kinds},
        tasks::Tasks,
    },
    model_router::{self, ModelRouter, Surroundings, engine::Engine},
    orchestrator::Orchestrator,
    rate_limits::{Here, RateLimits},
    repositories::{self, Remotes, Repositories},
    runs::{
        Reach, Runs,
        brief::Briefs,
        delivery::Delivery,
        grounds::{Grounds, Reachable},
        work::RunWorld,
    },
    sandboxes::{Local, Mode, Sandboxes},
    workflows::Workflows,
    workspaces::Workspaces,
};

/// What a system is made of.
#[derive(Debug)]
pub struct Settings {
    /// Where everything is kept.
    pub store: SharedStore,
    /// Where large things are kept.
    pub blobs: Blobs,
    /// Time, ids and chance.
    pub clock: Clock,
    /// How people come in.
    pub identity: identity::Settings,
    /// When entities go to sleep.
    pub rest: Rest,
    /// Which models can be asked.
    pub models: model_router::Settings,
    /// The data directory, where repositories and work trees are.
    pub root: PathBuf,
    /// Which repositories elsewhere may be named.
    pub reachable: Reachable,
    /// How repositories on other servers are reached.
    pub remotes: Remotes,
    /// What contains commands on this machine.
    pub local: Local,
    /// Whether it does.
    pub mode: Mode,
    /// What becomes of work that an earlier process left unfinished.
    pub former: Former,
    /// What is counted.
    pub meters: Meters,
}

/// The system cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A supervisor does not start.
    #[error("cannot start the actors: {0}")]
    Actors(#[from] ractor::SpawnErr),
    /// The models cannot be used.
    #[error(transparent)]
    Models(#[from] model_router::StartError),
    /// The repositories cannot be used.
    #[error(transparent)]
    Repositories(#[from] repositories::Failure),
}

/// Everything that runs on a node. A clone is the same.
#[derive(Clone, Debug)]
pub struct System {
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
    pub entities: Kept,
    /// Models to ask.
    pub models: ModelRouter,
    /// How often workspaces may ask.
    pub rate_limits: Arc<dyn RateLimits>,
    /// Where commands are run.
    pub sandboxes: Sandboxes,
    /// What all entities share.
    pub shared: Shared,
}

/// How long work may take to end when the system stops.
const STOP_WITHIN: Duration = Duration::from_secs(25);
/// How long commands may take to be gone when the system stops.
const COMMANDS_WITHIN: Duration = Duration::from_secs(5);

impl System {
    /// Starts everything, and takes up the work of before where that is wanted.
    ///
    /// # Errors
    ///
    /// When a supervisor does not start, or models or repositories cannot be used.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let Settings { store, blobs, clock, rest, models, mode, former, meters, .. } = settings;
        let local = settings.local.counted(&meters);
        let placement: Arc<Alone> = Arc::new(Alone { epoch: store.epoch() });
        let shared = shared(&store, placement.clone(), &clock, rest, &meters);
        let models = ModelRouter::start(&models, Some(Arc::new(Engine)), around(&shared)).await?;
        let repositories = Repositories::reaching(settings.root, settings.remotes)?;
        let workspaces = Workspaces::new(Arc::clone(&store), placement.clone(), clock.clone());
        let identity = Identity::start(settings.identity, &shared, workspaces.clone());
        let api_keys = ApiKeys::new(&shared, workspaces.clone());
        let rate_limits = Arc::new(Here::new(Arc::clone(&store), workspaces.clone(), clock.clone()));
        let kept = Kept::new(Arc::clone(&store), placement.clone(), blobs.clone(), clock.clone());
        let workflows = Workflows::new(Arc::clone(&store), placement, blobs.clone(), clock.clone());
        let contents = Contents::new(store, blobs);
        let sandboxes = Sandboxes::start(&shared, local, mode).await?;
        let agents = AgentWorld {
            contents: contents.clone(),
            briefs: Briefs::new(contents.clone(), workflows.clone()),
            models: models.clone(),
            repositories: repositories.clone(),
            sandboxes: sandboxes.clone(),
            clock: clock.clone(),
            live: Live::default(),
            trees: DashMap::new(),
        };
        let agent_steps = AgentSteps::start(&shared, agents).await?;
        let orchestrator = Orchestrator::new(models.clone(), workflows.clone(), clock.clone());
        let delivery = Delivery {
            contents: contents.clone(),
            repositories: repositories.clone(),
            sandboxes: sandboxes.clone(),
            models: models.clone(),
            clock,
        };
        let world = RunWorld::new(
            contents.clone(),
            workflows.clone(),
            agent_steps.clone(),
            delivery.clone(),
            &meters,
        );
        let reach = Reach {
            workflows: workflows.clone(),
            contents,
            orchestrator: orchestrator.clone(),
            grounds: Grounds::new(repositories, settings.reachable),
            delivery,
        };
        let runs = Runs::new(Entities::start(shared.clone(), Arc::new(world)).await?, reach);
        let system = Self {
            identity,
            workspaces,
            api_keys,
            workflows,
            runs,
            orchestrator,
            agent_steps,
            entities: kept,
            models,
            rate_limits,
            sandboxes,
            shared,
        };
        system.begin(former);
        Ok(system)
    }

    /// Starts what runs beside all entities.
    fn begin(&self, former: Former) {
        let (tasks, background) = (&self.shared.tasks, self.shared.clone());
        if former == Former::TakenUp {
            let background = background.clone();
            tasks.spawn("resume", async move { sweeper::resume(&background).await });
        }
        tasks.spawn("sweeper", sweeper::sweep(background, former));
    }

    /// Puts everything to sleep; what is on disk goes on at the next start.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        if tokio::time::timeout(STOP_WITHIN, self.shared.kinds.stop()).await.is_err() {
            tracing::warn!("some entities did not end in time; they wake from disk");
        }
        if !self.sandboxes.close(COMMANDS_WITHIN).await {
            tracing::warn!("some commands did not end in time");
        }
        self.models.stop();
        self.rate_limits.close().await;
    }
}

fn around(shared: &Shared) -> Surroundings {
    Surroundings {
        clock: shared.clock.clone(),
        store: Arc::clone(&shared.store),
        tasks: shared.tasks.clone(),
        meters: shared.meters.clone(),
        stop: shared.stop.clone(),
    }
}

fn shared(store: &SharedStore, placement: Arc<Alone>, clock: &Clock, rest: Rest, meters: &Meters) -> Shared {
    Shared {
        store: Arc::clone(store),
        placement,
        clock: clock.clone(),
        hub: Hub::default(),
        tasks: Tasks::default(),
        kinds: Kinds::default(),
        rest,
        meters: meters.clone(),
        stop: CancellationToken::new(),
    }
}
