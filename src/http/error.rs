//! Every way a request can fail, as the caller sees it. The only failure type that knows status codes.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cendriix_actors::Error;
use cendriix_protocol::error::{ErrorBody, FieldErrors};

/// What a handler answers.
pub type ApiResult<T> = Result<T, ApiError>;

/// A refusal with its status. The outermost layer puts the request's id in and writes it.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    body: Box<ErrorBody>,
}

impl ApiError {
    /// A refusal with a sentence for people.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let body =
            ErrorBody { error: code(status).to_owned(), message: message.into(), ..ErrorBody::default() };
        Self { status, body: Box::new(body) }
    }

    /// The body cannot be read at all.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Nobody is logged in.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    /// Fields are wrong.
    pub fn invalid(field_errors: FieldErrors) -> Self {
        Error::Invalid(field_errors).into()
    }

    /// One field is wrong.
    pub fn field(path: &str, message: impl Into<String>) -> Self {
        Error::field(path, message).into()
    }

    /// The body with the id of the request.
    pub(super) fn body(mut self, request_id: &str) -> ErrorBody {
        request_id.clone_into(&mut self.body.request_id);
        *self.body
    }
}

/// The code of a status, as the reference names them.
pub(super) fn code(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "bad_request",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not_found",
        405 => "method_not_allowed",
        406 => "not_acceptable",
        408 => "request_timeout",
        409 => "conflict",
        412 => "precondition_failed",
        413 => "payload_too_large",
        415 => "unsupported_media_type",
        422 => "validation_error",
        426 => "upgrade_required",
        429 => "rate_limit_exceeded",
        431 => "headers_too_large",
        502 => "upstream_error",
        503 => "unavailable",
        _ if status.is_client_error() => "bad_request",
        _ => "internal_error",
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::Missing { .. } => Self::new(StatusCode::NOT_FOUND, error.to_string()),
            Error::Unauthorized(message) => Self::unauthorized(message),
            Error::Forbidden { .. } => Self::new(StatusCode::FORBIDDEN, error.to_string()),
            Error::Invalid(field_errors) => {
                let mut refusal = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "some fields are wrong");
                refusal.body.field_errors = field_errors;
                refusal
            }
            Error::Conflict { message, current_status, allowed_actions } => {
                let mut refusal = Self::new(StatusCode::CONFLICT, message);
                refusal.body.current_status = current_status;
                refusal.body.allowed_actions = allowed_actions;
                refusal
            }
            Error::Outdated(message) => Self::new(StatusCode::PRECONDITION_FAILED, message),
            Error::Unavailable(message) => Self::new(StatusCode::SERVICE_UNAVAILABLE, message),
            Error::Store(error) => {
                tracing::error!(%error, "the store failed a request");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the store could not be read; the log says more")
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}
