//! The body of every refusal, in one shape.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a refused request answers with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// A code for programs, such as `not_found` or `validation_error`.
    #[schema(example = "not_found")]
    pub error: String,
    /// A sentence for people: what is wrong and what to do.
    pub message: String,
    /// The id of the request, also in the `x-request-id` header and in the server's log.
    pub request_id: String,
    /// What is wrong with which field, by path (`input.title`); only with `validation_error`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub field_errors: FieldErrors,
    /// The state that does not allow the action; only with `conflict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_status: Option<String>,
    /// What that state allows instead; only with `conflict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_actions: Option<Vec<String>>,
}

/// The same refusal as RFC 9457 has it, for those who send `Accept: application/problem+json`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What kind of problem it is: always `about:blank`, which means that `status` says it; `error` says
    /// more.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name of the status.
    #[schema(example = "Not Found")]
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// A sentence for people, as in `message`.
    pub detail: String,
    /// What every refusal has.
    #[serde(flatten)]
    pub refusal: ErrorBody,
}

impl Problem {
    /// A refusal as a problem.
    pub fn new(refusal: ErrorBody, status: u16, title: &str) -> Self {
        let detail = refusal.message.clone();
        Self { kind: "about:blank".to_owned(), title: title.to_owned(), status, detail, refusal }
    }
}

/// Sentences about fields, by the path of the field.
pub type FieldErrors = BTreeMap<String, Vec<String>>;
