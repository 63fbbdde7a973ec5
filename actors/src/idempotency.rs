//! `Idempotency-Key`: the same request asked twice takes effect once, for 24 hours.
//!
//! The claim is a guard and a row of the effect's own save, so there is no moment at which only one of the
//! two exists.

use std::time::Duration;

use cendriix_persistence::{
    codec::{decode, encode},
    store::{Guard, Row, RowKey, Store},
};
use cendriix_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Error, audit::sha256, caller::Caller, kinds::space, kit::Attachment};

/// How long a key is remembered.
pub const REMEMBERED: Duration = Duration::from_hours(24);

/// A key that a caller gave to a request.
#[derive(Clone, Debug)]
pub struct Claim {
    key: RowKey,
    body: [u8; 32],
}

#[derive(Debug, Serialize, Deserialize)]
struct Taken {
    body: [u8; 32],
    resource: Uuid,
    at: Timestamp,
}

impl Claim {
    /// The claim of a caller on a route, for a body.
    pub fn new(caller: &Caller, route: &str, key: &str, body: &[u8]) -> Self {
        let name = format!("{}\n{}\n{route}\n{key}", caller.workspace, caller.user);
        Self {
            key: RowKey { space: space::IDEMPOTENCY, key: sha256(name.as_bytes()).to_vec() },
            body: sha256(body),
        }
    }

    /// The resource that an earlier request with this key led to.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when that request had another body.
    pub async fn earlier(&self, store: &dyn Store, now: Timestamp) -> Result<Option<Uuid>, Error> {
        let Some(row) = store.row(&self.key).await? else { return Ok(None) };
        let taken: Taken = decode("idempotency key", &row)?;
        if now.since(taken.at) >= REMEMBERED {
            let forget = Row { key: self.key.clone(), value: None };
            let save = cendriix_persistence::store::Save { rows: vec![forget], ..Default::default() };
            store.save(save).await;
            return Ok(None);
        }
        if taken.body != self.body {
            return Err(Error::field("Idempotency-Key", "was used for another body; take a new key"));
        }
        Ok(Some(taken.resource))
    }

    /// What the effect's save must hold and write: its one guard is that the key is not taken.
    pub fn taken(&self, resource: Uuid, at: Timestamp) -> Attachment {
        let value = encode(&Taken { body: self.body, resource, at }).ok();
        let row = Row { key: self.key.clone(), value };
        Attachment { guards: vec![Guard::Absent(self.key.clone())], rows: vec![row] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn taken_keys_are_written_and_read_as_ever() {
        let taken = Taken { body: [7; 32], resource: Uuid::from_u128(3), at: Timestamp(1_780_000_000_000) };
        golden::holds::<Taken>("idempotency-taken", &taken);
    }
}
