//! What one model call used and cost, as it comes with the event that takes in its outcome.

use cendriix_persistence::store::Row;
use cendriix_protocol::{
    ids::{RunId, WorkspaceId},
    money::MicroUsd,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ledger::{self, Entry, Outcome};
use crate::{
    kit::Clock,
    model_router::{Asked, Bill, Refused},
};

/// What one model call used and cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// The call.
    pub call: Uuid,
    /// The model's id in the catalogue.
    pub model: String,
    /// Where the model ran.
    pub provider: String,
    /// Tokens that were read, those from the cache included.
    pub input_tokens: u64,
    /// Tokens that were written.
    pub output_tokens: u64,
    /// Tokens of the input that came from the provider's cache.
    pub cached_tokens: u64,
    /// What it cost.
    pub cost: MicroUsd,
    /// How long it took, from the request to the last byte of the answer.
    pub latency_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether tokens or cost were estimated because the provider did not say them.
    pub estimated: bool,
}

/// For whom a call was made.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// Who pays for it.
    pub workspace: WorkspaceId,
    /// The run.
    pub run: RunId,
    /// The id of the run's step.
    pub step: Option<&'a str>,
    /// The agent's work on it.
    pub agent: Option<Uuid>,
}

impl Spent {
    /// Its row in the ledger.
    pub fn row(&self, account: Account<'_>, at: Timestamp) -> Row {
        ledger::row(&Entry {
            call: self.call,
            workspace: account.workspace,
            run: Some(account.run),
            step: account.step.map(str::to_owned),
            agent: account.agent,
            model: self.model.clone(),
            provider: self.provider.clone(),
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            cached_tokens: self.cached_tokens,
            cost: self.cost,
            latency_ms: self.latency_ms,
            outcome: self.outcome,
            estimated: self.estimated,
            at,
        })
    }
}

/// What an ask used, in the order in which the models were tried; the last one answered, if any did.
pub fn of(call: Uuid, asked: &Result<Asked, Refused>) -> Vec<Spent> {
    let nobody = WorkspaceId(Uuid::nil());
    let bill = Bill { call, workspace: nobody, run: None, step: None, agent: None };
    let entries = bill.entries(asked, Timestamp(0)).into_iter().map(|entry| Spent {
        call: entry.call,
        model: entry.model,
        provider: entry.provider,
        input_tokens: entry.input_tokens,
        output_tokens: entry.output_tokens,
        cached_tokens: entry.cached_tokens,
        cost: entry.cost,
        latency_ms: entry.latency_ms,
        outcome: entry.outcome,
        estimated: entry.estimated,
    });
    entries.collect()
}

/// The same for an ask of durable work. One that was begun before, by a process that ended before the answer,
/// was perhaps paid for then: nobody knows it, so it counts as if it had used as much as its repetition.
pub fn of_work(clock: &Clock, asked: &Result<Asked, Refused>, is_repeated: bool) -> Vec<Spent> {
    let spent = of(clock.id(), asked);
    let lost = spent.last().filter(|_| is_repeated).map(|answered| Spent {
        call: clock.id(),
        outcome: Outcome::Unreconciled,
        estimated: true,
        latency_ms: 0,
        ..answered.clone()
    });
    lost.into_iter().chain(spent).collect()
}

/// What calls cost together.
pub fn cost(spent: &[Spent]) -> MicroUsd {
    spent.iter().map(|spent| spent.cost).sum()
}
