//! Whether somebody who was let in a while ago may still be told things: what lasts longer than a request
//! asks again before it tells more.

use cendriix_persistence::store::SharedStore;

use super::stored::member_key;
use crate::{
    Error, api_keys,
    caller::Caller,
    kit::{Clock, shared::Shared},
};

/// How a caller stood when they were let in.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    store: SharedStore,
    clock: Clock,
    caller: Caller,
}

impl Standing {
    /// How a caller stands, to be asked again later.
    pub(crate) fn of(caller: &Caller, shared: &Shared) -> Self {
        let (store, clock) = (SharedStore::clone(&shared.store), shared.clock.clone());
        Self { store, clock, caller: caller.clone() }
    }

    /// Whether they still belong to the workspace, and their API key is still good.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub(crate) async fn holds(&self) -> Result<bool, Error> {
        let member = member_key(self.caller.workspace, self.caller.user);
        if self.store.row(&member).await?.is_none() {
            return Ok(false);
        }
        match self.caller.key {
            Some(key) => api_keys::is_good(&self.store, self.caller.workspace, key, self.clock.now()).await,
            None => Ok(true),
        }
    }
}
