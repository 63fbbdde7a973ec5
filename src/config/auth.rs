//! Who may come in, and how.

use serde::{Deserialize, Serialize};

/// Who may come in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// How people log in.
    pub mode: AuthMode,
    /// Lets `dev` listen on an address that others can reach. Anybody there can then log in as anybody.
    pub dev_allow_public: bool,
}

/// How people log in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// The client says who it is and is believed; only for one's own machine.
    #[default]
    Dev,
}
