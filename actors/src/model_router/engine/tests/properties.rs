//! Whatever the text: no panic, the same answer each time, and plans that hold together.

use std::collections::BTreeSet;

use cendriix_protocol::model_router::TaskType;
use proptest::prelude::*;
use serde_json::json;

use super::{
    super::{STEPS_MAX, answer, plan, review},
    form, task,
};
use crate::model_router::chat::{Message, Request};

/// Pieces that tickets are made of, so that chance meets them often.
fn ticket() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("## ".to_owned()),
        Just("1. ".to_owned()),
        Just("- ".to_owned()),
        Just("> ".to_owned()),
        Just("\n".to_owned()),
        Just("\n\n".to_owned()),
        Just("\n```sh\n".to_owned()),
        Just("\n```\n".to_owned()),
        Just("\n```diff\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n".to_owned()),
        Just("Create `a.sh`:".to_owned()),
        Just("In `ä.txt`, replace `ß` with `é`.".to_owned()),
        Just("Run `b` and ".to_owned()),
        Just("if ".to_owned()),
        Just(" (in parallel)".to_owned()),
        Just("## If the tests fail".to_owned()),
        Just("## What failed".to_owned()),
        Just("## Notes".to_owned()),
        Just("---\n".to_owned()),
        Just("   ".to_owned()),
        Just("\t".to_owned()),
        "[a-zäß .,:;!?`*_#|<>&\\[\\]()]{0,12}",
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_plan_holds_together_whatever_the_ticket(title in any::<String>(), body in ticket()) {
        let made = plan(&title, &body);
        prop_assert_eq!(&made, &plan(&title, &body));
        prop_assert!(!made.steps.is_empty() && made.steps.len() <= STEPS_MAX);
        let mut earlier = BTreeSet::new();
        for step in &made.steps {
            prop_assert!(step.depends_on.iter().all(|id| earlier.contains(id)), "{:?}", step);
            prop_assert!((0.0..=1.0).contains(&step.confidence_score) && !step.reasons.is_empty());
            prop_assert!(earlier.insert(step.id.clone()));
        }
    }

    #[test]
    fn an_agent_answers_the_same_whatever_the_task(text in ticket()) {
        let mut request = task(&text);
        for _ in 0..4 {
            let first = answer(&request).unwrap();
            prop_assert_eq!(&first, &answer(&request).unwrap());
            if first.calls.is_empty() {
                break;
            }
            super::came(&mut request, &first, "ß a", false);
        }
    }

    #[test]
    fn a_review_reads_any_diff(title in any::<String>(), diff in any::<String>(), lines in prop::collection::vec("[-+ @\\\\].{0,20}", 0..20)) {
        let patch = format!("--- a/x.rs\n+++ b/x.rs\n@@ -1,9 +1,9 @@\n{}", lines.join("\n"));
        prop_assert_eq!(review(&title, &patch), review(&title, &patch));
        review(&title, &diff);
    }

    #[test]
    fn texts_are_classified_and_summarised_without_a_panic(text in ticket(), tokens in 0_u32..60) {
        for task_type in [TaskType::Classification, TaskType::Summarisation, TaskType::General] {
            let messages = vec![Message::User { text: text.clone() }];
            let request = Request { messages, task_type, max_tokens: tokens, ..Request::default() };
            prop_assert_eq!(answer(&request).unwrap(), answer(&request).unwrap());
        }
    }
}

/// The largest ticket, in bytes.
const TICKET_MAX: usize = 256 * 1024;

#[test]
fn hostile_tickets_of_the_largest_size_are_read_in_passable_time() {
    let fill = |piece: &str| piece.repeat(TICKET_MAX / piece.len());
    let half = |piece: &str| piece.repeat(TICKET_MAX / 2 / piece.len());
    for (name, body) in [
        ("quotes", fill("> ")),
        ("lists", fill("- ")),
        ("lists and empty lines", half("- ") + &half("\n")),
        ("quotes and lines", half("> ") + &half("\na")),
        ("numbers", fill("1. ")),
        ("headings", fill("## a\n")),
        ("empty headings", fill("#\n")),
        ("emphasis", fill("*a_ ")),
        ("brackets", fill("[](")),
        ("backticks", (1..700).map(|n| "`".repeat(n) + " ").collect()),
        ("fences", fill("```\n")),
        ("and", fill("and ")),
        ("verbs", fill("run ")),
        ("commands", fill("Run `a`. ")),
        ("commands and", fill("run `a` and ")),
        ("files", fill("`a.b`:\n\n~~~\nx\n~~~\n\n")),
        ("tables", fill("|a|b|\n|-|-|\n")),
        ("front matter", format!("---\n{}", fill("a: b\n"))),
        ("failing", fill("## If the tests fail\n")),
    ] {
        let made = plan("Hostile", &body);
        answer(&task(&body)).unwrap();
        answer(&form("run_plan", &json!({ "title": "Hostile", "body": body }))).unwrap();
        assert!(!made.steps.is_empty(), "{name}");
    }
}
