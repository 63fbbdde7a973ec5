//! Workspaces, their members and their roles.
//!
//! **Invariant:** role and membership are read from the store for every request; no token carries them.
//! **Invariant:** whatever changes a workspace, its members, its invitations or its keys also changes the
//! workspace's own record, at the version that the decision was made on. So no two of them cross, and none
//! happens to a workspace that is deleted.

mod invitations;
mod members;
pub mod rules;
mod standing;
mod stored;

use std::{future::Future, sync::Arc};

use cendriix_persistence::{
    codec::{decode, encode},
    placement::{Owner, Placement},
    store::{Guard, Key, Outcome, Save, Scan, SharedStore},
};
use cendriix_protocol::{
    ids::{UserId, WorkspaceId, shard_of},
    workspaces::{ChangeWorkspace, Plan, Role, Workspace},
};
use serde_json::json;
use tokio::sync::Mutex;
use uuid::Uuid;

pub use self::stored::{Invitation, Membership, Stored, StoredPlan};
use self::stored::{joined, left, member_key, pair, uninvited};
pub(crate) use self::{standing::Standing, stored::record};
use crate::{
    Error, api_keys, audit,
    caller::Caller,
    content,
    idempotency::Claim,
    identity::Person,
    kinds::{self, space},
    kit::{Clock, machine::Given},
    runs::Runs,
};

/// The most members and invitations of a workspace.
const MEMBERS_MAX: usize = 10_000;
/// The most workspaces of a person that are listed.
const WORKSPACES_MAX: usize = 1_000;
/// How often a change is tried that crosses with those of other nodes.
const TRIES_MAX: u32 = 16;
/// How many workspaces can be changed at once on this node.
const TURNS: usize = 64;
/// How many runs are counted that keep a workspace from being deleted.
const UNFINISHED_MAX: usize = 1_000;

/// All workspaces. A clone is the same.
#[derive(Clone, Debug)]
pub struct Workspaces {
    store: SharedStore,
    placement: Arc<dyn Placement>,
    clock: Clock,
    /// Changes of a workspace wait for each other here, so that they cross with those of other nodes only.
    turns: Arc<[Mutex<()>]>,
}

/// A workspace as it was read to be changed.
#[derive(Debug)]
pub(crate) struct Current {
    id: WorkspaceId,
    epoch: u64,
    version: u64,
    stored: Stored,
}

impl Current {
    /// Refuses unless it is one of the versions that whoever changes it has seen.
    fn check(&self, seen: Option<&[u64]>) -> Result<(), Error> {
        if seen.is_none_or(|seen| seen.contains(&self.version)) {
            return Ok(());
        }
        Err(Error::Outdated(format!(
            "the workspace is at version {} by now; get it, look at it, and send its ETag as If-Match",
            self.version
        )))
    }

    /// The save that happens only if nobody has changed the workspace since it was read.
    pub(crate) fn with(&self, mut save: Save) -> Result<Save, Error> {
        let snapshot = encode(&self.stored)?;
        save.changes.push(record(kinds::WORKSPACE, self.id.0, self.epoch, self.version, snapshot));
        Ok(save)
    }
}

impl Workspaces {
    /// The workspaces kept in `store`.
    pub fn new(store: SharedStore, placement: Arc<dyn Placement>, clock: Clock) -> Self {
        let turns = (0..TURNS).map(|_| Mutex::default()).collect();
        Self { store, placement, clock, turns }
    }

    /// A user's role in a workspace, read now; `None` when they do not belong to it.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn role(&self, workspace: WorkspaceId, user: UserId) -> Result<Option<Role>, Error> {
        let row = self.store.row(&member_key(workspace, user)).await?;
        Ok(row.map(|row| decode::<Membership>("membership", &row)).transpose()?.map(|member| member.role))
    }

    /// The plan of a workspace, read now.
    ///
    /// # Errors
    ///
    /// When it is not there or cannot be read.
    pub async fn plan(&self, id: WorkspaceId) -> Result<Plan, Error> {
        Ok(self.current(id).await?.stored.plan.into())
    }

    /// The caller's role in a workspace, read now. An API key belongs to its own workspace only.
    async fn role_in(&self, caller: &Caller, id: WorkspaceId) -> Result<Role, Error> {
        let role = match caller.key {
            Some(_) if id == caller.workspace => Some(caller.role),
            Some(_) => None,
            None => self.role(id, caller.user).await?,
        };
        role.ok_or(Error::Missing { what: "workspace" })
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
        let stored = Stored {
            name: name.to_owned(),
            slug: slug(name),
            plan: plan.into(),
            created_at: given.at,
            deleted_at: None,
        };
        let resource = audit::Resource { kind: "workspace", id: id.0 };
        let payload = json!({ "name": name, "plan": plan });
        Ok(Save {
            changes: vec![record(kinds::WORKSPACE, id.0, epoch, 0, encode(&stored)?)],
            rows: joined(id, owner, Role::Owner, given.at)?.into(),
            audit: vec![audit::draft(id, given, "workspace.created", resource, &payload)],
            ..Save::default()
        })
    }

    /// Creates a workspace; the caller becomes its owner. A claim that was made before answers with the
    /// workspace of then.
    ///
    /// # Errors
    ///
    /// When the name is wrong or the save fails.
    pub async fn create(
        &self,
        caller: &Caller,
        name: &str,
        plan: Plan,
        claim: Option<&Claim>,
    ) -> Result<Workspace, Error> {
        let name = named(name)?;
        let at = self.clock.now();
        if let Some(claim) = claim
            && let Some(earlier) = claim.earlier(&*self.store, at).await?
        {
            return self.of(caller, WorkspaceId(earlier)).await;
        }
        let id = WorkspaceId(self.clock.id());
        let given = Given { at, by: caller.actor(), random: 0 };
        let mut save = self.founding(id, name, plan, caller.user, &given)?;
        claimed(&mut save, claim, id.0, &given);
        match self.store.save(save).await {
            Outcome::Saved => self.read(id, Role::Owner).await,
            Outcome::Refused(_) => Err(going_on()),
            outcome @ (Outcome::Conflict | Outcome::Full | Outcome::Unknown) => {
                Err(content::unsaved(outcome))
            }
        }
    }

    /// A workspace to be changed.
    async fn current(&self, id: WorkspaceId) -> Result<Current, Error> {
        let stored = self.store.load(Key { kind: kinds::WORKSPACE, id: id.0 }).await?;
        let loaded = stored.ok_or(Error::Missing { what: "workspace" })?;
        let stored: Stored = decode("workspace", &loaded.snapshot)?;
        if stored.deleted_at.is_some() {
            return Err(Error::Missing { what: "workspace" });
        }
        let Owner::Me { epoch } = self.placement.owner(id.0) else {
            return Err(Error::Unavailable("another node owns this workspace".into()));
        };
        Ok(Current { id, epoch, version: loaded.header.version, stored })
    }

    /// Saves what `attempt` makes of a workspace, and makes it again when somebody else has changed the
    /// workspace meanwhile. Without a save nothing changes. The one guard that the save may have is that of a
    /// claim.
    ///
    /// # Errors
    ///
    /// Those of `attempt`; when the workspace is not there, or is changed by others all the time.
    pub(crate) async fn changing<T, F>(
        &self,
        id: WorkspaceId,
        attempt: impl Fn(Current) -> F + Send + Sync,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<(Option<Save>, T), Error>> + Send,
    {
        let _turn = match self.turns.get(usize::from(shard_of(id.0)) % TURNS) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        for _ in 0..TRIES_MAX {
            let (save, answer) = attempt(self.current(id).await?).await?;
            let Some(save) = save else { return Ok(answer) };
            match self.store.save(save).await {
                Outcome::Saved => return Ok(answer),
                Outcome::Conflict => (),
                Outcome::Refused(_) => return Err(going_on()),
                outcome @ (Outcome::Full | Outcome::Unknown) => return Err(content::unsaved(outcome)),
            }
        }
        Err(Error::Unavailable("many change this workspace at once; try again".into()))
    }

    /// A workspace as a member with that role sees it.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub async fn read(&self, id: WorkspaceId, role: Role) -> Result<Workspace, Error> {
        let current = self.current(id).await?;
        Ok(shown(id, current.stored, current.version, role))
    }

    /// A workspace of which the caller is a member.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when they are not.
    pub async fn of(&self, caller: &Caller, id: WorkspaceId) -> Result<Workspace, Error> {
        let role = self.role_in(caller, id).await?;
        self.read(id, role).await
    }

    /// A page of the caller's workspaces, newest first, and the cursor of the next one. An API key sees its
    /// own only.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn list(
        &self,
        caller: &Caller,
        limit: usize,
        cursor: Option<WorkspaceId>,
    ) -> Result<(Vec<Workspace>, Option<WorkspaceId>), Error> {
        if caller.key.is_some() {
            let is_past = cursor.is_some_and(|cursor| cursor <= caller.workspace);
            let own = if is_past { Vec::new() } else { vec![self.of(caller, caller.workspace).await?] };
            return Ok((own, None));
        }
        let limit = limit.min(WORKSPACES_MAX);
        let mut found = self.joined(caller.user, limit + 1, cursor).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().copied().filter(|_| more);
        let mut workspaces = Vec::with_capacity(found.len());
        for id in found {
            match self.of(caller, id).await {
                Ok(workspace) => workspaces.push(workspace),
                // It was deleted, or they left it, meanwhile.
                Err(Error::Missing { .. }) => (),
                Err(error) => return Err(error),
            }
        }
        Ok((workspaces, next))
    }

    /// The workspaces that a user belongs to, newest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub(crate) async fn joined(
        &self,
        user: UserId,
        limit: usize,
        before: Option<WorkspaceId>,
    ) -> Result<Vec<WorkspaceId>, Error> {
        let before = before.map(|id| pair(user.0, id.0));
        let scan = Scan::prefix(space::MEMBER_OF, user.0.as_bytes(), limit).newest_first(before);
        let rows = self.store.rows(scan).await?;
        Ok(rows.iter().filter_map(|(key, _)| content::id_at(key, 16)).map(WorkspaceId).collect())
    }

    /// Lets the caller in to a workspace of the path, of which they must be a member, whatever their role.
    async fn visit(&self, caller: &Caller, id: WorkspaceId) -> Result<Caller, Error> {
        let role = self.role_in(caller, id).await?;
        Ok(Caller { workspace: id, role, ..caller.clone() })
    }

    /// Lets the caller through to a workspace of the path: they must be a member of it, with the role that
    /// the route needs.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when they are no member, [`Error::Forbidden`] when their role in it is too low.
    pub async fn enter(&self, caller: &Caller, id: WorkspaceId) -> Result<Caller, Error> {
        let inside = self.visit(caller, id).await?;
        inside.may()?;
        Ok(inside)
    }

    /// Changes the name or the plan of a workspace, if it is one of the versions that were `seen`.
    ///
    /// # Errors
    ///
    /// When the caller may not, the name is wrong, or it is another version.
    pub async fn change(
        &self,
        caller: &Caller,
        id: WorkspaceId,
        wanted: &ChangeWorkspace,
        seen: Option<&[u64]>,
    ) -> Result<Workspace, Error> {
        self.changing(id, |mut current| async move {
            let caller = self.enter(caller, id).await?;
            current.check(seen)?;
            let name = wanted.name.as_deref().map(named).transpose()?;
            let plan = wanted.plan.map(StoredPlan::from);
            if plan.is_some_and(|plan| plan != current.stored.plan) && caller.role < Role::Owner {
                return Err(Error::Forbidden { needs: Role::Owner, has: caller.role });
            }
            let before = current.stored.clone();
            if let Some(name) = name {
                (current.stored.name, current.stored.slug) = (name.to_owned(), slug(name));
            }
            current.stored.plan = plan.unwrap_or(before.plan);
            let (version, is_same) = (current.version, current.stored == before);
            let after = shown(id, current.stored.clone(), version + u64::from(!is_same), caller.role);
            if is_same {
                return Ok((None, after));
            }
            let given = Given { at: self.clock.now(), by: caller.actor(), random: 0 };
            let resource = audit::Resource { kind: "workspace", id: id.0 };
            let payload = json!({
                "before": { "name": before.name, "plan": Plan::from(before.plan) },
                "after": { "name": after.name, "plan": after.plan },
            });
            let audit = vec![audit::draft(id, &given, "workspace.changed", resource, &payload)];
            Ok((Some(current.with(Save { audit, ..Save::default() })?), after))
        })
        .await
    }

    /// Deletes a workspace: its members, invitations and API keys are gone at once. What it held stays on the
    /// disk, its audit log included, and nobody reaches it.
    ///
    /// # Errors
    ///
    /// When the caller may not, it is none of the versions that were `seen`, runs of it are not at an end, or
    /// somebody would be left without any workspace.
    pub async fn delete(
        &self,
        caller: &Caller,
        id: WorkspaceId,
        runs: &Runs,
        seen: Option<&[u64]>,
    ) -> Result<(), Error> {
        self.changing(id, |mut current| async move {
            let caller = self.enter(caller, id).await?;
            current.check(seen)?;
            at_rest(runs.unfinished(id, UNFINISHED_MAX).await?.len())?;
            let (members, invitations) = (self.roles(id).await?, self.invitations(id).await?);
            self.nobody_is_left_without(id, &members).await?;
            let (keys, mut rows) = api_keys::gone(&self.store, id, None).await?;
            rows.extend(members.iter().flat_map(|(user, _)| left(id, *user)));
            rows.extend(invitations.iter().flat_map(|(email, _)| uninvited(id, email)));
            let given = Given { at: self.clock.now(), by: caller.actor(), random: 0 };
            current.stored.deleted_at = Some(given.at);
            let resource = audit::Resource { kind: "workspace", id: id.0 };
            let (members, invitations) = (members.len(), invitations.len());
            let payload = json!({ "members": members, "invitations": invitations, "apiKeys": keys });
            let audit = vec![audit::draft(id, &given, "workspace.deleted", resource, &payload)];
            Ok((Some(current.with(Save { rows, audit, ..Save::default() })?), ()))
        })
        .await?;
        // What was begun between the look at the runs and the save; no more can be.
        if let Err(error) = runs.cancel_all(id, UNFINISHED_MAX).await {
            tracing::warn!(workspace.id = %id, %error, "a run of a deleted workspace may go on to its end");
        }
        Ok(())
    }

    /// A personal workspace stays while somebody has no other.
    async fn nobody_is_left_without(&self, id: WorkspaceId, members: &[(UserId, Role)]) -> Result<(), Error> {
        for (user, _) in members {
            let Some(stored) = self.store.load(Key { kind: kinds::USER, id: user.0 }).await? else {
                continue;
            };
            let person: Person = decode("user", &stored.snapshot)?;
            if person.home == id && self.joined(*user, 2, None).await?.len() < 2 {
                return Err(Error::conflict(format!(
                    "it is the personal workspace of {}, who belongs to no other; they need another first",
                    person.email
                )));
            }
        }
        Ok(())
    }
}

/// What must hold for something to be saved in the caller's name: that they still belong to the workspace.
pub(crate) fn belongs(caller: &Caller) -> Guard {
    Guard::Present(member_key(caller.workspace, caller.user))
}

/// Puts a claim into a save, as its one guard.
pub(crate) fn claimed(save: &mut Save, claim: Option<&Claim>, resource: Uuid, given: &Given) {
    if let Some(claim) = claim {
        let taken = claim.taken(resource, given.at);
        save.guards.extend(taken.guards);
        save.rows.extend(taken.rows);
    }
}

fn going_on() -> Error {
    Error::conflict("a request with this Idempotency-Key goes on; ask again")
}

fn at_rest(unfinished: usize) -> Result<(), Error> {
    if unfinished == 0 {
        return Ok(());
    }
    let or_more = if unfinished == UNFINISHED_MAX { " or more" } else { "" };
    let (runs, them) = if unfinished == 1 { ("run is", "it") } else { ("runs are", "them") };
    Err(Error::conflict(format!(
        "{unfinished}{or_more} {runs} not at an end; cancel {them} or let {them} end, then delete the \
            workspace"
    )))
}

fn shown(id: WorkspaceId, stored: Stored, version: u64, role: Role) -> Workspace {
    Workspace {
        id,
        name: stored.name,
        slug: stored.slug,
        plan: stored.plan.into(),
        role,
        version,
        created_at: stored.created_at,
    }
}

/// A name to show, without space around it.
pub(crate) fn named(name: &str) -> Result<&str, Error> {
    let length = name.chars().count();
    if name.trim().is_empty() || length > 100 {
        return Err(Error::field("name", format!("needs 1 to 100 characters, has {length}")));
    }
    Ok(name.trim())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_slugs_and_addresses_are_compared_in_lower_case() {
        assert_eq!((slug("Acme & Söhne, Inc."), slug("東京")), ("acme-s-hne-inc".into(), "workspace".into()));
        assert_eq!(address(" Ada@Example.com "), Some("ada@example.com".into()));
        assert_eq!((address("ada"), address("a b@c"), address("@c")), (None, None, None));
    }
}
