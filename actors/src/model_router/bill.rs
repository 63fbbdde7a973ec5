//! What calls leave in the ledger: a row for each request that went out.

use cendriix_protocol::{
    ids::{self, RunId, WorkspaceId},
    time::Timestamp,
};
use uuid::Uuid;

use super::{Asked, Failure, Refused, provider::Class};
use crate::{
    audit,
    metering::ledger::{Entry, Outcome},
};

/// Who pays for an ask, and what it was made for.
#[derive(Clone, Debug)]
pub struct Bill {
    /// The call; those that were tried before the last one get ids derived from it.
    pub call: Uuid,
    /// Who pays.
    pub workspace: WorkspaceId,
    /// The run it was made for; a direct completion has none.
    pub run: Option<RunId>,
    /// The id of the run's step.
    pub step: Option<String>,
    /// The agent that made it.
    pub agent: Option<Uuid>,
}

impl Bill {
    /// The rows of an ask, in the order in which the models were tried; an ask that reached nobody has none.
    pub fn entries(&self, result: &Result<Asked, Refused>, at: Timestamp) -> Vec<Entry> {
        let (failures, asked) = match result {
            Ok(asked) => (asked.failures.as_slice(), Some(asked)),
            Err(refused) => (refused.failures(), None),
        };
        let failed = failures.iter().filter(|failure| failure.was_sent);
        let failed = failed.map(|failure| self.failed(failure, at));
        let mut entries: Vec<Entry> = failed.chain(asked.map(|asked| self.answered(asked, at))).collect();
        if let Some((_, before)) = entries.split_last_mut() {
            for (number, entry) in (0_u64..).zip(before) {
                entry.call = tried_before(self.call, number);
            }
        }
        entries
    }

    fn answered(&self, asked: &Asked, at: Timestamp) -> Entry {
        Entry {
            call: self.call,
            workspace: self.workspace,
            run: self.run,
            step: self.step.clone(),
            agent: self.agent,
            model: asked.model.clone(),
            provider: asked.provider.clone(),
            input_tokens: asked.usage.input_tokens,
            output_tokens: asked.usage.output_tokens,
            cached_tokens: asked.usage.cached_tokens,
            cost: asked.cost,
            latency_ms: asked.latency_ms,
            outcome: Outcome::Succeeded,
            estimated: asked.estimated,
            at,
        }
    }

    fn failed(&self, failure: &Failure, at: Timestamp) -> Entry {
        Entry {
            call: self.call,
            workspace: self.workspace,
            run: self.run,
            step: self.step.clone(),
            agent: self.agent,
            model: failure.model.clone(),
            provider: failure.provider.clone(),
            input_tokens: failure.usage.input_tokens,
            output_tokens: failure.usage.output_tokens,
            cached_tokens: failure.usage.cached_tokens,
            cost: failure.cost,
            latency_ms: failure.latency_ms,
            outcome: if failure.class == Class::Stopped { Outcome::Cancelled } else { Outcome::Failed },
            estimated: failure.usage.input_tokens > 0,
            at,
        }
    }
}

/// The id of the call that was tried as number `number` before `call`; the same whenever it is asked.
fn tried_before(call: Uuid, number: u64) -> Uuid {
    let hash = audit::sha256(&[call.as_bytes().as_slice(), &number.to_be_bytes()].concat());
    let mut digest = [0; 16];
    digest.copy_from_slice(&hash[..16]);
    ids::derive(call, u128::from_be_bytes(digest))
}
