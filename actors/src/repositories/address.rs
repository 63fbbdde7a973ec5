//! Addresses of repositories on other servers.
//!
//! **Invariant:** an address holds no credentials, and nothing in it means anything else to git than to us.

use std::fmt;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::Failure;

/// The longest address, in bytes.
const ADDRESS_MAX: usize = 2_048;

/// The address of a repository, by `https` (or by `http`, where the operator allows that).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(String);

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    ///
    /// When it is of a kind that is not reached, or holds what does not belong in it; no message repeats
    /// credentials.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let refused = |said: &str| Err(Failure::Refused(said.to_owned()));
        if text.len() > ADDRESS_MAX || text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\')
        {
            return refused("an address has at most 2048 bytes, and no spaces or backslashes");
        }
        let Some((scheme, _)) = text.split_once("://") else {
            return refused(
                "needs a whole address such as https://example.com/team/project.git; of `host:path` take the \
                 https one, and name what is on the server's own disk by path",
            );
        };
        if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
            return refused(
                "only https:// is reached (and http:// where egress.allow names the host); take the \
                 repository's https address, and name what is on the server's own disk by path",
            );
        }
        let Ok(mut url) = Url::parse(text) else { return refused("is no address") };
        if !url.username().is_empty() || url.password().is_some() {
            return refused(
                "credentials do not belong in an address, which is stored and shown; the operator puts them \
                 under repositories.tokens in the server's configuration",
            );
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refused("the address of a repository has no `?` and no `#`");
        }
        // A name that ends with a dot would be looked up again, by that other name.
        if url.host_str().is_none_or(|host| host.is_empty() || host.ends_with('.')) {
            return refused("needs the name of a host, without a dot at its end");
        }
        let path = url.path().trim_end_matches('/').to_owned();
        if path.is_empty() {
            return refused("needs the path of a repository behind the host");
        }
        url.set_path(&path);
        Ok(Self(url.into()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is reached without TLS.
    pub(super) fn is_open(&self) -> bool {
        self.0.starts_with("http://")
    }

    /// The host, its port where that is not the usual one, and the path: what tokens are found by.
    pub(super) fn place(&self) -> &str {
        self.0.split_once("://").map_or("", |(_, place)| place)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Address::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_same_repository_has_one_address() {
        for text in [
            "https://example.com/team/project.git",
            "HTTPS://EXAMPLE.com:443/team/project.git",
            "https://example.com/team/x/../project.git//",
        ] {
            assert_eq!(
                Address::parse(text).unwrap().as_str(),
                "https://example.com/team/project.git",
                "{text}"
            );
        }
        let address = Address::parse("http://127.0.0.1:3000/a").unwrap();
        assert_eq!((address.as_str(), address.place()), ("http://127.0.0.1:3000/a", "127.0.0.1:3000/a"));
    }

    #[test]
    fn other_ways_to_reach_a_repository_are_refused_with_one_that_works() {
        for text in ["ssh://git@example.com/a.git", "git://example.com/a", "file:///etc", "ftp://a/b"] {
            assert!(refused(text).contains("https address"), "{text}");
        }
        for text in ["git@example.com:team/a.git", "example.com/a", "-u", "ext::sh -c true", "", "/etc"] {
            assert!(!refused(text).is_empty(), "{text}");
        }
        assert!(refused("git@example.com:team/a.git").contains("the https one"));
    }

    #[test]
    fn credentials_are_refused_and_not_repeated() {
        for text in
            ["https://user:secret@example.com/a", "https://secret@example.com/a", "http://:secret@h/a"]
        {
            let said = refused(text);
            assert!(said.contains("repositories.tokens") && !said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn what_git_could_read_in_another_way_is_refused() {
        for text in [
            "https://example.com/a?x=1",
            "https://example.com/a#x",
            "https://example.com/",
            "https://example.com",
            "https://example.com./a",
            "https:///",
            "https://example.com/a b",
            "https://example.com/a\n",
            "https://example.com\\@evil.example/a",
            &format!("https://example.com/{}", "a".repeat(2_048)),
        ] {
            assert!(matches!(Address::parse(text), Err(Failure::Refused(_))), "{text}");
        }
    }
}
