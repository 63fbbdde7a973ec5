//! API keys: secrets with which programs act in one workspace, never as more than who created them.
//!
//! Only the SHA-256 of a key is kept. Of 256 random bits that is enough: there is nothing to guess.
//! **Invariant:** a key is held against the store for every request, and so is its creator's membership;
//! whoever revokes it, or takes the creator out, ends it with the answer.

pub mod raw;
mod stored;
mod uses;

use std::collections::BTreeMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use cendriix_persistence::{
    codec::decode,
    store::{Row, Save, Scan, SharedStore},
};
use cendriix_protocol::{
    api_keys::{ApiKey, CreateApiKey, CreatedApiKey},
    ids::{ApiKeyId, UserId, WorkspaceId},
    time::Timestamp,
    workspaces::Role,
};
use serde_json::json;

use self::{
    raw::RawKey,
    stored::{Check, Line, check_key, ended, kept, line_key, pair, use_key},
    uses::Uses,
};
use crate::{
    Error, audit,
    caller::Caller,
    content,
    idempotency::Claim,
    kinds::space,
    kit::{Clock, directory::Shared, machine::Given},
    workspaces::{Workspaces, claimed, named},
};

/// The most keys of a workspace, those that have expired included.
pub const KEYS_MAX: usize = 1_000;

/// The API keys of all workspaces. A clone is the same.
#[derive(Clone, Debug)]
pub struct ApiKeys {
    store: SharedStore,
    clock: Clock,
    workspaces: Workspaces,
    uses: Uses,
}

/// Who asks with a key, and what they may do.
#[derive(Clone, Copy, Debug)]
pub struct Acting {
    /// The key.
    pub key: ApiKeyId,
    /// The workspace that it is for.
    pub workspace: WorkspaceId,
    /// Who created it.
    pub user: UserId,
    /// The key's role, or its creator's when that is lower by now.
    pub role: Role,
}

/// The key is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorized {
    /// It is none, or was not copied as a whole.
    #[error("the API key is mistyped: its checksum does not fit; copy all of it")]
    Mistyped,
    /// Nobody knows it.
    #[error("the API key is not known here: it was revoked, or belongs to another server")]
    Unknown,
    /// Its time is over.
    #[error("the API key has expired; create another with POST /v1/api-keys")]
    Expired,
    /// Whoever created it is no longer a member.
    #[error("whoever created this API key does not belong to its workspace any more; take another key")]
    Orphaned,
}

impl ApiKeys {
    /// The keys of these workspaces.
    pub fn new(shared: &Shared, workspaces: Workspaces) -> Self {
        let (store, clock) = (SharedStore::clone(&shared.store), shared.clock.clone());
        let uses = Uses::new(SharedStore::clone(&store), shared.tasks.clone());
        Self { store, clock, workspaces, uses }
    }

    /// Who asks with a key, as of now.
    ///
    /// # Errors
    ///
    /// The outer one when the store cannot be read, the inner one when the key is not good.
    pub async fn check(&self, text: &str) -> Result<Result<Acting, Unauthorized>, Error> {
        let Some(raw) = RawKey::read(text) else { return Ok(Err(Unauthorized::Mistyped)) };
        let Some(row) = self.store.row(&check_key(raw.public())).await? else {
            return Ok(Err(Unauthorized::Unknown));
        };
        let Check { key, workspace, user, role, hash, expires_at } = decode("API key", &row)?;
        if verify_slices_are_equal(&raw.hash(), &hash).is_err() {
            return Ok(Err(Unauthorized::Unknown));
        }
        let now = self.clock.now();
        if expires_at.is_some_and(|end| now >= end) {
            return Ok(Err(Unauthorized::Expired));
        }
        let Some(creators) = self.workspaces.role(workspace, user).await? else {
            return Ok(Err(Unauthorized::Orphaned));
        };
        self.uses.note(workspace, key, now);
        Ok(Ok(Acting { key, workspace, user, role: role.min(creators) }))
    }

    /// Creates a key. It is shown with this answer and never again, so a claim that was made before is a
    /// conflict.
    ///
    /// # Errors
    ///
    /// When the caller may not, fields are wrong, or the workspace has too many keys.
    pub async fn create(
        &self,
        caller: &Caller,
        new: &CreateApiKey,
        claim: Option<&Claim>,
    ) -> Result<CreatedApiKey, Error> {
        let workspace = caller.workspace;
        self.workspaces
            .changing(workspace, |current| async move {
                let caller = self.workspaces.enter(caller, workspace).await?;
                let now = self.clock.now();
                let (line, raw) = drafted(&caller, new, now)?;
                if let Some(claim) = claim
                    && let Some(earlier) = claim.earlier(&*self.store, now).await?
                {
                    return Err(Error::conflict(format!(
                        "API key {earlier} was created with this Idempotency-Key, and a key is shown only \
                            once; revoke it and create another with a new Idempotency-Key"
                    )));
                }
                let scan = Scan::prefix(space::API_KEYS, workspace.0.as_bytes(), KEYS_MAX);
                if self.store.rows(scan).await?.len() >= KEYS_MAX {
                    return Err(Error::conflict(format!(
                        "a workspace has at most {KEYS_MAX} API keys, those that have expired included; \
                            revoke some"
                    )));
                }
                let key = ApiKeyId(self.clock.id());
                let (role, expires_at) = (line.role, line.expires_at);
                let hash = raw.hash();
                let check = Check { key, workspace, user: caller.user, role, hash, expires_at };
                let given = Given { at: now, by: caller.actor(), random: 0 };
                let resource = audit::Resource { kind: "api_key", id: key.0 };
                let payload = json!({
                    "name": line.name, "prefix": raw::prefix(&line.public), "role": role,
                    "expiresAt": expires_at,
                });
                let mut save = Save {
                    rows: kept(&line, &check)?.into(),
                    audit: vec![audit::draft(workspace, &given, "api_key.created", resource, &payload)],
                    ..Save::default()
                };
                claimed(&mut save, claim, key.0, &given);
                let raw_key = raw.reveal().to_owned();
                let created = CreatedApiKey { api_key: line.shown(key, None), raw_key };
                Ok((Some(current.with(save)?), created))
            })
            .await
    }

    /// The key that the caller asks with, if they do with one.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn of(&self, caller: &Caller) -> Result<Option<ApiKey>, Error> {
        let Some(id) = caller.key else { return Ok(None) };
        let Some(row) = self.store.row(&line_key(caller.workspace, id)).await? else { return Ok(None) };
        let line: Line = decode("API key's line", &row)?;
        let used = self.store.row(&use_key(caller.workspace, id)).await?;
        let used = used.map(|used| decode("API key's use", &used)).transpose()?;
        Ok(Some(line.shown(id, used)))
    }

    /// A page of the workspace's keys, newest first, and the cursor of the next one.
    ///
    /// # Errors
    ///
    /// When the caller may not.
    pub async fn list(
        &self,
        caller: &Caller,
        limit: usize,
        cursor: Option<ApiKeyId>,
    ) -> Result<(Vec<ApiKey>, Option<ApiKeyId>), Error> {
        caller.may()?;
        let prefix = caller.workspace.0;
        let before = cursor.map(|id| pair(caller.workspace, id));
        let scan = Scan::prefix(space::API_KEYS, prefix.as_bytes(), limit + 1).newest_first(before);
        let rows = self.store.rows(scan).await?;
        let more = rows.len() > limit;
        let scan = Scan::prefix(space::API_KEY_USES, prefix.as_bytes(), KEYS_MAX);
        let noted: BTreeMap<_, _> = self.store.rows(scan).await?.into_iter().collect();
        let mut keys = Vec::with_capacity(limit.min(rows.len()));
        for (key, value) in rows.into_iter().take(limit) {
            let Some(id) = content::id_at(&key, 16).map(ApiKeyId) else { continue };
            let line: Line = decode("API key's line", &value)?;
            let used = noted.get(&key).map(|used| decode("API key's use", used)).transpose()?;
            keys.push(line.shown(id, used));
        }
        let next = keys.last().map(|key| key.id).filter(|_| more);
        Ok((keys, next))
    }

    /// Ends a key.
    ///
    /// # Errors
    ///
    /// When the caller may not, or there is no such key.
    pub async fn revoke(&self, caller: &Caller, id: ApiKeyId) -> Result<(), Error> {
        let workspace = caller.workspace;
        self.workspaces
            .changing(workspace, |current| async move {
                let caller = self.workspaces.enter(caller, workspace).await?;
                let row = self.store.row(&line_key(workspace, id)).await?;
                let line: Line = decode("API key's line", &row.ok_or(Error::Missing { what: "API key" })?)?;
                let given = Given { at: self.clock.now(), by: caller.actor(), random: 0 };
                let resource = audit::Resource { kind: "api_key", id: id.0 };
                let payload = json!({ "name": line.name, "prefix": raw::prefix(&line.public) });
                let save = Save {
                    rows: ended(workspace, id, &line.public).into(),
                    audit: vec![audit::draft(workspace, &given, "api_key.revoked", resource, &payload)],
                    ..Save::default()
                };
                Ok((Some(current.with(save)?), ()))
            })
            .await
    }
}

/// A key as it was asked for.
fn drafted(caller: &Caller, new: &CreateApiKey, now: Timestamp) -> Result<(Line, RawKey), Error> {
    let name = named(&new.name)?.to_owned();
    if new.expires_at.is_some_and(|end| end <= now) {
        return Err(Error::field("expiresAt", "has passed; it needs to be an instant to come"));
    }
    let role = new.role.unwrap_or(Role::Member.min(caller.role));
    if role > caller.role {
        return Err(Error::Forbidden { needs: role, has: caller.role });
    }
    let raw = RawKey::new()?;
    let line = Line {
        name,
        public: raw.public().to_owned(),
        role,
        created_by: caller.user,
        created_at: now,
        expires_at: new.expires_at,
    };
    Ok((line, raw))
}

/// Whether a key is neither revoked nor expired.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn is_good(
    store: &SharedStore,
    workspace: WorkspaceId,
    key: ApiKeyId,
    now: Timestamp,
) -> Result<bool, Error> {
    let Some(row) = store.row(&line_key(workspace, key)).await? else { return Ok(false) };
    let line: Line = decode("API key's line", &row)?;
    Ok(line.expires_at.is_none_or(|end| now < end))
}

/// How many keys of a workspace there are, and the rows that end them: all, or those that somebody created.
///
/// # Errors
///
/// When the store cannot be read.
pub(crate) async fn gone(
    store: &SharedStore,
    workspace: WorkspaceId,
    of: Option<UserId>,
) -> Result<(usize, Vec<Row>), Error> {
    let scan = Scan::prefix(space::API_KEYS, workspace.0.as_bytes(), KEYS_MAX);
    let (mut count, mut rows) = (0, Vec::new());
    for (key, value) in store.rows(scan).await? {
        let Some(id) = content::id_at(&key, 16).map(ApiKeyId) else { continue };
        let line: Line = decode("API key's line", &value)?;
        if of.is_none_or(|user| user == line.created_by) {
            count += 1;
            rows.extend(ended(workspace, id, &line.public));
        }
    }
    Ok((count, rows))
}
