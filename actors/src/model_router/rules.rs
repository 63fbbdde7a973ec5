//! What makes a request for a completion sound; pure.

use cendriix_protocol::{
    error::FieldErrors,
    model_router::{CAPABILITIES_MAX, CAPABILITY_MAX, Complete, MAX_TOKENS_MAX, PROMPT_MAX},
};

/// Looks at everything at once.
///
/// # Errors
///
/// A sentence for each wrong field, by its path.
pub(super) fn check(body: &Complete) -> Result<(), FieldErrors> {
    let mut errors = FieldErrors::new();
    let mut wrong = |path: &str, message: String| errors.entry(path.to_owned()).or_default().push(message);
    let length = body.prompt.len();
    if body.prompt.trim().is_empty() || length > PROMPT_MAX {
        wrong("prompt", format!("needs 1 to {PROMPT_MAX} bytes, has {length}"));
    }
    let length = body.system_prompt.as_ref().map_or(0, String::len);
    if length > PROMPT_MAX {
        wrong("systemPrompt", format!("has {length} bytes, more than {PROMPT_MAX}"));
    }
    if body.max_tokens.is_some_and(|tokens| !(1..=MAX_TOKENS_MAX).contains(&tokens)) {
        wrong("maxTokens", format!("needs to be within 1 and {MAX_TOKENS_MAX}"));
    }
    let count = body.required_capabilities.len();
    if count > CAPABILITIES_MAX {
        wrong("requiredCapabilities", format!("has {count} names, more than {CAPABILITIES_MAX}"));
    }
    for (place, name) in body.required_capabilities.iter().enumerate().take(CAPABILITIES_MAX) {
        if name.is_empty() || name.len() > CAPABILITY_MAX {
            wrong(&format!("requiredCapabilities[{place}]"), format!("needs 1 to {CAPABILITY_MAX} bytes"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let sound = Complete { prompt: "hi".into(), ..Complete::default() };
        assert_eq!(check(&sound), Ok(()));
        let wrong = Complete {
            prompt: " ".into(),
            system_prompt: Some("x".repeat(PROMPT_MAX + 1)),
            max_tokens: Some(0),
            required_capabilities: vec![String::new(); CAPABILITIES_MAX + 1],
            ..sound
        };
        let errors = check(&wrong).unwrap_err();
        for path in ["prompt", "systemPrompt", "maxTokens", "requiredCapabilities", "requiredCapabilities[0]"]
        {
            assert!(errors.contains_key(path), "{path}");
        }
    }
}
