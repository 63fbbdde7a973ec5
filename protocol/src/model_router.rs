//! `/model-router`: one way to ask any model.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What kind of work a model is asked for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TaskType {
    /// Writing or changing code.
    CodeGeneration,
    /// Thinking something through.
    Reasoning,
    /// Making something shorter.
    Summarisation,
    /// Saying what kind of thing something is.
    Classification,
    /// Anything else.
    #[default]
    General,
}
