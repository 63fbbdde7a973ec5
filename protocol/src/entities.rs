//! `/entities`: one store for everything that is built: skills, plugins, playbooks, policies, guardrails.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::{ids::EntityId, time::Timestamp};

/// What an entity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A sub-task that an agent calls as one action.
    Skill,
    /// Tools that come from outside.
    Plugin,
    /// A way of working that once led to a merged change.
    Playbook,
    /// Rules on what may be done.
    Policy,
    /// Rules on what may be said and used.
    Guardrail,
}

/// Where an entity comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A run was promoted.
    Run,
}

/// An entity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Entity {
    /// Its id.
    pub id: EntityId,
    /// What it is.
    pub kind: Kind,
    /// The name to show.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// What it says; a playbook has `trigger`, `steps`, `agents` and `estimatedCostUsd`.
    #[schema(value_type = Object)]
    pub spec: Value,
    /// Counts the changes.
    pub version: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// An entity in a list, without what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntityItem {
    /// Its id.
    pub id: EntityId,
    /// What it is.
    pub kind: Kind,
    /// The name to show.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Counts the changes.
    pub version: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Which entities are asked for.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, rename_all = "camelCase")]
pub struct EntitiesQuery {
    /// Only entities of this kind.
    #[param(inline)]
    pub kind: Option<Kind>,
    /// How many items, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u16>,
    /// The `nextCursor` of the page before.
    #[param(pattern = "^[0-9a-f-]{36}$", format = Uuid)]
    pub cursor: Option<String>,
}

/// A page of entities.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Entities {
    /// The workspace's entities, newest first.
    pub entities: Vec<EntityItem>,
    /// What to send as `cursor` for the next page.
    pub next_cursor: Option<String>,
}

/// `POST /runs/:runId/promote-playbook`: what a run became.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Promoted {
    /// The playbook.
    pub playbook: Entity,
}
