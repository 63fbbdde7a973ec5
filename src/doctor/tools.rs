//! Programs: what contains commands, git, and what repositories' own tests need.

use std::{fs, process::Stdio, time::Duration};

use cendriix_actors::{
    repositories::probe_git,
    sandboxes::{Enforcement, Filesystem, Limiter, Local},
};
use tokio::process::Command;

use super::Finding;
use crate::config::{Config, SandboxMode};

/// How long a program may take to say which release it is.
const SAYS_WITHIN: Duration = Duration::from_secs(4);

/// Toolchains, and how each is asked for its release.
const TOOLCHAINS: [(&str, &str); 5] = [
    ("cargo", "--version"),
    ("node", "--version"),
    ("python3", "--version"),
    ("go", "version"),
    ("make", "--version"),
];

/// Looks at what contains commands of agents and tests, by trying it.
pub(super) async fn sandbox(config: &Config) -> Vec<Finding> {
    const NAME: &str = "sandbox";
    if config.sandbox.mode == SandboxMode::None {
        let said = "commands of agents and tests are not contained (sandbox.mode = \"none\")";
        return vec![Finding::weak(NAME, said, "set sandbox.mode = \"local\"")];
    }
    let helper = match &config.sandbox.helper {
        helper if helper.as_os_str().is_empty() => std::env::current_exe(),
        helper => Ok(helper.clone()),
    };
    match helper {
        Ok(helper) => {
            let found = Local::probe(helper).await;
            vec![walls(found.capabilities()), limits(found.capabilities())]
        }
        Err(error) => {
            let said = format!("this program does not find itself: {error}");
            vec![Finding::bad(NAME, said, "set sandbox.helper to the path of cendriix")]
        }
    }
}

fn walls(found: &Enforcement) -> Finding {
    const NAME: &str = "sandbox";
    let notes = found.notes.iter().filter(|note| note.contains("does not work") || note.contains("install"));
    let why = notes.map(String::as_str).collect::<Vec<_>>().join("; ");
    let said = |what: &str| if why.is_empty() { what.to_owned() } else { format!("{what} ({why})") };
    match found.filesystem {
        Filesystem::Bubblewrap => {
            Finding::good(NAME, "bubblewrap keeps commands to their files, without network")
        }
        Filesystem::Landlock => {
            Finding::weak(NAME, said("only landlock and seccomp contain commands, which is weaker"), mend())
        }
        Filesystem::None => {
            Finding::bad(NAME, said("nothing contains commands here, so none is run"), mend())
        }
    }
}

/// What keeps bubblewrap from working, as far as the kernel says.
fn mend() -> String {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let mut steps = vec!["install bubblewrap (Debian: apt-get install bubblewrap)".to_owned()];
    if read("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
        steps.push("allow user namespaces: sysctl -w kernel.unprivileged_userns_clone=1".to_owned());
    }
    if read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
        let step =
            "allow bubblewrap user namespaces: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
        steps.push(step.to_owned());
    }
    if read("/proc/sys/user/max_user_namespaces") == "0" {
        steps.push("allow user namespaces: sysctl -w user.max_user_namespaces=10000".to_owned());
    }
    if fs::exists("/.dockerenv").unwrap_or(false) {
        steps.push("in a container: allow it to make namespaces (seccomp profile)".to_owned());
    }
    steps.join("; ")
}

fn limits(found: &Enforcement) -> Finding {
    const NAME: &str = "limits";
    let parts = [("memory", found.memory), ("processes", found.processes), ("processor time", found.cpu)];
    let of = |limiter| {
        let names = parts.iter().filter(|(_, by)| *by == limiter).map(|(name, _)| *name);
        names.collect::<Vec<_>>().join(", ")
    };
    if parts.iter().all(|(_, by)| *by == Limiter::Cgroup) {
        return Finding::good(NAME, "cgroups limit memory, processes and processor time of each command");
    }
    if parts.iter().any(|(_, by)| *by == Limiter::None) {
        return Finding::weak(NAME, format!("nothing limits {}", of(Limiter::None)), DELEGATE);
    }
    let said = format!(
        "no cgroup limits {}: each process is limited, not all of a command together",
        of(Limiter::Rlimit)
    );
    Finding::weak(NAME, said, DELEGATE)
}

const DELEGATE: &str = "run the server as a systemd service with Delegate=yes, or as root";

/// Looks for the git program, which reaches repositories on other servers.
pub(super) async fn git() -> Vec<Finding> {
    const NAME: &str = "git";
    vec![match probe_git().await {
        Ok(version) => Finding::good(NAME, version),
        Err(error) => {
            let said = "repositories on other servers cannot be reached; others can";
            Finding::weak(NAME, said, error.to_string())
        }
    }]
}

/// Looks for what repositories' own tests are written with.
pub(super) async fn toolchains() -> Vec<Finding> {
    const NAME: &str = "toolchains";
    let asked =
        TOOLCHAINS.map(|(program, argument)| async move { (program, release(program, argument).await) });
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for (program, release) in futures::future::join_all(asked).await {
        match release {
            Some(release) => there.push(format!("{program} {release}")),
            None => missing.push(program),
        }
    }
    let there = if there.is_empty() { "none was found".to_owned() } else { there.join(", ") };
    if missing.is_empty() {
        return vec![Finding::good(NAME, there)];
    }
    let mend = "install what the repositories' own tests need, on the server's PATH";
    vec![Finding::weak(NAME, format!("{there}; not found: {}", missing.join(", ")), mend)]
}

/// The first word of what a program says that is a number.
async fn release(program: &str, argument: &str) -> Option<String> {
    let mut command = Command::new(program);
    command.arg(argument).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(SAYS_WITHIN, command.output()).await.ok()?.ok()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let number = |word: &&str| {
        word.trim_start_matches(|letter: char| letter.is_ascii_alphabetic())
            .starts_with(|c: char| c.is_ascii_digit())
    };
    let word = said.split_whitespace().find(number)?;
    Some(word.trim_start_matches(|letter: char| letter.is_ascii_alphabetic()).to_owned())
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};
    use cendriix_actors::sandboxes::Network;

    fn found(filesystem: Filesystem, limiter: Limiter) -> Enforcement {
        let notes = vec!["bubblewrap is not installed; install it for a stronger sandbox".to_owned()];
        let network = Network::Seccomp;
        Enforcement { filesystem, network, memory: limiter, processes: limiter, cpu: limiter, notes }
    }

    #[test]
    fn weaker_walls_are_told_and_none_is_bad() {
        let verdict = |filesystem| walls(&found(filesystem, Limiter::Cgroup)).verdict;
        assert_eq!(verdict(Filesystem::Bubblewrap), Verdict::Good);
        assert_eq!(verdict(Filesystem::Landlock), Verdict::Weak);
        assert_eq!(verdict(Filesystem::None), Verdict::Bad);
        assert!(walls(&found(Filesystem::None, Limiter::None)).mend.unwrap().contains("bubblewrap"));
        assert_eq!(limits(&found(Filesystem::Landlock, Limiter::Cgroup)).verdict, Verdict::Good);
        assert_eq!(limits(&found(Filesystem::Landlock, Limiter::Rlimit)).verdict, Verdict::Weak);
    }

    #[tokio::test]
    async fn a_program_is_asked_for_its_release() {
        assert_eq!(release("echo", "go version go1.24.4 linux/amd64").await.as_deref(), Some("1.24.4"));
        assert_eq!(release("there-is-no-such-program", "--version").await, None);
    }
}
