//! How API keys stand in the store: a line in the workspace's list, and what a key is held against.

use cendriix_persistence::{
    codec::encode,
    store::{Row, RowKey},
};
use cendriix_protocol::{
    api_keys::ApiKey,
    ids::{ApiKeyId, UserId, WorkspaceId},
    time::Timestamp,
    workspaces::Role,
};
use serde::{Deserialize, Serialize};

use super::raw;
use crate::{Error, kinds::space};

/// A key in its workspace's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) name: String,
    /// The part of it that finds it.
    pub(super) public: String,
    pub(super) role: Role,
    pub(super) created_by: UserId,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
}

/// What a key is held against, found by its public part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Check {
    pub(super) key: ApiKeyId,
    pub(super) workspace: WorkspaceId,
    pub(super) user: UserId,
    pub(super) role: Role,
    /// SHA-256 of the whole key.
    #[serde(with = "serde_bytes")]
    pub(super) hash: [u8; 32],
    pub(super) expires_at: Option<Timestamp>,
}

impl Line {
    pub(super) fn shown(self, id: ApiKeyId, last_used_at: Option<Timestamp>) -> ApiKey {
        ApiKey {
            id,
            name: self.name,
            prefix: raw::prefix(&self.public),
            role: self.role,
            created_by: self.created_by,
            created_at: self.created_at,
            expires_at: self.expires_at,
            last_used_at,
        }
    }
}

/// The rows of a new key.
pub(super) fn kept(line: &Line, check: &Check) -> Result<[Row; 2], Error> {
    Ok([
        Row { key: line_key(check.workspace, check.key), value: Some(encode(line)?) },
        Row { key: check_key(&line.public), value: Some(encode(check)?) },
    ])
}

/// The rows that end a key.
pub(super) fn ended(workspace: WorkspaceId, id: ApiKeyId, public: &str) -> [Row; 3] {
    [line_key(workspace, id), check_key(public), use_key(workspace, id)].map(|key| Row { key, value: None })
}

pub(super) fn line_key(workspace: WorkspaceId, id: ApiKeyId) -> RowKey {
    RowKey { space: space::API_KEYS, key: pair(workspace, id) }
}

pub(super) fn check_key(public: &str) -> RowKey {
    RowKey { space: space::API_KEY_CHECKS, key: public.as_bytes().to_vec() }
}

pub(super) fn use_key(workspace: WorkspaceId, id: ApiKeyId) -> RowKey {
    RowKey { space: space::API_KEY_USES, key: pair(workspace, id) }
}

pub(super) fn pair(workspace: WorkspaceId, id: ApiKeyId) -> Vec<u8> {
    [workspace.0.as_bytes().as_slice(), id.0.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::golden;

    #[test]
    fn keys_are_written_and_read_as_ever() {
        let at = Timestamp(1_780_000_000_000);
        let user = UserId(Uuid::from_u128(7));
        let line = Line {
            name: "ci".into(),
            public: "0123456789abcdef".into(),
            role: Role::Member,
            created_by: user,
            created_at: at,
            expires_at: Some(at),
        };
        golden::holds::<Line>("api-key-line", &line);
        let (key, workspace) = (ApiKeyId(Uuid::from_u128(8)), WorkspaceId(Uuid::from_u128(1)));
        let check = Check { key, workspace, user, role: Role::Viewer, hash: [9; 32], expires_at: None };
        golden::holds::<Check>("api-key-check", &check);
        golden::holds::<Timestamp>("api-key-use", &at);
    }
}
