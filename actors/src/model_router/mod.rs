//! Models: one way to ask any of them.
//!
//! - [`chat`]: what a model is asked and what it answers, in no provider's own words.
//! - [`provider`]: what stands between the two: an adapter to a provider, or the built-in engine.
//! - [`settings`]: endpoints and their models. [`catalogue`]: what models can do and cost.
//! - [`ranking`]: which are asked, in which order. [`breaker`], [`pool`]: who rests, and who waits.
//! - [`openai`]: the Chat Completions protocol.
//! - [`bill`]: what calls leave in the ledger. [`completions`], [`rules`], [`wire`]: `/model-router`.

pub mod bill;
pub mod breaker;
pub mod catalogue;
pub mod chat;
mod completions;
pub mod engine;
pub mod openai;
mod pool;
pub mod provider;
mod ranking;
mod rules;
pub mod settings;
mod sse;
mod wire;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cendriix_persistence::store::SharedStore;
use cendriix_protocol::{model_router::PolicyHint, money::MicroUsd};
use tokio_util::sync::CancellationToken;

pub use self::{bill::Bill, pool::Snapshot, ranking::Unfit, settings::Settings};
use self::{
    catalogue::{Catalogue, ENGINE, Entry},
    chat::{Answer, Request, Usage},
    openai::OpenAi,
    pool::{Lane, Pool, Seat},
    provider::{Call, Class, Provider},
    ranking::{Needs, Ranked},
};
use crate::kit::{Clock, Meters, tasks::Tasks};

/// The most models of endpoints that one request goes out to; each may take its whole time.
const SENT_MAX: usize = 4;
/// The most requests to the built-in engine at a time: it computes.
const ENGINE_CONCURRENCY: usize = 8;
/// The most that wait for it; all runs of a server may come to it at once.
const ENGINE_QUEUE: usize = 4096;
/// The longest wait for it.
const ENGINE_PATIENCE: Duration = Duration::from_mins(10);

/// One way to ask any model. A clone is the same.
#[derive(Clone, Debug)]
pub struct ModelRouter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    catalogue: Catalogue,
    pool: Pool,
    clock: Clock,
    store: SharedStore,
    tasks: Tasks,
    /// Ends what is asked for directly when the system stops.
    stop: CancellationToken,
}

/// What the router shares with the rest of the system.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Time, ids and chance.
    pub clock: Clock,
    /// Where the ledger is kept.
    pub store: SharedStore,
    /// What runs beside.
    pub tasks: Tasks,
    /// What is counted.
    pub meters: Meters,
    /// Cancelled when the system stops.
    pub stop: CancellationToken,
}

/// What is asked, and of whom.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The request.
    pub request: Request,
    /// The model to ask first, by its id in the catalogue.
    pub prefer: Option<String>,
    /// What a model must be able to do, besides what the request itself needs.
    pub required_capabilities: Vec<String>,
    /// What matters most where nobody is preferred.
    pub policy_hint: Option<PolicyHint>,
    /// The most it may cost.
    pub max_cost: Option<MicroUsd>,
    /// What goes along.
    pub call: Call,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The model that answered, by its id in the catalogue.
    pub model: String,
    /// The endpoint that served it.
    pub provider: String,
    /// What it answered.
    pub answer: Answer,
    /// What it used.
    pub usage: Usage,
    /// Whether usage or price are estimated because nobody said them.
    pub estimated: bool,
    /// What it cost.
    pub cost: MicroUsd,
    /// How long the answer took.
    pub latency_ms: u64,
    /// Whether another model answered than the one to ask first.
    pub used_fallback: bool,
    /// Who was tried before.
    pub failures: Vec<Failure>,
}

/// A model that did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The model, by its id in the catalogue.
    pub model: String,
    /// Its endpoint.
    pub provider: String,
    /// Whose fault it is.
    pub class: Class,
    /// What happened, for people.
    pub message: String,
    /// When it wants to be asked again.
    pub retry_after: Option<Duration>,
    /// Whether the request went out.
    pub was_sent: bool,
    /// What it used as far as can be estimated; nothing where the provider failed before it read.
    pub usage: Usage,
    /// What that cost.
    pub cost: MicroUsd,
    /// How long it took.
    pub latency_ms: u64,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is nobody to ask.
    #[error(
        "no model is configured: set OPENAI_API_KEY, or OPENAI_BASE_URL and OPENAI_MODEL, or the section \
         models.openai of the configuration"
    )]
    NoModels,
    /// The preferred model does not exist.
    #[error("there is no model {asked}; there are {}", known.join(", "))]
    UnknownModel { asked: String, known: Vec<String> },
    /// No model can do it, reads so much or is so cheap.
    #[error("no model fits: {}", each(.0, |(model, why)| format!("{model}: {why}")))]
    NoneFits(Vec<(String, Unfit)>),
    /// A model says that the request is wrong.
    #[error("{}", last(.0))]
    Wrong(Vec<Failure>),
    /// The one who asked does not want it any more.
    #[error("it was stopped")]
    Stopped(Vec<Failure>),
    /// All failed.
    #[error("no model answered: {}", each(.0, |failure| failure.message.clone()))]
    Failed(Vec<Failure>),
}

fn each<T>(items: &[T], told: impl Fn(&T) -> String) -> String {
    items.iter().map(told).collect::<Vec<_>>().join("; ")
}

fn last(failures: &[Failure]) -> &str {
    failures.last().map_or("the request is wrong", |failure| &failure.message)
}

impl Refused {
    /// Who was tried.
    pub fn failures(&self) -> &[Failure] {
        match self {
            Self::NoModels | Self::UnknownModel { .. } | Self::NoneFits(_) => &[],
            Self::Wrong(failures) | Self::Stopped(failures) | Self::Failed(failures) => failures,
        }
    }

    /// When asking again may help: the soonest that any of those who were tried wishes.
    pub fn retry_after(&self) -> Option<Duration> {
        self.failures().iter().filter_map(|failure| failure.retry_after).min()
    }
}

/// The router cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The models cannot be listed.
    #[error(transparent)]
    Catalogue(#[from] catalogue::Wrong),
    /// An endpoint cannot be used.
    #[error(transparent)]
    Endpoint(#[from] openai::Unusable),
    /// A worker does not start.
    #[error(transparent)]
    Actors(#[from] ractor::SpawnErr),
}

impl ModelRouter {
    /// Starts a router for the models of `settings`, and for the built-in engine if there is one.
    ///
    /// # Errors
    ///
    /// When an endpoint or its models are wrong; the message says what to do.
    pub async fn start(
        settings: &Settings,
        engine: Option<Arc<dyn Provider>>,
        around: Surroundings,
    ) -> Result<Self, StartError> {
        let Surroundings { clock, store, tasks, meters, stop } = around;
        let catalogue = Catalogue::new(settings, engine.is_some())?;
        let mut providers: BTreeMap<&str, (Arc<dyn Provider>, Arc<Lane>)> = BTreeMap::new();
        for endpoint in &settings.endpoints {
            let lane = Lane::new(endpoint.concurrency, endpoint.queue, endpoint.timeouts.whole);
            providers.insert(&endpoint.name, (Arc::new(OpenAi::new(endpoint)?), Arc::new(lane)));
        }
        if let Some(engine) = engine {
            let lane = Lane::new(ENGINE_CONCURRENCY, ENGINE_QUEUE, ENGINE_PATIENCE);
            providers.insert(catalogue::ENGINE_PROVIDER, (engine, Arc::new(lane)));
        }
        let seats = catalogue.entries().iter().filter_map(|entry| {
            let (provider, lane) = providers.get(entry.provider.as_str())?;
            Some(Seat {
                model: entry.id.clone(),
                endpoint: entry.provider.clone(),
                name: entry.name.clone(),
                provider: Arc::clone(provider),
                lane: Arc::clone(lane),
                meters: meters.model(&entry.id),
            })
        });
        let pool = Pool::start(seats.collect(), settings.breaker, clock.clone()).await?;
        Ok(Self(Arc::new(Inner { catalogue, pool, clock, store, tasks, stop })))
    }

    /// Asks the models that fit, one after the other, until one answers.
    ///
    /// # Errors
    ///
    /// When none fits or none answers, when the request is wrong, or when it is stopped.
    pub async fn ask(&self, ask: Ask) -> Result<Asked, Refused> {
        let Ask { mut request, prefer, required_capabilities, policy_hint, max_cost, call } = ask;
        let needs = Needs {
            request: &request,
            prefer: prefer.as_deref(),
            capabilities: &required_capabilities,
            hint: policy_hint,
            max_cost,
        };
        let latency_ms = |model: &str| self.0.pool.latency_ms(model);
        let Ranked { fit, unfit } = ranking::rank(&self.0.catalogue, &needs, latency_ms)?;
        let first = prefer.clone().or_else(|| fit.first().map(|entry| entry.id.clone()));
        let max_tokens = request.max_tokens;
        let mut failures = Vec::new();
        for entry in fit {
            if is_hopeless(entry, &failures, &self.0.catalogue) {
                continue;
            }
            request.max_tokens = ranking::max_tokens(entry, &request, max_tokens);
            let began = self.0.clock.now();
            let answered = self.0.pool.ask(&entry.id, &request, call.clone()).await;
            let latency_ms = u64::try_from(self.0.clock.now().since(began).as_millis()).unwrap_or(u64::MAX);
            let missed = match answered {
                // Why no language model answered says more than that one is needed.
                Ok(answer) if needs_another(entry, &answer) && !failures.is_empty() => break,
                Ok(answer) if needs_another(entry, &answer) && !unfit.is_empty() => {
                    return Err(Refused::NoneFits(unfit));
                }
                Ok(answer) => {
                    let used_fallback = first.as_ref() != Some(&entry.id);
                    let asked = answered_by(entry, &request, answer, latency_ms);
                    self.0.pool.charge(&entry.id, &asked.usage, asked.cost);
                    return Ok(Asked { used_fallback, failures, ..asked });
                }
                Err(missed) => missed,
            };
            let class = missed.error.class;
            failures.push(missed_by(entry, &request, missed, latency_ms));
            match class {
                Class::Caller => return Err(Refused::Wrong(failures)),
                Class::Stopped => return Err(Refused::Stopped(failures)),
                Class::TooLong
                | Class::Auth
                | Class::Quota
                | Class::RateLimited
                | Class::TimedOut
                | Class::Failed
                | Class::BadAnswer => {}
            }
        }
        let is_too_long = failures.iter().all(|failure| failure.class == Class::TooLong);
        Err(if is_too_long { Refused::Wrong(failures) } else { Refused::Failed(failures) })
    }

    /// What tokens would cost: of a model, else of the one to ask first; the dearest price for one that does
    /// not exist.
    pub fn estimate(&self, model: Option<&str>, input_tokens: u64, output_tokens: u64) -> MicroUsd {
        let usage = Usage { input_tokens, output_tokens, cached_tokens: 0 };
        let entries = self.0.catalogue.entries();
        let found = match model {
            Some(id) => self.0.catalogue.get(id),
            None => entries.first(),
        };
        let dearest = || entries.iter().map(|entry| entry.price.of(&usage)).max();
        found.map(|entry| entry.price.of(&usage)).or_else(dearest).unwrap_or_default()
    }

    /// Which models there are.
    pub fn catalogue(&self) -> &Catalogue {
        &self.0.catalogue
    }

    /// Whether there is a model besides the built-in engine.
    pub fn has_language_model(&self) -> bool {
        self.0.catalogue.entries().iter().any(|entry| entry.id != ENGINE)
    }

    /// How all models do.
    pub fn health(&self) -> Vec<Snapshot> {
        self.0.pool.snapshots()
    }

    /// Brings what is measured rather than counted up to date.
    pub fn measure(&self) {
        self.0.pool.measure();
    }

    /// Ends the workers.
    pub(crate) fn stop(&self) {
        self.0.pool.stop();
    }
}

/// Whether a model need not be asked after what others said: the request is too long for it too, its account
/// has just been refused, or enough were asked.
fn is_hopeless(entry: &Entry, failures: &[Failure], catalogue: &Catalogue) -> bool {
    let sent = || failures.iter().filter(|failure| failure.was_sent);
    let is_smaller = |failure: &Failure| {
        let found = catalogue.get(&failure.model);
        failure.class == Class::TooLong && found.is_some_and(|other| entry.context_in <= other.context_in)
    };
    let is_same_account = |failure: &Failure| {
        failure.provider == entry.provider && matches!(failure.class, Class::Auth | Class::Quota)
    };
    let is_enough = entry.id != ENGINE && sent().count() >= SENT_MAX;
    is_enough || sent().any(|failure| is_smaller(failure) || is_same_account(failure))
}

/// Whether the built-in engine says that it takes a language model.
fn needs_another(entry: &Entry, answer: &Answer) -> bool {
    entry.id == ENGINE && matches!(answer.finish, chat::Finish::NeedsModel(_))
}

fn answered_by(entry: &Entry, request: &Request, answer: Answer, latency_ms: u64) -> Asked {
    let usage = answer.usage.unwrap_or_else(|| {
        let arguments = answer.calls.iter().map(|call| call.name.len() + call.arguments.len());
        Usage {
            input_tokens: ranking::input_tokens(request),
            output_tokens: ranking::tokens(answer.text.len() + arguments.sum::<usize>()),
            cached_tokens: 0,
        }
    });
    Asked {
        model: entry.id.clone(),
        provider: entry.provider.clone(),
        usage,
        estimated: answer.usage.is_none() || entry.is_price_assumed,
        cost: entry.price.of(&usage),
        latency_ms,
        answer,
        used_fallback: false,
        failures: Vec::new(),
    }
}

fn missed_by(entry: &Entry, request: &Request, missed: pool::Missed, latency_ms: u64) -> Failure {
    let pool::Missed { error, was_sent } = missed;
    // Who did not refuse the request may have read it, and charges for it.
    let may_have_read = matches!(error.class, Class::TimedOut | Class::BadAnswer | Class::Stopped);
    let input_tokens = if was_sent && may_have_read { ranking::input_tokens(request) } else { 0 };
    let usage = Usage { input_tokens, ..Usage::default() };
    Failure {
        model: entry.id.clone(),
        provider: entry.provider.clone(),
        class: error.class,
        message: error.message,
        retry_after: error.retry_after,
        was_sent,
        usage,
        cost: entry.price.of(&usage),
        latency_ms,
    }
}

#[cfg(test)]
mod tests;
