//! Workspaces, their members and their roles.
//!
//! **Invariant:** role and membership are read from the store for every request; no token carries them.

use std::sync::Arc;

use cendriix_persistence::{
    codec::{decode, encode},
    placement::{Owner, Placement},
    store::{Change, Guard, Key, Outcome, Row, RowKey, Save, Scan, SharedStore},
};
use cendriix_protocol::{
    ids::{UserId, WorkspaceId},
    time::Timestamp,
    workspaces::{Invite, Member, MemberStatus, Plan, Role, Workspace},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::{
    Error, audit,
    caller::Caller,
    content,
    identity::Person,
    kinds::{self, space},
    kit::{Clock, machine::Given},
};

/// The most members and invitations of a workspace that are listed.
const MEMBERS_MAX: usize = 10_000;
/// The most workspaces of a person that are listed.
const WORKSPACES_MAX: usize = 1_000;

/// A workspace as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub name: String,
    pub slug: String,
    pub plan: StoredPlan,
    pub created_at: Timestamp,
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

/// All workspaces. A clone is the same.
#[derive(Clone, Debug)]
pub struct Workspaces {
    store: SharedStore,
    placement: Arc<dyn Placement>,
    clock: Clock,
}

impl Workspaces {
    /// The workspaces kept in `store`.
    pub fn new(store: SharedStore, placement: Arc<dyn Placement>, clock: Clock) -> Self {
        Self { store, placement, clock }
    }

    /// The caller's role in a workspace, read now; `None` when they do not belong to it.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn role(&self, workspace: WorkspaceId, user: UserId) -> Result<Option<Role>, Error> {
        let row = self.store.row(&member_key(workspace, user)).await?;
        Ok(row.map(|row| decode::<Membership>("membership", &row)).transpose()?.map(|member| member.role))
    }

    /// What a new workspace with its owner takes to be saved.
    ///
    /// # Errors
    ///
    /// When another node owns it, or a value cannot be written.
    pub(crate) fn founding(
        &self,
        id: WorkspaceId,
        name: &str,
        plan: Plan,
        owner: UserId,
        given: &Given,
    ) -> Result<Save, Error> {
        let Owner::Me { epoch } = self.placement.owner(id.0) else {
            return Err(Error::Unavailable("another node owns this workspace".into()));
        };
        let stored =
            Stored { name: name.to_owned(), slug: slug(name), plan: plan.into(), created_at: given.at };
        let resource = audit::Resource { kind: "workspace", id: id.0 };
        let payload = json!({ "name": name, "plan": plan });
        Ok(Save {
            changes: vec![record(kinds::WORKSPACE, id.0, epoch, 0, encode(&stored)?)],
            rows: membership(id, owner, Role::Owner, given.at)?,
            audit: vec![audit::draft(id, given, "workspace.created", resource, &payload)],
            ..Save::default()
        })
    }

    /// Creates a workspace; the caller becomes its owner.
    ///
    /// # Errors
    ///
    /// When the name is wrong or the save fails.
    pub async fn create(&self, user: UserId, name: &str, plan: Plan) -> Result<Workspace, Error> {
        let length = name.chars().count();
        if name.trim().is_empty() || length > 100 {
            return Err(Error::field("name", format!("needs 1 to 100 characters, has {length}")));
        }
        let id = WorkspaceId(self.clock.id());
        let given = Given { at: self.clock.now(), by: crate::kit::Actor::User(user).into(), random: 0 };
        let save = self.founding(id, name.trim(), plan, user, &given)?;
        match self.store.save(save).await {
            Outcome::Saved => self.read(id, Role::Owner).await,
            outcome @ (Outcome::Conflict | Outcome::Refused(_) | Outcome::Full | Outcome::Unknown) => {
                Err(content::unsaved(outcome))
            }
        }
    }

    /// A workspace as a member with that role sees it.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub async fn read(&self, id: WorkspaceId, role: Role) -> Result<Workspace, Error> {
        let stored = self.store.load(Key { kind: kinds::WORKSPACE, id: id.0 }).await?;
        let stored: Stored = match stored {
            Some(stored) => decode("workspace", &stored.snapshot)?,
            None => return Err(Error::Missing { what: "workspace" }),
        };
        Ok(Workspace {
            id,
            name: stored.name,
            slug: stored.slug,
            plan: stored.plan.into(),
            role,
            created_at: stored.created_at,
        })
    }

    /// A workspace of which the user is a member.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when they are not.
    pub async fn of(&self, user: UserId, id: WorkspaceId) -> Result<Workspace, Error> {
        let role = self.role(id, user).await?.ok_or(Error::Missing { what: "workspace" })?;
        self.read(id, role).await
    }

    /// A page of the user's workspaces, newest first, and the cursor of the next one.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn list(
        &self,
        user: UserId,
        limit: usize,
        cursor: Option<WorkspaceId>,
    ) -> Result<(Vec<Workspace>, Option<WorkspaceId>), Error> {
        let before = cursor.map(|id| pair(user.0, id.0));
        let wanted = limit.min(WORKSPACES_MAX) + 1;
        let scan = Scan::prefix(space::MEMBER_OF, user.0.as_bytes(), wanted).newest_first(before);
        let mut workspaces = Vec::new();
        for (key, _) in self.store.rows(scan).await? {
            if let Some(id) = content::id_at(&key, 16) {
                workspaces.push(self.of(user, WorkspaceId(id)).await?);
            }
        }
        let more = workspaces.len() == wanted;
        workspaces.truncate(wanted - 1);
        let next = workspaces.last().map(|workspace| workspace.id).filter(|_| more);
        Ok((workspaces, next))
    }

    /// Lets the caller through to a workspace of the path: they must be a member of it, with the role that
    /// the route needs.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when they are no member, [`Error::Forbidden`] when their role in it is too low.
    pub async fn enter(&self, caller: &Caller, id: WorkspaceId) -> Result<Caller, Error> {
        let role = self.role(id, caller.user).await?.ok_or(Error::Missing { what: "workspace" })?;
        let inside = Caller { workspace: id, role, ..caller.clone() };
        inside.may()?;
        Ok(inside)
    }

    /// Invites somebody; whoever logs in with that e-mail address joins.
    ///
    /// # Errors
    ///
    /// When the caller may not, the address is wrong, or they are a member or invited already.
    pub async fn invite(&self, caller: &Caller, id: WorkspaceId, invite: Invite) -> Result<Member, Error> {
        let caller = self.enter(caller, id).await?;
        if invite.role == Role::Owner && caller.role < Role::Owner {
            return Err(Error::Forbidden { needs: Role::Owner, has: caller.role });
        }
        let email = address(&invite.email).ok_or_else(|| Error::field("email", "is no e-mail address"))?;
        let members = self.members(&caller, id).await?;
        if members.iter().any(|member| member.email == email) {
            return Err(Error::conflict(format!("{email} is a member or invited already")));
        }
        if members.len() >= MEMBERS_MAX {
            return Err(Error::conflict(format!("a workspace has at most {MEMBERS_MAX} members")));
        }
        let at = self.clock.now();
        let given = Given { at, by: caller.actor(), random: 0 };
        let invitation = Invitation { role: invite.role, invited_by: caller.user, at };
        let ours = RowKey { space: space::INVITATIONS, key: [id.0.as_bytes(), email.as_bytes()].concat() };
        let theirs = RowKey { space: space::INVITED_TO, key: invited_key(&email, id) };
        let resource = audit::Resource { kind: "workspace", id: id.0 };
        let payload = json!({ "email": email, "role": invite.role });
        let save = Save {
            guards: vec![Guard::Absent(ours.clone())],
            rows: vec![
                Row { key: ours, value: Some(encode(&invitation)?) },
                Row { key: theirs, value: Some(bytes::Bytes::new()) },
            ],
            audit: vec![audit::draft(id, &given, "member.invited", resource, &payload)],
            ..Save::default()
        };
        match self.store.save(save).await {
            Outcome::Saved => Ok(pending(email, invite.role)),
            Outcome::Refused(_) => Err(Error::conflict(format!("{email} is invited already"))),
            outcome @ (Outcome::Conflict | Outcome::Full | Outcome::Unknown) => {
                Err(content::unsaved(outcome))
            }
        }
    }

    /// The members of a workspace, then those who are invited.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn members(&self, caller: &Caller, id: WorkspaceId) -> Result<Vec<Member>, Error> {
        self.enter(caller, id).await?;
        let mut members = Vec::new();
        for (key, value) in
            self.store.rows(Scan::prefix(space::MEMBERS, id.0.as_bytes(), MEMBERS_MAX)).await?
        {
            let Some(user) = content::id_at(&key, 16) else { continue };
            let membership: Membership = decode("membership", &value)?;
            let Some(stored) = self.store.load(Key { kind: kinds::USER, id: user }).await? else { continue };
            let person: Person = decode("user", &stored.snapshot)?;
            members.push(Member {
                user_id: Some(UserId(user)),
                email: person.email,
                display_name: Some(person.display_name),
                role: membership.role,
                status: MemberStatus::Active,
            });
        }
        for (key, value) in
            self.store.rows(Scan::prefix(space::INVITATIONS, id.0.as_bytes(), MEMBERS_MAX)).await?
        {
            let invitation: Invitation = decode("invitation", &value)?;
            let email = String::from_utf8_lossy(key.get(16..).unwrap_or_default()).into_owned();
            members.push(pending(email, invitation.role));
        }
        Ok(members)
    }

    /// Makes a person a member wherever that address is invited.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub(crate) async fn join_invited(&self, user: UserId, email: &str) -> Result<(), Error> {
        let prefix = [email.as_bytes(), b"\0"].concat();
        for (key, _) in self.store.rows(Scan::prefix(space::INVITED_TO, &prefix, WORKSPACES_MAX)).await? {
            let Some(id) = content::id_at(&key, prefix.len()).map(WorkspaceId) else { continue };
            let ours =
                RowKey { space: space::INVITATIONS, key: [id.0.as_bytes(), email.as_bytes()].concat() };
            let Some(row) = self.store.row(&ours).await? else { continue };
            let invitation: Invitation = decode("invitation", &row)?;
            let given = Given { at: self.clock.now(), by: crate::kit::Actor::User(user).into(), random: 0 };
            let resource = audit::Resource { kind: "user", id: user.0 };
            let mut rows = membership(id, user, invitation.role, given.at)?;
            rows.push(Row { key: ours.clone(), value: None });
            rows.push(Row { key: RowKey { space: space::INVITED_TO, key }, value: None });
            let save = Save {
                // Two log-ins at once: the second finds the invitation gone.
                guards: vec![Guard::Present(ours), Guard::Absent(member_key(id, user))],
                rows,
                audit: vec![audit::draft(
                    id,
                    &given,
                    "member.joined",
                    resource,
                    &json!({ "role": invitation.role }),
                )],
                ..Save::default()
            };
            match self.store.save(save).await {
                Outcome::Saved | Outcome::Refused(_) => (),
                outcome @ (Outcome::Conflict | Outcome::Full | Outcome::Unknown) => {
                    return Err(content::unsaved(outcome));
                }
            }
        }
        Ok(())
    }
}

/// The change of a record that is kept without a journal.
pub(crate) fn record(
    kind: u8,
    id: Uuid,
    epoch: u64,
    expected_version: u64,
    snapshot: bytes::Bytes,
) -> Change {
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

fn membership(workspace: WorkspaceId, user: UserId, role: Role, since: Timestamp) -> Result<Vec<Row>, Error> {
    let value = encode(&Membership { role, since })?;
    let theirs = RowKey { space: space::MEMBER_OF, key: pair(user.0, workspace.0) };
    Ok(vec![
        Row { key: member_key(workspace, user), value: Some(value) },
        Row { key: theirs, value: Some(bytes::Bytes::new()) },
    ])
}

fn pending(email: String, role: Role) -> Member {
    Member { user_id: None, email, display_name: None, role, status: MemberStatus::Pending }
}

fn member_key(workspace: WorkspaceId, user: UserId) -> RowKey {
    RowKey { space: space::MEMBERS, key: pair(workspace.0, user.0) }
}

fn invited_key(email: &str, workspace: WorkspaceId) -> Vec<u8> {
    [email.as_bytes(), b"\0", workspace.0.as_bytes()].concat()
}

fn pair(first: Uuid, second: Uuid) -> Vec<u8> {
    [first.as_bytes().as_slice(), second.as_bytes()].concat()
}

/// A name as it can stand in an address.
fn slug(name: &str) -> String {
    let words: Vec<String> = name
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    if words.is_empty() { "workspace".to_owned() } else { words.join("-") }
}

/// An e-mail address in lower case; `None` when it is none.
pub(crate) fn address(text: &str) -> Option<String> {
    let text = text.trim();
    let (name, host) = text.rsplit_once('@')?;
    let plain = |letter: char| !letter.is_whitespace() && !letter.is_control();
    let sound = !name.is_empty() && !host.is_empty() && text.len() <= 254 && text.chars().all(plain);
    sound.then(|| text.to_lowercase())
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
        let plan = StoredPlan::Enterprise;
        let stored = Stored { name: "Acme & Söhne".into(), slug: "acme-s-hne".into(), plan, created_at: at };
        golden::holds::<Stored>("workspace", &stored);
        let plans = vec![StoredPlan::Starter, StoredPlan::Team, StoredPlan::Enterprise];
        golden::holds::<Vec<StoredPlan>>("workspace-plans", &plans);
        let roles = [Role::Viewer, Role::Member, Role::Admin, Role::Owner];
        let members = roles.map(|role| Membership { role, since: at });
        golden::holds::<Vec<Membership>>("memberships", &members.to_vec());
        let invitation = Invitation { role: Role::Admin, invited_by: UserId(Uuid::from_u128(7)), at };
        golden::holds::<Invitation>("invitation", &invitation);
    }

    #[test]
    fn names_become_slugs_and_addresses_are_compared_in_lower_case() {
        assert_eq!((slug("Acme & Söhne, Inc."), slug("東京")), ("acme-s-hne-inc".into(), "workspace".into()));
        assert_eq!(address(" Ada@Example.com "), Some("ada@example.com".into()));
        assert_eq!((address("ada"), address("a b@c"), address("@c")), (None, None, None));
    }
}
