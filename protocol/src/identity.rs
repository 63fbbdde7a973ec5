//! `/auth`: log-in and who am I.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{api_keys::ApiKey, ids::UserId, workspaces::Workspace};

/// Who vouches for a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// A GitHub account.
    Github,
    /// A Google account.
    Google,
}

/// `POST /auth/login`: an OAuth profile to exchange for a token.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Login {
    /// Who vouches for the profile.
    pub provider: Provider,
    /// The account's id at the provider, 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    pub oauth_id: String,
    /// The account's e-mail address.
    #[schema(format = Email, max_length = 254)]
    pub email: String,
    /// The name to show, 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    pub display_name: String,
    /// A picture of the person.
    #[serde(default)]
    #[schema(max_length = 2_000, pattern = "^https://")]
    pub avatar_url: Option<String>,
}

/// The answer to a log-in.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// A signed JWT, scoped to one workspace; to be sent as `Authorization: Bearer`.
    pub token: String,
    /// Who it was issued to.
    pub user: User,
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Stays the same as long as the account exists.
    pub id: UserId,
    /// The e-mail address of the profile.
    pub email: String,
    /// The name to show.
    pub display_name: String,
    /// A picture of the person.
    pub avatar_url: Option<String>,
}

/// `GET /auth/me`: the caller and the workspaces they belong to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Me {
    /// The caller.
    #[serde(flatten)]
    pub user: User,
    /// The workspaces the caller belongs to, newest first, at most 200; of an API key the one it is for.
    pub workspaces: Vec<Workspace>,
    /// The API key that the request was made with, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKey>,
}
