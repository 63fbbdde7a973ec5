//! Stories of agents' steps, and what holds for every step whatever is said to it.

use cendriix_protocol::{agent_steps::AgentStepStatus, model_router::TaskType};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    agent_steps::{machine::ListRow, wire},
    golden,
    kit::{
        Journaled,
        machine::{Actor, Lost, Machine},
    },
    metering::ledger::Outcome,
};

const BEGAN: Timestamp = Timestamp(1_780_000_000_000);

fn birth() -> Birth {
    let (workspace, project) = (WorkspaceId(Uuid::from_u128(1)), Uuid::from_u128(3));
    Birth {
        run: RunId(Uuid::from_u128(2)),
        workspace,
        node: Some((0, "build".into())),
        attempt: 1,
        name: "build".into(),
        source: Source::Managed { workspace, project },
        bases: vec![commit(1)],
        own: None,
    }
}

fn commit(number: u32) -> CommitId {
    format!("{number:040x}").parse().unwrap()
}

fn content() -> Payload {
    Payload::Inline("{}".into())
}

fn policy() -> Policy {
    Policy {
        turns: 3,
        tokens: 100,
        tokens_per_call: 10,
        tool_timeout_ms: 1_000,
        task_type: TaskType::CodeGeneration,
        contained: true,
    }
}

fn spent(tokens: u64) -> Vec<Spent> {
    vec![Spent {
        call: Uuid::from_u128(9),
        model: "m".into(),
        provider: "p".into(),
        input_tokens: tokens,
        output_tokens: 1,
        cached_tokens: 0,
        cost: MicroUsd(5),
        latency_ms: 7,
        outcome: Outcome::Succeeded,
        estimated: false,
    }]
}

fn given() -> Given {
    Given { at: BEGAN, by: Actor::System.into(), random: 1 }
}

fn rebuilt(events: &[Event]) -> AgentStep {
    let mut step = AgentStep::found(&events[0]).unwrap();
    for (seq, event) in (1..).zip(events) {
        step.apply(seq, event);
    }
    step
}

fn thought(turn: u32, calls: u32, tokens: u64, likeness: u64) -> Command {
    let end = (calls == 0).then(End::well);
    Command::Thought { turn, answer: content(), calls, likeness, end, spent: spent(tokens) }
}

fn acted(turn: u32, likeness: u64) -> Command {
    let calls = vec![Called { name: "run_command".into(), is_error: false }];
    Command::Acted { turn, results: content(), calls, likeness, commit: commit(turn + 1) }
}

/// What a line of a story says at a turn.
fn command(line: &str, turn: u32) -> Command {
    let end = |stop| badly(stop, "broken", "it broke");
    match line {
        "prepared" => {
            let (base, brief) = (commit(1), content());
            Command::Prepared {
                base,
                conflicts: Vec::new(),
                brief,
                name: "Build it".into(),
                policy: policy(),
            }
        }
        "calls" => thought(turn, 1, 10, u64::from(turn)),
        "calls much" => thought(turn, 1, 100, u64::from(turn)),
        "says" => thought(turn, 0, 10, 0),
        "late" => thought(turn.saturating_sub(1), 1, 10, 0),
        "acts" => acted(turn, u64::from(turn)),
        "acts alike" => acted(turn, 42),
        "breaks" => Command::Broke { turn, end: end(StopReason::ModelError), spent: spent(3) },
        "cancel" => Command::Cancel,
        other => panic!("nobody says {other:?}"),
    }
}

/// Tells what comes of each line: the events, or the refusal.
fn play(lines: &[&str]) -> String {
    let mut events = AgentStep::create(&birth(), AgentStepId(Uuid::from_u128(4)), &given());
    let mut step = rebuilt(&events);
    let mut told = Vec::new();
    for line in lines {
        let said = match step.decide(&command(line, step.turn()), &given()) {
            Ok(new) => {
                for event in &new {
                    step.apply(step.seq + 1, event);
                }
                events.extend(new.clone());
                new.iter().map(tell).collect::<Vec<_>>().join(", ")
            }
            Err(refusal) => format!("! {refusal}"),
        };
        told.push(format!("{line}: {said}"));
    }
    assert_eq!(rebuilt(&events), step);
    let wants: Vec<String> = step.work().into_values().map(|wanted| format!("{wanted:?}")).collect();
    told.push(format!("= {} tokens; wants {}", step.input_tokens + step.output_tokens, wants.join(", ")));
    told.join("\n")
}

fn tell(event: &Event) -> String {
    match event {
        Event::Created(_) => "created".into(),
        Event::Prepared { .. } => "prepared".into(),
        Event::Thought { turn, calls, .. } => format!("turn {turn} with {calls} calls"),
        Event::Acted { turn, commit, .. } => format!("calls of {turn} made, {:.2}", &commit.as_str()[38..]),
        Event::CancelRequested { .. } => "cancel requested".into(),
        Event::Ended { end, .. } => format!("ends {:?}", end.stop),
    }
}

#[test]
fn turns_and_calls_alternate_until_the_model_has_said_all() {
    insta::assert_snapshot!(play(&["prepared", "calls", "acts", "says", "acts", "cancel"]), @r"
    prepared: prepared
    calls: turn 1 with 1 calls
    acts: calls of 1 made, 02
    says: turn 2 with 0 calls, ends EndTurn
    acts: ! a report of a turn that is over
    cancel: ! this step has ended
    = 22 tokens; wants
    ");
}

#[test]
fn turns_and_tokens_have_a_bound_and_a_turn_over_it_makes_no_calls() {
    insta::assert_snapshot!(play(&["prepared", "calls", "acts", "calls", "acts", "calls", "acts"]), @r"
    prepared: prepared
    calls: turn 1 with 1 calls
    acts: calls of 1 made, 02
    calls: turn 2 with 1 calls
    acts: calls of 2 made, 03
    calls: turn 3 with 1 calls, ends MaxIterations
    acts: ! a report of a turn that is over
    = 33 tokens; wants
    ");
    insta::assert_snapshot!(play(&["prepared", "calls much"]), @r"
    prepared: prepared
    calls much: turn 1 with 1 calls, ends TokenBudget
    = 101 tokens; wants
    ");
}

#[test]
fn the_same_calls_with_the_same_results_three_times_are_a_loop() {
    let mut step = rebuilt(&AgentStep::create(&birth(), AgentStepId(Uuid::from_u128(4)), &given()));
    let roomy = Policy { turns: 50, ..policy() };
    let (base, brief) = (commit(1), content());
    let mut said = vec![Command::Prepared {
        base,
        conflicts: Vec::new(),
        brief,
        name: "Build it".into(),
        policy: roomy,
    }];
    said.extend((1..=3).flat_map(|turn| [thought(turn, 1, 1, 0), acted(turn, 42)]));
    for command in said {
        for event in step.decide(&command, &given()).unwrap() {
            step.apply(step.seq + 1, &event);
        }
    }
    assert_eq!(step.ended().map(|end| end.stop), Some(StopReason::Loop));
}

#[test]
fn whoever_cancels_waits_for_what_goes_on_and_what_it_did_is_kept() {
    insta::assert_snapshot!(play(&["prepared", "calls", "cancel", "cancel", "acts"]), @r"
    prepared: prepared
    calls: turn 1 with 1 calls
    cancel: cancel requested
    cancel: 
    acts: calls of 1 made, 02, ends Cancelled
    = 11 tokens; wants
    ");
    insta::assert_snapshot!(play(&["cancel"]), @r"
    cancel: cancel requested
    = 0 tokens; wants Stop(Prepare)
    ");
}

#[test]
fn a_report_of_an_earlier_turn_changes_nothing_and_a_broken_one_ends_it() {
    insta::assert_snapshot!(play(&["prepared", "calls", "acts", "late", "breaks"]), @r"
    prepared: prepared
    calls: turn 1 with 1 calls
    acts: calls of 1 made, 02
    late: ! a report of a turn that is over
    breaks: ends ModelError
    = 15 tokens; wants
    ");
}

#[test]
fn calls_outside_a_sandbox_are_never_repeated_by_themselves() {
    assert_eq!(effect(Work::Act { turn: 1, contained: true }), Effect::Contained);
    assert_eq!(effect(Work::Act { turn: 1, contained: false }), Effect::Irrevocable);
}

fn every_event() -> Vec<Event> {
    let at = BEGAN;
    let own = Some(Payload::Blob { name: "c0ffee".into(), len: 5000 });
    let created =
        AgentStep::create(&Birth { own, node: None, ..birth() }, AgentStepId(Uuid::nil()), &given());
    let mut events = created;
    events.extend(AgentStep::create(&birth(), AgentStepId(Uuid::from_u128(4)), &given()));
    let (base, brief) = (commit(1), content());
    events.push(Event::Prepared {
        base,
        conflicts: Vec::new(),
        brief,
        name: "Build it".into(),
        policy: policy(),
        at,
    });
    events.push(Event::Thought { turn: 1, answer: content(), calls: 1, likeness: 5, spent: spent(3), at });
    let calls = vec![Called { name: "read_file".into(), is_error: true }];
    events.push(Event::Acted { turn: 1, results: content(), calls, likeness: 6, commit: commit(2), at });
    events.push(Event::CancelRequested { at });
    let stops = [
        StopReason::EndTurn,
        StopReason::MaxIterations,
        StopReason::TokenBudget,
        StopReason::MaxTokens,
        StopReason::Loop,
        StopReason::NeedsModel,
        StopReason::Refused,
        StopReason::ModelError,
        StopReason::Cancelled,
        StopReason::Error,
    ];
    events.extend(stops.map(|stop| Event::Ended { end: badly(stop, "code", "said"), spent: spent(1), at }));
    events.push(Event::Ended { end: End::well(), spent: Vec::new(), at });
    events
}

#[test]
fn steps_and_their_events_are_written_and_read_as_ever() {
    let journaled = Journaled { command: None, at: BEGAN, by: Actor::System, events: every_event() };
    golden::holds::<Journaled<Event>>("agent-step-events", &journaled);
    let conflicts = vec!["src/a.rs".to_owned()];
    let (base, brief, name, policy, at) = (commit(1), content(), "Join".to_owned(), policy(), BEGAN);
    let mut joining = rebuilt(&every_event()[1..2]);
    let prepared = Command::Prepared { base, conflicts, brief, name, policy };
    let events = joining.decide(&prepared, &Given { at, ..given() }).unwrap();
    joining.apply(joining.seq + 1, &events[0]);
    golden::holds::<Journaled<Event>>("agent-step-conflicts", &Journaled { events, ..journaled });
    golden::holds::<AgentStep>("agent-step-joining", &joining);
    let mut step = rebuilt(&every_event()[1..2]);
    let mut steps = vec![step.clone()];
    for line in ["prepared", "calls", "acts", "cancel", "breaks"] {
        for event in step.decide(&command(line, step.turn()), &given()).unwrap() {
            step.apply(step.seq + 1, &event);
        }
        steps.push(step.clone());
    }
    golden::holds::<Vec<AgentStep>>("agent-steps", &steps);
    let rows = steps.iter().map(ListRow::of).collect::<Vec<_>>();
    golden::holds::<Vec<ListRow>>("agent-step-lines", &rows);
    assert_eq!(wire::status(&step), AgentStepStatus::Cancelled);
}

fn said() -> impl Strategy<Value = (u8, i8, u8)> {
    (0..9_u8, -1..2_i8, any::<u8>())
}

fn meant(step: &AgentStep, (what, turn, how): (u8, i8, u8)) -> Command {
    let turn = step.turn().saturating_add_signed(turn.into());
    match what {
        0 => Command::Cancel,
        1 => command("prepared", turn),
        2 => command("breaks", turn),
        3..=5 => thought(turn, u32::from(how % 3), u64::from(how), u64::from(how % 2)),
        _ => acted(turn, u64::from(how % 2)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_said_a_step_keeps_its_promises(said in proptest::collection::vec(said(), 1..40)) {
        let mut events = AgentStep::create(&birth(), AgentStepId(Uuid::from_u128(4)), &given());
        let mut step = rebuilt(&events);
        for said in said {
            let before = step.clone();
            if let Ok(new) = step.decide(&meant(&step, said), &given()) {
                for event in &new {
                    step.apply(step.seq + 1, event);
                }
                events.extend(new);
            }
            prop_assert!(before.ended().is_none() || before == step, "an end is an end");
            prop_assert_eq!(step.work().is_empty(), step.ended().is_some());
            prop_assert!(step.turns.len() <= policy().turns as usize);
            for (key, wanted) in step.work() {
                for how in [Lost::Panicked("oh".into()), Lost::OutcomeUnknown, Lost::Stopped] {
                    let mut after = step.clone();
                    for event in step.decide(&Machine::lost(&step, &key, how), &given()).unwrap() {
                        after.apply(after.seq + 1, &event);
                    }
                    let goes_on = after.work().get(&key) == Some(&wanted);
                    prop_assert!(!goes_on, "{key:?} is lost again and again");
                }
            }
        }
        let bytes = rmp_serde::to_vec_named(&step).unwrap();
        prop_assert_eq!(&rmp_serde::from_slice::<AgentStep>(&bytes).unwrap(), &step);
        prop_assert_eq!(&rebuilt(&events), &step);
    }
}
