//! `doctor`: what works on this machine, what does not, and how to mend it.

use serde_json::json;

use super::{Done, Failure, output, output::Paint};
use crate::{
    config::{Config, ConfigError, Loaded},
    doctor::{self, Finding, Verdict},
};

/// Looks at everything; 1 when something that is necessary does not work. With a configuration that cannot
/// be used the rest is looked at as if there were none.
pub(super) async fn run(loaded: Result<&Loaded, &ConfigError>, json: bool) -> Done {
    let mut findings = configuration(loaded);
    let config = loaded.map_or_else(|_| Config::default(), |loaded| loaded.config.clone());
    findings.extend(doctor::examine(&config).await);
    let is_well = findings.iter().all(|finding| finding.verdict != Verdict::Bad);
    if json {
        let report = json!({ "ok": is_well, "findings": findings });
        output::line(&serde_json::to_string_pretty(&report).map_err(Failure::of)?);
    } else {
        print(&findings);
        output::line(match (is_well, findings.iter().any(|finding| finding.verdict == Verdict::Weak)) {
            (true, false) => "everything works",
            (true, true) => "all that is necessary works",
            (false, _) => "something that is necessary does not work",
        });
    }
    Ok(u8::from(!is_well))
}

fn configuration(loaded: Result<&Loaded, &ConfigError>) -> Vec<Finding> {
    const NAME: &str = "configuration";
    let finding = |verdict, said: String, mend: Option<&str>| Finding {
        name: NAME,
        verdict,
        said,
        mend: mend.map(str::to_owned),
    };
    match loaded {
        Ok(loaded) if loaded.warnings.is_empty() => {
            vec![finding(Verdict::Good, "it can be used".to_owned(), None)]
        }
        Ok(loaded) => {
            let warnings = loaded.warnings.iter();
            let mend = Some("correct or unset it");
            warnings.map(|said| finding(Verdict::Weak, said.clone(), mend)).collect()
        }
        Err(error) => vec![finding(Verdict::Bad, error.to_string(), Some("correct what is named"))],
    }
}

fn print(findings: &[Finding]) {
    let paint = Paint::of_stdout();
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or_default();
    for Finding { name, verdict, said, mend } in findings {
        let mark = match verdict {
            Verdict::Good => paint.with(Paint::GREEN, "✓"),
            Verdict::Weak => paint.with(Paint::CYAN, "!"),
            Verdict::Bad => paint.with(Paint::RED, "✗"),
        };
        let said = output::plain(said).replace('\n', &format!("\n{:width$}    ", ""));
        output::told(&format!("{mark} {name:width$}  {said}"));
        if let Some(mend) = mend {
            let mend = format!("→ {}", output::plain_line(mend));
            output::told(&format!("  {:width$}  {}", "", paint.with(Paint::DIM, &mend)));
        }
    }
}
