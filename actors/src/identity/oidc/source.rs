//! Where the keys of an issuer are, and how they are fetched: by the guarded client, without a redirect.

use std::{sync::Arc, time::Duration};

use reqwest::{Method, header};
use serde::Deserialize;

use super::{cache::Fetch, jwks::KeySet};
use crate::{egress::Egress, reason::chain};

/// How long one request to the issuer may take.
const WITHIN: Duration = Duration::from_secs(10);
/// The largest answer of the issuer, in bytes.
const ANSWER_MAX: usize = 256 << 10;

/// Where keys come from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) issuer: String,
    /// Where they are published; told by the issuer's discovery document when absent.
    pub(super) jwks_uri: Option<String>,
    pub(super) egress: Egress,
}

#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

impl Source {
    /// How the keys of this issuer are fetched.
    pub(super) fn into_fetch(self) -> Fetch {
        let source = Arc::new(self);
        Arc::new(move || {
            let source = Arc::clone(&source);
            Box::pin(async move { source.fetch().await })
        })
    }

    async fn fetch(&self) -> Result<KeySet, String> {
        let address = match &self.jwks_uri {
            Some(address) => address.clone(),
            None => self.discover().await?,
        };
        let body = self.get(&address).await?;
        KeySet::read(&body).map_err(|error| format!("the keys at {address} cannot be used: {error}"))
    }

    async fn discover(&self) -> Result<String, String> {
        let address = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let body = self.get(&address).await?;
        let found: Discovered = serde_json::from_slice(&body)
            .map_err(|error| format!("{address} is no discovery document: {error}"))?;
        if found.issuer != self.issuer {
            return Err(format!(
                "{address} is that of {:?}; set auth.oidc.issuer to exactly what it says, if that is right",
                found.issuer
            ));
        }
        Ok(found.jwks_uri)
    }

    async fn get(&self, address: &str) -> Result<Vec<u8>, String> {
        let request = self.egress.request(Method::GET, address).map_err(|error| chain(&error))?;
        let request = request.timeout(WITHIN).header(header::ACCEPT, "application/json");
        let fetched = self.egress.fetch(request, ANSWER_MAX).await;
        let (response, body) = fetched.map_err(|error| format!("{address}: {}", chain(&error)))?;
        let status = response.status();
        if status.is_success() { Ok(body) } else { Err(format!("{address} answered {status}")) }
    }
}
