//! Endpoints for models: those that the operator configured, and no others, each asked for its list once.

use std::{error::Error as _, time::Duration};

use cendriix_actors::model_router::{Settings, settings::Endpoint};
use futures::StreamExt as _;
use reqwest::{Response, StatusCode, redirect::Policy};
use serde_json::Value;

use super::Finding;
use crate::config::Config;

const NAME: &str = "models";

/// How long an endpoint may take to answer.
const WITHIN: Duration = Duration::from_secs(6);

/// The most of a list that is read, in bytes.
const LIST_MAX: usize = 4 << 20;

/// Asks every configured endpoint which models it has.
pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let endpoints = Settings::from(&config.models).endpoints;
    if endpoints.is_empty() {
        let said = "only the built-in engine, which does what a ticket states literally";
        let mend = "set OPENAI_API_KEY, or OPENAI_BASE_URL and OPENAI_MODEL for a server of your own";
        return vec![Finding::weak(NAME, said, mend)];
    }
    futures::future::join_all(endpoints.iter().map(ask)).await
}

async fn ask(endpoint: &Endpoint) -> Finding {
    let base = endpoint.base_url.trim_end_matches('/');
    let http = reqwest::Client::builder().no_proxy().redirect(Policy::none()).timeout(WITHIN).build();
    let http = match http {
        Ok(http) => http,
        Err(error) => {
            return Finding::bad(NAME, format!("no client starts: {error}"), "report this as a fault");
        }
    };
    let mut request = http.get(format!("{base}/models"));
    if let Some(key) = &endpoint.api_key {
        request = request.bearer_auth(key.reveal());
    }
    match request.send().await {
        Ok(response) => answered(endpoint, base, response).await,
        Err(error) => {
            let why = error.source().map_or_else(|| error.to_string(), chain);
            let mend = "start the server, or correct models.openai.base_url";
            let said =
                if error.is_timeout() { format!("no answer within {} s", WITHIN.as_secs()) } else { why };
            Finding::bad(NAME, format!("{base} cannot be reached: {said}"), mend)
        }
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    said
}

async fn answered(endpoint: &Endpoint, base: &str, response: Response) -> Finding {
    let status = response.status();
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Finding::bad(
            NAME,
            format!("{base} refuses the key ({status})"),
            "set models.openai.api_key (CENDRIIX_MODELS__OPENAI__API_KEY) to a key of this endpoint",
        ),
        status if status.is_success() => listed(endpoint, base, &names(response).await),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Finding::weak(
            NAME,
            format!("{base} answers, but has no list of models ({status})"),
            "see that models.openai.base_url ends as the server wants it, mostly with /v1",
        ),
        status => Finding::bad(
            NAME,
            format!("{base} answers {status}"),
            "see the log of that server, or correct models.openai.base_url",
        ),
    }
}

fn listed(endpoint: &Endpoint, base: &str, names: &[String]) -> Finding {
    let missing: Vec<&str> = endpoint
        .models
        .iter()
        .map(|model| model.id.as_str())
        .filter(|id| !names.is_empty() && !names.iter().any(|name| name == id))
        .collect();
    if missing.is_empty() {
        return Finding::good(NAME, format!("{base} answers and lists {} models", names.len()));
    }
    let few: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
    Finding::weak(
        NAME,
        format!("{base} answers, but does not list {}", missing.join(", ")),
        format!("load it there, or choose among: {}", few.join(", ")),
    )
}

/// The names in a list of models; none when it is no such list.
async fn names(response: Response) -> Vec<String> {
    let mut body = Vec::new();
    let mut pieces = response.bytes_stream();
    while let Some(Ok(piece)) = pieces.next().await {
        if body.len() + piece.len() > LIST_MAX {
            return Vec::new();
        }
        body.extend_from_slice(&piece);
    }
    let list: Value = serde_json::from_slice(&body).unwrap_or_default();
    let models = list["data"].as_array().into_iter().flatten();
    models.filter_map(|model| model["id"].as_str().map(str::to_owned)).collect()
}
