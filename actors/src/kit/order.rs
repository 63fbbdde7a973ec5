//! Who asks an entity for something, and what is saved along with it.

use cendriix_persistence::store::{Guard, Row};
use uuid::Uuid;

use super::cause::Cause;

/// What the one who asks wants saved in the same transaction.
#[derive(Clone, Debug, Default)]
pub struct Attachment {
    /// What must hold; a refusal names the index.
    pub guards: Vec<Guard>,
    /// Rows to write.
    pub rows: Vec<Row>,
}

/// Who asks, and what goes along.
#[derive(Clone, Debug)]
pub struct Order {
    /// Names the command, so that asking again gets the same answer and changes nothing.
    pub command: Option<Uuid>,
    /// Who asks.
    pub by: Cause,
    /// What is saved along with it.
    pub attachment: Attachment,
}

impl Order {
    /// An order without a name and with nothing to go along.
    pub fn of(by: impl Into<Cause>) -> Self {
        Self { command: None, by: by.into(), attachment: Attachment::default() }
    }
}
