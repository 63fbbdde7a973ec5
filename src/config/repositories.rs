//! Which repositories may be worked on, and how those on other servers are reached.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use cendriix_actors::{egress::Guard, repositories::Remotes, secret::Secret};
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// What a token begins with that stands in a variable.
const VARIABLE: &str = "env:";

/// Which repositories may be worked on, and how those on other servers are reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepositoriesConfig {
    /// Folders; repositories below them may be named by path.
    pub allow: Vec<PathBuf>,
    /// How much a repository on another server may take here, in MiB.
    pub remote_mib_max: u64,
    /// How long one exchange with another server may take, in milliseconds.
    pub remote_ms: u64,
    /// What is shown to other servers, by host, or by host and the beginning of a path: a token, or
    /// `user:password`.
    pub tokens: BTreeMap<String, Secret>,
}

impl Default for RepositoriesConfig {
    fn default() -> Self {
        Self { allow: Vec::new(), remote_mib_max: 2_048, remote_ms: 600_000, tokens: BTreeMap::new() }
    }
}

impl RepositoriesConfig {
    /// Reads tokens that stand in variables, and brings the places that they are for into the form of
    /// addresses.
    pub(super) fn take_tokens(
        &mut self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(), ConfigError> {
        let mut read = BTreeMap::new();
        for (place, token) in &self.tokens {
            let token = match token.reveal().strip_prefix(VARIABLE) {
                None => token.clone(),
                Some(name) => {
                    let missing = || ConfigError::Token(format!("{place}: the variable {name} is not set"));
                    Secret::new(variable(name).ok_or_else(missing)?.trim())
                }
            };
            if token.is_empty() || token.reveal().contains(char::is_control) {
                return Err(ConfigError::Token(format!("{place}: the token is empty, or no single line")));
            }
            read.insert(plain(place)?, token);
        }
        self.tokens = read;
        Ok(())
    }

    /// How repositories on other servers are reached.
    pub(super) fn remotes(&self, exceptions: &[String]) -> Remotes {
        Remotes {
            guard: Guard::new(exceptions.iter().cloned()),
            tokens: self.tokens.clone(),
            bytes_max: self.remote_mib_max.saturating_mul(1 << 20),
            within: Duration::from_millis(self.remote_ms),
        }
    }
}

/// The host in lower case, and the path as it is.
fn plain(place: &str) -> Result<String, ConfigError> {
    let place = place.trim_end_matches('/');
    if place.is_empty() || place.contains("://") || place.contains('@') {
        let said = format!("{place:?} is no place such as \"github.com\" or \"github.com/team\"");
        return Err(ConfigError::Token(said));
    }
    let (host, path) = place.split_at(place.find('/').unwrap_or(place.len()));
    Ok(format!("{}{path}", host.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(place: &str, token: &str) -> Result<BTreeMap<String, Secret>, String> {
        let tokens = BTreeMap::from([(place.to_owned(), Secret::new(token))]);
        let mut config = RepositoriesConfig { tokens, ..RepositoriesConfig::default() };
        let variable = |name: &str| (name == "THERE").then(|| "from there\n".to_owned());
        config.take_tokens(variable).map_err(|error| error.to_string())?;
        Ok(config.tokens)
    }

    #[test]
    fn a_token_stands_in_the_configuration_or_in_a_variable() {
        for (place, token, found) in [
            ("GitHub.com/Team/", "t", ("github.com/Team", "t")),
            ("localhost:3000", "env:THERE", ("localhost:3000", "from there")),
        ] {
            let (found_place, found_token) = taken(place, token).unwrap().pop_first().unwrap();
            assert_eq!((found_place.as_str(), found_token.reveal()), found);
        }
        assert!(taken("github.com", "env:GONE").unwrap_err().contains("GONE is not set"));
        assert!(taken("https://github.com", "t").unwrap_err().contains("no place"));
        let refused = taken("github.com", "secret\nline").unwrap_err();
        assert!(refused.contains("github.com") && !refused.contains("secret"), "{refused}");
    }
}
