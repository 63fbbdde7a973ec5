//! Proves of a data directory that nothing acknowledged is missing: journals lead to their snapshots,
//! restarts would go on, and no audit chain is broken.

use cendriix_persistence::{
    codec::decode,
    store::{Entry, Key, Store, StoreError, Stored},
    verify::{Areas, Report},
};

use crate::{audit, identity, kinds, kit::stored, runs::Run, workflows, workspaces};

struct Known;

impl Areas for Known {
    fn check(&self, key: Key, stored: &Stored, journal: &[Entry]) -> Result<(), String> {
        let readable = |result: Result<(), StoreError>| result.map_err(|error| error.to_string());
        match key.kind {
            kinds::RUN => stored::check::<Run>(stored, journal),
            kinds::WORKSPACE => {
                readable(decode::<workspaces::Stored>("workspace", &stored.snapshot).map(drop))
            }
            kinds::USER => readable(decode::<identity::Person>("user", &stored.snapshot).map(drop)),
            kinds::WORKFLOW => readable(decode::<workflows::Stored>("workflow", &stored.snapshot).map(drop)),
            other => Err(format!("kind {other} is not known")),
        }
    }

    fn digest(&self, body: &[u8]) -> Result<[u8; 32], String> {
        audit::digest_of(body)
    }
}

/// Looks at everything in a store.
///
/// # Errors
///
/// When the store cannot be read at all.
pub async fn verify(store: &dyn Store) -> Result<Report, StoreError> {
    cendriix_persistence::verify::verify(store, &Known).await
}
