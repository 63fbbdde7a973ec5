//! What the OpenAPI document says of refusals that no handler knows of: those of the machinery around every
//! route, and that each also comes as RFC 9457 has it.

use cendriix_protocol::error::{ErrorBody, Problem};
use utoipa::{
    PartialSchema as _, ToSchema as _,
    openapi::{Content, OpenApi, Ref, RefOr, Response, ResponseBuilder, path::Operation},
};

/// Refusals of every route.
const EVERYWHERE: [(&str, &str); 2] = [
    ("431", "The headers are too large."),
    ("503", "The server is stopping, its disk is full, or the answer took too long."),
];
/// A refusal of every route that takes a body.
const WITH_BODY: (&str, &str) = ("408", "The body did not come in time.");

/// Adds them to a document.
pub(super) fn describe(document: &mut OpenApi) {
    let schemas = &mut document.components.get_or_insert_default().schemas;
    schemas.insert(Problem::name().into_owned(), Problem::schema());
    schemas.entry(ErrorBody::name().into_owned()).or_insert_with(ErrorBody::schema);
    for item in document.paths.paths.values_mut() {
        let own = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        own.into_iter().flatten().for_each(describe_operation);
    }
}

fn describe_operation(operation: &mut Operation) {
    let with_body = operation.request_body.is_some().then_some(WITH_BODY);
    let responses = &mut operation.responses.responses;
    for (status, said) in EVERYWHERE.into_iter().chain(with_body) {
        responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(refusal(said)));
    }
    for (_, response) in responses.iter_mut().filter(|(status, _)| status.starts_with(['4', '5'])) {
        if let RefOr::T(response) = response {
            let problem = Content::new(Some(Ref::from_schema_name(Problem::name())));
            response.content.insert("application/problem+json".to_owned(), RefOr::T(problem));
        }
    }
}

fn refusal(said: &str) -> Response {
    let body = Content::new(Some(Ref::from_schema_name(ErrorBody::name())));
    ResponseBuilder::new().description(said).content("application/json", body).build()
}
