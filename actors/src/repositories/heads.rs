//! What another server says about its branches, and what its refusals mean.

use std::collections::BTreeMap;

use git2::Reference;

use super::{
    Address, CommitId, Failure,
    names::{HEADS, SHOWN},
    program::Answer,
};

/// The main branch of a server that has none.
const MAIN: &str = "refs/heads/main";
/// How much of a server's own words is passed on, in bytes.
const SAID_MAX: usize = 500;
/// What every line has in it that tells what was exchanged in git's own protocol.
const TRACE: &str = " packet: ";

/// The branches of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heads {
    /// The full name of the branch that work begins from and is merged into.
    pub(super) main: String,
    /// Where each branch is, by its full name.
    pub(super) branches: BTreeMap<String, CommitId>,
}

impl Heads {
    /// Reads what `git ls-remote --symref` answers about HEAD and the branches, and the exchange itself.
    pub(super) fn read(address: &Address, answer: &Answer) -> Result<Self, Failure> {
        // Any page can look like a repository without branches, and one of plain files takes no pushes.
        if !answer.said.contains(TRACE) {
            let said = "there is no git repository that speaks the smart protocol at";
            return Err(Failure::Refused(format!("{said} {address}")));
        }
        let mut branches = BTreeMap::new();
        // HEAD may name a branch that is to come, of which only the exchange tells.
        let unborn = answer.said.split_once("unborn HEAD symref-target:").map(|(_, rest)| rest);
        let mut head = unborn.and_then(|rest| rest.split_whitespace().next());
        for (value, name) in answer.stdout.lines().filter_map(|line| line.split_once('\t')) {
            if name == "HEAD" {
                head = value.strip_prefix("ref: ").or(head);
            } else if name.starts_with(HEADS) && Reference::is_valid_name(name) {
                let unknown = |_| {
                    let said = "names its commits in another way than by SHA-1, which is not supported";
                    Failure::Refused(format!("{address} {said}"))
                };
                branches.insert(name.to_owned(), value.parse::<CommitId>().map_err(unknown)?);
            }
        }
        let main = main_branch(head, &branches).ok_or_else(|| {
            let said = "which branch is the main one cannot be told; let HEAD there name it";
            Failure::Refused(format!("{address}: {said}"))
        })?;
        Ok(Self { main, branches })
    }

    /// Where a branch is.
    pub(super) fn tip(&self, branch: &str) -> Option<&CommitId> {
        self.branches.get(branch)
    }
}

/// The branch that HEAD names, else `main`, else `master`, else the only one; where there is none, what HEAD
/// names for later, else `main`.
fn main_branch(head: Option<&str>, branches: &BTreeMap<String, CommitId>) -> Option<String> {
    // A branch that shows a run is never what it is merged into.
    let is_own = |name: &&str| name.starts_with(HEADS) && !name.starts_with(SHOWN);
    let head = head.filter(is_own).filter(|name| Reference::is_valid_name(name));
    let mut own = branches.keys().map(String::as_str).filter(is_own);
    let mut usual = [head, Some(MAIN), Some("refs/heads/master")].into_iter().flatten();
    let named = usual.find(|name| branches.contains_key(*name));
    match (named, own.next(), own.next()) {
        (Some(name), _, _) | (None, Some(name), None) => Some(name.to_owned()),
        (None, None, _) => Some(head.unwrap_or(MAIN).to_owned()),
        (None, Some(_), Some(_)) => None,
    }
}

/// What git itself says when a push was refused or never reached the server.
const REFUSALS: [&str; 13] = [
    "error: 301",
    "error: 302",
    "error: 303",
    "error: 307",
    "error: 308",
    "error: 401",
    "error: 403",
    "error: 404",
    "Authentication failed",
    "could not read Username",
    "Failed to connect",
    "Couldn't connect",
    "Could not resolve",
];

/// Whether a push is known not to have happened: the server said so, or was never reached. What comes from
/// the server is not taken for what git says.
pub(super) fn is_refusal(answer: &Answer) -> bool {
    let own = answer.said.lines().filter(|line| line.starts_with("fatal: ") || line.starts_with("error: "));
    let is_said = |line: &str| REFUSALS.iter().any(|refusal| line.contains(refusal));
    answer.stdout.lines().any(|line| line.starts_with('!')) || own.into_iter().any(is_said)
}

/// Why a server refused, and what to do about it.
pub(super) fn explain(address: &Address, answer: &Answer, has_token: bool) -> String {
    let said = &answer.said;
    let says = |parts: &[&str]| parts.iter().any(|part| said.contains(part));
    if says(&["could not read Username", "could not read Password", "Authentication failed", "error: 401"]) {
        let place = address.place().split('/').next().unwrap_or_default();
        return if has_token {
            format!("{address} does not accept the token that repositories.tokens has for it")
        } else {
            format!(
                "{address} is not there, or wants credentials; the operator puts them under \
                 repositories.tokens in the server's configuration, as \"{place}\""
            )
        };
    }
    if says(&["error: 403"]) {
        return format!("{address} forbids it (403); give the token under repositories.tokens more rights");
    }
    if says(&[
        "error: 301",
        "error: 302",
        "error: 303",
        "error: 307",
        "error: 308",
        "unable to update url base",
    ]) {
        return format!("{address} leads to another address, which is not followed; give that one");
    }
    if says(&[
        "not found",
        "is this a git repository",
        "does not appear to be a git repository",
        "error: 404",
    ]) {
        return format!("there is no git repository at {address}");
    }
    // A push that was refused says so on the other stream, as `!\tfrom:to\t[remote rejected] (why)`.
    let refused = answer.stdout.lines().find(|line| line.starts_with('!'));
    let refused = refused.and_then(|line| line.rsplit('\t').next()).unwrap_or_default();
    let words = said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains(TRACE));
    let words = words.collect::<Vec<_>>().join("; ");
    let words = format!("{refused} {words}");
    let words = words.trim();
    format!("git could not do it at {address}: {}", &words[..words.floor_char_boundary(SAID_MAX)])
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
    const B: &str = "5b825dc642cb6eb9a060e54bf8d69288fbee4904";

    fn address() -> Address {
        Address::parse("https://example.com/a").unwrap()
    }

    const LINE: &str = "15:19:24.177461 pkt-line.c:86           packet:    ls-remote< ";

    /// What is read of an answer, after this was exchanged.
    fn read(stdout: &str, said: &str) -> Result<Heads, Failure> {
        Heads::read(&address(), &Answer { succeeded: true, stdout: stdout.to_owned(), said: said.to_owned() })
    }

    #[test]
    fn the_main_branch_is_the_one_that_head_names() {
        let named =
            format!("ref: refs/heads/trunk\tHEAD\n{A}\tHEAD\n{A}\trefs/heads/trunk\n{B}\trefs/heads/main\n");
        let heads = read(&named, LINE).unwrap();
        assert_eq!((heads.main.as_str(), heads.tip(&heads.main).unwrap().as_str()), ("refs/heads/trunk", A));
        for (said, main) in [
            (String::new(), Some(MAIN)),
            ("ref: refs/heads/gone\tHEAD\n".to_owned(), Some("refs/heads/gone")),
            (format!("ref: refs/heads/gone\tHEAD\n{A}\trefs/heads/main"), Some(MAIN)),
            (format!("{A}\tHEAD\n{A}\trefs/heads/x\n{A}\trefs/heads/master\n"), Some("refs/heads/master")),
            (format!("{A}\tHEAD\n{A}\trefs/heads/x\n{A}\trefs/heads/cendriix/y-1\n"), Some("refs/heads/x")),
            (format!("ref: refs/heads/cendriix/y-1\tHEAD\n{A}\trefs/heads/cendriix/y-1\n"), Some(MAIN)),
            (format!("{A}\trefs/heads/x\n{A}\trefs/heads/y\n"), None),
            (format!("{A}{A}\trefs/heads/x\n"), None),
            (format!("{A}\trefs/remotes/x/HEAD\n{A}\trefs/heads/+a:b\n"), Some(MAIN)),
        ] {
            assert_eq!(read(&said, LINE).ok().map(|heads| heads.main).as_deref(), main, "{said}");
        }
    }

    #[test]
    fn an_empty_repository_is_told_from_a_page() {
        assert!(read("", "warning: nothing").unwrap_err().to_string().contains("no git repository"));
        let unborn = |name| format!("{LINE}unborn HEAD symref-target:{name}\n{LINE}0000\n");
        assert_eq!(read("", &unborn("refs/heads/trunk")).unwrap().main, "refs/heads/trunk");
        for name in ["refs/heads/cendriix/x", "refs/tags/x", "refs/heads/a..b", ""] {
            assert_eq!(read("", &unborn(name)).unwrap().main, MAIN, "{name}");
        }
        let shown = format!("{A}\trefs/heads/cendriix/y-1\n");
        assert_eq!(read(&shown, &unborn("refs/heads/trunk")).unwrap().main, "refs/heads/trunk");
    }

    #[test]
    fn only_what_git_says_itself_tells_that_a_push_did_not_happen() {
        let is_final = |stdout: &str, said: &str| {
            is_refusal(&Answer { succeeded: false, stdout: stdout.to_owned(), said: said.to_owned() })
        };
        assert!(is_final("!\ta:b\t[remote rejected] (hook declined)\n", ""));
        assert!(is_final("", "fatal: unable to access 'x': The requested URL returned error: 403\n"));
        assert!(is_final("", "fatal: unable to access 'x': Failed to connect to h port 1\n"));
        for said in [
            "remote: Authentication failed for a plugin\nfatal: the remote end hung up unexpectedly\n",
            "error: RPC failed; HTTP 502\nfatal: the remote end hung up unexpectedly\n",
            "fatal: unable to access 'x': The requested URL returned error: 408\n",
            "",
        ] {
            assert!(!is_final("", said), "{said}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let told = |said: &str, has_token| {
            let answer = Answer { succeeded: false, stdout: String::new(), said: said.to_owned() };
            explain(&address(), &answer, has_token)
        };
        let asks = "fatal: could not read Username for 'https://example.com': terminal prompts disabled";
        assert!(
            told(asks, false)
                .contains("repositories.tokens in the server's configuration, as \"example.com\"")
        );
        assert!(
            told("fatal: Authentication failed for 'https://example.com/a/'", true)
                .contains("does not accept")
        );
        assert!(
            told("fatal: repository 'https://example.com/a/' not found", false).contains("no git repository")
        );
        assert!(told("The requested URL returned error: 302", false).contains("another address"));
        let long = told(&"é".repeat(10_000), false);
        assert!(long.len() < 600, "{}", long.len());
        let hook = "!\tc0ffee:refs/heads/main\t[remote rejected] (pre-receive hook declined)\n";
        let answer = Answer { succeeded: false, stdout: hook.to_owned(), said: "remote: no\n".to_owned() };
        assert!(explain(&address(), &answer, true).contains("(pre-receive hook declined) remote: no"));
    }
}
