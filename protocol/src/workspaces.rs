//! `/workspaces`: tenants, their members and their roles.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    ids::{UserId, WorkspaceId},
    time::Timestamp,
};

/// What a member may do, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads; changes nothing but their own preferences.
    Viewer,
    /// Runs, authors and approves.
    Member,
    /// Also manages members, keys and policy.
    Admin,
    /// Also grants ownership and deletes the workspace.
    Owner,
}

impl Role {
    /// The role's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
}

/// A subscription plan; `growth` is another name of `team`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Plan {
    /// 60 requests a minute, 5,000 a day.
    #[default]
    Starter,
    /// 300 requests a minute, 100,000 a day.
    #[serde(alias = "growth")]
    Team,
    /// No limit.
    Enterprise,
}

/// A workspace as one of its members sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workspace {
    /// The workspace's id, called `tenantId` on runs.
    pub id: WorkspaceId,
    /// The name to show.
    pub name: String,
    /// A short form of the name for addresses; not unique.
    pub slug: String,
    /// The subscription plan.
    pub plan: Plan,
    /// The caller's role in it.
    pub role: Role,
    /// Counts the changes, also of its members; `"v<version>"` is its `ETag`.
    pub version: u64,
    /// When it was created.
    pub created_at: Timestamp,
}

/// `POST /workspaces`: the caller becomes its owner.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CreateWorkspace {
    /// The name to show, 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// The subscription plan; `starter` when absent.
    #[serde(default)]
    pub plan: Plan,
}

/// `PATCH /workspaces/:workspaceId`: what is absent stays as it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ChangeWorkspace {
    /// The name to show, 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100)]
    pub name: Option<String>,
    /// The subscription plan; only an owner changes it.
    pub plan: Option<Plan>,
}

/// A page of workspaces.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workspaces {
    /// The caller's workspaces, newest first.
    pub workspaces: Vec<Workspace>,
    /// What to send as `cursor` for the next page.
    pub next_cursor: Option<String>,
}

/// Whether a member has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemberStatus {
    /// Takes part.
    Active,
    /// Takes part from the first log-in with that e-mail address on.
    Pending,
}

/// A member of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The member's user id; absent while the invitation is pending.
    pub user_id: Option<UserId>,
    /// The address that was invited or logged in with.
    pub email: String,
    /// The name to show; absent while the invitation is pending.
    pub display_name: Option<String>,
    /// What the member may do.
    pub role: Role,
    /// Whether the member has accepted.
    pub status: MemberStatus,
}

/// `POST /workspaces/:workspaceId/members`: an invitation.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Invite {
    /// Who is invited.
    #[schema(format = Email, max_length = 254)]
    pub email: String,
    /// What they may do; only an owner grants `owner`.
    pub role: Role,
}

/// `PATCH /workspaces/:workspaceId/members/:userId`: another role.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChangeMember {
    /// What they may do from then on; only an owner grants or takes away `owner`.
    pub role: Role,
}

/// A page of members.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Members {
    /// Active members first, then pending invitations.
    pub members: Vec<Member>,
    /// What to send as `cursor` for the next page.
    pub next_cursor: Option<String>,
}

/// `POST /workspaces/:workspaceId/switch`: a token for another workspace.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Switched {
    /// A signed JWT scoped to that workspace.
    pub token: String,
    /// The workspace it is scoped to.
    pub workspace: Workspace,
}
