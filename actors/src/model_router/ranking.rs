//! Which models may answer a request, and in which order they are asked; pure.

use cendriix_protocol::{model_router::PolicyHint, money::MicroUsd};

use super::{
    Refused,
    catalogue::{Catalogue, ENGINE, Entry, Source},
    chat::{Message, Request, Usage},
};

/// How many bytes of text are taken for a token where nobody counted.
const BYTES_PER_TOKEN: u64 = 4;

/// What a request needs of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs<'a> {
    pub(super) request: &'a Request,
    pub(super) prefer: Option<&'a str>,
    pub(super) capabilities: &'a [String],
    pub(super) hint: Option<PolicyHint>,
    pub(super) max_cost: Option<MicroUsd>,
}

/// Why a model does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It cannot do something.
    #[error("cannot do {0}")]
    Lacks(String),
    /// It does not read so much.
    #[error("reads at most {most} tokens, the request has about {has}")]
    TooLong { most: u64, has: u64 },
    /// It may cost too much.
    #[error("may cost {cost}, more than {most}")]
    TooDear { cost: MicroUsd, most: MicroUsd },
}

/// The models that fit, the one to ask first in front; the built-in engine is the last resort unless it is
/// preferred.
///
/// # Errors
///
/// When none fits, or the preferred one is unknown.
pub(super) fn rank<'c>(
    catalogue: &'c Catalogue,
    needs: &Needs<'_>,
    latency_ms: impl Fn(&str) -> Option<u64>,
) -> Result<Ranked<'c>, Refused> {
    if catalogue.entries().is_empty() {
        return Err(Refused::NoModels);
    }
    if let Some(asked) = needs.prefer.filter(|id| catalogue.get(id).is_none()) {
        let known = catalogue.entries().iter().map(|entry| entry.id.clone()).collect();
        return Err(Refused::UnknownModel { asked: asked.to_owned(), known });
    }
    let mut unfit = Vec::new();
    let mut fit = Vec::new();
    for entry in catalogue.entries() {
        match misfit(entry, needs) {
            Some(why) => unfit.push((entry.id.clone(), why)),
            None => fit.push(entry),
        }
    }
    if fit.is_empty() {
        return Err(Refused::NoneFits(unfit));
    }
    // Sorting is stable: what the hint does not part stays in the configured order.
    fit.sort_by_key(|entry| match needs.hint {
        Some(PolicyHint::Cost) => cost(entry, needs.request).0,
        // A model that nobody has asked yet is tried once.
        Some(PolicyHint::Latency) => latency_ms(&entry.id).unwrap_or(0),
        None => 0,
    });
    fit.sort_by_key(|entry| (needs.prefer != Some(entry.id.as_str()), entry.id == ENGINE));
    Ok(Ranked { fit, unfit })
}

/// Who can be asked, in which order, and who cannot.
#[derive(Debug)]
pub(super) struct Ranked<'c> {
    pub(super) fit: Vec<&'c Entry>,
    pub(super) unfit: Vec<(String, Unfit)>,
}

fn misfit(entry: &Entry, needs: &Needs<'_>) -> Option<Unfit> {
    let request = needs.request;
    let implied = [(!request.tools.is_empty(), "tools"), (request.schema.is_some(), "json_schema")];
    let implied = implied.into_iter().filter_map(|(is_needed, name)| is_needed.then_some(name));
    let mut needed = needs.capabilities.iter().map(String::as_str).chain(implied);
    if let Some(lacks) = needed.find(|name| !entry.capabilities.iter().any(|has| has == name)) {
        return Some(Unfit::Lacks(lacks.to_owned()));
    }
    let has = input_tokens(request);
    if has > entry.context_in {
        return Some(Unfit::TooLong { most: entry.context_in, has });
    }
    let (cost, most) = (cost(entry, request), needs.max_cost?);
    (cost > most).then_some(Unfit::TooDear { cost, most })
}

/// The most that an answer may cost, as far as it can be known before.
fn cost(entry: &Entry, request: &Request) -> MicroUsd {
    let output_tokens = max_tokens(entry, request, request.max_tokens).into();
    entry.price.of(&Usage { input_tokens: input_tokens(request), output_tokens, cached_tokens: 0 })
}

/// The most tokens to ask of a model. At an endpoint of the operator's own the answer shares the window with
/// the request, and servers refuse what does not fit together.
pub(super) fn max_tokens(entry: &Entry, request: &Request, wanted: u32) -> u32 {
    let most = wanted.min(entry.max_output);
    let room = entry.context_in.saturating_sub(input_tokens(request)).max(1);
    if entry.source == Source::Custom { most.min(u32::try_from(room).unwrap_or(u32::MAX)) } else { most }
}

/// About how many tokens a text of so many bytes has.
pub(super) fn tokens(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX).div_ceil(BYTES_PER_TOKEN)
}

/// About how many tokens a request has.
pub(super) fn input_tokens(request: &Request) -> u64 {
    let Request { system, messages, tools, schema, task_type: _, max_tokens: _ } = request;
    let message = |message: &Message| match message {
        Message::User { text } | Message::Tool { text, .. } => text.len(),
        Message::Assistant { text, calls } => {
            text.len() + calls.iter().map(|call| call.name.len() + call.arguments.len()).sum::<usize>()
        }
    };
    let tool = |parameters: &serde_json::Value| parameters.to_string().len();
    let bytes = system.as_ref().map_or(0, String::len)
        + messages.iter().map(message).sum::<usize>()
        + tools.iter().map(|spec| spec.description.len() + tool(&spec.parameters)).sum::<usize>()
        + schema.as_ref().map_or(0, |schema| tool(&schema.schema));
    tokens(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_router::{
        chat::ToolSpec,
        settings::{Endpoint, ModelSetting, Settings, Timeouts},
    };

    /// A small cheap model, then a large dear one, then the engine.
    fn catalogue() -> Catalogue {
        let model = |id: &str, context, price| ModelSetting {
            id: id.to_owned(),
            context: Some(context),
            usd_per_mtok_out: Some(MicroUsd(price)),
            ..ModelSetting::default()
        };
        let endpoint = Endpoint {
            name: "local".into(),
            base_url: "http://127.0.0.1:1/v1".into(),
            api_key: None,
            models: vec![model("dear", 1_000_000, 2_000_000), model("small", 100, 1_000_000)],
            timeouts: Timeouts::default(),
            concurrency: 1,
            queue: 1,
        };
        Catalogue::new(&Settings { endpoints: vec![endpoint], ..Settings::default() }, true).unwrap()
    }

    fn request(text: &str) -> Request {
        let messages = vec![Message::User { text: text.to_owned() }];
        Request { messages, max_tokens: 1000, ..Request::default() }
    }

    fn needs(request: &Request) -> Needs<'_> {
        Needs { request, prefer: None, capabilities: &[], hint: None, max_cost: None }
    }

    fn order(needs: &Needs<'_>) -> Vec<String> {
        let latency = |id: &str| if id == "dear" { Some(900) } else { Some(100) };
        rank(&catalogue(), needs, latency).unwrap().fit.into_iter().map(|entry| entry.id.clone()).collect()
    }

    #[test]
    fn the_configured_order_holds_unless_something_else_is_wished_and_the_engine_comes_last() {
        let request = request("hi");
        assert_eq!(order(&needs(&request)), ["dear", "small", ENGINE]);
        for hint in [PolicyHint::Cost, PolicyHint::Latency] {
            assert_eq!(order(&Needs { hint: Some(hint), ..needs(&request) }), ["small", "dear", ENGINE]);
        }
        assert_eq!(order(&Needs { prefer: Some(ENGINE), ..needs(&request) }), [ENGINE, "dear", "small"]);
    }

    #[test]
    fn what_does_not_fit_is_not_asked_and_each_reason_is_told() {
        let long = request(&"x".repeat(1000));
        assert_eq!(order(&needs(&long)), ["dear", ENGINE]);
        let short = request("hi");
        assert_eq!(order(&Needs { max_cost: Some(MicroUsd(1500)), ..needs(&short) }), ["small", ENGINE]);
        let code = ["code".to_owned()];
        assert_eq!(order(&Needs { capabilities: &code, ..needs(&short) }), ["dear", "small"]);
        let sight = ["vision".to_owned()];
        let refused =
            rank(&catalogue(), &Needs { capabilities: &sight, ..needs(&short) }, |_| None).unwrap_err();
        let told = refused.to_string();
        assert!(told.contains("dear: cannot do vision") && told.contains(ENGINE), "{told}");
        let unknown =
            rank(&catalogue(), &Needs { prefer: Some("x"), ..needs(&short) }, |_| None).unwrap_err();
        assert!(unknown.to_string().contains("dear, small, cendriix-rules-1"), "{unknown}");
        assert!(matches!(rank(&Catalogue::default(), &needs(&short), |_| None), Err(Refused::NoModels)));
    }

    #[test]
    fn an_answer_has_the_room_that_the_request_leaves() {
        let catalogue = catalogue();
        let room =
            |model: &str, text: &str| max_tokens(catalogue.get(model).unwrap(), &request(text), 100_000);
        assert_eq!(room("small", &"x".repeat(320)), 20);
        assert_eq!(room("dear", "hi"), 8_192);
        assert_eq!(room(ENGINE, "hi"), 100_000);
    }

    #[test]
    fn tools_count_as_input_and_must_be_understood() {
        let parameters = serde_json::json!({ "type": "object" });
        let tools = vec![ToolSpec { name: "t".into(), description: "d".repeat(383), parameters }];
        let request = Request { tools, ..request("") };
        assert_eq!(input_tokens(&request), 100);
    }
}
