//! What a step looks at: the run's input, and the outputs of the steps before it.

use std::fmt::Write as _;

use super::state::{Run, StepState};
use crate::{Error, content::Contents, workflows::logic::Reads};

/// The input and the outputs that a step looks at, as one JSON text.
///
/// # Errors
///
/// When one of them cannot be read.
pub(super) async fn of(contents: &Contents, run: &Run, step: usize, reads: &Reads) -> Result<String, Error> {
    let input = contents.read::<Run>(run.workspace, run.id.0, &run.input).await?;
    let mut text = format!(r#"{{"inputs":{input},"steps":{{"#);
    let upstream =
        if *reads == Reads::Any { run.plan.upstream(step) } else { std::collections::BTreeSet::new() };
    let mut first = true;
    for (place, planned) in run.plan.steps.iter().enumerate() {
        let wanted = match reads {
            Reads::Steps(steps) => steps.contains(&planned.id),
            Reads::Any => upstream.contains(&place),
        };
        let StepState::Succeeded { output } = &run.progress[place].state else { continue };
        if wanted {
            let output = contents.read::<Run>(run.workspace, run.id.0, output).await?;
            let comma = if std::mem::take(&mut first) { "" } else { "," };
            // Ids of steps are plain: they need no escape.
            write!(text, r#"{comma}"{}":{{"output":{output}}}"#, planned.id).ok();
        }
    }
    text.push_str("}}");
    Ok(text)
}
