//! Who may import whom, and that each area has one name in every layer.

use std::collections::BTreeSet;

use super::{
    SOURCES, in_lines, report,
    scanner::Line,
    source::{Path, Source, paths, words},
};

/// Files that may look into the state of another area: the file, the area, and why.
const STATE_SEEN: [(&str, &str, &str); 1] =
    [("actors/src/workflows/mod.rs", "runs", "a workflow is compiled to the plan that a run starts with")];

/// Files of `src/http` that serve every area and are none themselves.
const INFRASTRUCTURE: [&str; 20] = [
    "around",
    "caller",
    "conditional",
    "docs",
    "document",
    "error",
    "extract",
    "guard",
    "limits",
    "listener",
    "metrics",
    "mod",
    "operations",
    "page",
    "places",
    "refusals",
    "request",
    "sse",
    "table",
    "tickets",
];

/// Where each area of `src/http` has a file or a folder of its name.
const LAYERS: [&str; 3] = ["actors/src", "protocol/src", "tests/api"];

/// What `wrong` says about the paths in the code that `lines` chooses from each file under `folder`.
fn in_paths(
    folder: &str,
    lines: fn(&Source) -> &[Line],
    wrong: impl Fn(&Source, &Path) -> Option<String>,
) -> Vec<String> {
    let wrong_in = |source: &Source| -> Vec<String> {
        let findings = paths(lines(source)).into_iter();
        findings.filter_map(|path| Some(source.at(path.line, wrong(source, &path)?))).collect()
    };
    SOURCES.iter().filter(|source| source.path.starts_with(folder)).flat_map(wrong_in).collect()
}

/// Whether a path starts in one of these crates, or in one of their kin: `tokio` stands for `tokio_util` too.
fn starts_in(path: &Path, crates: &[&str]) -> bool {
    let is_kin = |rest: &str| rest.is_empty() || rest.starts_with('_');
    crates.iter().any(|name| path.root().strip_prefix(name).is_some_and(is_kin))
}

/// The area of the mind that a file belongs to.
fn area(path: &str) -> Option<&str> {
    path.strip_prefix("actors/src/")?.split(['/', '.']).next()
}

/// Whether a file decides without acting: the `state` or the `rules` of an area, or a part of them.
fn is_pure(path: &str) -> bool {
    area(path).is_some() && path.split(['/', '.']).any(|part| ["state", "rules"].contains(&part))
}

#[test]
fn the_contract_uses_nothing_of_ours_and_no_runtime() {
    report(in_paths("protocol/src/", Source::all, |_, path| {
        starts_in(path, &["cendriix", "tokio", "axum", "hyper", "ractor", "redb"]).then(|| {
            format!("`{}` does not belong in the contract; move what needs it to another layer", path.name)
        })
    }));
}

#[test]
fn the_memory_uses_only_the_ids_of_the_contract() {
    report(in_paths("persistence/src/", Source::all, |_, path| {
        (starts_in(path, &["cendriix"]) && !path.is_under("cendriix_protocol::ids"))
            .then(|| format!("`{}` is out of reach; use only `cendriix_protocol::ids` here", path.name))
    }));
}

#[test]
fn the_mind_knows_nothing_of_the_door() {
    report(in_paths("actors/src/", Source::all, |_, path| {
        (starts_in(path, &["axum", "hyper"]) || path.root() == "cendriix")
            .then(|| format!("`{}` belongs to the door; translate in `src/http`", path.name))
    }));
}

#[test]
fn pure_files_import_only_what_decides() {
    let roots = ["std", "serde", "thiserror", "cendriix_protocol", "super", "self"];
    let acting = ["env", "fs", "io", "net", "process", "thread"].map(|module| format!("std::{module}"));
    report(in_paths("actors/src/", Source::shipped, |source, path| {
        let is_ours = ["crate", "super"].contains(&path.root()) || starts_in(path, &["cendriix"]);
        let is_allowed = roots.contains(&path.root())
            || path.is_under("crate::kit::machine")
            || path.root().starts_with(char::is_uppercase);
        let acts = acting.iter().any(|module| path.is_under(module));
        (is_pure(&source.path) && (acts || (path.is_import || is_ours) && !is_allowed)).then(|| {
            format!("`{}` has no place in a pure file; let a command bring it, or `work` do it", path.name)
        })
    }));
}

#[test]
fn pure_files_know_no_runtime_clock_or_chance() {
    let forbidden = ["tokio", "ractor", "fastrand", "Clock", "Instant", "SystemTime"];
    report(in_lines(Source::shipped, |source, line| {
        let word = words(&line.code).find(|word| is_pure(&source.path) && forbidden.contains(word))?;
        Some(format!("`{word}` in a pure file; let the command carry what it gives"))
    }));
}

#[test]
fn no_area_looks_into_the_state_of_another() {
    let foreign = |source: &Source, path: &Path| {
        let mut inner = path.name.split("::").skip_while(|part| ["crate", "super", "self"].contains(part));
        let (seen, part) = (inner.next()?.to_owned(), inner.next()?);
        let is_ours = ["crate", "super", "self"].contains(&path.root());
        (is_ours && part == "state" && area(&source.path) != Some(&seen)).then_some(seen)
    };
    let unlisted = in_paths("actors/src/", Source::shipped, |source, path| {
        let seen = foreign(source, path)?;
        let is_listed = STATE_SEEN.iter().any(|(file, area, _)| (*file, *area) == (&source.path, &seen));
        (!is_listed)
            .then(|| format!("`{}` is the state of another area; ask the handle of `{seen}`", path.name))
    });
    let looks = |source: &Source, area| {
        paths(source.shipped()).iter().any(|path| foreign(source, path).as_deref() == Some(area))
    };
    let is_needed = |file, area| SOURCES.iter().any(|source| source.path == file && looks(source, area));
    let over = STATE_SEEN.iter().filter(|(file, area, _)| !is_needed(*file, *area)).map(|(file, area, _)| {
        format!("tests/tidy/layers.rs: {file} does not look into `{area}`; remove it from `STATE_SEEN`")
    });
    report(unlisted.into_iter().chain(over));
}

#[test]
fn each_area_has_one_name_in_every_layer() {
    let exists = |path: &str| SOURCES.iter().any(|source| source.path == path);
    let name = |source: &'static Source| source.path.strip_prefix("src/http/")?.split(['/', '.']).next();
    let areas: BTreeSet<&str> =
        SOURCES.iter().filter_map(name).filter(|area| !INFRASTRUCTURE.contains(area)).collect();
    let wanted = areas.into_iter().flat_map(|area| LAYERS.map(|layer| (area, format!("{layer}/{area}"))));
    let missing =
        wanted.filter(|(_, path)| !exists(&format!("{path}.rs")) && !exists(&format!("{path}/mod.rs")));
    report(missing.map(|(area, path)| {
        format!("{path}.rs:1: `src/http/{area}.rs` has no such partner; write it, or list `{area}` in `INFRASTRUCTURE`")
    }));
}
