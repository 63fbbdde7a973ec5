//! The numbers under which things stand in the store. **Invariant:** a number is never reused for another
//! thing.

/// Runs: living.
pub const RUN: u8 = 1;
/// Workspaces: kept.
pub const WORKSPACE: u8 = 2;
/// People: kept.
pub const USER: u8 = 3;
/// Workflows: kept.
pub const WORKFLOW: u8 = 4;
/// Agents at work on a step: living.
pub const AGENT_STEP: u8 = 5;
/// Skills, plugins, playbooks, policies and guardrails: kept.
pub const ENTITY: u8 = 6;
/// Where the commands of an attempt of a run are contained: living.
pub const SANDBOX: u8 = 7;

/// The row tables.
pub mod space {
    /// Workspace, run → the run's line in the list.
    pub const RUNS: u8 = 1;
    /// Workspace, workflow → the workflow's line in the list.
    pub const WORKFLOWS: u8 = 2;
    /// Workflow, version → its definition.
    pub const WORKFLOW_VERSIONS: u8 = 3;
    /// Hash of provider and account → user.
    pub const IDENTITIES: u8 = 4;
    /// Workspace, user → membership.
    pub const MEMBERS: u8 = 5;
    /// User, workspace → nothing.
    pub const MEMBER_OF: u8 = 6;
    /// Workspace, e-mail → invitation.
    pub const INVITATIONS: u8 = 7;
    /// E-mail, workspace → nothing.
    pub const INVITED_TO: u8 = 8;
    /// Hash of workspace, user, route and key → what was answered.
    pub const IDEMPOTENCY: u8 = 9;
    /// Workspace, call → what it cost.
    pub const LEDGER: u8 = 10;
    /// Run, agent step → its line in the list.
    pub const AGENT_STEPS: u8 = 11;
    /// Workspace, entity → its line in the list.
    pub const ENTITIES: u8 = 12;
    /// Workspace, API key → the key's line in the list.
    pub const API_KEYS: u8 = 13;
    /// The public part of an API key → what it is held against.
    pub const API_KEY_CHECKS: u8 = 14;
    /// Workspace, API key → when it was used last.
    pub const API_KEY_USES: u8 = 15;
    /// Workspace, day → how many requests were made.
    pub const REQUESTS: u8 = 16;
    /// User → the workspace that they switched to last.
    pub const LAST_SWITCHED: u8 = 17;
}
