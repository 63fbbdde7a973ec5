//! What is counted and measured, with every name in one place; shown at `/metrics`.
//!
//! Whoever counts takes its handles once, so that counting is an addition to an atomic number. **Invariant:**
//! labels hold names from the program or the operator's configuration only: never an id, a path or a text of
//! users.

use std::time::Duration;

use cendriix_persistence::store::Observer;
use prometheus::{
    CounterVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, core::Collector,
};

/// Seconds that requests and commits take.
const SHORT: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// Seconds that calls of models take.
const LONG: [f64; 11] = [0.01, 0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0];
/// Saves that share a commit.
const BATCH: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0, 1024.0];

/// How a call of a model ends.
const CALL_OUTCOMES: [&str; 10] = [
    "answered",
    "caller",
    "too_long",
    "auth",
    "quota",
    "rate_limited",
    "timed_out",
    "failed",
    "bad_answer",
    "stopped",
];
/// How a command of an agent or of tests ends.
const COMMAND_OUTCOMES: [&str; 7] =
    ["succeeded", "failed", "timed_out", "out_of_cpu", "out_of_disk", "out_of_memory", "not_started"];
/// How a run's attempt ends.
pub(crate) const RUN_ENDS: [&str; 4] = ["merged", "operating", "failed", "cancelled"];
/// How a step of a run ends.
const STEP_ENDS: [&str; 2] = ["succeeded", "failed"];
/// What a gate stands before.
pub(crate) const GATE_KINDS: [&str; 7] =
    ["plan", "step", "policy", "budget", "merge", "deploy", "unknown_outcome"];
/// How a gate is closed.
pub(crate) const GATE_DECISIONS: [&str; 4] = ["approved", "denied", "expired", "withdrawn"];

/// Everything that is counted.
#[derive(Clone, Debug)]
pub struct Meters {
    registry: Registry,
    store: StoreMeters,
    entities: Entities,
    pub(crate) runs: RunMeters,
    models: Models,
    commands: CommandMeters,
}

/// Makes meters and enters them into the registry.
struct Entry<'a>(&'a Registry);

impl Entry<'_> {
    fn add<C: Collector + Clone + 'static>(
        &self,
        made: Result<C, prometheus::Error>,
    ) -> Result<C, prometheus::Error> {
        let made = made?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.add(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.add(IntGauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, prometheus::Error> {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }
}

impl Meters {
    /// Meters that stand at nothing.
    ///
    /// # Errors
    ///
    /// When a name stands twice, or is none: a fault of the program.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let entry = Entry(&registry);
        Ok(Self {
            store: StoreMeters::new(&entry)?,
            entities: Entities::new(&entry)?,
            runs: RunMeters::new(&entry)?,
            models: Models::new(&entry)?,
            commands: CommandMeters::new(&entry)?,
            registry,
        })
    }

    /// Where everything is entered; the door adds its own.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What the store counts.
    pub fn store(&self) -> &StoreMeters {
        &self.store
    }

    /// What the entities of a kind count.
    pub(crate) fn kind(&self, name: &str) -> KindMeters {
        let kind = [name];
        KindMeters {
            awake: self.entities.awake.with_label_values(&kind),
            wakes: self.entities.wakes.with_label_values(&kind),
            rests: self.entities.rests.with_label_values(&kind),
            crashes: self.entities.crashes.with_label_values(&kind),
            parked: self.entities.parked.with_label_values(&kind),
        }
    }

    /// What calls of a model count.
    pub(crate) fn model(&self, id: &str) -> ModelMeters {
        let calls = CALL_OUTCOMES.map(|outcome| self.models.calls.with_label_values(&[id, outcome]));
        let tokens = ["input", "output", "cached"];
        ModelMeters {
            calls,
            seconds: self.models.seconds.with_label_values(&[id]),
            tokens: tokens.map(|what| self.models.tokens.with_label_values(&[id, what])),
            cost_usd: self.models.cost_usd.with_label_values(&[id]),
            resting: self.models.resting.with_label_values(&[id]),
        }
    }

    /// What commands count.
    pub(crate) fn commands(&self) -> CommandMeters {
        self.commands.clone()
    }
}

/// What the store counts. A clone is the same.
#[derive(Clone, Debug)]
pub struct StoreMeters {
    commits: IntCounter,
    failures: IntCounter,
    saves: Histogram,
    seconds: Histogram,
    /// How many saves wait for the disk.
    pub waiting: IntGauge,
    /// How large the database file is.
    pub file_bytes: IntGauge,
}

impl StoreMeters {
    fn new(entry: &Entry<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            commits: entry.counter("cendriix_store_commits_total", "Transactions that are on disk.")?,
            failures: entry
                .counter("cendriix_store_commit_failures_total", "Transactions that the disk refused.")?,
            saves: entry.histogram(
                "cendriix_store_commit_saves",
                "Saves that shared a transaction.",
                &BATCH,
            )?,
            seconds: entry.histogram(
                "cendriix_store_commit_duration_seconds",
                "How long a transaction took, its sync included.",
                &SHORT,
            )?,
            waiting: entry.gauge("cendriix_store_queue_depth", "Saves that wait for the disk.")?,
            file_bytes: entry.gauge("cendriix_store_file_bytes", "Size of the database file.")?,
        })
    }
}

impl Observer for StoreMeters {
    fn committed(&self, saves: usize, took: Duration) {
        self.commits.inc();
        self.saves.observe(u32::try_from(saves).map_or(f64::MAX, f64::from));
        self.seconds.observe(took.as_secs_f64());
    }

    fn failed(&self) {
        self.failures.inc();
    }
}

#[derive(Clone, Debug)]
struct Entities {
    awake: IntGaugeVec,
    wakes: IntCounterVec,
    rests: IntCounterVec,
    crashes: IntCounterVec,
    parked: IntCounterVec,
}

impl Entities {
    fn new(entry: &Entry<'_>) -> Result<Self, prometheus::Error> {
        let counters = |name, help| entry.counters(name, help, &["kind"]);
        Ok(Self {
            awake: entry.gauges("cendriix_entities_awake", "Entities that are awake.", &["kind"])?,
            wakes: counters("cendriix_entities_wakes_total", "Entities that woke, or were born awake.")?,
            rests: counters("cendriix_entities_rests_total", "Entities that went to sleep.")?,
            crashes: counters("cendriix_entities_crashes_total", "Entities that ended by a fault.")?,
            parked: counters(
                "cendriix_entities_parked_total",
                "Entities that crashed repeatedly and wait for somebody to bring them back.",
            )?,
        })
    }
}

/// What the entities of a kind count.
#[derive(Clone, Debug)]
pub(crate) struct KindMeters {
    pub(crate) awake: IntGauge,
    pub(crate) wakes: IntCounter,
    pub(crate) rests: IntCounter,
    pub(crate) crashes: IntCounter,
    pub(crate) parked: IntCounter,
}

/// What runs count.
#[derive(Clone, Debug)]
pub(crate) struct RunMeters {
    pub(crate) created: IntCounter,
    pub(crate) retried: IntCounter,
    ended: [IntCounter; RUN_ENDS.len()],
    steps: [IntCounter; STEP_ENDS.len()],
    opened: [IntCounter; GATE_KINDS.len()],
    decided: [IntCounter; GATE_DECISIONS.len()],
}

impl RunMeters {
    fn new(entry: &Entry<'_>) -> Result<Self, prometheus::Error> {
        let ended =
            entry.counters("cendriix_runs_ended_total", "Attempts of runs that ended.", &["status"])?;
        let steps =
            entry.counters("cendriix_steps_ended_total", "Steps of runs that ended.", &["outcome"])?;
        let opened = entry.counters("cendriix_gates_opened_total", "Gates that opened.", &["kind"])?;
        let decided = entry.counters("cendriix_gates_closed_total", "Gates that closed.", &["decision"])?;
        Ok(Self {
            created: entry.counter("cendriix_runs_created_total", "Runs that were created.")?,
            retried: entry.counter("cendriix_runs_retried_total", "Further attempts of runs.")?,
            ended: RUN_ENDS.map(|status| ended.with_label_values(&[status])),
            steps: STEP_ENDS.map(|outcome| steps.with_label_values(&[outcome])),
            opened: GATE_KINDS.map(|kind| opened.with_label_values(&[kind])),
            decided: GATE_DECISIONS.map(|decision| decided.with_label_values(&[decision])),
        })
    }

    pub(crate) fn ended(&self, status: &str) {
        count(&RUN_ENDS, &self.ended, status);
    }

    pub(crate) fn step_ended(&self, outcome: &str) {
        count(&STEP_ENDS, &self.steps, outcome);
    }

    pub(crate) fn gate_opened(&self, kind: &str) {
        count(&GATE_KINDS, &self.opened, kind);
    }

    pub(crate) fn gate_closed(&self, decision: &str) {
        count(&GATE_DECISIONS, &self.decided, decision);
    }
}

/// Counts under one of a few names.
fn count(names: &[&str], counters: &[IntCounter], name: &str) {
    if let Some((_, counter)) = names.iter().zip(counters).find(|(known, _)| **known == name) {
        counter.inc();
    }
}

#[derive(Clone, Debug)]
struct Models {
    calls: IntCounterVec,
    seconds: HistogramVec,
    tokens: IntCounterVec,
    cost_usd: CounterVec,
    resting: IntGaugeVec,
}

impl Models {
    fn new(entry: &Entry<'_>) -> Result<Self, prometheus::Error> {
        let seconds = HistogramOpts::new("cendriix_model_call_duration_seconds", "How long calls took.");
        let cost = Opts::new("cendriix_model_cost_usd_total", "What answers cost by the price table.");
        Ok(Self {
            calls: entry.counters(
                "cendriix_model_calls_total",
                "Calls of models that went out.",
                &["model", "outcome"],
            )?,
            seconds: entry.add(HistogramVec::new(seconds.buckets(LONG.to_vec()), &["model"]))?,
            tokens: entry.counters(
                "cendriix_model_tokens_total",
                "Tokens of answers; cached ones are part of the input.",
                &["model", "kind"],
            )?,
            cost_usd: entry.add(CounterVec::new(cost, &["model"]))?,
            resting: entry.gauges(
                "cendriix_model_breaker_open",
                "Whether the model rests after failures: 1, else 0.",
                &["model"],
            )?,
        })
    }
}

/// What calls of a model count.
#[derive(Clone, Debug)]
pub(crate) struct ModelMeters {
    calls: [IntCounter; CALL_OUTCOMES.len()],
    pub(crate) seconds: Histogram,
    tokens: [IntCounter; 3],
    pub(crate) cost_usd: prometheus::Counter,
    pub(crate) resting: IntGauge,
}

impl ModelMeters {
    pub(crate) fn called(&self, outcome: &str) {
        count(&CALL_OUTCOMES, &self.calls, outcome);
    }

    pub(crate) fn used(&self, input: u64, output: u64, cached: u64) {
        for (counter, tokens) in self.tokens.iter().zip([input, output, cached]) {
            counter.inc_by(tokens);
        }
    }
}

/// What commands of agents and tests count. A clone is the same.
#[derive(Clone, Debug)]
pub(crate) struct CommandMeters {
    pub(crate) running: IntGauge,
    pub(crate) waiting: IntGauge,
    ended: [IntCounter; COMMAND_OUTCOMES.len()],
}

impl CommandMeters {
    fn new(entry: &Entry<'_>) -> Result<Self, prometheus::Error> {
        let ended =
            entry.counters("cendriix_sandbox_commands_total", "Commands that ended.", &["outcome"])?;
        Ok(Self {
            running: entry.gauge("cendriix_sandbox_commands_running", "Commands that run.")?,
            waiting: entry
                .gauge("cendriix_sandbox_commands_waiting", "Commands that wait for their turn.")?,
            ended: COMMAND_OUTCOMES.map(|outcome| ended.with_label_values(&[outcome])),
        })
    }

    pub(crate) fn ended(&self, outcome: &str) {
        count(&COMMAND_OUTCOMES, &self.ended, outcome);
    }
}

/// Counts one up for as long as it is there.
#[derive(Debug)]
pub struct Counted(IntGauge);

impl Counted {
    /// One more.
    pub fn in_gauge(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
