//! `/auth`: log-in and who am I.

use std::fmt;

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

/// `POST /auth/login` as it comes in, so that wrong fields are told one by one; [`LoginBody`] is what it
/// should be.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Login {
    /// See [`ProfileLogin`].
    pub provider: Option<Provider>,
    /// See [`ProfileLogin`].
    pub oauth_id: Option<String>,
    /// See [`ProfileLogin`].
    pub email: Option<String>,
    /// See [`ProfileLogin`].
    pub display_name: Option<String>,
    /// See [`ProfileLogin`].
    pub avatar_url: Option<String>,
    /// See [`TokenLogin`].
    pub id_token: Option<String>,
    /// See [`BootstrapLogin`].
    pub bootstrap_token: Option<String>,
}

/// `POST /auth/login`: what to exchange for a token.
#[derive(Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum LoginBody {
    /// A profile, where the server believes its clients (`auth.mode = "dev"`).
    Profile(ProfileLogin),
    /// A token of the issuer, where the server trusts one (`auth.mode = "oidc"`).
    Token(TokenLogin),
    /// The operator's bootstrap token.
    Bootstrap(BootstrapLogin),
}

/// An OAuth profile. It counts only where the server believes its clients (`auth.mode = "dev"`).
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProfileLogin {
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
    #[schema(max_length = 2_000, pattern = "^https://")]
    pub avatar_url: Option<String>,
}

/// A token of the issuer that the server trusts (`auth.mode = "oidc"`). The profile is the token's: whatever
/// else the body says of it is ignored.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenLogin {
    /// An ID token, or an access token, at most 16 KiB.
    #[schema(min_length = 1, max_length = 16_384)]
    pub id_token: String,
}

/// The operator's own way in, to set a server up.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootstrapLogin {
    /// What `auth.bootstrap_token` is set to.
    #[schema(min_length = 32)]
    pub bootstrap_token: String,
}

/// Log-ins show neither tokens nor addresses of people.
macro_rules! hidden {
    ($($name:ident),*) => {
        $(impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        })*
    };
}

hidden!(Login, LoginBody, ProfileLogin, TokenLogin, BootstrapLogin);

/// How somebody came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// By a profile that was believed as it was sent.
    Dev,
    /// By a token of the issuer that the server trusts.
    Oidc,
    /// By the operator's bootstrap token.
    Bootstrap,
    /// By an API key.
    ApiKey,
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
    /// The e-mail address of the profile; empty where the issuer tells none.
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
    /// How the caller came in.
    pub via: Via,
    /// The issuer that vouches for the caller, of whoever came in by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Whether the e-mail address is theirs beyond doubt. Only such an address accepts invitations.
    pub email_verified: bool,
    /// The API key that the request was made with, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKey>,
}
