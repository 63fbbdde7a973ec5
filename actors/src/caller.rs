//! Who asks, for which workspace, and what the route needs of them.

use cendriix_protocol::{
    identity::Via,
    ids::{ApiKeyId, UserId, WorkspaceId},
    workspaces::Role,
};

use crate::{
    Error,
    kit::{Cause, RequestId, machine::Actor},
};

/// A caller whose token was checked and whose membership was read for this request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who asks.
    pub user: UserId,
    /// The workspace of the token.
    pub workspace: WorkspaceId,
    /// The caller's role in it.
    pub role: Role,
    /// The least role that the route needs.
    pub needs: Role,
    /// The API key that they ask with, if it is one. It reaches no other workspace than its own.
    pub key: Option<ApiKeyId>,
    /// The request in which they ask.
    pub request: Option<RequestId>,
    /// How they came in.
    pub via: Via,
}

impl Caller {
    /// The caller as the cause of something.
    pub fn actor(&self) -> Cause {
        let actor = match self.key {
            Some(key) => Actor::Key { user: self.user, key },
            None => Actor::User(self.user),
        };
        Cause { actor, request: self.request }
    }

    /// Lets the caller through to a thing of `workspace`: first the tenant, then the role.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] for another tenant's thing, [`Error::Forbidden`] for too low a role.
    pub fn reach(&self, workspace: WorkspaceId, what: &'static str) -> Result<(), Error> {
        if workspace == self.workspace { self.may() } else { Err(Error::Missing { what }) }
    }

    /// Lets the caller do what the route does in their own workspace.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] for too low a role.
    pub fn may(&self) -> Result<(), Error> {
        if self.role >= self.needs {
            Ok(())
        } else {
            Err(Error::Forbidden { needs: self.needs, has: self.role })
        }
    }
}
