//! What the workspace depends on: each crate named once, under a licence that allows it, in one version.
//!
//! The graph is the one that is built for this machine, as `cargo tree` has it. `cargo metadata` and
//! `Cargo.lock` also hold what no feature turns on (a `ring` that `rustls-webpki` could use) and what other
//! platforms need.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::Path,
    process::Command,
    sync::LazyLock,
};

use crate::tidy::{ROOT, report};

/// Licences that a package may be under.
const LICENCES: [&str; 15] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages that stay out of the graph, and why.
const FORBIDDEN: [(&str, &str); 3] = [
    ("ring", "aws-lc-rs is the one crypto provider"),
    ("openssl-sys", "rustls is the one TLS library, over aws-lc-rs"),
    ("native-tls", "rustls is the one TLS library, over aws-lc-rs"),
];

/// Packages that come in more than one version, and who holds on to the older one.
const DUPLICATES: [(&str, &str); 4] = [
    ("base64", "jsonwebtoken and pem use 0.22, reqwest and hyper-util 0.23"),
    ("hashbrown", "dashmap uses 0.14"),
    ("syn", "macros of tracing and zeroize use 2"),
    ("untrusted", "aws-lc-rs uses 0.7, rustls-webpki 0.9"),
];

/// A package of the graph.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    licence: String,
}

/// Every package that is built for this machine, for tests too.
static GRAPH: LazyLock<BTreeSet<Package>> = LazyLock::new(|| {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments =
        ["tree", "--workspace", "--locked", "--offline", "--prefix", "none", "--format", "{p}|{l}|"];
    let output = Command::new(cargo).args(arguments).current_dir(ROOT).output().unwrap();
    assert!(output.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().filter_map(package).collect()
});

/// Reads `name v1.2.3 (where)|licence|`, which may go on.
fn package(line: &str) -> Option<Package> {
    let mut columns = line.split('|');
    let mut words = columns.next()?.split(' ');
    let (name, version, licence) = (words.next()?, words.next()?, columns.next()?);
    Some(Package { name: name.to_owned(), version: version.to_owned(), licence: licence.to_owned() })
}

/// A dependency in a manifest: `name.workspace = true`, `name = "1"` or `name = { .. }`.
struct Dependency {
    line: usize,
    name: String,
    /// Whether it says where the workspace has it, or where its sources are.
    is_named_elsewhere: bool,
}

/// The dependencies in the sections of a manifest that `is_wanted` chooses.
fn dependencies(manifest: &str, is_wanted: impl Fn(&str) -> bool) -> Vec<Dependency> {
    let text = fs::read_to_string(Path::new(ROOT).join(manifest)).unwrap();
    let mut section = String::new();
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.starts_with('[') {
            line.trim_matches(['[', ']']).clone_into(&mut section);
        } else if let Some((key, value)) =
            line.split_once('=').filter(|_| is_wanted(&section) && !line.starts_with('#'))
        {
            let name = key.trim().trim_end_matches(".workspace").trim_matches('"').to_owned();
            let is_named_elsewhere = key.trim().ends_with(".workspace")
                || ["workspace", "path"]
                    .iter()
                    .any(|word| value.split([' ', '{', ',']).any(|part| part == *word));
            found.push(Dependency { line: number, name, is_named_elsewhere });
        }
    }
    found
}

/// The dependencies that the members of the workspace name, with the manifest of each.
fn of_members() -> Vec<(String, Dependency)> {
    let root = fs::read_to_string(Path::new(ROOT).join("Cargo.toml")).unwrap();
    let members = root.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let manifests =
        members.split('"').skip(1).step_by(2).map(|folder| format!("{folder}/Cargo.toml").replace("./", ""));
    let is_wanted = |section: &str| section.contains("dependencies") && !section.starts_with("workspace");
    manifests
        .flat_map(|path| dependencies(&path, is_wanted).into_iter().map(move |found| (path.clone(), found)))
        .collect()
}

/// Whether a licence expression can be met from the list; the old `/` stands for `OR`.
fn is_allowed(licence: &str) -> bool {
    let spaced =
        licence.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "+WITH+");
    let mut words = spaced.split_whitespace();
    !licence.is_empty() && any_of(&mut words) && words.next().is_none()
}

/// Alternatives, up to `)` or the end.
fn any_of<'a>(words: &mut impl Iterator<Item = &'a str>) -> bool {
    let (mut any, mut all) = (false, true);
    while let Some(word) = words.next().filter(|word| *word != ")") {
        match word {
            "OR" => (any, all) = (any || all, true),
            "AND" => {}
            "(" => all &= any_of(words),
            id => all &= LICENCES.contains(&id.replace('+', " ").as_str()),
        }
    }
    any || all
}

#[test]
fn each_dependency_is_named_once_in_the_workspace() {
    let own = of_members().into_iter().filter(|(_, dependency)| !dependency.is_named_elsewhere);
    report(own.map(|(path, Dependency { line, name, .. })| {
        format!("{path}:{line}: `{name}` has a version of its own; write `{name}.workspace = true` and name it in the root")
    }));
}

#[test]
fn each_dependency_of_the_workspace_is_used() {
    let used: BTreeSet<String> = of_members().into_iter().map(|(_, dependency)| dependency.name).collect();
    let named = dependencies("Cargo.toml", |section| section == "workspace.dependencies").into_iter();
    report(named.filter(|dependency| !used.contains(&dependency.name)).map(
        |Dependency { line, name, .. }| format!("Cargo.toml:{line}: no member uses `{name}`; remove it"),
    ));
}

#[test]
fn each_package_has_a_licence_that_allows_its_use() {
    let closed = GRAPH.iter().filter(|package| !is_allowed(&package.licence));
    report(closed.map(|Package { name, version, licence }| {
        format!(
            "Cargo.lock: {name} {version} is under `{licence}`; replace it, or add the licence to `LICENCES`"
        )
    }));
}

#[test]
fn one_library_does_tls_and_one_does_cryptography() {
    let found = FORBIDDEN.iter().filter(|(name, _)| GRAPH.iter().any(|package| package.name == *name));
    report(found.map(|(name, reason)| {
        format!("Cargo.lock: `{name}` is built, but {reason}; `cargo tree -e features -i {name}` says who asks for it")
    }));
}

#[test]
fn packages_come_in_one_version_except_the_listed() {
    let mut versions = BTreeMap::<&str, BTreeSet<&str>>::new();
    for package in GRAPH.iter() {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let is_listed = |name: &str| DUPLICATES.iter().any(|(listed, _)| *listed == name);
    let new = versions.iter().filter(|(name, _)| !is_listed(name)).map(|(name, versions)| {
        format!("Cargo.lock: `{name}` comes as {versions:?}; settle on one, or list it in `DUPLICATES` with who holds on")
    });
    let over = DUPLICATES.iter().filter(|(name, _)| !versions.contains_key(name)).map(|(name, _)| {
        format!("tests/tidy_dependencies.rs: `{name}` comes in one version; remove it from `DUPLICATES`")
    });
    report(new.chain(over));
}

#[test]
fn a_licence_expression_is_read_as_it_is_meant() {
    let allowed = ["MIT/GPL-3.0", "(GPL-3.0 OR MIT) AND ISC", "GPL-3.0 OR Apache-2.0 WITH LLVM-exception"];
    assert_eq!(allowed.map(is_allowed), [true; 3]);
    let refused = ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT AND (ISC AND GPL-3.0)", "MIT WITH LLVM-exception"];
    assert_eq!(refused.map(is_allowed), [false; 5]);
}
