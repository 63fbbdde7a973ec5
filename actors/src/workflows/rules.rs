//! What makes a workflow sound; pure.

use std::collections::{BTreeMap, BTreeSet};

use cendriix_protocol::{
    agent_steps::StepPolicy,
    error::FieldErrors,
    workflows::{Definition, EDGES_MAX, NODES_MAX, Node, NodeKind},
};

use super::logic::{self, Reads};

/// The longest name, in characters.
const NAME_MAX: usize = 200;
/// The longest id of a node, in bytes.
const ID_MAX: usize = 64;
/// The longest command of tests, in bytes.
const COMMAND_MAX: usize = 4096;
/// The longest time a gate may wait, in seconds.
const TIMEOUT_MAX: u32 = 2_592_000;

/// A sound graph: its nodes in an order in which each comes after those it depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Places in the definition's list of nodes.
    pub nodes: Vec<usize>,
    /// For each place in `nodes`, the places in `nodes` of what comes before it.
    pub needs: Vec<Vec<u32>>,
}

/// Looks at everything at once.
///
/// # Errors
///
/// A sentence for each wrong field, by its path.
pub fn check(definition: &Definition) -> Result<Order, FieldErrors> {
    let mut errors = Errors::default();
    let length = definition.name.chars().count();
    if definition.name.trim().is_empty() || length > NAME_MAX {
        errors.add("name".into(), format!("needs 1 to {NAME_MAX} characters, has {length}"));
    }
    if definition.description.as_ref().is_some_and(|text| text.chars().count() > 2000) {
        errors.add("description".into(), "has more than 2,000 characters".into());
    }
    if definition.nodes.is_empty() || definition.nodes.len() > NODES_MAX {
        errors.add("nodes".into(), format!("needs 1 to {NODES_MAX} nodes, has {}", definition.nodes.len()));
    }
    if definition.edges.len() > EDGES_MAX {
        errors.add("edges".into(), format!("has {} edges, more than {EDGES_MAX}", definition.edges.len()));
    }
    if !errors.0.is_empty() {
        return Err(errors.0);
    }
    let places = nodes(&definition.nodes, &mut errors);
    let before = edges(definition, &places, &mut errors);
    delivery(definition, &before, &mut errors);
    let order = sort(definition, &before, &mut errors);
    if errors.0.is_empty() {
        reads(definition, &order, &mut errors);
    }
    if errors.0.is_empty() { Ok(order) } else { Err(errors.0) }
}

/// At most so many paths are named.
const ERRORS_MAX: usize = 100;

#[derive(Default)]
struct Errors(FieldErrors);

impl Errors {
    fn add(&mut self, path: String, message: String) {
        if self.0.len() < ERRORS_MAX {
            self.0.entry(path).or_default().push(message);
        }
    }
}

fn nodes<'d>(nodes: &'d [Node], errors: &mut Errors) -> BTreeMap<&'d str, usize> {
    let mut places = BTreeMap::new();
    for (place, node) in nodes.iter().enumerate() {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let is_fine = !node.id.starts_with('-') && node.id.bytes().all(plain);
        if node.id.is_empty() || node.id.len() > ID_MAX || !is_fine {
            let said = format!("needs 1 to {ID_MAX} of A-Z a-z 0-9 _ -, and no - in front");
            errors.add(format!("nodes[{place}].id"), said);
        }
        if let Some(first) = places.insert(node.id.as_str(), place) {
            errors.add(format!("nodes[{place}].id"), format!("is also the id of nodes[{first}]"));
        }
        if node.name.as_ref().is_some_and(|name| name.chars().count() > NAME_MAX) {
            errors.add(format!("nodes[{place}].name"), format!("has more than {NAME_MAX} characters"));
        }
        match &node.kind {
            NodeKind::Transform { logic } => {
                if let Err(wrong) = logic::compile(logic) {
                    errors.add(format!("nodes[{place}].logic"), wrong);
                }
            }
            NodeKind::Agent { .. } => agent(place, &node.kind, errors),
            NodeKind::RunTests { command } => {
                if command
                    .as_ref()
                    .is_some_and(|command| command.trim().is_empty() || command.len() > COMMAND_MAX)
                {
                    let said = format!("needs 1 to {COMMAND_MAX} bytes; leave it out to have it found out");
                    errors.add(format!("nodes[{place}].command"), said);
                }
            }
            NodeKind::Review { .. } | NodeKind::Merge { .. } => (),
            NodeKind::ApprovalGate { timeout_seconds, .. } => {
                if timeout_seconds.is_some_and(|seconds| !(1..=TIMEOUT_MAX).contains(&seconds)) {
                    errors.add(
                        format!("nodes[{place}].timeoutSeconds"),
                        format!("needs 1 to {TIMEOUT_MAX} seconds"),
                    );
                }
            }
        }
    }
    places
}

fn agent(place: usize, kind: &NodeKind, errors: &mut Errors) {
    let NodeKind::Agent { prompt, agent, policy, decompose, .. } = kind else { return };
    let mut add = |field: &str, said: String| errors.add(format!("nodes[{place}].{field}"), said);
    if let Some(prompt) = prompt {
        if prompt.trim().is_empty() {
            add("prompt", "is empty; leave it out to give the agent the ticket".to_owned());
        }
        if *decompose {
            add("prompt", "has no place in a node that the planner makes steps of".to_owned());
        }
        if let Some(Err(wrong)) = logic::of(kind).map(|logic| logic::compile(&logic)) {
            add("prompt", wrong);
        }
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if agent
        .as_ref()
        .is_some_and(|agent| agent.is_empty() || agent.len() > ID_MAX || !agent.bytes().all(plain))
    {
        add("agent", format!("needs 1 to {ID_MAX} of A-Z a-z 0-9 _ -"));
    }
    for (field, said) in policy.iter().flat_map(StepPolicy::wrong) {
        add(&format!("policy.{field}"), said);
    }
}

/// What comes after all steps comes once, in its order, and after everything else.
fn delivery(definition: &Definition, before: &[BTreeSet<usize>], errors: &mut Errors) {
    let rank = |node: usize| delivered(&definition.nodes[node].kind);
    let mut found: BTreeMap<u8, usize> = BTreeMap::new();
    for (place, node) in definition.nodes.iter().enumerate() {
        if let Some(rank) = rank(place)
            && let Some(first) = found.insert(rank, place)
        {
            errors.add(
                format!("nodes[{place}].type"),
                format!("{} comes once, and is nodes[{first}] already", node.kind.name()),
            );
        }
    }
    for (to, sources) in before.iter().enumerate() {
        for from in sources {
            let (earlier, later) = (&definition.nodes[*from], &definition.nodes[to]);
            let wrong = rank(*from).is_some_and(|from| rank(to).is_none_or(|to| to <= from));
            if wrong {
                let said = format!(
                    "nothing but review and merge comes after {} ({}), so {} ({}) cannot",
                    earlier.id,
                    earlier.kind.name(),
                    later.id,
                    later.kind.name()
                );
                errors.add("edges".into(), said);
            }
        }
    }
    if definition.nodes.iter().all(|node| delivered(&node.kind).is_some()) {
        errors.add("nodes".into(), "needs a node that does something before it is tested or merged".into());
    }
    let planned =
        definition.nodes.iter().filter(|node| matches!(node.kind, NodeKind::Agent { decompose: true, .. }));
    if planned.count() > 1 {
        errors.add("nodes".into(), "has more than one node that the planner makes steps of".into());
    }
}

/// The place of a node in what comes after all steps; `None` for a step.
pub fn delivered(kind: &NodeKind) -> Option<u8> {
    match kind {
        NodeKind::RunTests { .. } => Some(0),
        NodeKind::Review { .. } => Some(1),
        NodeKind::Merge { .. } => Some(2),
        NodeKind::Transform { .. } | NodeKind::ApprovalGate { .. } | NodeKind::Agent { .. } => None,
    }
}

fn edges(
    definition: &Definition,
    places: &BTreeMap<&str, usize>,
    errors: &mut Errors,
) -> Vec<BTreeSet<usize>> {
    let mut before = vec![BTreeSet::new(); definition.nodes.len()];
    for (place, edge) in definition.edges.iter().enumerate() {
        let mut find = |end: &str, id: &str| {
            let found = places.get(id).copied();
            if found.is_none() {
                errors.add(format!("edges[{place}].{end}"), format!("there is no node {id:?}"));
            }
            found
        };
        let (from, to) = (find("from", &edge.from), find("to", &edge.to));
        if let (Some(from), Some(to)) = (from, to) {
            before[to].insert(from);
        }
    }
    before
}

/// Sorts the nodes so that each comes after what it depends on; among those that could come next, as they
/// were written.
fn sort(definition: &Definition, before: &[BTreeSet<usize>], errors: &mut Errors) -> Order {
    let mut after = vec![Vec::new(); before.len()];
    for (node, sources) in before.iter().enumerate() {
        for source in sources {
            after[*source].push(node);
        }
    }
    let mut open: Vec<usize> = before.iter().map(BTreeSet::len).collect();
    let mut ready: BTreeSet<usize> = (0..before.len()).filter(|node| open[*node] == 0).collect();
    let mut nodes = Vec::with_capacity(before.len());
    let mut rank = vec![0_u32; before.len()];
    while let Some(node) = ready.pop_first() {
        rank[node] = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        nodes.push(node);
        for next in &after[node] {
            open[*next] -= 1;
            if open[*next] == 0 {
                ready.insert(*next);
            }
        }
    }
    if nodes.len() < before.len() {
        errors.add("edges".into(), format!("go round in a circle: {}", circle(definition, before, &open)));
    }
    let needs = nodes.iter().map(|node| before[*node].iter().map(|source| rank[*source]).collect()).collect();
    Order { nodes, needs }
}

/// One circle, named in order.
fn circle(definition: &Definition, before: &[BTreeSet<usize>], open: &[usize]) -> String {
    let mut path = Vec::new();
    let mut at = open.iter().position(|open| *open > 0).unwrap_or(0);
    while !path.contains(&at) {
        path.push(at);
        // Each node that is left has a source that is left.
        at = before[at].iter().copied().find(|source| open[*source] > 0).unwrap_or(at);
    }
    let start = path.iter().position(|node| *node == at).unwrap_or(0);
    let mut names: Vec<&str> =
        path[start..].iter().rev().map(|node| definition.nodes[*node].id.as_str()).collect();
    names.push(names[0]);
    names.join(" → ")
}

/// A node may look only at what is upstream of it.
fn reads(definition: &Definition, order: &Order, errors: &mut Errors) {
    for (rank, node) in order.nodes.iter().enumerate() {
        let kind = &definition.nodes[*node].kind;
        let Some(Ok(compiled)) = logic::of(kind).map(|logic| logic::compile(&logic)) else { continue };
        let Reads::Steps(steps) = compiled.reads else { continue };
        if steps.is_empty() {
            continue;
        }
        let upstream: BTreeSet<&str> = upstream(order, rank)
            .into_iter()
            .map(|rank| definition.nodes[order.nodes[rank]].id.as_str())
            .collect();
        for step in steps.iter().filter(|step| !upstream.contains(step.as_str())) {
            let field = if matches!(kind, NodeKind::Agent { .. }) { "prompt" } else { "logic" };
            errors.add(
                format!("nodes[{node}].{field}"),
                format!("looks at step {step:?}, which is not upstream of it"),
            );
        }
    }
}

/// The places in the order of everything that comes before `rank`, directly or not.
pub fn upstream(order: &Order, rank: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open: Vec<usize> = vec![rank];
    while let Some(rank) = open.pop() {
        for need in &order.needs[rank] {
            if found.insert(*need as usize) {
                open.push(*need as usize);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn checked(definition: &Value) -> String {
        match check(&serde_json::from_value(definition.clone()).unwrap()) {
            Ok(order) => format!("{:?} {:?}", order.nodes, order.needs),
            Err(errors) => errors
                .iter()
                .map(|(path, said)| format!("{path}: {}", said.join("; ")))
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }

    fn transform(id: &str, logic: &Value) -> Value {
        json!({ "id": id, "type": "transform", "logic": logic })
    }

    #[test]
    fn nodes_are_put_in_order() {
        let nodes = [
            transform("c", &json!("{{ steps.a.output }}")),
            transform("b", &json!(1)),
            transform("a", &json!(1)),
        ];
        let edges = json!([{ "from": "a", "to": "b" }, { "source": "b", "target": "c" }]);
        let sound = json!({ "name": "n", "nodes": nodes, "edges": edges });
        assert_eq!(checked(&sound), "[2, 1, 0] [[], [0], [1]]");
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let nodes = [
            transform("a b", &json!(1)),
            transform("x", &json!("{{ nope }}")),
            transform("x", &json!(2)),
            json!({ "id": "g", "type": "approval-gate", "timeoutSeconds": 0 }),
        ];
        let wrong = json!({ "name": "n", "nodes": nodes, "edges": [{ "from": "x", "to": "y" }] });
        insta::assert_snapshot!(checked(&wrong), @r#"
        edges[0].to: there is no node "y"
        nodes[0].id: needs 1 to 64 of A-Z a-z 0-9 _ -, and no - in front
        nodes[1].logic: has a template that begins neither with inputs nor with steps.<id>.output: "nope"
        nodes[2].id: is also the id of nodes[1]
        nodes[3].timeoutSeconds: needs 1 to 2592000 seconds
        "#);
    }

    #[test]
    fn a_circle_is_named_in_order() {
        let nodes = [transform("a", &json!(1)), transform("b", &json!(1)), transform("c", &json!(1))];
        let edges =
            json!([{ "from": "a", "to": "b" }, { "from": "b", "to": "c" }, { "from": "c", "to": "b" }]);
        let said = checked(&json!({ "name": "n", "nodes": nodes, "edges": edges }));
        insta::assert_snapshot!(said, @"edges: go round in a circle: c → b → c");
    }

    #[test]
    fn a_transform_looks_only_upstream() {
        let nodes = [
            transform("a", &json!("{{ steps.b.output }}")),
            transform("b", &json!({ "var": "steps.z.output" })),
        ];
        let said = checked(&json!({ "name": "n", "nodes": nodes, "edges": [{ "from": "a", "to": "b" }] }));
        insta::assert_snapshot!(said, @r#"
        nodes[0].logic: looks at step "b", which is not upstream of it
        nodes[1].logic: looks at step "z", which is not upstream of it
        "#);
    }
}
