//! The ledger: one row per model call, written with the save that takes in the call's outcome.
//!
//! | part | what stands there |
//! |---|---|
//! | key | workspace ‖ call id, in [`space::LEDGER`]; calls sort by time within their workspace |
//! | value | [`Entry`] as `MessagePack` with names |
//!
//! **Invariant:** a row is written once for its call and never changed; the same call settled twice writes
//! the same row. **Invariant:** the format is final: fields may be added with a default, none is renamed,
//! retyped or taken away.

use cendriix_persistence::{
    StoreError,
    codec::{decode, encode},
    store::{Row, RowKey},
};
use cendriix_protocol::{
    ids::{RunId, WorkspaceId},
    money::MicroUsd,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::kinds::space;

/// What one model call used and cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The call.
    pub call: Uuid,
    /// Who pays for it.
    pub workspace: WorkspaceId,
    /// The run it was made for; a direct completion has none.
    pub run: Option<RunId>,
    /// The id of the run's step.
    pub step: Option<String>,
    /// The agent that made it.
    pub agent: Option<Uuid>,
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
    /// When it ended.
    pub at: Timestamp,
}

/// How a model call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// With an answer.
    Succeeded,
    /// With an error; what it used up to then is counted.
    Failed,
    /// Somebody stopped it; what it used up to then is counted.
    Cancelled,
    /// Nobody knows: the process ended first. What was reserved for it counts as spent.
    Unreconciled,
}

/// The row of a call.
pub fn row(entry: &Entry) -> Row {
    let key = [entry.workspace.0.as_bytes().as_slice(), entry.call.as_bytes()].concat();
    // Numbers, texts and ids can always be written, which the golden file shows.
    Row { key: RowKey { space: space::LEDGER, key }, value: encode(entry).ok() }
}

/// Reads the value of a row.
///
/// # Errors
///
/// When it is no entry of the ledger.
pub fn read(value: &[u8]) -> Result<Entry, StoreError> {
    decode("ledger row", value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    fn entry() -> Entry {
        Entry {
            call: Uuid::from_u128(9),
            workspace: WorkspaceId(Uuid::from_u128(1)),
            run: Some(RunId(Uuid::from_u128(3))),
            step: Some("build".into()),
            agent: Some(Uuid::from_u128(5)),
            model: "cendriix-rules-1".into(),
            provider: "cendriix".into(),
            input_tokens: 1200,
            output_tokens: 80,
            cached_tokens: 1000,
            cost: MicroUsd(4_200),
            latency_ms: 350,
            outcome: Outcome::Succeeded,
            estimated: false,
            at: Timestamp(1_780_000_000_000),
        }
    }

    #[test]
    fn rows_of_the_ledger_are_written_and_read_as_ever() {
        golden::holds::<Entry>("ledger-entry", &entry());
        let direct = Entry { run: None, step: None, agent: None, estimated: true, ..entry() };
        golden::holds::<Entry>("ledger-entry-direct", &direct);
        let outcomes = [Outcome::Succeeded, Outcome::Failed, Outcome::Cancelled, Outcome::Unreconciled];
        golden::holds::<Vec<Outcome>>("ledger-outcomes", &outcomes.to_vec());
    }

    #[test]
    fn a_row_stands_under_its_workspace_and_call_and_reads_back() {
        let row = row(&entry());
        assert_eq!((row.key.space, row.key.key.len()), (space::LEDGER, 32));
        assert!(row.key.key.starts_with(Uuid::from_u128(1).as_bytes()) && row.key.key.ends_with(&[9]));
        assert_eq!(read(&row.value.unwrap()).unwrap(), entry());
        assert!(read(b"nonsense").is_err());
    }
}
