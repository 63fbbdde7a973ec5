//! Everything that runs on a node, put together.

use std::{sync::Arc, time::Duration};

use cendriix_persistence::{blobs::Blobs, placement::Alone, store::SharedStore};

use tokio_util::sync::CancellationToken;

use crate::{
    identity::{Identity, tokens::Tokens},
    kit::{
        Clock, Entities,
        directory::{Rest, Shared},
        stream::Hub,
        sweeper::{self, Kinds},
        tasks::Tasks,
    },
    model_router::{self, ModelRouter, Surroundings},
    runs::{
        Runs,
        work::{Contents, RunWorld},
    },
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
    /// The tokens of log-ins.
    pub tokens: Tokens,
    /// When entities go to sleep.
    pub rest: Rest,
    /// Which models can be asked.
    pub models: model_router::Settings,
}

/// Everything that runs on a node. A clone is the same.
#[derive(Clone, Debug)]
pub struct System {
    /// Who there is.
    pub identity: Identity,
    /// Tenants and members.
    pub workspaces: Workspaces,
    /// Graphs to run.
    pub workflows: Workflows,
    /// Runs of them.
    pub runs: Runs,
    /// Models to ask.
    pub models: ModelRouter,
    /// What all entities share.
    pub shared: Shared,
}

/// How long work may take to end when the system stops.
const STOP_WITHIN: Duration = Duration::from_secs(25);

impl System {
    /// Starts everything and takes up the work of before.
    ///
    /// # Errors
    ///
    /// When a supervisor does not start, or a model's endpoint is wrong.
    pub async fn start(settings: Settings) -> Result<Self, model_router::StartError> {
        let Settings { store, blobs, clock, tokens, rest, models } = settings;
        let placement: Arc<Alone> = Arc::new(Alone { epoch: store.epoch() });
        let shared = Shared {
            store: Arc::clone(&store),
            placement: placement.clone(),
            clock: clock.clone(),
            hub: Hub::default(),
            tasks: Tasks::default(),
            kinds: Kinds::default(),
            rest,
            stop: CancellationToken::new(),
        };
        let around = Surroundings {
            clock: clock.clone(),
            store: Arc::clone(&store),
            tasks: shared.tasks.clone(),
            stop: shared.stop.clone(),
        };
        let models = ModelRouter::start(&models, None, around).await?;
        let workspaces = Workspaces::new(Arc::clone(&store), placement.clone(), clock.clone());
        let identity =
            Identity::new(Arc::clone(&store), placement.clone(), clock.clone(), tokens, workspaces.clone());
        let workflows = Workflows::new(Arc::clone(&store), placement, blobs.clone(), clock);
        let contents = Contents::new(store, blobs);
        let world = Arc::new(RunWorld::new(contents.clone(), workflows.clone()));
        let entities = Entities::start(shared.clone(), world).await?;
        let runs = Runs::new(entities, workflows.clone(), contents);
        let system = Self { identity, workspaces, workflows, runs, models, shared };
        let background = system.shared.clone();
        system.shared.tasks.spawn("resume", async move { sweeper::resume(&background).await });
        let background = system.shared.clone();
        system.shared.tasks.spawn("sweeper", sweeper::sweep(background));
        Ok(system)
    }

    /// Puts everything to sleep; what is on disk goes on at the next start.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        if tokio::time::timeout(STOP_WITHIN, self.shared.kinds.stop()).await.is_err() {
            tracing::warn!("some entities did not end in time; they wake from disk");
        }
        self.models.stop();
    }
}
