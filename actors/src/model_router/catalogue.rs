//! Which models there are, what they can do and what they cost.

use cendriix_protocol::money::MicroUsd;

use super::{
    chat::Usage,
    settings::{Endpoint, ModelSetting, Settings},
};

/// The built-in engine's id in the catalogue.
pub const ENGINE: &str = "cendriix-rules-1";
/// What the built-in engine's endpoint is called.
pub const ENGINE_PROVIDER: &str = "cendriix";

/// Prices and sizes of the vendor's own models, dollars for a million tokens.
const KNOWN: &str = include_str!("openai_models.csv");
/// The first line of [`KNOWN`].
const COLUMNS: &str =
    "model_id,context_in,max_output,usd_per_mtok_in,usd_per_mtok_out,usd_per_mtok_cached,capabilities";
/// The host of the vendor.
const VENDOR: &str = "api.openai.com";
/// What a model of an endpoint reads when nobody says: what local servers usually load a model with.
const CONTEXT: u64 = 32_768;
/// What it writes when nobody says.
const MAX_OUTPUT: u32 = 8_192;
/// What it can do when nobody says: what every server of the protocol takes.
const CAPABILITIES: [&str; 3] = ["code", "tools", "json_schema"];

/// What is said of a model whose price nobody knows.
const ASSUMED: &str = "Its price is not known and is counted as the dearest known one; set \
    usd_per_mtok_in and usd_per_mtok_out for it.";

/// Where a model comes from; the groups of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Several models behind one name.
    Orchestrated,
    /// AWS Bedrock.
    Bedrock,
    /// A vendor's own address, and the built-in engine.
    Native,
    /// An endpoint of the operator.
    Custom,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Names it here.
    pub id: String,
    /// Where it comes from.
    pub source: Source,
    /// The endpoint that serves it.
    pub provider: String,
    /// The endpoint's own name of it.
    pub name: String,
    /// The most tokens it reads.
    pub context_in: u64,
    /// The most tokens it writes.
    pub max_output: u32,
    /// What it costs.
    pub price: Price,
    /// Whether nobody said what it costs, so that the dearest price of the table stands for it.
    pub is_price_assumed: bool,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// What else a person should know.
    pub note: Option<&'static str>,
}

/// What a million tokens cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// Read.
    pub input: MicroUsd,
    /// Written.
    pub output: MicroUsd,
    /// Read from the provider's cache.
    pub cached: MicroUsd,
}

impl Price {
    /// What tokens cost, each started millionth of a dollar counted.
    pub fn of(&self, usage: &Usage) -> MicroUsd {
        let cached = usage.cached_tokens.min(usage.input_tokens);
        let part = |tokens: u64, price: MicroUsd| u128::from(tokens) * u128::from(price.0);
        let whole = part(usage.input_tokens - cached, self.input)
            + part(cached, self.cached)
            + part(usage.output_tokens, self.output);
        MicroUsd(u64::try_from(whole.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }
}

/// The models of this server, the one to ask first in front, the built-in engine last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    entries: Vec<Entry>,
}

/// The models cannot be listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The table of prices does not read.
    #[error("line {0} of the price table is wrong")]
    Table(usize),
    /// An endpoint of the operator's own serves nothing.
    #[error("the endpoint {0} needs at least one model under models.openai.models (or OPENAI_MODEL)")]
    NoModels(String),
    /// Two models have one id.
    #[error("the model {0} is named twice")]
    Twice(String),
    /// The order names a model that is not there.
    #[error("models.order names {0}, which no endpoint serves")]
    Unknown(String),
}

impl Catalogue {
    /// The models of all endpoints, and the built-in engine if there is one.
    ///
    /// # Errors
    ///
    /// When an endpoint has no models, or two models have one id.
    pub fn new(settings: &Settings, with_engine: bool) -> Result<Self, Wrong> {
        let known = known(KNOWN)?;
        let mut entries = Vec::new();
        for endpoint in &settings.endpoints {
            entries.extend(served(endpoint, &known)?);
        }
        let is_there = |id: &str| id == ENGINE || entries.iter().any(|entry| entry.id == id);
        if let Some(unknown) = settings.order.iter().find(|id| !is_there(id)) {
            return Err(Wrong::Unknown(unknown.clone()));
        }
        let place = |entry: &Entry| settings.order.iter().position(|id| *id == entry.id);
        entries.sort_by_key(|entry| place(entry).unwrap_or(usize::MAX));
        if with_engine {
            entries.push(engine());
        }
        for (at, entry) in entries.iter().enumerate() {
            if entries[..at].iter().any(|other| other.id == entry.id) {
                return Err(Wrong::Twice(entry.id.clone()));
            }
        }
        Ok(Self { entries })
    }

    /// A catalogue of just these.
    #[cfg(test)]
    pub(super) fn of(entries: Vec<Entry>) -> Self {
        Self { entries }
    }

    /// All models, the one to ask first in front.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// A model.
    pub fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == id)
    }
}

/// Whether an address is the vendor's own.
pub fn is_vendor(base_url: &str) -> bool {
    reqwest::Url::parse(base_url).is_ok_and(|url| url.host_str() == Some(VENDOR))
}

fn engine() -> Entry {
    Entry {
        id: ENGINE.to_owned(),
        source: Source::Native,
        provider: ENGINE_PROVIDER.to_owned(),
        name: ENGINE.to_owned(),
        context_in: 1_000_000,
        max_output: 128_000,
        price: Price::default(),
        is_price_assumed: false,
        capabilities: ["tools", "json_schema"].map(str::to_owned).to_vec(),
        note: Some(
            "The built-in engine: deterministic text processing by rules, no language model. What it cannot \
             do it refuses, and says what it would take.",
        ),
    }
}

fn served(endpoint: &Endpoint, known: &[Entry]) -> Result<Vec<Entry>, Wrong> {
    let is_vendor = is_vendor(&endpoint.base_url);
    if endpoint.models.is_empty() && !is_vendor {
        return Err(Wrong::NoModels(endpoint.name.clone()));
    }
    let whole_table =
        known.iter().map(|entry| ModelSetting { id: entry.id.clone(), ..ModelSetting::default() });
    let models: Vec<ModelSetting> =
        if endpoint.models.is_empty() { whole_table.collect() } else { endpoint.models.clone() };
    Ok(models.into_iter().map(|model| entry(endpoint, model, known, is_vendor)).collect())
}

fn entry(endpoint: &Endpoint, model: ModelSetting, known: &[Entry], is_vendor: bool) -> Entry {
    // A local model may bear a vendor's name; it has neither its price nor its size.
    let found = known.iter().find(|entry| is_vendor && entry.id == model.id);
    let is_price_assumed = is_vendor && found.is_none() && model.usd_per_mtok_in.is_none();
    let dearest =
        || known.iter().map(|entry| entry.price).max_by_key(|price| price.output).unwrap_or_default();
    let price = match found {
        Some(entry) => entry.price,
        None if is_price_assumed => dearest(),
        None => Price::default(),
    };
    let input = model.usd_per_mtok_in.unwrap_or(price.input);
    let cached = if model.usd_per_mtok_in.is_some() { input } else { price.cached };
    let capabilities = || CAPABILITIES.map(str::to_owned).to_vec();
    Entry {
        source: if is_vendor { Source::Native } else { Source::Custom },
        provider: endpoint.name.clone(),
        name: model.id.clone(),
        context_in: model.context.unwrap_or(found.map_or(CONTEXT, |entry| entry.context_in)),
        max_output: model.max_output.unwrap_or(found.map_or(MAX_OUTPUT, |entry| entry.max_output)),
        price: Price {
            input,
            output: model.usd_per_mtok_out.unwrap_or(price.output),
            cached: model.usd_per_mtok_cached.unwrap_or(cached),
        },
        is_price_assumed,
        capabilities: model
            .capabilities
            .unwrap_or_else(|| found.map_or_else(capabilities, |entry| entry.capabilities.clone())),
        note: is_price_assumed.then_some(ASSUMED),
        id: model.id,
    }
}

/// Reads the table of prices, strictly.
fn known(table: &str) -> Result<Vec<Entry>, Wrong> {
    let mut lines = (1..).zip(table.lines());
    if lines.next().is_none_or(|(_, line)| line != COLUMNS) {
        return Err(Wrong::Table(1));
    }
    lines.map(|(number, line)| row(line).ok_or(Wrong::Table(number))).collect()
}

fn row(line: &str) -> Option<Entry> {
    let columns: Vec<&str> = line.split(',').collect();
    let [id, context_in, max_output, input, output, cached, capabilities] = columns[..] else { return None };
    let input = dollars(input)?;
    Some(Entry {
        id: named(id)?,
        source: Source::Native,
        provider: String::new(),
        name: id.to_owned(),
        context_in: digits(context_in)?.parse().ok()?,
        max_output: digits(max_output)?.parse().ok()?,
        price: Price {
            input,
            output: dollars(output)?,
            cached: if cached.is_empty() { input } else { dollars(cached)? },
        },
        is_price_assumed: false,
        capabilities: capabilities.split('|').map(named).collect::<Option<_>>()?,
        note: None,
    })
}

fn named(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

/// Reads `12`, `0.5` or `0.075` without a detour over binary fractions.
fn dollars(text: &str) -> Option<MicroUsd> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.len() > 6 {
        return None;
    }
    let millionths: u64 = format!("{:0<6}", digits(fraction)?).parse().ok()?;
    digits(whole)?.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(millionths).map(MicroUsd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base_url: &str, models: &[&str]) -> Endpoint {
        let models = models.iter().map(|id| ModelSetting { id: (*id).to_owned(), ..ModelSetting::default() });
        Endpoint {
            name: "openai".into(),
            base_url: base_url.into(),
            api_key: None,
            models: models.collect(),
            timeouts: crate::model_router::settings::Timeouts::default(),
            concurrency: 1,
            queue: 1,
        }
    }

    fn settings(endpoint: Endpoint, order: &[&str]) -> Settings {
        let order = order.iter().map(|id| (*id).to_owned()).collect();
        Settings { endpoints: vec![endpoint], order, ..Settings::default() }
    }

    #[test]
    fn the_price_table_reads_and_a_wrong_one_says_where() {
        let known = known(KNOWN).unwrap();
        assert!(known.len() > 10 && known.iter().all(|entry| entry.context_in > 0 && entry.max_output > 0));
        let nano = known.iter().find(|entry| entry.id == "gpt-5-nano").unwrap();
        assert_eq!(nano.price.cached, MicroUsd(5_000));
        for wrong in [
            "m,1,1,1,1",
            "m,1,1,1,1,,",
            "m,1,1,-1,1,1,t",
            "m,1,1,1e3,1,1,t",
            ",1,1,1,1,1,t",
            "m,+1,1,1,1,1,t",
        ] {
            assert_eq!(super::known(&format!("{COLUMNS}\n{wrong}\n")), Err(Wrong::Table(2)), "{wrong}");
        }
        assert_eq!(super::known("model_id\n"), Err(Wrong::Table(1)));
    }

    #[test]
    fn every_started_millionth_of_a_dollar_is_counted_once() {
        let price = Price { input: MicroUsd(50_000), output: MicroUsd(400_000), cached: MicroUsd(5_000) };
        let cost = |input_tokens, output_tokens, cached_tokens| {
            price.of(&Usage { input_tokens, output_tokens, cached_tokens }).0
        };
        assert_eq!(cost(0, 0, 0), 0);
        assert_eq!(cost(1, 0, 0), 1);
        assert_eq!(cost(1_000_000, 0, 1_000_000), 5_000);
        assert_eq!(cost(10, 10, 20), 5);
        assert_eq!(cost(u64::MAX, u64::MAX, 0), 8_301_034_833_169_298_227);
    }

    #[test]
    fn a_model_of_the_operator_has_no_vendors_price() {
        let own =
            Catalogue::new(&settings(endpoint("http://127.0.0.1:1/v1", &["gpt-4o"]), &[]), true).unwrap();
        let [model, engine] = own.entries() else { panic!("{own:?}") };
        assert_eq!((model.source, model.price), (Source::Custom, Price::default()));
        assert_eq!((engine.id.as_str(), engine.source), (ENGINE, Source::Native));
        let all =
            Catalogue::new(&settings(endpoint("https://api.openai.com/v1", &[]), &["o3"]), false).unwrap();
        assert_eq!((all.entries()[0].id.as_str(), all.entries()[0].price.input.0), ("o3", 2_000_000));
        let next =
            Catalogue::new(&settings(endpoint("https://api.openai.com/v1", &["gpt-9"]), &[]), false).unwrap();
        assert_eq!(
            (next.entries()[0].is_price_assumed, next.entries()[0].price.output.0),
            (true, 30_000_000)
        );
        let wrong = |models: &[&str], order: &[&str]| {
            Catalogue::new(&settings(endpoint("http://127.0.0.1:1/v1", models), order), true).unwrap_err()
        };
        assert_eq!(wrong(&[], &[]), Wrong::NoModels("openai".into()));
        assert_eq!(wrong(&["a", "a"], &[]), Wrong::Twice("a".into()));
        assert_eq!(wrong(&["a"], &["b"]), Wrong::Unknown("b".into()));
    }
}
