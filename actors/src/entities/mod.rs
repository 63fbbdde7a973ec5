//! Entities: what is built to be used again. Their core: playbooks that runs were promoted to.

use std::sync::Arc;

use cendriix_persistence::{
    blobs::Blobs,
    codec::{decode, encode},
    placement::{Owner, Placement},
    store::{Change, Key, Outcome, Row, RowKey, Save, Scan, SharedStore},
};
use cendriix_protocol::{
    entities::{Entity, EntityItem, Kind, Origin},
    ids::{EntityId, WorkspaceId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    Error, audit,
    caller::Caller,
    content::{self, Large},
    kinds::{self, space},
    kit::{Clock, machine::Given},
};

/// The longest name, in characters.
pub const NAME_MAX: usize = 200;
/// How many rows are looked at for one page of a filtered list.
const SCAN_MAX: usize = 2_000;

/// An entity as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stored {
    pub workspace: WorkspaceId,
    pub line: ListRow,
    /// The JSON text of what it says.
    pub spec: Large,
}

/// An entity in its workspace's list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListRow {
    pub kind: StoredKind,
    pub name: String,
    pub version: u32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What an entity is, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoredKind {
    Skill,
    Plugin,
    Playbook,
    Policy,
    Guardrail,
}

impl From<Kind> for StoredKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Skill => Self::Skill,
            Kind::Plugin => Self::Plugin,
            Kind::Playbook => Self::Playbook,
            Kind::Policy => Self::Policy,
            Kind::Guardrail => Self::Guardrail,
        }
    }
}

impl From<StoredKind> for Kind {
    fn from(kind: StoredKind) -> Self {
        match kind {
            StoredKind::Skill => Self::Skill,
            StoredKind::Plugin => Self::Plugin,
            StoredKind::Playbook => Self::Playbook,
            StoredKind::Policy => Self::Policy,
            StoredKind::Guardrail => Self::Guardrail,
        }
    }
}

/// An entity that is to be kept.
#[derive(Clone, Debug)]
pub struct NewEntity {
    /// Its id; the same id is the same entity.
    pub id: Uuid,
    /// What it is.
    pub kind: Kind,
    /// The name to show.
    pub name: String,
    /// What it says.
    pub spec: Value,
}

/// The entities of all workspaces. A clone is the same.
#[derive(Clone, Debug)]
pub struct Entities {
    store: SharedStore,
    placement: Arc<dyn Placement>,
    blobs: Blobs,
    clock: Clock,
}

impl Entities {
    /// The entities kept in `store`.
    pub fn new(store: SharedStore, placement: Arc<dyn Placement>, blobs: Blobs, clock: Clock) -> Self {
        Self { store, placement, blobs, clock }
    }

    /// Keeps an entity; one that is kept already stays as it is.
    ///
    /// # Errors
    ///
    /// When the caller may not, or the disk refuses.
    pub async fn keep(&self, caller: &Caller, new: NewEntity) -> Result<Entity, Error> {
        caller.may()?;
        let id = EntityId(new.id);
        let now = self.clock.now();
        let spec = Large::keep(&self.blobs, caller.workspace, new.spec.to_string()).await?;
        let kind = new.kind.into();
        let line = ListRow { kind, name: new.name, version: 1, created_at: now, updated_at: now };
        let stored = Stored { workspace: caller.workspace, line, spec };
        match self.store.save(self.first(caller, id, &stored)?).await {
            Outcome::Saved => Ok(shown(id, stored.line, new.spec)),
            Outcome::Conflict => self.get(caller, id).await,
            outcome @ (Outcome::Refused(_) | Outcome::Full | Outcome::Unknown) => {
                Err(content::unsaved(outcome))
            }
        }
    }

    /// The save that makes an entity.
    fn first(&self, caller: &Caller, id: EntityId, stored: &Stored) -> Result<Save, Error> {
        let Owner::Me { epoch } = self.placement.owner(id.0) else {
            return Err(Error::Unavailable("another node owns this entity".into()));
        };
        let given = Given { at: stored.line.created_at, by: caller.actor(), random: 0 };
        let resource = audit::Resource { kind: "entity", id: id.0 };
        let payload = json!({ "kind": Kind::from(stored.line.kind), "name": stored.line.name, "version": 1 });
        let change = Change {
            key: Key { kind: kinds::ENTITY, id: id.0 },
            epoch,
            expected_version: 0,
            schema: 1,
            working: false,
            parked: false,
            due_at: None,
            events: None,
            snapshot: Some(encode(stored)?),
        };
        let list = RowKey { space: space::ENTITIES, key: list_key(caller.workspace, id) };
        Ok(Save {
            changes: vec![change],
            rows: vec![Row { key: list, value: Some(encode(&stored.line)?) }],
            audit: vec![audit::draft(caller.workspace, &given, "entity.created", resource, &payload)],
            ..Save::default()
        })
    }

    /// An entity with what it says.
    ///
    /// # Errors
    ///
    /// When it is not there or not the caller's.
    pub async fn get(&self, caller: &Caller, id: EntityId) -> Result<Entity, Error> {
        let key = Key { kind: kinds::ENTITY, id: id.0 };
        let stored = self.store.load(key).await?.ok_or(Error::Missing { what: "entity" })?;
        let stored: Stored = decode("entity", &stored.snapshot)?;
        caller.reach(stored.workspace, "entity")?;
        let spec = stored.spec.read(&self.blobs, stored.workspace).await?;
        Ok(shown(id, stored.line, content::json("entity", &spec)?))
    }

    /// A page of the workspace's entities, newest first, and the cursor of the next one.
    ///
    /// # Errors
    ///
    /// When the caller may not.
    pub async fn list(
        &self,
        caller: &Caller,
        kind: Option<Kind>,
        limit: usize,
        cursor: Option<EntityId>,
    ) -> Result<(Vec<EntityItem>, Option<EntityId>), Error> {
        caller.may()?;
        let before = cursor.map(|id| list_key(caller.workspace, id));
        let looked_at = if kind.is_some() { SCAN_MAX } else { limit + 1 };
        let prefix = caller.workspace.0;
        let scan = Scan::prefix(space::ENTITIES, prefix.as_bytes(), looked_at).newest_first(before);
        let rows = self.store.rows(scan).await?;
        let exhausted = rows.len() < looked_at;
        let (mut items, mut last) = (Vec::new(), None);
        for (key, value) in rows {
            let Some(id) = content::id_at(&key, 16).map(EntityId) else { continue };
            if items.len() == limit {
                return Ok((items, last));
            }
            last = Some(id);
            let row: ListRow = decode("entity's line", &value)?;
            if kind.is_none_or(|kind| kind == row.kind.into()) {
                items.push(item(id, row));
            }
        }
        Ok((items, last.filter(|_| !exhausted)))
    }
}

fn shown(id: EntityId, line: ListRow, spec: Value) -> Entity {
    Entity {
        id,
        kind: line.kind.into(),
        name: line.name,
        origin: Origin::Run,
        spec,
        version: line.version,
        created_at: line.created_at,
        updated_at: line.updated_at,
    }
}

fn item(id: EntityId, line: ListRow) -> EntityItem {
    EntityItem {
        id,
        kind: line.kind.into(),
        name: line.name,
        origin: Origin::Run,
        version: line.version,
        created_at: line.created_at,
        updated_at: line.updated_at,
    }
}

fn list_key(workspace: WorkspaceId, id: EntityId) -> Vec<u8> {
    [workspace.0.as_bytes().as_slice(), id.0.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn entities_and_their_lines_are_written_and_read_as_ever() {
        let at = Timestamp(1_780_000_000_000);
        let line = |kind| ListRow { kind, name: "n".into(), version: 1, created_at: at, updated_at: at };
        let kinds = [
            StoredKind::Skill,
            StoredKind::Plugin,
            StoredKind::Playbook,
            StoredKind::Policy,
            StoredKind::Guardrail,
        ];
        golden::holds::<Vec<ListRow>>("entity-lines", &kinds.map(line).to_vec());
        let workspace = WorkspaceId(Uuid::from_u128(1));
        let spec = Large::Here("{}".into());
        golden::holds::<Stored>("entity", &Stored { workspace, line: line(StoredKind::Playbook), spec });
    }
}
