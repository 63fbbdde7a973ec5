//! Lines that look as if they held a credential.

/// A credential by the shape that its maker gives it: what it begins with and how long the rest is at least.
const SHAPES: &[(&str, usize, &str)] = &[
    ("AKIA", 16, "an AWS access key"),
    ("ASIA", 16, "an AWS access key"),
    ("AIza", 35, "a Google API key"),
    ("ghp_", 36, "a GitHub token"),
    ("gho_", 36, "a GitHub token"),
    ("ghr_", 36, "a GitHub token"),
    ("ghs_", 36, "a GitHub token"),
    ("ghu_", 36, "a GitHub token"),
    ("github_pat_", 50, "a GitHub token"),
    ("glpat-", 20, "a GitLab token"),
    ("npm_", 36, "an npm token"),
    ("pypi-", 50, "a PyPI token"),
    ("rk_live_", 20, "a Stripe key"),
    ("sk-ant-", 32, "an Anthropic API key"),
    ("sk-proj-", 32, "an OpenAI API key"),
    ("sk_live_", 20, "a Stripe key"),
    ("xoxa-", 20, "a Slack token"),
    ("xoxb-", 20, "a Slack token"),
    ("xoxp-", 20, "a Slack token"),
    ("xoxr-", 20, "a Slack token"),
    ("xoxs-", 20, "a Slack token"),
];

/// Names of things that are kept secret; a longer name may end in one.
const NAMES: &[&str] = &[
    "access_key",
    "accesskey",
    "api_key",
    "apikey",
    "auth_token",
    "authtoken",
    "client_secret",
    "clientsecret",
    "passwd",
    "password",
    "private_key",
    "pwd",
    "secret",
    "secret_key",
    "secretkey",
    "token",
];

/// Parts of values that stand for one that comes from elsewhere.
const STAND_INS: &[&str] = &[
    "<",
    "$",
    "%",
    "{",
    "***",
    "changeme",
    "dummy",
    "env",
    "example",
    "placeholder",
    "redacted",
    "test",
    "todo",
    "xxx",
    "your",
];

/// What a line seems to hold.
pub(super) fn found(line: &str) -> Option<&'static str> {
    if line.contains("-----BEGIN ") && line.contains("PRIVATE KEY") {
        return Some("a private key");
    }
    SHAPES
        .iter()
        .find(|(start, rest, _)| has_shape(line, start, *rest))
        .map(|(_, _, what)| *what)
        .or_else(|| is_assigned(line).then_some("a credential that stands in the source"))
}

fn has_shape(line: &str, start: &str, rest_min: usize) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    line.match_indices(start).any(|(at, _)| {
        let is_begin = at == 0 || !is_inner(line.as_bytes()[at - 1]);
        let rest = line.as_bytes()[at + start.len()..].iter().take_while(|byte| is_inner(**byte)).count();
        is_begin && rest >= rest_min
    })
}

/// `password = "…"`, `"api_key": "…"`.
fn is_assigned(line: &str) -> bool {
    line.match_indices(['=', ':']).any(|(at, _)| {
        let before = line[..at].trim_end().trim_end_matches([':', '"', '\'']);
        let start =
            before.rfind(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').map_or(0, |end| end + 1);
        let name = before.get(start..).unwrap_or_default().to_lowercase().replace('-', "_");
        let is_secret = NAMES.iter().any(|secret| {
            name.strip_suffix(secret).is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
        });
        is_secret && value(line[at + 1..].trim_start_matches(['=', ' ', '\t'])).is_some_and(is_real)
    })
}

/// What stands between the quotes that a text begins with.
fn value(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| ['"', '\''].contains(c))?;
    text[1..].split_once(quote).map(|(value, _)| value)
}

fn is_real(value: &str) -> bool {
    let small = value.to_lowercase();
    value.len() >= 6 && !value.contains(' ') && !STAND_INS.iter().any(|part| small.contains(part))
}
