//! The audit log: who did what to what, each entry chained to the one before it.
//!
//! An entry is stored as its canonical JSON (RFC 8785), so its digest is that of the stored bytes and anybody
//! can check it.

mod canonical;

use aws_lc_rs::digest;
use bytes::Bytes;
use cendriix_persistence::store::Draft;
use cendriix_protocol::{ids::WorkspaceId, time::Timestamp};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::kit::{RequestId, machine::Given};

/// What an entry is about. The members stand in the order of the canonical form.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Resource {
    /// Its id.
    pub id: Uuid,
    /// Its kind, such as `run`.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// The members stand in the order of the canonical form.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    actor: String,
    event_type: &'a str,
    payload: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    resource: Resource,
    timestamp: Timestamp,
}

/// Writes an entry for the log of a workspace.
pub fn draft(
    workspace: WorkspaceId,
    given: &Given,
    event_type: &str,
    resource: Resource,
    payload: &Value,
) -> Draft {
    let request_id = given.by.request.as_ref().map(RequestId::as_str);
    let actor = given.by.to_string();
    let entry = Entry { actor, event_type, payload, request_id, resource, timestamp: given.at };
    let body = Bytes::from(canonical::written(&entry));
    Draft { workspace: workspace.0, digest: sha256(&body), body }
}

/// SHA-256 of an entry's canonical form, which is what is stored.
///
/// # Errors
///
/// When the stored bytes are not canonical JSON.
pub fn digest_of(body: &[u8]) -> Result<[u8; 32], String> {
    let value: Value = serde_json::from_slice(body).map_err(|error| format!("it is no JSON: {error}"))?;
    let canonical = serde_json_canonicalizer::to_vec(&value).map_err(|error| error.to_string())?;
    if canonical == body { Ok(sha256(body)) } else { Err("it is not in canonical form".to_owned()) }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use cendriix_protocol::ids::UserId;
    use serde_json::json;

    use super::*;
    use crate::{
        golden,
        kit::{Actor, Cause},
    };

    #[test]
    fn entries_are_written_and_checked_as_ever() {
        let by = Actor::User(UserId(Uuid::from_u128(7)));
        let given = Given { at: Timestamp(1_780_000_000_000), by: by.into(), random: 0 };
        let payload = json!({ "title": "grüße", "steps": 3, "cost": 0.25, "note": null });
        let resource = Resource { kind: "run", id: Uuid::from_u128(3) };
        let workspace = WorkspaceId(Uuid::from_u128(1));
        let draft = draft(workspace, &given, "run.created", resource, &payload);
        let body = golden::same("audit-entry.json", &draft.body);
        assert_eq!(digest_of(&body), Ok(draft.digest));
        let by = Cause { request: RequestId::new("r-1"), ..given.by };
        let asked = super::draft(workspace, &Given { by, ..given }, "run.created", resource, &payload);
        assert_eq!(digest_of(&golden::same("audit-entry-of-request.json", &asked.body)), Ok(asked.digest));
        assert!(digest_of(b"{ \"a\": 1 }").is_err());
        assert!(digest_of(b"nonsense").is_err());
    }
}
