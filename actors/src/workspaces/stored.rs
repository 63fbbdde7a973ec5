//! How workspaces, members and invitations stand in the store.

use bytes::Bytes;
use cendriix_persistence::{
    codec::encode,
    store::{Change, Key, Row, RowKey},
};
use cendriix_protocol::{
    ids::{UserId, WorkspaceId},
    time::Timestamp,
    workspaces::{Plan, Role},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Error, kinds::space};

/// A workspace as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub name: String,
    pub slug: String,
    pub plan: StoredPlan,
    pub created_at: Timestamp,
    /// When it was deleted. What it held stays where it is; nobody reaches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
}

/// A subscription plan as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoredPlan {
    Starter,
    Team,
    Enterprise,
}

/// A membership as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    pub role: Role,
    pub since: Timestamp,
}

/// An invitation as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    pub role: Role,
    pub invited_by: UserId,
    pub at: Timestamp,
}

/// The change of a record that is kept without a journal.
pub(crate) fn record(kind: u8, id: Uuid, epoch: u64, expected_version: u64, snapshot: Bytes) -> Change {
    Change {
        key: Key { kind, id },
        epoch,
        expected_version,
        schema: 1,
        working: false,
        parked: false,
        due_at: None,
        events: None,
        snapshot: Some(snapshot),
    }
}

/// The rows that make somebody a member.
pub(super) fn joined(
    workspace: WorkspaceId,
    user: UserId,
    role: Role,
    since: Timestamp,
) -> Result<[Row; 2], Error> {
    let value = encode(&Membership { role, since })?;
    Ok([
        Row { key: member_key(workspace, user), value: Some(value) },
        Row { key: member_of_key(workspace, user), value: Some(Bytes::new()) },
    ])
}

/// The rows that end a membership.
pub(super) fn left(workspace: WorkspaceId, user: UserId) -> [Row; 2] {
    [member_key(workspace, user), member_of_key(workspace, user)].map(|key| Row { key, value: None })
}

/// The rows that invite an address.
pub(super) fn invited(
    workspace: WorkspaceId,
    email: &str,
    invitation: &Invitation,
) -> Result<[Row; 2], Error> {
    let value = encode(invitation)?;
    Ok([
        Row { key: invitation_key(workspace, email), value: Some(value) },
        Row { key: invited_to_key(workspace, email), value: Some(Bytes::new()) },
    ])
}

/// The rows that end an invitation.
pub(super) fn uninvited(workspace: WorkspaceId, email: &str) -> [Row; 2] {
    [invitation_key(workspace, email), invited_to_key(workspace, email)].map(|key| Row { key, value: None })
}

pub(super) fn member_key(workspace: WorkspaceId, user: UserId) -> RowKey {
    RowKey { space: space::MEMBERS, key: pair(workspace.0, user.0) }
}

fn member_of_key(workspace: WorkspaceId, user: UserId) -> RowKey {
    RowKey { space: space::MEMBER_OF, key: pair(user.0, workspace.0) }
}

pub(super) fn invitation_key(workspace: WorkspaceId, email: &str) -> RowKey {
    RowKey { space: space::INVITATIONS, key: [workspace.0.as_bytes(), email.as_bytes()].concat() }
}

fn invited_to_key(workspace: WorkspaceId, email: &str) -> RowKey {
    let key = [invited_to(email).as_slice(), workspace.0.as_bytes()].concat();
    RowKey { space: space::INVITED_TO, key }
}

/// What the keys of an address's invitations begin with.
pub(super) fn invited_to(email: &str) -> Vec<u8> {
    [email.as_bytes(), b"\0"].concat()
}

/// The address in the key of an invitation.
pub(super) fn invited_address(key: &[u8]) -> String {
    String::from_utf8_lossy(key.get(16..).unwrap_or_default()).into_owned()
}

pub(super) fn pair(first: Uuid, second: Uuid) -> Vec<u8> {
    [first.as_bytes().as_slice(), second.as_bytes()].concat()
}

impl From<Plan> for StoredPlan {
    fn from(plan: Plan) -> Self {
        match plan {
            Plan::Starter => Self::Starter,
            Plan::Team => Self::Team,
            Plan::Enterprise => Self::Enterprise,
        }
    }
}

impl From<StoredPlan> for Plan {
    fn from(plan: StoredPlan) -> Self {
        match plan {
            StoredPlan::Starter => Self::Starter,
            StoredPlan::Team => Self::Team,
            StoredPlan::Enterprise => Self::Enterprise,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn workspaces_members_and_invitations_are_written_and_read_as_ever() {
        let at = Timestamp(1_780_000_000_000);
        let (name, slug, plan) = ("Acme & Söhne".into(), "acme-s-hne".into(), StoredPlan::Enterprise);
        let stored = Stored { name, slug, plan, created_at: at, deleted_at: None };
        golden::holds::<Stored>("workspace", &stored);
        golden::holds::<Stored>("workspace-deleted", &Stored { deleted_at: Some(at), ..stored });
        let plans = vec![StoredPlan::Starter, StoredPlan::Team, StoredPlan::Enterprise];
        golden::holds::<Vec<StoredPlan>>("workspace-plans", &plans);
        let roles = [Role::Viewer, Role::Member, Role::Admin, Role::Owner];
        let members = roles.map(|role| Membership { role, since: at });
        golden::holds::<Vec<Membership>>("memberships", &members.to_vec());
        let invitation = Invitation { role: Role::Admin, invited_by: UserId(Uuid::from_u128(7)), at };
        golden::holds::<Invitation>("invitation", &invitation);
    }
}
