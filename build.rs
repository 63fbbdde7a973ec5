//! Notes what the program is built for, and from which commit.
//!
//! A commit is noted where the sources stand in a git repository of their own and the profile is no
//! development one, whose builds would start anew with every commit. `CENDRIIX_BUILD_COMMIT` names it for
//! builds from an archive.

use std::{env, path::Path, process::Command};

const COMMIT: &str = "CENDRIIX_BUILD_COMMIT";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={COMMIT}");
    let target = env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=CENDRIIX_BUILD_TARGET={target}");
    let commit = env::var(COMMIT).ok().filter(|commit| is_commit(commit)).or_else(from_repository);
    println!("cargo::rustc-env={COMMIT}={}", commit.unwrap_or_default());
}

fn from_repository() -> Option<String> {
    if env::var("PROFILE").as_deref() == Ok("debug") {
        return None;
    }
    let sources = env::var("CARGO_MANIFEST_DIR").ok()?;
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&sources).args(arguments).output().ok()?;
        let said = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !said.is_empty()).then_some(said)
    };
    // An archive may have been unpacked inside another repository.
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != Path::new(&sources).canonicalize().ok()? {
        return None;
    }
    let log = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={log}");
    git(&["rev-parse", "--short=12", "HEAD"]).filter(|commit| is_commit(commit))
}

fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
