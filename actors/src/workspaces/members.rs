//! Members of a workspace: who there is, and how their roles change and end.

use cendriix_persistence::{
    codec::decode,
    store::{Key, Save, Scan},
};
use cendriix_protocol::{
    ids::{UserId, WorkspaceId},
    workspaces::{Member, MemberStatus, Role},
};
use serde_json::json;

use super::{
    MEMBERS_MAX, Workspaces, rules,
    stored::{Membership, joined, left},
};
use crate::{
    Error, api_keys, audit,
    caller::Caller,
    content,
    identity::Person,
    kinds::{self, space},
    kit::machine::Given,
};

impl Workspaces {
    /// The members of a workspace with their roles.
    pub(super) async fn roles(&self, id: WorkspaceId) -> Result<Vec<(UserId, Role)>, Error> {
        let rows = self.store.rows(Scan::prefix(space::MEMBERS, id.0.as_bytes(), MEMBERS_MAX)).await?;
        let role = |(key, value): &(Vec<u8>, bytes::Bytes)| {
            let user = content::id_at(key, 16).map(UserId)?;
            Some(decode::<Membership>("membership", value).map(|member| (user, member.role)))
        };
        Ok(rows.iter().filter_map(role).collect::<Result<_, _>>()?)
    }

    /// The members of a workspace, then those who are invited.
    ///
    /// # Errors
    ///
    /// When the caller may not, or the store cannot be read.
    pub async fn members(&self, caller: &Caller, id: WorkspaceId) -> Result<Vec<Member>, Error> {
        self.enter(caller, id).await?;
        let mut members = Vec::new();
        for (user, role) in self.roles(id).await? {
            members.extend(self.active(user, role).await?);
        }
        let invited = self.invitations(id).await?;
        members.extend(invited.into_iter().map(|(email, invitation)| pending(email, invitation.role)));
        Ok(members)
    }

    /// A member as they are shown; `None` for somebody who is no person of this server.
    async fn active(&self, user: UserId, role: Role) -> Result<Option<Member>, Error> {
        let Some(stored) = self.store.load(Key { kind: kinds::USER, id: user.0 }).await? else {
            return Ok(None);
        };
        let person: Person = decode("user", &stored.snapshot)?;
        Ok(Some(Member {
            user_id: Some(user),
            email: person.email,
            display_name: Some(person.display_name),
            role,
            status: MemberStatus::Active,
        }))
    }

    /// How many owners a workspace has.
    async fn owners(&self, id: WorkspaceId) -> Result<usize, Error> {
        Ok(self.roles(id).await?.iter().filter(|(_, role)| *role == Role::Owner).count())
    }

    /// Gives a member another role; the same role changes nothing.
    ///
    /// # Errors
    ///
    /// When the caller may not, they are no member, or the last owner would go.
    pub async fn change_member(
        &self,
        caller: &Caller,
        id: WorkspaceId,
        user: UserId,
        to: Role,
    ) -> Result<Member, Error> {
        self.changing(id, |current| async move {
            let caller = self.enter(caller, id).await?;
            let from = self.role(id, user).await?.ok_or(Error::Missing { what: "member" })?;
            let member = self.active(user, to).await?.ok_or(Error::Missing { what: "member" })?;
            rules::change(caller.role, Some(from), Some(to), self.owners(id).await?)?;
            if from == to {
                return Ok((None, member));
            }
            let given = Given { at: self.clock.now(), by: caller.actor(), random: 0 };
            let resource = audit::Resource { kind: "user", id: user.0 };
            let payload = json!({ "before": from, "after": to });
            let save = Save {
                rows: joined(id, user, to, given.at)?.into(),
                audit: vec![audit::draft(id, &given, "member.role_changed", resource, &payload)],
                ..Save::default()
            };
            Ok((Some(current.with(save)?), member))
        })
        .await
    }

    /// Takes a member out of a workspace, and the API keys that they created with them. Anybody may take
    /// themself out.
    ///
    /// # Errors
    ///
    /// When the caller may not, they are no member, or the last owner would go.
    pub async fn remove_member(&self, caller: &Caller, id: WorkspaceId, user: UserId) -> Result<(), Error> {
        self.changing(id, |current| async move {
            let caller = self.visit(caller, id).await?;
            if user != caller.user {
                caller.may()?;
            }
            let from = self.role(id, user).await?.ok_or(Error::Missing { what: "member" })?;
            rules::change(caller.role, Some(from), None, self.owners(id).await?)?;
            let (keys, mut rows) = api_keys::gone(&self.store, id, Some(user)).await?;
            rows.extend(left(id, user));
            let given = Given { at: self.clock.now(), by: caller.actor(), random: 0 };
            let resource = audit::Resource { kind: "user", id: user.0 };
            let event = if user == caller.user { "member.left" } else { "member.removed" };
            let payload = json!({ "role": from, "apiKeys": keys });
            let audit = vec![audit::draft(id, &given, event, resource, &payload)];
            Ok((Some(current.with(Save { rows, audit, ..Save::default() })?), ()))
        })
        .await
    }
}

/// Somebody who is invited.
pub(super) fn pending(email: String, role: Role) -> Member {
    Member { user_id: None, email, display_name: None, role, status: MemberStatus::Pending }
}

impl From<rules::Refusal> for Error {
    fn from(refusal: rules::Refusal) -> Self {
        match refusal {
            rules::Refusal::Forbidden { needs, has } => Self::Forbidden { needs, has },
            rules::Refusal::LastOwner => Self::conflict(refusal.to_string()),
        }
    }
}
