//! Which workspace a log-in leads to.

use bytes::Bytes;
use cendriix_persistence::{
    codec::encode,
    store::{Outcome, Row, RowKey, Save},
};
use cendriix_protocol::{
    ids::{UserId, WorkspaceId},
    workspaces::{Plan, Role},
};

use super::{
    Identity,
    oidc::{Issuer, Verified},
    people::{Person, own},
};
use crate::{
    Error,
    caller::Caller,
    content,
    kinds::{self, space},
    kit::{Actor, machine::Given},
    workspaces::record,
};

/// How many of somebody's workspaces are looked through for one of that name.
const LOOKED_THROUGH_MAX: usize = 200;

impl Identity {
    /// The workspace that a profile leads to: the personal one, else the newest that they belong to. Whoever
    /// belongs to none gets a new one of their own.
    pub(super) async fn personal(&self, user: UserId, plan: Plan) -> Result<WorkspaceId, Error> {
        let (person, version) = self.person(user).await?;
        if self.workspaces.role(person.home, user).await?.is_some() {
            return Ok(person.home);
        }
        if let Some(newest) = self.workspaces.joined(user, 1, None).await?.first() {
            return Ok(*newest);
        }
        let home = WorkspaceId(self.clock.id());
        let given = Given { at: self.clock.now(), by: Actor::User(user).into(), random: 0 };
        let epoch = self.epoch(user)?;
        let mut save = self.workspaces.founding(home, &own(&person.display_name), plan, user, &given)?;
        let person = Person { home, ..person };
        save.changes.push(record(kinds::USER, user.0, epoch, version, encode(&person)?));
        match self.store.save(save).await {
            Outcome::Saved => Ok(home),
            outcome @ (Outcome::Conflict | Outcome::Refused(_) | Outcome::Full | Outcome::Unknown) => {
                Err(content::unsaved(outcome))
            }
        }
    }

    /// The workspace that a token of an issuer leads to, and the person's role there: the one that it names,
    /// else the one that they switched to last, else as for a profile.
    pub(super) async fn place_of(
        &self,
        user: UserId,
        token: &Verified,
        issuer: &Issuer,
    ) -> Result<(WorkspaceId, Role), Error> {
        if let Some(named) = &token.workspace {
            let place = match token.place.get() {
                Some(place) => Some(*place),
                None => self.named(user, named).await?,
            };
            if let Some(place) = place
                && let Some(role) = self.workspaces.role(place, user).await?
            {
                // Another request with the same token may have been quicker, and found the same.
                token.place.set(place).ok();
                return Ok((place, role));
            }
            let claim = issuer.workspace_claim().unwrap_or_default();
            return Err(Error::Unauthorized(format!(
                "the claim {claim} of the token names the workspace {named:?}: you do not belong to it, or \
                 to several of that slug; ask somebody there for an invitation"
            )));
        }
        let place = match self.last_switched(user).await? {
            Some(last) => Some(last).zip(self.workspaces.role(last, user).await?),
            None => None,
        };
        if let Some(place) = place {
            return Ok(place);
        }
        let personal = self.personal(user, Plan::Starter).await?;
        let role = self.workspaces.role(personal, user).await?;
        Ok((personal, role.ok_or_else(|| Error::Unavailable("your workspace is gone; try again".into()))?))
    }

    /// The workspace of somebody with that id, or the only one of theirs with that slug.
    async fn named(&self, user: UserId, named: &str) -> Result<Option<WorkspaceId>, Error> {
        if let Ok(id) = named.parse::<WorkspaceId>() {
            return Ok(Some(id));
        }
        let mut found = Vec::new();
        for id in self.workspaces.joined(user, LOOKED_THROUGH_MAX, None).await? {
            match self.workspaces.read(id, Role::Viewer).await {
                Ok(workspace) if workspace.slug == named => found.push(id),
                // It was deleted meanwhile.
                Ok(_) | Err(Error::Missing { .. }) => (),
                Err(error) => return Err(error),
            }
        }
        Ok(if let [only] = found[..] { Some(only) } else { None })
    }

    async fn last_switched(&self, user: UserId) -> Result<Option<WorkspaceId>, Error> {
        let row = self.store.row(&last_key(user)).await?;
        Ok(row.and_then(|row| content::id_at(&row, 0)).map(WorkspaceId))
    }

    /// Remembers where somebody switched to.
    pub(super) async fn note_switch(&self, caller: &Caller, workspace: WorkspaceId) -> Result<(), Error> {
        if self.last_switched(caller.user).await? == Some(workspace) {
            return Ok(());
        }
        let value = Some(Bytes::copy_from_slice(workspace.0.as_bytes()));
        let rows = vec![Row { key: last_key(caller.user), value }];
        match self.store.save(Save { rows, ..Save::default() }).await {
            Outcome::Saved => Ok(()),
            outcome @ (Outcome::Conflict | Outcome::Refused(_) | Outcome::Full | Outcome::Unknown) => {
                Err(content::unsaved(outcome))
            }
        }
    }
}

fn last_key(user: UserId) -> RowKey {
    RowKey { space: space::LAST_SWITCHED, key: user.0.as_bytes().to_vec() }
}
