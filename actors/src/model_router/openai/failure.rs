//! What the failures of an endpoint mean.

use std::time::Duration;

use reqwest::{StatusCode, header::HeaderMap};
use serde_json::Value;

use crate::model_router::provider::{Class, Error};

/// The longest sentence that is taken over from a provider, in characters.
const SAID_MAX: usize = 500;
/// Codes and types of a used-up account.
const QUOTA: [&str; 4] =
    ["insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "credit_balance_too_low"];
/// What servers say, besides a code, when a request is too long; each has its own words.
const TOO_LONG: [&str; 5] = [
    "maximum context length",
    "context length exceeded",
    "exceeds the available context size",
    "exceed context limit",
    "longer than the maximum model length",
];

pub(super) fn error(class: Class, message: impl Into<String>) -> Error {
    Error { class, message: message.into(), retry_after: None }
}

/// What a refusal by status means.
pub(super) fn refused(endpoint: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let said = Said::read(body);
    let class = match status.as_u16() {
        401 | 403 => Class::Auth,
        402 => Class::Quota,
        429 if said.is_quota() => Class::Quota,
        429 => Class::RateLimited,
        408 => Class::TimedOut,
        400 | 413 | 422 if said.is_too_long() || status == StatusCode::PAYLOAD_TOO_LARGE => Class::TooLong,
        400 | 422 => Class::Caller,
        _ => Class::Failed,
    };
    let message = match class {
        // What a provider says of a key may hold parts of it.
        Class::Auth => format!("{endpoint} refused the key ({status}); set models.openai.api_key"),
        Class::Caller
        | Class::TooLong
        | Class::Quota
        | Class::RateLimited
        | Class::TimedOut
        | Class::Failed
        | Class::BadAnswer
        | Class::Stopped => {
            format!("{endpoint} answered {}: {}", status.as_u16(), said.sentence(status))
        }
    };
    Error { class, message, retry_after: retry_after(headers) }
}

/// What a failure inside a stream means, whose status had promised success.
pub(super) fn in_stream(endpoint: &str, failure: &Value) -> Error {
    let said = Said::of(failure);
    let status = said.code.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
    let class = match status.map(|status| status.as_u16()) {
        _ if said.is_quota() => Class::Quota,
        _ if said.is_too_long() => Class::TooLong,
        _ if [&said.code, &said.kind].iter().any(|name| name.starts_with("rate_limit")) => Class::RateLimited,
        Some(401 | 403) => Class::Auth,
        Some(429) => Class::RateLimited,
        Some(400 | 422) => Class::Caller,
        _ => Class::Failed,
    };
    let sentence = match class {
        Class::Auth => "it refused the key".to_owned(),
        Class::Caller
        | Class::TooLong
        | Class::Quota
        | Class::RateLimited
        | Class::TimedOut
        | Class::Failed
        | Class::BadAnswer
        | Class::Stopped => said.sentence(StatusCode::OK),
    };
    error(class, format!("{endpoint} failed while it answered: {sentence}"))
}

/// What a provider says of its failure, in whichever of the shapes there are.
struct Said {
    message: String,
    code: String,
    kind: String,
}

impl Said {
    fn read(body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        // The older shape has its fields at the top, others have a text: `{"error": "…"}`, `{"detail": "…"}`.
        let inner = ["error", "detail"].into_iter().find_map(|name| body.get(name)).unwrap_or(&body);
        Self::of(inner)
    }

    fn of(failure: &Value) -> Self {
        let text = |name: &str| match failure.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => String::new(),
        };
        let message = failure.as_str().map_or_else(|| text("message"), str::to_owned);
        Self { message, code: text("code"), kind: text("type") }
    }

    fn is_quota(&self) -> bool {
        QUOTA.iter().any(|name| self.code == *name || self.kind == *name)
    }

    fn is_too_long(&self) -> bool {
        let message = self.message.to_lowercase();
        self.code == "context_length_exceeded"
            || self.kind == "exceed_context_size_error"
            || TOO_LONG.iter().any(|words| message.contains(words))
    }

    fn sentence(&self, status: StatusCode) -> String {
        let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
        let said: String = self.message.chars().take(SAID_MAX).map(plain).collect();
        let reason = || status.canonical_reason().unwrap_or("it says nothing more").to_lowercase();
        if said.trim().is_empty() { reason() } else { said }
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let millis = number("retry-after-ms").map(|millis| millis / 1000.0);
    let seconds = millis.or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn class(status: u16, body: &str) -> Class {
        let status = StatusCode::from_u16(status).unwrap();
        refused("openai", status, &HeaderMap::new(), body.as_bytes()).class
    }

    #[test]
    fn each_status_has_its_class() {
        let quota = r#"{"error":{"message":"m","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
        let long = r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#;
        let old = r#"{"object":"error","message":"This model's maximum context length is 4096 tokens","type":"BadRequestError","code":400}"#;
        for (status, body, wanted) in [
            (401, "", Class::Auth),
            (403, "", Class::Auth),
            (429, quota, Class::Quota),
            (429, r#"{"error":{"code":"rate_limit_exceeded"}}"#, Class::RateLimited),
            (400, long, Class::TooLong),
            (400, old, Class::TooLong),
            (413, "", Class::TooLong),
            (400, "", Class::Caller),
            (422, r#"{"detail":"m"}"#, Class::Caller),
            (404, "", Class::Failed),
            (408, "", Class::TimedOut),
            (500, "<html>", Class::Failed),
            (
                503,
                r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
                Class::Failed,
            ),
            (302, "", Class::Failed),
        ] {
            assert_eq!(class(status, body), wanted, "{status} {body}");
        }
    }

    #[test]
    fn a_failure_is_told_in_the_providers_words_but_never_a_key() {
        let said = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            refused("openai", status, &HeaderMap::new(), body.as_bytes()).message
        };
        assert_eq!(
            said(503, r#"{"error":{"message":"Loading model"}}"#),
            "openai answered 503: Loading model"
        );
        assert_eq!(
            said(404, r#"{"error":"model \"x\" not found"}"#),
            "openai answered 404: model \"x\" not found"
        );
        assert_eq!(said(502, "<html>"), "openai answered 502: bad gateway");
        let key = said(401, r#"{"error":{"message":"Incorrect API key provided: sk-123"}}"#);
        assert!(!key.contains("sk-123") && key.contains("models.openai.api_key"), "{key}");
    }

    #[test]
    fn the_wish_for_a_pause_is_understood_in_both_headers() {
        let wish = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                (reqwest::header::HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            retry_after(&pairs.collect())
        };
        assert_eq!(wish(&[("retry-after", "2")]), Some(Duration::from_secs(2)));
        assert_eq!(wish(&[("retry-after", "2"), ("retry-after-ms", "50")]), Some(Duration::from_millis(50)));
        assert_eq!(wish(&[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")]), None);
        assert_eq!(wish(&[("retry-after", "-1")]), None);
    }
}
