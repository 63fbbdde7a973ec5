//! Who may come in, and how.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use cendriix_actors::{
    egress::{Egress, Guard, Refused},
    identity::{BOOTSTRAP_MIN, Door, oidc},
    secret::Secret,
};
use serde::{Deserialize, Serialize};

/// The file of the bootstrap token, beside the signing keys.
const BOOTSTRAP_FILE: &str = "bootstrap-token";
/// How long our own tokens may be good, in minutes.
const TOKEN_MINUTES: std::ops::RangeInclusive<u64> = 1..=24 * 60;
/// How far the issuer's clock may differ at most, in seconds.
const LEEWAY_S_MAX: u64 = 300;

/// Who may come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// How people log in.
    pub mode: AuthMode,
    /// Lets `dev` listen on an address that others can reach. Anybody there can then log in as anybody.
    pub dev_allow_public: bool,
    /// How long a token of a log-in is good, in minutes.
    pub token_minutes: u64,
    /// What lets the operator log in, at least 32 characters; nobody when empty.
    pub bootstrap_token: Secret,
    /// The issuer that `oidc` trusts.
    pub oidc: Oidc,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            mode: AuthMode::Dev,
            dev_allow_public: false,
            token_minutes: 60,
            bootstrap_token: Secret::default(),
            oidc: Oidc::default(),
        }
    }
}

/// How people log in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// The client says who it is and is believed; only for one's own machine.
    #[default]
    Dev,
    /// An OpenID Connect issuer says who it is, by a token that is verified.
    Oidc,
}

/// The issuer that is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Oidc {
    /// Its address, exactly as `iss` in its tokens.
    pub issuer: String,
    /// Whom tokens must be for: what `aud`, or `client_id` of Cognito's access tokens, must be one of.
    pub client_ids: Vec<String>,
    /// Where its keys are; told by its discovery document when empty.
    pub jwks_uri: String,
    /// The claim that names the workspace to come in to, by id or slug; none when empty.
    pub workspace_claim: String,
    /// How far its clock may differ from ours, in seconds.
    pub leeway_s: u64,
}

impl Default for Oidc {
    fn default() -> Self {
        let (issuer, jwks_uri, workspace_claim) = Default::default();
        Self { issuer, client_ids: Vec::new(), jwks_uri, workspace_claim, leeway_s: 30 }
    }
}

/// Nobody can come in as configured, or everybody could.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Everybody could log in as anybody.
    #[error(
        "log-in mode `dev` believes every client, so it listens on loopback only, not on {0}; \
         set auth.mode = \"oidc\", or auth.dev_allow_public = true if you mean it"
    )]
    Open(SocketAddr),
    /// A key is missing.
    #[error("auth.mode is \"oidc\", which needs auth.oidc.{0}")]
    Missing(&'static str),
    /// The issuer could not be asked.
    #[error("auth.oidc.{key} cannot be used: {source}")]
    Unreachable {
        /// Which address.
        key: &'static str,
        /// Why.
        source: Refused,
    },
    /// The issuer's address has parts that no issuer has.
    #[error("auth.oidc.issuer must be an address without query and fragment, exactly as `iss` in its tokens")]
    Issuer,
    /// A number is out of bounds.
    #[error("auth.{key} is {value} and must be within {least} and {most}")]
    Bounds {
        /// Which key.
        key: &'static str,
        /// What it says.
        value: u64,
        /// The least that it may be.
        least: u64,
        /// The most that it may be.
        most: u64,
    },
    /// The bootstrap token could be guessed.
    #[error(
        "the bootstrap token has less than {BOOTSTRAP_MIN} characters; make one with `openssl rand -hex 32`"
    )]
    Short,
    /// Others can read the bootstrap token.
    #[error("{0} can be read by others than its owner; `chmod 600` it, and put another token into it")]
    Readable(PathBuf),
    /// The file of the bootstrap token cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl AuthError {
    /// The key that is wrong.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::Open(_) => "server.listen",
            Self::Missing("client_ids") => "auth.oidc.client_ids",
            Self::Unreachable { key: "jwks_uri", .. } => "auth.oidc.jwks_uri",
            Self::Missing(_) | Self::Unreachable { .. } | Self::Issuer => "auth.oidc.issuer",
            Self::Bounds { key: "token_minutes", .. } => "auth.token_minutes",
            Self::Bounds { .. } => "auth.oidc.leeway_s",
            Self::Short | Self::Readable(_) | Self::Unreadable { .. } => "auth.bootstrap_token",
        }
    }
}

impl Auth {
    /// Whether a client that says who it is is believed.
    pub fn believes_its_clients(&self) -> bool {
        self.mode == AuthMode::Dev
    }

    /// How long a token of a log-in is good.
    pub fn token_lifetime(&self) -> Duration {
        Duration::from_secs(self.token_minutes * 60)
    }

    /// Who is believed; the issuer is asked through `egress`.
    pub fn door(&self, egress: Egress) -> Door<oidc::Settings> {
        let Oidc { issuer, client_ids, jwks_uri, workspace_claim, leeway_s } = self.oidc.clone();
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        match self.mode {
            AuthMode::Dev => Door::Dev,
            AuthMode::Oidc => Door::Oidc(oidc::Settings {
                issuer,
                client_ids,
                jwks_uri: given(jwks_uri),
                workspace_claim: given(workspace_claim),
                leeway: Duration::from_secs(leeway_s),
                egress,
            }),
        }
    }

    /// The bootstrap token: as configured, else what stands in `bootstrap-token` in the folder of the keys.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or can be read by others, or the token is too short.
    pub fn bootstrap(&self, keys: &Path) -> Result<Option<Secret>, AuthError> {
        if !self.bootstrap_token.is_empty() {
            return Ok(Some(self.bootstrap_token.clone()));
        }
        let path = keys.join(BOOTSTRAP_FILE);
        let unreadable = |source| AuthError::Unreadable { path: path.clone(), source };
        let about = match fs::metadata(&path) {
            Ok(about) => about,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        if about.permissions().mode() & 0o077 != 0 {
            return Err(AuthError::Readable(path));
        }
        let token = Secret::new(fs::read_to_string(&path).map_err(unreadable)?.trim());
        long_enough(&token)?;
        Ok(Some(token))
    }

    /// Whether somebody can come in on `listen`, and not everybody.
    pub(super) fn validate(&self, listen: SocketAddr, exceptions: &[String]) -> Result<(), AuthError> {
        let (least, most) = (*TOKEN_MINUTES.start(), *TOKEN_MINUTES.end());
        if !TOKEN_MINUTES.contains(&self.token_minutes) {
            return Err(AuthError::Bounds { key: "token_minutes", value: self.token_minutes, least, most });
        }
        if !self.bootstrap_token.is_empty() {
            long_enough(&self.bootstrap_token)?;
        }
        match self.mode {
            AuthMode::Dev if listen.ip().is_loopback() || self.dev_allow_public => Ok(()),
            AuthMode::Dev => Err(AuthError::Open(listen)),
            AuthMode::Oidc => self.oidc.validate(exceptions),
        }
    }
}

impl Oidc {
    fn validate(&self, exceptions: &[String]) -> Result<(), AuthError> {
        if self.issuer.is_empty() {
            return Err(AuthError::Missing("issuer"));
        }
        if self.client_ids.is_empty() || self.client_ids.iter().any(String::is_empty) {
            return Err(AuthError::Missing("client_ids"));
        }
        if self.issuer.contains(['?', '#', '\n']) {
            return Err(AuthError::Issuer);
        }
        if self.leeway_s > LEEWAY_S_MAX {
            let (key, value) = ("oidc.leeway_s", self.leeway_s);
            return Err(AuthError::Bounds { key, value, least: 0, most: LEEWAY_S_MAX });
        }
        let guard = Guard::new(exceptions.iter().cloned());
        for (key, address) in [("issuer", &self.issuer), ("jwks_uri", &self.jwks_uri)] {
            if !address.is_empty() {
                guard.vet(address).map_err(|source| AuthError::Unreachable { key, source })?;
            }
        }
        Ok(())
    }
}

fn long_enough(token: &Secret) -> Result<(), AuthError> {
    if token.reveal().chars().count() >= BOOTSTRAP_MIN { Ok(()) } else { Err(AuthError::Short) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 80);

    fn refused(change: impl FnOnce(&mut Auth)) -> String {
        let oidc = Oidc {
            issuer: "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Example".into(),
            client_ids: vec!["app".into()],
            ..Oidc::default()
        };
        let mut auth = Auth { mode: AuthMode::Oidc, oidc, ..Auth::default() };
        change(&mut auth);
        auth.validate(PUBLIC, &["localhost:1".to_owned()])
            .map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn an_issuer_is_complete_and_may_be_asked() {
        assert_eq!(refused(|_| ()), "");
        assert_eq!(refused(|auth| auth.oidc.issuer = "http://localhost:1/x".into()), "");
        assert!(refused(|auth| auth.oidc.issuer.clear()).contains("needs auth.oidc.issuer"));
        assert!(refused(|auth| auth.oidc.client_ids.clear()).contains("needs auth.oidc.client_ids"));
        assert!(refused(|auth| auth.oidc.client_ids.push(String::new())).contains("client_ids"));
        assert!(refused(|auth| auth.oidc.issuer.push_str("?a=b")).contains("without query"));
        assert!(refused(|auth| auth.oidc.issuer = "http://localhost:2".into()).contains("egress.allow"));
        assert!(refused(|auth| auth.oidc.jwks_uri = "http://a.example/".into()).contains("jwks_uri"));
        assert!(refused(|auth| auth.oidc.leeway_s = 301).contains("leeway_s"));
        assert!(refused(|auth| auth.token_minutes = 0).contains("token_minutes"));
        assert!(refused(|auth| auth.mode = AuthMode::Dev).contains("dev_allow_public"));
    }

    #[test]
    fn a_bootstrap_token_is_long_and_its_file_is_its_owners_alone() {
        let short = refused(|auth| auth.bootstrap_token = Secret::new("x".repeat(31)));
        assert!(short.contains("openssl rand") && !short.contains("xxx"), "{short}");
        let home = tempfile::tempdir().unwrap();
        let auth = Auth::default();
        assert!(auth.bootstrap(home.path()).unwrap().is_none());
        let file = home.path().join(BOOTSTRAP_FILE);
        let token = "0123456789abcdef".repeat(2);
        fs::write(&file, format!("{token}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(auth.bootstrap(home.path()).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(auth.bootstrap(home.path()).unwrap().unwrap().reveal(), token);
        fs::write(&file, "short").unwrap();
        assert!(matches!(auth.bootstrap(home.path()), Err(AuthError::Short)));
    }
}
