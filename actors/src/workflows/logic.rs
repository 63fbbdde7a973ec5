//! What a `transform` computes: `JSONLogic` over the run's input and the outputs upstream.
//!
//! `{{ steps.plan.output.title }}` in a string becomes a lookup before the logic is compiled, never after, so
//! a value can not turn into an operation.

use std::{collections::BTreeSet, sync::OnceLock};

use cendriix_protocol::workflows::NodeKind;
use datalogic_rs::{Engine, Logic};
use serde_json::{Map, Value, json};

/// The largest logic, in bytes of JSON.
pub const LOGIC_MAX: usize = 64 << 10;
/// The largest output, in bytes of JSON.
pub const OUTPUT_MAX: usize = 256 << 10;
/// How deep operations that go through lists may be nested in each other.
const LOOPS_MAX: usize = 2;

/// A transform, ready to be evaluated.
#[derive(Debug)]
pub struct Compiled {
    logic: Logic,
    /// Which steps it looks at.
    pub reads: Reads,
}

/// Which steps a transform looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Just these.
    Steps(BTreeSet<String>),
    /// Perhaps any upstream: it computes a path.
    Any,
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::builder().with_templating(true).build())
}

/// What a node computes from the outputs upstream: its value, or its prompt.
pub fn of(kind: &NodeKind) -> Option<Value> {
    match kind {
        NodeKind::Transform { logic } => Some(logic.clone()),
        NodeKind::Agent { prompt, .. } => prompt.clone().map(Value::String),
        NodeKind::ApprovalGate { .. }
        | NodeKind::RunTests { .. }
        | NodeKind::Review { .. }
        | NodeKind::Merge { .. } => None,
    }
}

/// Compiles a transform.
///
/// # Errors
///
/// A sentence on what is wrong with it.
pub fn compile(logic: &Value) -> Result<Compiled, String> {
    if logic.to_string().len() > LOGIC_MAX {
        return Err(format!("is larger than {LOGIC_MAX} bytes"));
    }
    let mut reads = Reads::Steps(BTreeSet::new());
    let rewritten = rewrite(logic, &mut reads, 0)?;
    let logic = engine().compile(rewritten.to_string().as_str()).map_err(|error| error.to_string())?;
    Ok(Compiled { logic, reads })
}

impl Compiled {
    /// Evaluates over `data`, JSON text, and gives JSON text.
    ///
    /// # Errors
    ///
    /// A sentence on why it has no value, or that the value is too large.
    pub fn evaluate(&self, data: &str) -> Result<String, String> {
        let output = engine().session().eval_str(&self.logic, data).map_err(|error| error.to_string())?;
        if output.len() > OUTPUT_MAX {
            return Err(format!("its output of {} bytes is larger than {OUTPUT_MAX}", output.len()));
        }
        Ok(output)
    }
}

const LOOPS: [&str; 7] = ["map", "filter", "reduce", "all", "some", "none", "sort"];

fn rewrite(logic: &Value, reads: &mut Reads, loops: usize) -> Result<Value, String> {
    match logic {
        Value::String(text) => template(text, reads),
        Value::Array(items) => {
            let items: Result<Vec<Value>, String> =
                items.iter().map(|item| rewrite(item, reads, loops)).collect();
            Ok(Value::Array(items?))
        }
        Value::Object(fields) => object(fields, reads, loops),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(logic.clone()),
    }
}

fn object(fields: &Map<String, Value>, reads: &mut Reads, loops: usize) -> Result<Value, String> {
    if let (1, Some((operation, argument))) = (fields.len(), fields.iter().next()) {
        if matches!(operation.as_str(), "var" | "val" | "exists" | "missing" | "missing_some") {
            note(operation, argument, reads, loops);
            return Ok(Value::Object(fields.clone()));
        }
        if operation == "preserve" {
            return Ok(Value::Object(fields.clone()));
        }
    }
    let mut rewritten = Map::new();
    for (name, value) in fields {
        let inner = loops + usize::from(fields.len() == 1 && LOOPS.contains(&name.as_str()));
        if inner > LOOPS_MAX {
            return Err(format!("goes through lists within lists more than {LOOPS_MAX} deep ({name})"));
        }
        rewritten.insert(name.clone(), rewrite(value, reads, inner)?);
    }
    Ok(Value::Object(rewritten))
}

/// Takes note of what a lookup looks at.
fn note(operation: &str, argument: &Value, reads: &mut Reads, loops: usize) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let path = match (operation, argument.as_array()) {
        ("val", Some(parts)) => {
            parts.iter().map(text).collect::<Option<Vec<_>>>().map(|parts| parts.join("."))
        }
        ("var", Some(parts)) => parts.first().and_then(text),
        (_, _) => text(argument),
    };
    let named = path.as_deref().map(|path| path.split('.').collect::<Vec<_>>());
    match (named.as_deref(), &mut *reads) {
        (Some(["steps", step, ..]), Reads::Steps(steps)) => {
            steps.insert((*step).to_owned());
        }
        // The whole of `steps`, a path that is computed, or all there is.
        (Some(["steps" | ""] | []) | None, Reads::Steps(_)) if loops == 0 || named.is_none() => {
            *reads = Reads::Any;
        }
        _ => (),
    }
}

/// A string with `{{ path }}` in it: one alone is that value, several or with text around them are joined.
fn template(text: &str, reads: &mut Reads) -> Result<Value, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((path, tail)) = after.split_once("}}") else {
            return Err(format!("has a {{{{ without its }}}} in {text:?}"));
        };
        if !before.is_empty() {
            parts.push(Value::from(before));
        }
        parts.push(lookup(path.trim(), reads)?);
        rest = tail;
    }
    if parts.is_empty() {
        return Ok(Value::from(text));
    }
    if !rest.is_empty() {
        parts.push(Value::from(rest));
    }
    if parts.len() == 1 {
        return Ok(parts.remove(0));
    }
    Ok(json!({ "cat": parts }))
}

fn lookup(path: &str, reads: &mut Reads) -> Result<Value, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if path.is_empty() || !path.bytes().all(plain) {
        return Err(format!("has a template that is no path of names and dots: {path:?}"));
    }
    match path.split('.').collect::<Vec<_>>().as_slice() {
        ["inputs", ..] => (),
        ["steps", step, "output", ..] => {
            if let Reads::Steps(steps) = reads {
                steps.insert((*step).to_owned());
            }
        }
        _ => {
            return Err(format!(
                "has a template that begins neither with inputs nor with steps.<id>.output: {path:?}"
            ));
        }
    }
    Ok(json!({ "var": path }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluated(logic: &Value, data: &Value) -> String {
        compile(logic)
            .and_then(|compiled| compiled.evaluate(&data.to_string()))
            .unwrap_or_else(|error| format!("! {error}"))
    }

    #[test]
    fn templates_and_logic_see_inputs_and_outputs() {
        let data =
            json!({ "inputs": { "n": 4, "who": "Ada" }, "steps": { "a": { "output": { "list": [1, 2] } } } });
        let logic = json!({
            "sum": { "+": [{ "var": "inputs.n" }, 1] },
            "greeting": "hello {{ inputs.who }}, {{inputs.n}} times",
            "list": "{{ steps.a.output.list }}",
            "doubled": { "map": [{ "var": "steps.a.output.list" }, { "*": [{ "var": "" }, 2] }] }
        });
        let expected =
            json!({ "sum": 5, "greeting": "hello Ada, 4 times", "list": [1, 2], "doubled": [2, 4] });
        assert_eq!(serde_json::from_str::<Value>(&evaluated(&logic, &data)).unwrap(), expected);
        assert_eq!(compile(&logic).unwrap().reads, Reads::Steps(BTreeSet::from(["a".to_owned()])));
    }

    #[test]
    fn a_value_never_becomes_an_operation() {
        let inputs = json!({ "evil": { "var": "steps" }, "text": "{{ steps.secret.output }}" });
        let data = json!({ "inputs": inputs, "steps": {} });
        let logic = json!(["{{ inputs.evil }}", "<{{ inputs.text }}>"]);
        assert_eq!(evaluated(&logic, &data), r#"[{"var":"steps"},"<{{ steps.secret.output }}>"]"#);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = [
            json!("{{ inputs.a"),
            json!("{{ secrets.key }}"),
            json!("{{ inputs.a + 1 }}"),
            json!({ "map": [[1], { "map": [[1], { "map": [[1], 1] }] }] }),
        ];
        let said: Vec<String> = wrong.iter().map(|logic| compile(logic).unwrap_err()).collect();
        insta::assert_snapshot!(said.join("\n"), @r#"
        has a {{ without its }} in "{{ inputs.a"
        has a template that begins neither with inputs nor with steps.<id>.output: "secrets.key"
        has a template that is no path of names and dots: "inputs.a + 1"
        goes through lists within lists more than 2 deep (map)
        "#);
    }

    #[test]
    fn a_computed_path_may_read_any_step() {
        assert_eq!(compile(&json!({ "var": { "cat": ["steps.", "a"] } })).unwrap().reads, Reads::Any);
        assert_eq!(compile(&json!({ "var": "steps" })).unwrap().reads, Reads::Any);
    }
}
