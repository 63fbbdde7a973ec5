//! What of the machine a command may read: the system, programs on the path, toolchains and package caches.
//!
//! **Invariant:** of a home directory only named sub-directories are shared; never one that may hold a
//! credential.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use super::plan::Place;

/// The system's own directories, or links to them.
const SYSTEM: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"];

/// What programs want of the configuration; all of it is the same on every machine with the same packages.
const CONFIGURATION: [&str; 11] = [
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
];

/// Where toolchains and package caches live: the variable that tells, where else it is below the home
/// directory, and the parts that are shared.
const HOMES: [(&str, &str, &[&str]); 8] = [
    ("CARGO_HOME", ".cargo", &["bin", "registry"]),
    ("GOMODCACHE", "go/pkg/mod", &[""]),
    ("NVM_DIR", ".nvm", &["versions"]),
    ("PYENV_ROOT", ".pyenv", &["bin", "libexec", "shims", "version", "versions"]),
    ("RBENV_ROOT", ".rbenv", &["bin", "libexec", "plugins", "shims", "versions"]),
    ("RUSTUP_HOME", ".rustup", &["settings.toml", "toolchains", "update-hashes"]),
    ("UV_PYTHON_INSTALL_DIR", ".local/share/uv/python", &[""]),
    ("VOLTA_HOME", ".volta", &["bin", "tools"]),
];

/// Where programs are when the server's own path tells nothing.
const USUAL_PATH: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// What every command may read, and the variables that tell it where.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    pub(super) places: Vec<Place>,
    pub(super) env: BTreeMap<String, String>,
}

impl Reach {
    /// Looks at this machine and at the server's own environment.
    pub(super) fn discover() -> Self {
        let home = env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        let path: Vec<PathBuf> =
            env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
        Self::of(home.as_deref(), &path, |name| env::var_os(name).map(PathBuf::from))
    }

    fn of(home: Option<&Path>, path: &[PathBuf], variable: impl Fn(&str) -> Option<PathBuf>) -> Self {
        let mut reach = Self::default();
        for dir in SYSTEM.iter().chain(&CONFIGURATION) {
            reach.share(Path::new(dir));
        }
        for (name, below, parts) in HOMES {
            let dir = variable(name).filter(|dir| dir.is_absolute()).or_else(|| Some(home?.join(below)));
            let Some(dir) = dir.filter(|dir| dir.is_dir()) else { continue };
            for part in parts {
                reach.share(&if part.is_empty() { dir.clone() } else { dir.join(part) });
            }
            if let Some(dir) = dir.to_str() {
                reach.env.insert(name.to_owned(), dir.to_owned());
            }
        }
        let on_path = reach.programs(home, path);
        reach.env.insert("PATH".to_owned(), on_path);
        reach
    }

    /// Shares the directories of a path, and gives it without those that are not shared.
    fn programs(&mut self, home: Option<&Path>, path: &[PathBuf]) -> String {
        let mut known = BTreeSet::new();
        let mut words = Vec::new();
        for dir in path {
            // A home directory, or what holds one, is no place for programs.
            let holds_home = home.is_some_and(|home| home.starts_with(dir));
            let Some(word) = dir.to_str().filter(|_| dir.is_absolute() && dir.is_dir() && !holds_home) else {
                continue;
            };
            if known.insert(dir) {
                self.share(&package(dir));
                words.push(word);
            }
        }
        if words.is_empty() { USUAL_PATH.join(":") } else { words.join(":") }
    }

    /// Shares a place unless it is shared already.
    fn share(&mut self, at: &Path) {
        let is_shared = self.places.iter().any(|place| match place {
            Place::Shared { at: shared, .. }
            | Place::Copied { at: shared, .. }
            | Place::Link { at: shared, .. } => at.starts_with(shared),
        });
        if is_shared {
            return;
        }
        let at = at.to_owned();
        // A link of the system, as from /bin to usr/bin, leads to the same inside.
        let is_system = SYSTEM.iter().any(|dir| Path::new(dir) == at);
        if let Some(to) = fs::read_link(&at).ok().filter(|_| is_system) {
            self.places.push(Place::Link { to, at });
        } else if let Ok(from) = fs::canonicalize(&at) {
            self.places.push(if from.is_dir() {
                Place::Shared { from, at }
            } else {
                Place::Copied { from, at }
            });
        }
    }
}

/// What a directory of programs needs beside itself: below `/opt`, the whole package.
fn package(programs: &Path) -> PathBuf {
    let mut parts = programs.components();
    let is_optional = parts.by_ref().take(2).eq(Path::new("/opt").components());
    match parts.next() {
        Some(name) if is_optional => Path::new("/opt").join(name),
        _ => programs.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_shared_in_named_parts_and_without_credentials() {
        let home = tempfile::tempdir().unwrap();
        for dir in [".cargo/bin", ".cargo/registry", ".rustup/toolchains", ".ssh", ".config/gh", "bin"] {
            fs::create_dir_all(home.path().join(dir)).unwrap();
        }
        for file in [".cargo/credentials.toml", ".cargo/config.toml", ".rustup/settings.toml", ".netrc"] {
            fs::write(home.path().join(file), "secret").unwrap();
        }
        let path = [
            home.path().join("bin"),
            home.path().to_owned(),
            PathBuf::from("relative"),
            PathBuf::from("/usr/bin"),
        ];
        let reach = Reach::of(Some(home.path()), &path, |_| None);
        let below = reach.places.iter().filter_map(|place| match place {
            Place::Shared { at, .. } | Place::Copied { at, .. } => {
                at.strip_prefix(home.path()).ok()?.to_str()
            }
            Place::Link { .. } => None,
        });
        let below: Vec<&str> = below.collect();
        assert_eq!(
            below,
            [".cargo/bin", ".cargo/registry", ".rustup/settings.toml", ".rustup/toolchains", "bin"]
        );
        assert_eq!(reach.env["PATH"], format!("{}/bin:/usr/bin", home.path().display()));
        assert_eq!(reach.env["CARGO_HOME"], home.path().join(".cargo").to_str().unwrap());
    }

    #[test]
    fn programs_of_an_optional_package_come_with_the_package() {
        assert_eq!(package(Path::new("/opt/go/bin")), Path::new("/opt/go"));
        assert_eq!(package(Path::new("/opt")), Path::new("/opt"));
        assert_eq!(package(Path::new("/srv/tools/bin")), Path::new("/srv/tools/bin"));
    }
}
