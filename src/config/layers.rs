//! The layers of the configuration, laid over each other: what is set to what, by whom, and what is wrong
//! with it.
//!
//! The default configuration is also the list of keys: a table with keys in it is a section, an empty one
//! takes keys of any name, everything else is a value. **Invariant:** no problem shows a value, for it may be
//! a secret.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::{Config, nearest};

/// What every variable of a configuration begins with.
pub(super) const PREFIX: &str = "CENDRIIX_";

/// What parts sections and keys in a variable.
pub(super) const PARTING: &str = "__";

/// The most problems that are told at once.
const PROBLEMS_MAX: usize = 20;

/// Who set a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Origin {
    /// Nobody: it has its built-in value.
    Default,
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// The line that the key stands on, from 1.
        line: Option<usize>,
    },
    /// A variable of the environment.
    Variable {
        /// Its name.
        name: String,
    },
    /// A flag of the command line.
    Flag {
        /// Its name, such as `--listen`.
        name: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File { path, line: Some(line) } => write!(out, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(out, "{}", path.display()),
            Self::Variable { name } | Self::Flag { name } => out.write_str(name),
        }
    }
}

/// Something that is wrong, and who said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Who said it.
    pub origin: Origin,
    /// What is wrong, and what would be right.
    pub said: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::Default => out.write_str(&self.said),
            Origin::File { .. } | Origin::Variable { .. } | Origin::Flag { .. } => {
                write!(out, "{}: {}", self.origin, self.said)
            }
        }
    }
}

/// A place in the configuration: the keys that lead to it.
type Place = Vec<String>;

/// A place as people write it.
pub(super) fn written(place: &[String]) -> String {
    let plain = |key: &String| {
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    let keys: Vec<String> =
        place.iter().map(|key| if plain(key) { key.clone() } else { format!("{key:?}") }).collect();
    keys.join(".")
}

/// The default configuration, with which layers begin.
fn defaults() -> Value {
    // A configuration has no maps but those with texts as keys, so it can always be written.
    serde_json::to_value(Config::default()).unwrap_or_default()
}

/// Every key below a value, sections first, with its value. A key of an open table counts as one.
pub(super) fn leaves(value: &Value) -> Vec<(Place, &Value)> {
    fn walk<'a>(value: &'a Value, place: &Place, found: &mut Vec<(Place, &'a Value)>) {
        match value.as_object() {
            Some(section) if !section.is_empty() => {
                for (key, value) in section {
                    walk(value, &[place.as_slice(), std::slice::from_ref(key)].concat(), found);
                }
            }
            Some(_) | None => found.push((place.clone(), value)),
        }
    }
    let mut found = Vec::new();
    walk(value, &Place::new(), &mut found);
    found
}

/// The layers that were laid over each other.
#[derive(Clone, Debug)]
pub(super) struct Layers {
    /// What there is to set.
    known: Value,
    /// What is set.
    value: Value,
    origins: BTreeMap<Place, Origin>,
    problems: Vec<Problem>,
}

impl Layers {
    /// The built-in values.
    pub(super) fn new() -> Self {
        let known = defaults();
        Self { value: known.clone(), known, origins: BTreeMap::new(), problems: Vec::new() }
    }

    /// Lays a file over the rest.
    pub(super) fn file(&mut self, path: &Path, text: &str) {
        let origin = |line| Origin::File { path: path.to_owned(), line };
        let line_at = |offset: usize| text.get(..offset).map(|before| before.matches('\n').count() + 1);
        let parsed = toml::de::DeTable::parse(text).and_then(|table| {
            let mut lines = BTreeMap::new();
            lines_of(table.get_ref(), &mut Place::new(), &line_at, &mut lines);
            Ok((toml::from_str::<Value>(text)?, lines))
        });
        match parsed {
            Ok((value, lines)) => {
                let place_of = |place: &[String]| origin(lines.get(place).copied().flatten());
                self.lay(value, &mut Place::new(), &place_of);
            }
            Err(error) => {
                let line = error.span().and_then(|span| line_at(span.start));
                self.problem(origin(line), format!("this is no TOML: {}", error.message()));
            }
        }
    }

    /// Lays a variable over the rest: `CENDRIIX_SERVER__DRAIN_MS` is `server.drain_ms`.
    pub(super) fn variable(&mut self, name: &str, text: &str) {
        let origin = Origin::Variable { name: name.to_owned() };
        let keys = name.strip_prefix(PREFIX).unwrap_or(name).to_ascii_lowercase();
        let mut place: Place = keys.split(PARTING).map(str::to_owned).collect();
        match self.known_at(&place) {
            Some(Value::Object(section)) if !section.is_empty() => {
                let key = section.keys().next().map_or("", String::as_str).to_ascii_uppercase();
                let said = format!("{} is a section; set its keys, such as {name}__{key}", written(&place));
                self.problem(origin, said);
            }
            Some(known) => match read(known, text) {
                Ok(value) => self.lay(nested(&place, value), &mut Place::new(), &|_| origin.clone()),
                Err(expected) => {
                    let said = self.wrong(&place, &format!("must be {expected}"));
                    self.problem(origin, said);
                }
            },
            None => {
                let near = self.nearest(&place).map_or_else(String::new, |key| {
                    format!("; did you mean {PREFIX}{}?", key.join(PARTING).to_ascii_uppercase())
                });
                place.retain(|key| !key.is_empty());
                self.problem(origin, format!("unknown key {}{near}", written(&place)));
            }
        }
    }

    /// Lays what a flag says over the rest.
    pub(super) fn flag(&mut self, key: &str, value: Value, origin: &Origin) {
        let place: Place = key.split('.').map(str::to_owned).collect();
        self.lay(nested(&place, value), &mut Place::new(), &|_| origin.clone());
    }

    /// Says that somebody else set a key, after the layers were put together.
    pub(super) fn set_by(&mut self, key: &str, origin: Origin) {
        self.origins.insert(key.split('.').map(str::to_owned).collect(), origin);
    }

    /// Who set a key, or what is around it.
    pub(super) fn origin(&self, place: &[String]) -> Origin {
        let around = (1..=place.len()).rev().find_map(|length| self.origins.get(&place[..length]));
        around.cloned().unwrap_or(Origin::Default)
    }

    /// Puts the configuration together.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the layers, at most twenty things.
    pub(super) fn extract(&mut self) -> Result<Config, Vec<Problem>> {
        let mut first = None;
        while self.problems.len() < PROBLEMS_MAX {
            match serde_path_to_error::deserialize::<_, Config>(&self.value) {
                Ok(config) => {
                    first = Some(config);
                    break;
                }
                Err(error) if !self.refuse(&error) => break,
                Err(_) => (),
            }
        }
        match first.filter(|_| self.problems.is_empty()) {
            Some(config) => Ok(config),
            None => Err(std::mem::take(&mut self.problems)),
        }
    }

    /// Notes a value that cannot be used, and puts the built-in one in its place, so that what else is wrong
    /// is found. False when there is none.
    fn refuse(&mut self, error: &serde_path_to_error::Error<serde_json::Error>) -> bool {
        let mut place = Place::new();
        let mut shown = String::new();
        for segment in error.path() {
            match segment {
                Segment::Map { key } => {
                    if shown.is_empty() {
                        place.push(key.clone());
                    } else {
                        write!(shown, ".{key}").ok();
                    }
                }
                Segment::Seq { index } => write!(shown, "[{index}]").unwrap_or_default(),
                Segment::Enum { .. } | Segment::Unknown => (),
            }
        }
        // A path may lead into what a value is made of; the value as a whole is what was set.
        while self.known_at(&place).is_none() && place.len() > 1 {
            let key = place.pop().unwrap_or_default();
            shown = format!(".{key}{shown}");
        }
        let said = self.wrong_in(&place, &shown, &in_words(&error.inner().to_string()));
        self.problem(self.origin(&place), said);
        let built_in = self.known_at(&place).cloned();
        let slot = self.value.pointer_mut(&pointer(&place));
        match (slot, built_in) {
            (Some(slot), Some(built_in)) if *slot != built_in => {
                *slot = built_in;
                true
            }
            _ => false,
        }
    }

    fn problem(&mut self, origin: Origin, said: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { origin, said });
        }
    }

    /// What is known at a place; keys of open tables are known by any name.
    fn known_at(&self, place: &[String]) -> Option<&Value> {
        let mut known = &self.known;
        for key in place {
            match known.as_object() {
                Some(open) if open.is_empty() => known = &Value::Null,
                Some(section) => known = section.get(key)?,
                None => return None,
            }
        }
        Some(known)
    }

    fn lay(&mut self, value: Value, place: &mut Place, origin: &dyn Fn(&[String]) -> Origin) {
        let is_section = self.known_at(place).is_some_and(Value::is_object);
        if is_section {
            let Value::Object(values) = value else {
                let said = format!("{0} is a section; write [{0}] and its keys below", written(place));
                return self.problem(origin(place), said);
            };
            for (key, value) in values {
                place.push(key);
                if self.known_at(place).is_some() {
                    self.lay(value, place, origin);
                } else {
                    let said = self.unknown(place);
                    self.problem(origin(place), said);
                }
                place.pop();
            }
            return;
        }
        put(&mut self.value, place, value);
        let by = origin(place);
        // An open table remembers who wrote to it last, for keys that are brought into another form.
        if let Some((_, around)) = place.split_last()
            && self.known_at(around).is_some_and(is_open)
        {
            self.origins.insert(around.to_vec(), by.clone());
        }
        self.origins.insert(place.clone(), by);
    }

    fn unknown(&self, place: &[String]) -> String {
        let near = self
            .nearest(place)
            .map(|key| format!("did you mean {}?", written(&key)))
            .or_else(|| {
                let section = self.known_at(&place[..place.len() - 1])?.as_object()?;
                let keys: Vec<&str> = section.keys().map(String::as_str).collect();
                Some(format!("there are {}", keys.join(", ")))
            })
            .unwrap_or_default();
        format!("unknown key {}; {near}", written(place))
    }

    fn nearest(&self, place: &[String]) -> Option<Place> {
        let mut keys: Vec<Place> = leaves(&self.known).into_iter().map(|(key, _)| key).collect();
        let sections: Vec<Place> =
            keys.iter().flat_map(|key| (1..key.len()).map(|length| key[..length].to_vec())).collect();
        keys.extend(sections);
        nearest::place(place, keys)
    }

    fn wrong(&self, place: &[String], said: &str) -> String {
        self.wrong_in(place, "", said)
    }

    fn wrong_in(&self, place: &[String], inside: &str, said: &str) -> String {
        let default = match self.known_at(place) {
            Some(Value::Null | Value::Object(_)) | None => String::new(),
            Some(Value::Array(list)) if list.is_empty() => String::new(),
            Some(default) => format!("; the default is {default}"),
        };
        format!("{}{inside} {said}{default}", written(place))
    }
}

fn is_open(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

fn pointer(place: &[String]) -> String {
    place.iter().flat_map(|key| ["/".to_owned(), key.replace('~', "~0").replace('/', "~1")]).collect()
}

fn nested(place: &[String], value: Value) -> Value {
    place.iter().rev().fold(value, |inner, key| Value::Object(Map::from_iter([(key.clone(), inner)])))
}

fn put(root: &mut Value, place: &[String], value: Value) {
    let mut slot = root;
    for key in place {
        if !slot.is_object() {
            *slot = Value::Object(Map::new());
        }
        let Some(section) = slot.as_object_mut() else { return };
        slot = section.entry(key.clone()).or_insert(Value::Null);
    }
    *slot = value;
}

fn lines_of(
    table: &toml::de::DeTable<'_>,
    place: &mut Place,
    line_at: &impl Fn(usize) -> Option<usize>,
    lines: &mut BTreeMap<Place, Option<usize>>,
) {
    for (key, value) in table {
        place.push(key.get_ref().to_string());
        lines.insert(place.clone(), line_at(key.span().start));
        if let toml::de::DeValue::Table(inner) = value.get_ref() {
            lines_of(inner, place, line_at, lines);
        }
        place.pop();
    }
}

/// Reads the text of a variable as what the key holds by default: texts need no quotes.
fn read(known: &Value, text: &str) -> Result<Value, &'static str> {
    let trimmed = text.trim();
    let toml = || {
        let line = format!("value = {trimmed}");
        toml::from_str::<Map<String, Value>>(&line).ok().and_then(|mut table| table.remove("value"))
    };
    match known {
        Value::Number(_) => toml().filter(Value::is_number).ok_or("a number"),
        Value::Bool(_) => toml().filter(Value::is_boolean).ok_or("true or false"),
        Value::Array(_) => toml().filter(Value::is_array).ok_or("a list, such as [\"a\", \"b\"]"),
        Value::Object(_) => toml().filter(Value::is_object).ok_or("a table, such as { \"a\" = \"b\" }"),
        Value::String(_) | Value::Null => Ok(Value::String(text.to_owned())),
    }
}

/// What the library says of a value, without the value, in the words of this product.
fn in_words(said: &str) -> String {
    if let Some((got, expected)) = said.split_once(", expected ") {
        let kind = got.strip_prefix("invalid type: ").or(got.strip_prefix("invalid value: "));
        let kind = kind.map(|kind| kind.split([' ', '`', '"']).next().unwrap_or_default());
        let expected = match expected {
            "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0",
            "i64" | "i32" => "a whole number",
            "a boolean" => "true or false",
            "a sequence" => "a list",
            other => other,
        };
        match kind {
            Some("sequence") => return format!("must be {expected}, not a list"),
            Some("integer" | "floating") => return format!("must be {expected}, not a number"),
            Some("map") => return format!("must be {expected}, not a table"),
            Some(kind) if !kind.is_empty() => return format!("must be {expected}, not a {kind}"),
            _ => (),
        }
        if let Some(name) = got.strip_prefix("unknown field ") {
            let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
            let near = nearest::word(name.trim_matches('`'), &known);
            let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            return format!("has an unknown key {}{near}", name.trim_matches('`'));
        }
        if got.starts_with("unknown variant ") {
            return format!("must be {}", expected.replace('`', "\""));
        }
    }
    format!("is wrong: {said}")
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
