//! `/api-keys`: secrets with which programs act in one workspace.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    ids::{ApiKeyId, UserId},
    time::Timestamp,
    workspaces::Role,
};

/// What is known of an API key; never the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The name to show.
    pub name: String,
    /// What the key begins with, to tell it from others.
    #[schema(example = "ak_9f86d081884c7d65")]
    pub prefix: String,
    /// The most that it may do; never more than whoever created it may at that moment.
    pub role: Role,
    /// Who created it, and as whom it acts.
    pub created_by: UserId,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it ends; `null`: when it is revoked.
    pub expires_at: Option<Timestamp>,
    /// When it was used last, to the minute; `null`: not yet.
    pub last_used_at: Option<Timestamp>,
}

/// `POST /api-keys`: a key for the workspace of the token.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateApiKey {
    /// The name to show, 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// When it ends; it does not end by itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The most that it may do, not above the creator's role; `member` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// A key that was created.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedApiKey {
    /// What is known of it from now on.
    pub api_key: ApiKey,
    /// The key itself, shown this once; to be sent as `Authorization: Bearer` or as `X-API-Key`.
    pub raw_key: String,
}

impl fmt::Debug for CreatedApiKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CreatedApiKey").field("api_key", &self.api_key).finish_non_exhaustive()
    }
}

/// A page of API keys.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeys {
    /// The workspace's keys, newest first.
    pub api_keys: Vec<ApiKey>,
    /// What to send as `cursor` for the next page.
    pub next_cursor: Option<String>,
}
