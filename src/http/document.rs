//! The OpenAPI document: what the handlers say, and what is true of all of them.

use utoipa::{
    Modify, OpenApi,
    openapi::{
        Content, Header, ObjectBuilder, Ref, RefOr, ResponseBuilder, Type,
        path::{Operation, Parameter},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{areas, limits::PROBES, refusals};
use crate::config::Server;

/// The OpenAPI document of all routes.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let (_, mut document) = areas(&Server::default()).split_for_parts();
    for (path, item) in &mut document.paths.paths {
        let own = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in own.into_iter().flatten() {
            if !PROBES.contains(&path.as_str()) {
                is_limited(operation);
            }
            tells_events(operation);
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter {
                    has_its_form(parameter);
                }
            }
        }
    }
    refusals::describe(&mut document);
    document
}

#[derive(OpenApi)]
#[openapi(
    info(title = "cendriix", description = "The control plane for AI agents: a ticket becomes a governed, \
        durable, observable run."),
    security(("bearer" = []), ("apiKey" = [])),
    modifiers(&Schemes)
)]
pub(super) struct Document;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("A token of a log-in, or an API key where `X-API-Key` is listed beside it."));
        let key = ApiKeyValue::with_description("X-API-Key", "An API key: `ak_…`.");
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        components.add_security_scheme("apiKey", SecurityScheme::ApiKey(ApiKey::Header(key)));
    }
}

/// Says that an operation may be asked for too often.
fn is_limited(operation: &mut Operation) {
    let seconds = Header::builder()
        .schema(Some(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1))))
        .description(Some("After how many seconds it is worth asking again."));
    let refusal = ResponseBuilder::new()
        .description("More requests than the limits of the workspace, or of the client's address, allow.")
        .header("Retry-After", seconds.build())
        .content("application/json", Content::new(Some(Ref::from_schema_name("ErrorBody"))));
    operation.responses.responses.insert("429".to_owned(), RefOr::T(refusal.build()));
}

/// Says of each event of a stream what it is made of; what a handler calls its body is the JSON in `data`.
fn tells_events(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        let RefOr::T(response) = response else { continue };
        let Some(RefOr::T(stream)) = response.content.get_mut("text/event-stream") else { continue };
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let data = text().content_media_type("application/json").description(Some(&response.description));
        let event = ObjectBuilder::new()
            .property("id", text().description(Some("What to send as `Last-Event-ID`.")))
            .property("event", text().description(Some("The `type` in `data`.")))
            .property("data", data);
        stream.schema = Some(event.into());
    }
}

/// Says what a header that many operations take looks like.
fn has_its_form(parameter: &mut Parameter) {
    if parameter.name == "Idempotency-Key" {
        let form = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(255))
            .pattern(Some("^[!-~]+$"));
        parameter.schema = Some(form.into());
    }
}
