//! Lists: newest first, a page at a time.

use serde::Deserialize;
use utoipa::IntoParams;

/// How many items a page has when the caller does not say.
pub const LIMIT: u16 = 50;
/// The most items a page can have.
pub const LIMIT_MAX: u16 = 200;

/// Which page of a list is asked for.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct PageQuery {
    /// How many items, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u16>,
    /// The `nextCursor` of the page before.
    #[param(pattern = "^[0-9a-f-]{36}$", format = Uuid)]
    pub cursor: Option<String>,
}
