//! `/auth/stream-tickets`: how a browser, which cannot send a header with `EventSource`, opens an event
//! stream.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::time::Timestamp;

/// `POST /auth/stream-tickets`: asks for a ticket.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CreateStreamTicket {
    /// The path of the event stream, from the server's root and without a query.
    #[schema(example = "/v1/workflow-runs/01890000-0000-8000-8000-000000000000/stream", max_length = 200)]
    pub path: String,
}

/// A ticket for one event stream.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamTicket {
    /// The ticket itself, shown this once: add `?ticket=…` to the path. It opens one connection; to connect
    /// again, as after an error, get another.
    pub ticket: String,
    /// The path that it is for.
    pub path: String,
    /// Until when it can be used: a minute.
    pub expires_at: Timestamp,
}
