//! Stories of runs, and what holds for every run whatever is asked of it.
//!
//! A story's graph is written in layers, each step after all of the layer before it: `t` transforms, `g` is a
//! gate, `G` a gate for admins, `a` an agent; ids count from 0 (`t0 a1`). Behind a semicolon stands the
//! course.

use cendriix_protocol::{ids, runs as wire_runs, workspaces::Role};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    golden,
    kit::{
        Journaled,
        machine::{Actor, Lost, Machine, Wanted},
    },
    runs::wire,
};

const BEGAN: Timestamp = Timestamp(1_780_000_000_000);
const PERSON: Actor = Actor::User(UserId(Uuid::from_u128(7)));
const GATE_WAITS_MS: u64 = 3_600_000;

fn birth(plan: Plan, course: Course, advancing: bool) -> Birth {
    Birth {
        workspace: WorkspaceId(Uuid::from_u128(1)),
        created_by: UserId(Uuid::from_u128(7)),
        workflow: WorkflowId(Uuid::from_u128(2)),
        workflow_version: 1,
        title: "a run".into(),
        input: Payload::Inline("{}".into()),
        course,
        repository: None,
        plan: Arc::new(plan),
        advancing,
        model: None,
        planned: None,
    }
}

fn repository() -> Repository {
    let (workspace, project) = (WorkspaceId(Uuid::from_u128(1)), Uuid::from_u128(3));
    Repository { source: Source::Managed { workspace, project }, project: None, base: None, main: None }
}

/// A run in a story: the events so far and the clock.
struct Story {
    run: Run,
    events: Vec<Event>,
    saves: u32,
    now: Timestamp,
    chance: u128,
}

impl Story {
    fn begin(birth: &Birth) -> Self {
        let id = RunId(ids::compose(BEGAN.0, 5, 99));
        let given = Given { at: BEGAN, by: PERSON.into(), random: 1000 };
        let events = Run::create(birth, id, &given).unwrap();
        let run = rebuilt(&events);
        Self { run, events, saves: 1, now: BEGAN, chance: 1000 }
    }

    fn given(&mut self, by: Actor) -> Given {
        self.chance += 1000;
        Given { at: self.now, by: by.into(), random: self.chance }
    }

    fn take(&mut self, by: Actor, command: &Command) -> Result<Vec<Event>, Refusal> {
        let given = self.given(by);
        let events = self.run.decide(command, &given)?;
        for event in &events {
            self.run.apply(self.run.seq + 1, event);
        }
        self.saves += u32::from(!events.is_empty());
        self.events.extend(events.clone());
        Ok(events)
    }
}

fn rebuilt(events: &[Event]) -> Run {
    let mut run = Run::found(&events[0]).unwrap();
    for (seq, event) in (1..).zip(events) {
        run.apply(seq, event);
    }
    run
}

fn graph(text: &str) -> (Plan, Course) {
    let (layers, course) = text.split_once(';').unwrap_or((text, ""));
    let mut steps: Vec<Step> = Vec::new();
    let mut before: Vec<u32> = Vec::new();
    for layer in layers.split_whitespace() {
        let mut here = Vec::new();
        for letter in layer.chars() {
            let place = u32::try_from(steps.len()).unwrap();
            let kind = match letter {
                't' => StepKind::Transform,
                'a' => StepKind::Agent,
                'g' => StepKind::Gate { role: Role::Member, timeout_ms: GATE_WAITS_MS },
                'G' => StepKind::Gate { role: Role::Admin, timeout_ms: GATE_WAITS_MS },
                other => panic!("no step is written {other}"),
            };
            steps.push(Step { id: format!("{letter}{place}"), kind, needs: before.clone() });
            here.push(place);
        }
        before = here;
    }
    let has = |word: &str| course.split_whitespace().any(|said| said == word);
    let course = Course {
        plan_gate: has("plan-gate"),
        testing: has("testing"),
        review: has("review"),
        pull_request: has("pr"),
        merge_gate: has("merge-gate"),
        deploy: has("deploy"),
        deploy_gate: has("deploy-gate"),
        verify: has("verify"),
        watch_every_ms: has("watch").then_some(60_000),
        uncontained: has("uncontained"),
    };
    (Plan { version: 1, steps }, course)
}

/// Tells what comes of each line: the events, or the refusal. A graph that begins with `!` advances by
/// itself.
fn play(text: &str, lines: &[&str]) -> String {
    let (advancing, text) = text.strip_prefix('!').map_or((false, text), |text| (true, text));
    let (plan, course) = graph(text);
    let mut story = Story::begin(&birth(plan, course, advancing));
    let mut told = vec![format!("create: {}", tell(&story.run, &story.events.clone()))];
    for line in lines {
        told.push(format!("{line}: {}", say(&mut story, line)));
    }
    assert_eq!(rebuilt(&story.events), story.run);
    let wants: Vec<String> =
        story.run.work().into_iter().map(|(key, wanted)| want(&story.run, key, &wanted)).collect();
    told.push(format!("= {}, {} saves; wants {}", story.run.status.name(), story.saves, wants.join(", ")));
    told.join("\n")
}

fn say(story: &mut Story, line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    if let ["wait", seconds] = words.as_slice() {
        return wait(story, seconds.parse().unwrap());
    }
    let attempt = story.run.attempt;
    let (command, by) = command(&story.run, &words, attempt);
    match story.take(by, &command) {
        Ok(events) if events.is_empty() => "nothing".into(),
        Ok(events) => tell(&story.run, &events),
        Err(refusal) => format!("! {refusal}"),
    }
}

fn command(run: &Run, words: &[&str], attempt: u32) -> (Command, Actor) {
    let step =
        |id: &str| u32::try_from(run.plan.steps.iter().position(|step| step.id == id).unwrap()).unwrap();
    let gate = |name: &str| run.gates.iter().find(|gate| gate_name(run, gate) == name).map(|gate| gate.id);
    let named = |name: &str| gate(name).unwrap_or(GateId(Uuid::from_u128(404)));
    let approve = |gate, resolution, role| Command::Approve { gate, note: None, resolution, role };
    let reason = || Reason::new("broken", "it broke");
    let done = |activity| Command::Done { activity, attempt, commit: Some("c0ffee".into()), branch: None };
    let undone = |mend| {
        let activity = run.activity().unwrap();
        Command::Undone { activity, attempt, reason: reason(), mend }
    };
    let person = match words {
        ["advance"] => Command::Advance,
        ["approve"] => approve(None, None, Role::Member),
        ["approve", "as", "viewer"] => approve(None, None, Role::Viewer),
        ["approve", "as", "admin"] => approve(None, None, Role::Admin),
        ["approve", "happened"] => approve(None, Some(Resolution::Happened), Role::Member),
        ["approve", "repeat"] => approve(None, Some(Resolution::Repeat), Role::Member),
        ["approve", name] => approve(Some(named(name)), None, Role::Member),
        ["reject"] => Command::Reject { gate: None, reason: Some("no".into()), role: Role::Member },
        ["cancel"] => Command::Cancel,
        ["retry"] => Command::Retry { from: None, repository: None },
        ["retry", from] => Command::Retry { from: Some((*from).into()), repository: None },
        _ => {
            let report = match words {
                ["ok", id] => succeeded(step(id), attempt),
                ["late", id] => succeeded(step(id), attempt - 1),
                ["fail", id] => {
                    Command::StepFailed { step: step(id), attempt, reason: reason(), cost: MicroUsd(3) }
                }
                ["look", seen] => {
                    let seen = match *seen {
                        "yes" => Seen::Merged(main_at(7)),
                        "no" => Seen::NotMerged,
                        _ => Seen::Nothing,
                    };
                    Command::Looked { attempt, seen }
                }
                ["ask", number] => ask(number.parse().unwrap()),
                ["asked", number] => {
                    Command::AskedEnded { id: aside(number.parse().unwrap()), cost: MicroUsd(4) }
                }
                ["moved"] => {
                    let main = main_at(run.catch_ups.into());
                    Command::MainMoved { activity: run.activity().unwrap(), attempt, main }
                }
                ["ended", id] => Command::StepEnded { step: step(id), attempt, cost: MicroUsd(5) },
                ["red"] => checked(run.activity().unwrap(), attempt, false),
                ["green"] => checked(run.activity().unwrap(), attempt, true),
                ["unchanged"] => {
                    Command::Done { activity: run.activity().unwrap(), attempt, commit: None, branch: None }
                }
                ["hold", id] => Command::StepHeld {
                    step: step(id),
                    attempt,
                    kind: GateKind::Policy,
                    subject: "write outside".into(),
                    pinned: None,
                },
                ["done"] => done(run.activity().unwrap()),
                ["undone"] => undone(Mend::Nobody),
                ["undone", "fixable"] => undone(Mend::Agent),
                ["undone", "blocked"] => undone(Mend::Person),
                ["lost"] => Command::OutcomeUnknown { activity: run.activity().unwrap(), attempt },
                other => panic!("nobody says {other:?}"),
            };
            return (report, Actor::System);
        }
    };
    (person, PERSON)
}

/// A commit of the main branch.
fn main_at(number: u64) -> CommitId {
    format!("{number:040x}").parse().unwrap()
}

/// An agent that is asked for by itself.
fn aside(number: u128) -> AgentStepId {
    AgentStepId(Uuid::from_u128(number))
}

fn ask(number: u128) -> Command {
    Command::AskStep { id: aside(number), name: "aside".into(), brief: Payload::Inline("{}".into()) }
}

fn succeeded(step: u32, attempt: u32) -> Command {
    let output = Payload::Inline("1".into());
    Command::StepSucceeded { step, attempt, output, commit: None, cost: MicroUsd(0) }
}

fn checked(activity: Activity, attempt: u32, passed: bool) -> Command {
    let report = Payload::Inline("{}".into());
    let summary = "it was looked at".into();
    Command::Checked { activity, attempt, passed, mend: Mend::Agent, summary, report, spent: Vec::new() }
}

/// Lets time pass and tells of every timer that comes due.
fn wait(story: &mut Story, seconds: u64) -> String {
    story.now = story.now.after(Duration::from_secs(seconds));
    let mut told = Vec::new();
    loop {
        let now = story.now;
        let due = |wanted: &Wanted<Work>| matches!(wanted, Wanted::At(at) if *at <= now);
        let Some((key, _)) = story.run.work().into_iter().find(|(_, wanted)| due(wanted)) else { break };
        let events = story.take(Actor::System, &Machine::due(&story.run, &key)).unwrap();
        told.push(tell(&story.run, &events));
    }
    if told.is_empty() { "nothing".into() } else { told.join("; ") }
}

fn gate_name(run: &Run, gate: &Gate) -> String {
    match gate.step {
        Some(step) => run.plan.steps[step as usize].id.clone(),
        None => format!("{:?}", gate.kind).to_lowercase(),
    }
}

fn tell(run: &Run, events: &[Event]) -> String {
    let id = |place: u32| run.plan.steps.get(place as usize).map_or("?", |step| step.id.as_str()).to_owned();
    let told: Vec<String> = events
        .iter()
        .map(|event| match event {
            Event::Created(_) => "created".to_owned(),
            Event::Moved { status, .. } => format!("→ {}", status.name()),
            Event::StepStarted { step, .. } => format!("{} starts", id(*step)),
            Event::StepSucceeded { step, .. } => format!("{} ok", id(*step)),
            Event::StepFailed { step, reason, .. } => format!("{} fails ({})", id(*step), reason.code),
            Event::FixAdded { step, .. } => format!("adds {} after {}", step.id, step.needs.len()),
            Event::GateOpened { gate } => format!("opens {:?}", gate_name(run, gate)),
            Event::GateClosed { decision, .. } => match decision {
                Decision::Approved { .. } => "gate approved".to_owned(),
                Decision::Denied { .. } => "gate denied".to_owned(),
                Decision::Expired => "gate expired".to_owned(),
                Decision::Withdrawn => "gate withdrawn".to_owned(),
            },
            Event::CommitPinned { commit, .. } => format!("commit {commit}"),
            Event::Planned { planner, .. } => format!("planned by {planner}"),
            Event::StepEnded { step, .. } => format!("{} ended", id(*step)),
            Event::LookedInVain { .. } => "looked in vain".to_owned(),
            Event::CaughtUp { .. } => "caught up".to_owned(),
            Event::StepAsked { id, .. } => format!("asks {}", id.0.as_u128()),
            Event::AskedEnded { id, .. } => format!("asked {} ended", id.0.as_u128()),
            Event::Checked { passed, .. } => if *passed { "green" } else { "red" }.to_owned(),
            Event::OutcomeUnknown { activity, .. } => format!("{activity:?} unknown"),
            Event::CancelRequested { .. } => "cancel requested".to_owned(),
            Event::Retried { attempt, from, .. } => {
                format!(
                    "attempt {attempt}{}",
                    from.map_or_else(String::new, |from| format!(" from {}", id(from)))
                )
            }
            Event::Ended { status: Status::Failed { reason }, .. } => {
                format!("ends failed ({})", reason.code)
            }
            Event::Ended { status, .. } => format!("ends {}", status.name()),
        })
        .collect();
    told.join(", ")
}

fn want(run: &Run, key: WorkKey, wanted: &Wanted<Work>) -> String {
    let what = match key {
        WorkKey::Step(step) => run.plan.steps[step as usize].id.clone(),
        WorkKey::Ending { step, .. } => format!("end of {}", run.plan.steps[step as usize].id),
        WorkKey::Look => "look".to_owned(),
        WorkKey::Asked(id) if matches!(wanted, Wanted::Do(_)) => format!("end of asked {}", id.0.as_u128()),
        WorkKey::Asked(id) => format!("asked {}", id.0.as_u128()),
        WorkKey::Activity(activity) => format!("{activity:?}"),
        WorkKey::Timer(Timer::GateExpires(_)) => "gate's end".to_owned(),
        WorkKey::Timer(timer) => format!("{timer:?}"),
    };
    match wanted {
        Wanted::Do(_) => what,
        Wanted::Stop(_) => format!("stop of {what}"),
        Wanted::Ask(_) => format!("answer of {what}"),
        Wanted::At(at) => format!("{what} in {} s", at.since(BEGAN).as_secs()),
    }
}

fn states(run: &Run) -> String {
    let told = run.plan.steps.iter().zip(&run.progress).map(|(step, progress)| {
        let state = match progress.state {
            StepState::Pending => "pending",
            StepState::Running => "running",
            StepState::Waiting { .. } => "waiting",
            StepState::Succeeded { .. } => "ok",
            StepState::Failed => "failed",
            StepState::Cancelled => "cancelled",
        };
        format!("{} {state} ({})", step.id, progress.attempt)
    });
    told.collect::<Vec<_>>().join(", ")
}

#[test]
fn a_chain_of_five_nodes_that_only_compute_is_six_saves() {
    insta::assert_snapshot!(play("!t t t t t", &["ok t0", "ok t1", "ok t2", "ok t3", "ok t4"]), @r"
    create: created, → executing, t0 starts
    ok t0: t0 ok, t1 starts
    ok t1: t1 ok, t2 starts
    ok t2: t2 ok, t3 starts
    ok t3: t3 ok, t4 starts
    ok t4: t4 ok, ends merged
    = merged, 6 saves; wants
    ");
}

#[test]
fn a_run_that_does_not_advance_by_itself_waits_for_somebody_to_say_so() {
    insta::assert_snapshot!(play("t", &["ok t0", "approve", "advance", "advance", "ok t0", "retry"]), @r"
    create: created, → planned
    ok t0: ! a report of an attempt or a step that is over
    approve: ! a run that is planned does not allow approve
    advance: → executing, t0 starts
    advance: ! a run that is executing does not allow advance
    ok t0: t0 ok, ends merged
    retry: ! a run that is merged does not allow retry
    = merged, 3 saves; wants
    ");
}

#[test]
fn a_step_starts_when_all_that_it_needs_has_succeeded() {
    insta::assert_snapshot!(play("!tt t", &["ok t0", "ok t2", "ok t1", "ok t2"]), @r"
    create: created, → executing, t0 starts, t1 starts
    ok t0: t0 ok
    ok t2: ! a report of an attempt or a step that is over
    ok t1: t1 ok, t2 starts
    ok t2: t2 ok, ends merged
    = merged, 4 saves; wants
    ");
}

#[test]
fn a_plan_gate_stands_before_the_first_step_of_every_attempt() {
    let lines = ["advance", "approve as viewer", "approve", "advance", "fail t0", "retry", "approve"];
    insta::assert_snapshot!(play("t; plan-gate", &lines), @r#"
    create: created, → plan-approval, opens "plan"
    advance: ! a run that is plan-approval does not allow advance
    approve as viewer: ! this gate is decided by role member or higher
    approve: gate approved, → planned
    advance: → executing, t0 starts
    fail t0: t0 fails (broken), ends failed (step_failed)
    retry: attempt 2, → plan-approval, opens "plan"
    approve: gate approved, → executing, t0 starts
    = executing, 6 saves; wants t0
    "#);
}

#[test]
fn a_step_gate_is_approved_rejected_or_expires() {
    insta::assert_snapshot!(play("!g t", &["approve", "ok t1"]), @r#"
    create: created, → executing, g0 starts, opens "g0"
    approve: gate approved, g0 ok, t1 starts
    ok t1: t1 ok, ends merged
    = merged, 3 saves; wants
    "#);
    insta::assert_snapshot!(play("!g t", &["reject"]), @r#"
    create: created, → executing, g0 starts, opens "g0"
    reject: gate denied, ends failed (gate_denied)
    = failed, 2 saves; wants
    "#);
    insta::assert_snapshot!(play("!g t", &["wait 3599", "wait 1"]), @r#"
    create: created, → executing, g0 starts, opens "g0"
    wait 3599: nothing
    wait 1: gate expired, ends failed (gate_expired)
    = failed, 2 saves; wants
    "#);
}

#[test]
fn a_gate_is_decided_by_its_role_and_by_name_when_several_are_open() {
    insta::assert_snapshot!(play("!G", &["approve", "approve as admin"]), @r#"
    create: created, → executing, G0 starts, opens "G0"
    approve: ! this gate is decided by role admin or higher
    approve as admin: gate approved, G0 ok, ends merged
    = merged, 2 saves; wants
    "#);
    let lines = ["approve", "approve g7", "approve g1", "approve g1", "approve"];
    insta::assert_snapshot!(play("!gg", &lines), @r#"
    create: created, → executing, g0 starts, opens "g0", g1 starts, opens "g1"
    approve: ! 2 gates are open; say which one with gateId
    approve g7: ! no such gate is open
    approve g1: gate approved, g1 ok
    approve g1: ! no such gate is open
    approve: gate approved, g0 ok, ends merged
    = merged, 3 saves; wants
    "#);
}

#[test]
fn a_step_that_is_held_goes_on_once_a_person_agrees() {
    insta::assert_snapshot!(play("!a t", &["hold a0", "ok a0", "approve", "ok a0"]), @r#"
    create: created, → executing, a0 starts
    hold a0: opens "a0"
    ok a0: ! a report of an attempt or a step that is over
    approve: gate approved
    ok a0: a0 ok, t1 starts
    = executing, 4 saves; wants t1
    "#);
}

const FULL: &str = "!a; testing review pr merge-gate deploy deploy-gate verify watch";

#[test]
fn a_full_course_leads_through_every_state_to_operating() {
    let lines =
        ["ok a0", "done", "done", "done", "approve", "done", "done", "approve", "done", "cancel", "retry"];
    insta::assert_snapshot!(play(FULL, &lines), @r#"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → testing
    done: → review
    done: → pr-opened
    done: commit c0ffee, → merge-approval, opens "merge"
    approve: gate approved
    done: commit c0ffee, → merged, → deploying
    done: → deploy-approval, opens "deploy"
    approve: gate approved, → deploy-verifying
    done: ends operating
    cancel: ! a run that is operating does not allow cancel
    retry: ! a run that is operating does not allow retry
    = operating, 10 saves; wants HealthCheck in 60 s
    "#);
}

#[test]
fn a_failing_watch_heals_and_a_failing_healing_fails_the_run() {
    let to_operating = ["ok a0", "done", "done", "done", "approve", "done", "done", "approve", "done"];
    let healed =
        [&to_operating[..], &["wait 60", "done", "wait 60", "undone", "done", "wait 60", "undone", "undone"]]
            .concat();
    insta::assert_snapshot!(play(FULL, &healed), @r#"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → testing
    done: → review
    done: → pr-opened
    done: commit c0ffee, → merge-approval, opens "merge"
    approve: gate approved
    done: commit c0ffee, → merged, → deploying
    done: → deploy-approval, opens "deploy"
    approve: gate approved, → deploy-verifying
    done: ends operating
    wait 60: → operating
    done: → operating
    wait 60: → operating
    undone: → self-healing
    done: ends operating
    wait 60: → operating
    undone: → self-healing
    undone: ends failed (broken)
    = failed, 18 saves; wants
    "#);
}

#[test]
fn a_cancel_that_comes_too_late_for_a_healing_leaves_the_run_operating_and_watched() {
    let to_healing =
        ["ok a0", "done", "done", "done", "approve", "done", "done", "approve", "done", "wait 60", "undone"];
    let lines = [&to_healing[..], &["cancel", "done", "wait 30", "wait 30", "done"]].concat();
    insta::assert_snapshot!(play(FULL, &lines), @r#"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → testing
    done: → review
    done: → pr-opened
    done: commit c0ffee, → merge-approval, opens "merge"
    approve: gate approved
    done: commit c0ffee, → merged, → deploying
    done: → deploy-approval, opens "deploy"
    approve: gate approved, → deploy-verifying
    done: ends operating
    wait 60: → operating
    undone: → self-healing
    cancel: cancel requested
    done: ends operating
    wait 30: nothing
    wait 30: → operating
    done: → operating
    = operating, 16 saves; wants HealthCheck in 180 s
    "#);
}

#[test]
fn agents_that_are_at_work_when_another_step_fails_are_stopped() {
    insta::assert_snapshot!(play("!aa", &["fail a0", "ended a1"]), @r"
    create: created, → executing, a0 starts, a1 starts
    fail a0: a0 fails (broken), ends failed (step_failed)
    ended a1: a1 ended
    = failed, 3 saves; wants
    ");
}

#[test]
fn a_change_that_changes_nothing_needs_neither_branch_nor_merge() {
    insta::assert_snapshot!(play("!a; testing pr merge-gate", &["ok a0", "green", "unchanged"]), @r"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → testing
    green: green, → pr-opened
    unchanged: ends merged
    = merged, 4 saves; wants
    ");
}

#[test]
fn red_tests_lead_back_with_a_fix_step_twice_and_then_fail() {
    let lines = [
        "ok a0",
        "undone fixable",
        "ok fix-1",
        "undone fixable",
        "ok fix-2",
        "undone fixable",
        "retry",
        "ok a0",
        "undone",
    ];
    insta::assert_snapshot!(play("!a; testing", &lines), @r"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → testing
    undone fixable: adds fix-1 after 1, → executing, fix-1 starts
    ok fix-1: fix-1 ok, → testing
    undone fixable: adds fix-2 after 2, → executing, fix-2 starts
    ok fix-2: fix-2 ok, → testing
    undone fixable: ends failed (broken)
    retry: attempt 2, → executing, a0 starts
    ok a0: a0 ok, → testing
    undone: ends failed (broken)
    = failed, 10 saves; wants
    ");
}

#[test]
fn what_was_made_for_another_main_branch_is_tested_and_approved_again() {
    let course = "!a; testing review pr merge-gate";
    let lines = ["ok a0", "green", "green", "moved", "green", "green", "done", "approve", "moved", "green"];
    insta::assert_snapshot!(play(course, &lines), @r#"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → testing
    green: green, → review
    green: green, → pr-opened
    moved: caught up, → testing
    green: green, → review
    green: green, → pr-opened
    done: commit c0ffee, → merge-approval, opens "merge"
    approve: gate approved
    moved: caught up, → testing
    green: green, → review
    = review, 11 saves; wants Review
    "#);
    let mut often = vec!["ok a0"];
    often.extend(["moved"; 9]);
    insta::assert_snapshot!(play("!a; pr", &often), @r"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → pr-opened
    moved: caught up, → pr-opened
    moved: caught up, → pr-opened
    moved: caught up, → pr-opened
    moved: caught up, → pr-opened
    moved: caught up, → pr-opened
    moved: caught up, → pr-opened
    moved: caught up, → pr-opened
    moved: caught up, → pr-opened
    moved: ends failed (main_moved)
    = failed, 11 saves; wants
    ");
}

#[test]
fn contradicting_changes_are_mended_in_a_fix_step() {
    insta::assert_snapshot!(play("!aa; pr", &["ok a0", "ok a1", "undone fixable", "ok fix-1", "done"]), @r"
    create: created, → executing, a0 starts, a1 starts
    ok a0: a0 ok
    ok a1: a1 ok, → pr-opened
    undone fixable: adds fix-1 after 2, → executing, fix-1 starts
    ok fix-1: fix-1 ok, → pr-opened
    done: commit c0ffee
    = pr-opened, 6 saves; wants Merge
    ");
}

#[test]
fn a_merge_that_something_is_in_the_way_of_is_asked_for_again() {
    let lines = ["ok a0", "done", "approve", "undone blocked", "approve", "done"];
    insta::assert_snapshot!(play("!a; pr merge-gate", &lines), @r#"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → pr-opened
    done: commit c0ffee, → merge-approval, opens "merge"
    approve: gate approved
    undone blocked: opens "merge"
    approve: gate approved
    done: commit c0ffee, ends merged
    = merged, 7 saves; wants
    "#);
    insta::assert_snapshot!(play("!a; pr", &["ok a0", "done", "undone blocked", "approve", "done"]), @r#"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → pr-opened
    done: commit c0ffee
    undone blocked: → merge-approval, opens "merge"
    approve: gate approved
    done: commit c0ffee, ends merged
    = merged, 6 saves; wants
    "#);
}

#[test]
fn an_agent_that_is_asked_for_by_itself_belongs_to_its_run() {
    let (plan, course) = graph("a; pr merge-gate");
    let mut story = Story::begin(&Birth { repository: Some(repository()), ..birth(plan, course, true) });
    let mut told = Vec::new();
    for line in ["ask 1", "ask 2", "asked 1", "asked 1", "ok a0", "done", "reject", "ask 3"] {
        told.push(format!("{line}: {}", say(&mut story, line)));
    }
    let wants = story.run.work().into_iter().map(|(key, wanted)| want(&story.run, key, &wanted));
    told.push(wants.collect::<Vec<_>>().join(", "));
    told.push(format!("asked 2: {}, cost {}", say(&mut story, "asked 2"), story.run.cost));
    insta::assert_snapshot!(told.join("\n"), @r#"
    ask 1: asks 1
    ask 2: asks 2
    asked 1: asked 1 ended
    asked 1: ! a report of an attempt or a step that is over
    ok a0: a0 ok, → pr-opened
    done: commit c0ffee, → merge-approval, opens "merge"
    reject: gate denied, ends failed (gate_denied)
    ask 3: ! a run that is failed does not allow an agent step
    end of asked 2
    asked 2: asked 2 ended, cost $0.000008
    "#);
    assert_eq!(say(&mut story, "retry"), "attempt 2, → executing, a0 starts");
    for number in 10..26 {
        assert_eq!(say(&mut story, &format!("ask {number}")), format!("asks {number}"));
    }
    assert!(say(&mut story, "ask 26").starts_with("! 16 agents are at work"));
    insta::assert_snapshot!(play("!a", &["ask 1"]), @r"
    create: created, → executing, a0 starts
    ask 1: ! this run has no repository for an agent to work on
    = executing, 1 saves; wants answer of a0
    ");
}

#[test]
fn tests_outside_a_sandbox_are_not_repeated_unseen() {
    let (plan, course) = graph("a; testing uncontained");
    let mut story = Story::begin(&birth(plan, course, true));
    say(&mut story, "ok a0");
    let (key, wanted) = story.run.work().into_iter().next().unwrap();
    let Wanted::Do(work) = wanted else { panic!("{wanted:?}") };
    assert_eq!(effect(work), crate::kit::machine::Effect::Irrevocable);
    let lost = Machine::lost(&story.run, &key, Lost::OutcomeUnknown);
    let events = story.take(Actor::System, &lost).unwrap();
    assert_eq!(tell(&story.run, &events), "ends failed (outcome_unknown)");
}

#[test]
fn a_retry_from_a_step_keeps_what_is_not_downstream() {
    let (plan, course) = graph("t tt tt");
    let mut story = Story::begin(&birth(plan, course, true));
    for line in ["ok t0", "ok t1", "ok t2", "ok t3", "fail t4", "retry t3"] {
        say(&mut story, line);
    }
    let kept = "t0 ok (1), t1 ok (1), t2 ok (1), t3 running (2), t4 running (2)";
    assert_eq!(states(&story.run), kept);
    for line in ["ok t3", "fail t4", "retry t1"] {
        say(&mut story, line);
    }
    let kept = "t0 ok (1), t1 running (3), t2 ok (1), t3 pending (2), t4 pending (2)";
    assert_eq!(states(&story.run), kept);
    assert_eq!(say(&mut story, "retry t1"), "! a run that is executing does not allow retry");
}

#[test]
fn a_retry_from_a_step_that_is_not_in_the_plan_is_refused() {
    insta::assert_snapshot!(play("!t", &["fail t0", "retry t9"]), @r#"
    create: created, → executing, t0 starts
    fail t0: t0 fails (broken), ends failed (step_failed)
    retry t9: ! the plan has no step "t9"
    = failed, 2 saves; wants
    "#);
}

#[test]
fn a_retry_without_a_step_runs_everything_again_without_the_fixes_of_before() {
    let (plan, course) = graph("a; testing");
    let mut story = Story::begin(&birth(plan, course, true));
    for line in ["ok a0", "undone fixable", "fail fix-1", "retry"] {
        say(&mut story, line);
    }
    insta::assert_snapshot!(states(&story.run), @r"a0 running (2)");
    assert_eq!((story.run.fixes, story.run.fix_steps), (0, 0));
}

#[test]
fn a_retry_after_the_merge_goes_on_at_deploying_and_takes_no_step() {
    let lines = ["ok a0", "done", "done", "undone", "retry a0", "retry", "done"];
    insta::assert_snapshot!(play("!a; pr deploy", &lines), @r"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → pr-opened
    done: commit c0ffee
    done: commit c0ffee, → merged, → deploying
    undone: ends failed (broken)
    retry a0: ! what is merged stays merged; retry without fromStepId goes on after the merge
    retry: attempt 2, → deploying
    done: ends operating
    = operating, 7 saves; wants
    ");
}

#[test]
fn work_that_only_computes_is_cancelled_at_once() {
    insta::assert_snapshot!(play("!tt t", &["ok t0", "cancel", "cancel", "ok t1", "retry"]), @r"
    create: created, → executing, t0 starts, t1 starts
    ok t0: t0 ok
    cancel: cancel requested, ends cancelled
    cancel: ! a run that is cancelled does not allow cancel
    ok t1: ! a report of an attempt or a step that is over
    retry: attempt 2, → executing, t0 starts, t1 starts
    = executing, 4 saves; wants t0, t1
    ");
    insta::assert_snapshot!(play("!g", &["cancel"]), @r#"
    create: created, → executing, g0 starts, opens "g0"
    cancel: cancel requested, gate withdrawn, ends cancelled
    = cancelled, 2 saves; wants
    "#);
}

#[test]
fn a_cancel_waits_for_agents_to_report_or_for_the_grace_to_end() {
    insta::assert_snapshot!(play("!aat t", &["cancel", "cancel", "ok a0", "ok t2", "fail a1"]), @r"
    create: created, → executing, a0 starts, a1 starts, t2 starts
    cancel: cancel requested
    cancel: nothing
    ok a0: a0 ok
    ok t2: t2 ok
    fail a1: a1 fails (broken), ends cancelled
    = cancelled, 5 saves; wants
    ");
    insta::assert_snapshot!(play("!a t", &["cancel", "wait 29", "wait 1", "ok a0"]), @r"
    create: created, → executing, a0 starts
    cancel: cancel requested
    wait 29: nothing
    wait 1: ends cancelled
    ok a0: ! a report of an attempt or a step that is over
    = cancelled, 3 saves; wants end of a0
    ");
    insta::assert_snapshot!(play("!a t", &["cancel", "wait 30", "ended a0", "ended a0", "retry"]), @r"
    create: created, → executing, a0 starts
    cancel: cancel requested
    wait 30: ends cancelled
    ended a0: a0 ended
    ended a0: ! a report of an attempt or a step that is over
    retry: attempt 2, → executing, a0 starts
    = executing, 5 saves; wants answer of a0
    ");
    insta::assert_snapshot!(play("!a; testing", &["ok a0", "cancel", "done"]), @r"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → testing
    cancel: cancel requested
    done: ends cancelled
    = cancelled, 4 saves; wants
    ");
}

#[test]
fn an_interrupted_merge_is_decided_by_a_person() {
    let to_merge = ["ok a0", "done"];
    let happened = [&to_merge[..], &["lost", "done", "lost", "approve", "approve happened"]].concat();
    insta::assert_snapshot!(play("!a; pr", &happened), @r#"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → pr-opened
    done: commit c0ffee
    lost: Merge unknown, opens "unknownoutcome"
    done: ! a report of an attempt or a step that is over
    lost: ! a report of an attempt or a step that is over
    approve: ! say with `resolution` whether it happened or is to be repeated
    approve happened: gate approved, commit c0ffee, ends merged
    = merged, 5 saves; wants
    "#);
    let repeated = [&to_merge[..], &["lost", "approve repeat", "done"]].concat();
    insta::assert_snapshot!(play("!a; pr", &repeated), @r#"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → pr-opened
    done: commit c0ffee
    lost: Merge unknown, opens "unknownoutcome"
    approve repeat: gate approved
    done: commit c0ffee, ends merged
    = merged, 6 saves; wants
    "#);
    let denied = [&to_merge[..], &["lost", "reject"]].concat();
    insta::assert_snapshot!(play("!a; pr", &denied), @r#"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → pr-opened
    done: commit c0ffee
    lost: Merge unknown, opens "unknownoutcome"
    reject: gate denied, ends failed (gate_denied)
    = failed, 5 saves; wants
    "#);
}

#[test]
fn an_interrupted_merge_that_can_be_seen_needs_no_person() {
    let lost = ["ok a0", "done", "lost"];
    let seen = [&lost[..], &["look yes", "look yes"]].concat();
    insta::assert_snapshot!(play("!a; pr", &seen), @r#"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → pr-opened
    done: commit c0ffee
    lost: Merge unknown, opens "unknownoutcome"
    look yes: gate approved, commit 0000000000000000000000000000000000000007, ends merged
    look yes: ! a report of an attempt or a step that is over
    = merged, 5 saves; wants
    "#);
    let again = [&lost[..], &["look no", "done"]].concat();
    insta::assert_snapshot!(play("!a; pr", &again), @r#"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → pr-opened
    done: commit c0ffee
    lost: Merge unknown, opens "unknownoutcome"
    look no: gate approved
    done: commit c0ffee, ends merged
    = merged, 6 saves; wants
    "#);
    let vain = [&lost[..], &["look vain", "look yes"]].concat();
    insta::assert_snapshot!(play("!a; pr", &vain), @r#"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → pr-opened
    done: commit c0ffee
    lost: Merge unknown, opens "unknownoutcome"
    look vain: looked in vain
    look yes: ! a report of an attempt or a step that is over
    = pr-opened, 5 saves; wants gate's end in 86400 s
    "#);
}

#[test]
fn nobody_says_cancelled_of_a_merge_that_perhaps_happened() {
    let to_merge = ["ok a0", "done"];
    let graced = [&to_merge[..], &["cancel", "wait 30", "wait 30", "approve happened"]].concat();
    insta::assert_snapshot!(play("!a; pr deploy", &graced), @r#"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → pr-opened
    done: commit c0ffee
    cancel: cancel requested
    wait 30: Merge unknown, opens "unknownoutcome"
    wait 30: nothing
    approve happened: gate approved, commit c0ffee, ends merged
    = merged, 6 saves; wants
    "#);
    let asked = [&to_merge[..], &["lost", "cancel", "wait 30", "approve repeat"]].concat();
    insta::assert_snapshot!(play("!a; pr", &asked), @r#"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → pr-opened
    done: commit c0ffee
    lost: Merge unknown, opens "unknownoutcome"
    cancel: cancel requested
    wait 30: nothing
    approve repeat: gate approved, ends cancelled
    = cancelled, 6 saves; wants
    "#);
    let done = [&to_merge[..], &["cancel", "done"]].concat();
    insta::assert_snapshot!(play("!a; pr deploy", &done), @r"
    create: created, → executing, a0 starts
    ok a0: a0 ok, → pr-opened
    done: commit c0ffee
    cancel: cancel requested
    done: commit c0ffee, ends merged
    = merged, 5 saves; wants
    ");
}

#[test]
fn a_late_report_of_an_earlier_attempt_is_refused() {
    insta::assert_snapshot!(play("!t", &["fail t0", "retry", "late t0", "ok t0", "ok t0"]), @r"
    create: created, → executing, t0 starts
    fail t0: t0 fails (broken), ends failed (step_failed)
    retry: attempt 2, → executing, t0 starts
    late t0: ! a report of an attempt or a step that is over
    ok t0: t0 ok, ends merged
    ok t0: ! a report of an attempt or a step that is over
    = merged, 4 saves; wants
    ");
}

#[test]
fn at_most_64_steps_go_on_at_the_same_time() {
    let (plan, course) = graph(&"a".repeat(70));
    let mut story = Story::begin(&birth(plan, course, true));
    assert_eq!(running(&story.run), 64);
    for line in ["ok a0", "hold a1", "ok a2", "approve"] {
        say(&mut story, line);
        assert!(running(&story.run) <= 64, "{line}");
    }
    assert_eq!(running(&story.run), 64);
}

#[test]
fn a_plan_without_steps_or_out_of_order_is_refused() {
    let given = Given { at: BEGAN, by: PERSON.into(), random: 1 };
    let id = RunId(Uuid::from_u128(3));
    let create = |plan: Plan| Run::create(&birth(plan, Course::default(), true), id, &given);
    assert_eq!(create(Plan::default()), Err(Refusal::PlanUnsound));
    let itself = Step { id: "a".into(), kind: StepKind::Agent, needs: vec![0] };
    assert_eq!(create(Plan { version: 1, steps: vec![itself] }), Err(Refusal::PlanUnsound));
}

/// One event of every kind, and every variant of what they hold.
fn every_event() -> Vec<Event> {
    [founding_and_steps(), gates_and_ends()].concat()
}

fn founding_and_steps() -> Vec<Event> {
    let (attempt, at) = (2, BEGAN);
    let reason = Reason::new("step_failed", "step a failed");
    let kinds = [
        StepKind::Transform,
        StepKind::Agent,
        StepKind::Gate { role: Role::Admin, timeout_ms: GATE_WAITS_MS },
    ];
    let step =
        |(place, kind): (u32, StepKind)| Step { id: format!("s{place}"), kind, needs: (0..place).collect() };
    let plan = Plan { version: 1, steps: (0..).zip(kinds).map(step).collect() };
    let course = Course { testing: true, verify: true, watch_every_ms: Some(60_000), ..Course::default() };
    let Ok(mut events) = Run::create(
        &birth(plan, course, true),
        RunId(Uuid::from_u128(3)),
        &Given { at, by: PERSON.into(), random: 1 },
    ) else {
        panic!("the plan is sound")
    };
    events.truncate(1);
    let statuses = [
        Status::PlanDraft,
        Status::PlanApproval,
        Status::Planned,
        Status::Executing,
        Status::Testing,
        Status::Review,
        Status::PrOpened,
        Status::MergeApproval,
        Status::Merged,
        Status::Deploying,
        Status::DeployApproval,
        Status::DeployVerifying,
        Status::Operating { checking: true },
        Status::SelfHealing,
    ];
    events.extend(statuses.map(|status| Event::Moved { status, attempt, at }));
    events.push(Event::StepStarted { step: 0, attempt, at });
    let inline = Payload::Inline(r#"{"a":1}"#.into());
    let (commit, cost) = (None, MicroUsd(0));
    events.push(Event::StepSucceeded { step: 0, attempt, output: inline, at, commit: commit.clone(), cost });
    let blob = Payload::Blob { name: "c0ffee".into(), len: 5000 };
    events.push(Event::StepSucceeded { step: 1, attempt, output: blob, at, commit, cost });
    events.push(Event::StepFailed { step: 1, attempt, reason: reason.clone(), at, cost });
    events.push(Event::FixAdded {
        step: Step { id: "fix-1".into(), kind: StepKind::Agent, needs: vec![0, 1, 2] },
        at,
        reason: None,
    });
    events
}

fn gates_and_ends() -> Vec<Event> {
    let (attempt, at) = (2, BEGAN);
    let id = |number| GateId(Uuid::from_u128(number));
    let reason = Reason::new("step_failed", "step a failed");
    let mut events = Vec::new();
    let kinds = [
        GateKind::Plan,
        GateKind::Step,
        GateKind::Policy,
        GateKind::Budget,
        GateKind::Merge,
        GateKind::Deploy,
        GateKind::UnknownOutcome,
    ];
    events.extend((10..).zip(kinds).map(|(number, kind)| Event::GateOpened {
        gate: Gate {
            id: id(number),
            kind,
            step: (kind == GateKind::Step).then_some(2),
            role: Role::Member,
            opened_at: at,
            expires_at: at.after(GATE_EXPIRES_AFTER),
            subject: "approve it".into(),
            pinned: (kind == GateKind::Merge).then(|| "c0ffee".into()),
        },
    }));
    let decisions = [
        Decision::Approved { note: Some("fine".into()) },
        Decision::Denied { reason: Some("no".into()) },
        Decision::Expired,
        Decision::Withdrawn,
    ];
    events.extend((10..).zip(decisions).map(|(number, decision)| Event::GateClosed {
        gate: id(number),
        decision,
        at,
    }));
    events.push(Event::CommitPinned { commit: "c0ffee".into(), branch: None });
    events.extend(ACTIVITIES.map(|activity| Event::OutcomeUnknown { activity, at }));
    events.push(Event::CancelRequested { by: Some(UserId(id(7).0)), at });
    events.push(Event::Retried { attempt: 3, from: Some(1), at, repository: None });
    let ends =
        [Status::Failed { reason }, Status::Cancelled, Status::Merged, Status::Operating { checking: false }];
    events.extend(ends.map(|status| Event::Ended { status, attempt, at }));
    events
}

/// Events of runs in which agents work, and those with what agents add to them.
fn agents_events() -> Vec<Event> {
    let (attempt, at, cost) = (2, BEGAN, MicroUsd(42));
    let commit: CommitId = "4b825dc642cb6eb9a060e54bf8d69288fbee4904".parse().unwrap();
    let spent = Spent {
        call: Uuid::from_u128(9),
        model: "m".into(),
        provider: "p".into(),
        input_tokens: 1,
        output_tokens: 2,
        cached_tokens: 0,
        cost,
        latency_ms: 3,
        outcome: crate::metering::ledger::Outcome::Succeeded,
        estimated: true,
    };
    let inline = || Payload::Inline("{}".into());
    let repository =
        Repository { base: Some(commit.clone()), project: Some("default".into()), ..repository() };
    vec![
        Event::Planned { planner: "m".into(), detail: inline(), spent: vec![spent.clone()], at },
        Event::StepSucceeded { step: 0, attempt, output: inline(), at, commit: Some(commit), cost },
        Event::StepFailed { step: 0, attempt, reason: Reason::new("needs_model", "it does"), at, cost },
        Event::StepEnded { step: 0, attempt, cost, at },
        Event::Checked {
            activity: Activity::Review,
            attempt,
            passed: false,
            summary: "it is red".into(),
            report: inline(),
            spent: vec![spent],
            at,
        },
        Event::CommitPinned { commit: "c0ffee".into(), branch: Some("cendriix/x-1".into()) },
        Event::LookedInVain { at },
        Event::Retried { attempt, from: None, at, repository: Some(repository) },
    ]
}

/// Events of a run that somebody disturbs: the main branch moves, or an agent is asked for.
fn asides_events() -> Vec<Event> {
    let (at, cost) = (BEGAN, MicroUsd(42));
    let brief = Payload::Blob { name: "c0ffee".into(), len: 5000 };
    vec![
        Event::CaughtUp { main: main_at(7), at },
        Event::FixAdded {
            step: Step { id: "fix-1".into(), kind: StepKind::Agent, needs: vec![0] },
            at,
            reason: Some(Reason::new("merge_conflict", "the changes contradict each other in a")),
        },
        Event::StepAsked { id: aside(9), name: "aside".into(), brief, at },
        Event::AskedEnded { id: aside(9), cost, at },
    ]
}

/// A run outside a sandbox, after the main branch has moved, with an agent aside.
fn caught_up() -> Run {
    let (plan, course) = graph("a; testing pr merge-gate uncontained");
    let mut story = Story::begin(&Birth { repository: Some(repository()), ..birth(plan, course, true) });
    for line in ["ok a0", "green", "moved", "ask 9"] {
        say(&mut story, line);
    }
    story.run
}

/// Its number among the kinds of events; a new kind belongs into `every_event`.
fn kind(event: &Event) -> usize {
    match event {
        Event::Created(_) => 0,
        Event::Moved { .. } => 1,
        Event::StepStarted { .. } => 2,
        Event::StepSucceeded { .. } => 3,
        Event::StepFailed { .. } => 4,
        Event::FixAdded { .. } => 5,
        Event::GateOpened { .. } => 6,
        Event::GateClosed { .. } => 7,
        Event::CommitPinned { .. } => 8,
        Event::OutcomeUnknown { .. } => 9,
        Event::CancelRequested { .. } => 10,
        Event::Retried { .. } => 11,
        Event::Ended { .. } => 12,
        Event::Planned { .. } => 13,
        Event::StepEnded { .. } => 14,
        Event::Checked { .. } => 15,
        Event::LookedInVain { .. } => 16,
        Event::CaughtUp { .. } => 17,
        Event::StepAsked { .. } => 18,
        Event::AskedEnded { .. } => 19,
    }
}

#[test]
fn runs_and_their_events_are_written_and_read_as_ever() {
    let events = every_event();
    let agents = agents_events();
    let asides = asides_events();
    let all = events.iter().chain(&agents).chain(&asides);
    let kinds: std::collections::BTreeSet<usize> = all.map(kind).collect();
    assert_eq!(kinds, (0..20).collect());
    let journaled = Journaled { command: Some(Uuid::from_u128(9)), at: BEGAN, by: PERSON, events };
    golden::holds::<Journaled<Event>>("run-events", &journaled);
    let of = |events| Journaled { events, ..journaled.clone() };
    golden::holds::<Journaled<Event>>("run-events-agents", &of(agents));
    golden::holds::<Journaled<Event>>("run-events-asides", &of(asides));
    golden::holds::<Run>("run-caught-up", &caught_up());
    let (plan, course) = graph("ttgaaa t; plan-gate testing watch");
    let mut story = Story::begin(&birth(plan, course, true));
    for line in ["approve", "ok t0", "hold a3", "ok a4", "cancel"] {
        say(&mut story, line);
    }
    golden::holds::<Run>("run-cancelling", &story.run);
    let (plan, course) = graph(&FULL[1..]);
    let mut story = Story::begin(&birth(plan, course, true));
    for line in ["ok a0", "done", "done", "done", "approve", "lost"] {
        say(&mut story, line);
    }
    golden::holds::<Run>("run-unknown", &story.run);
    say(&mut story, "reject");
    golden::holds::<Run>("run-failed", &story.run);
    golden::holds::<Vec<StepState>>(
        "run-step-states",
        &vec![
            StepState::Pending,
            StepState::Running,
            StepState::Waiting { gate: GateId(Uuid::from_u128(10)) },
            StepState::Succeeded { output: Content::Event(4) },
            StepState::Succeeded { output: Content::Blob { name: "c0ffee".into(), len: 5000 } },
            StepState::Failed,
            StepState::Cancelled,
        ],
    );
}

fn running(run: &Run) -> usize {
    run.progress.iter().filter(|step| step.state == StepState::Running).count()
}

/// Something that is said to a run, sensible or not; numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Said {
    Advance,
    Approve {
        gate: Option<u8>,
        resolution: Option<bool>,
        role: u8,
    },
    Reject {
        gate: Option<u8>,
        role: u8,
    },
    Cancel,
    Retry {
        from: Option<u8>,
    },
    Step {
        step: u8,
        attempt: i8,
        how: u8,
    },
    Activity {
        activity: u8,
        attempt: i8,
        how: u8,
    },
    Due {
        timer: u8,
        gate: u8,
    },
    Pass {
        seconds: u32,
    },
    Ask {
        number: u8,
    },
    /// Performs something that is wanted.
    Work {
        which: u8,
        how: u8,
    },
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        1 => Just(Said::Advance),
        4 => (any::<Option<u8>>(), any::<Option<bool>>(), 0..4_u8)
            .prop_map(|(gate, resolution, role)| Said::Approve { gate, resolution, role }),
        1 => (any::<Option<u8>>(), 0..4_u8).prop_map(|(gate, role)| Said::Reject { gate, role }),
        1 => Just(Said::Cancel),
        3 => any::<Option<u8>>().prop_map(|from| Said::Retry { from }),
        2 => (any::<u8>(), -1..2_i8, any::<u8>())
            .prop_map(|(step, attempt, how)| Said::Step { step, attempt, how }),
        2 => (0..8_u8, -1..2_i8, any::<u8>())
            .prop_map(|(activity, attempt, how)| Said::Activity { activity, attempt, how }),
        2 => (0..3_u8, any::<u8>()).prop_map(|(timer, gate)| Said::Due { timer, gate }),
        1 => (0..90_000_u32).prop_map(|seconds| Said::Pass { seconds }),
        2 => any::<u8>().prop_map(|number| Said::Ask { number }),
        16 => (any::<u8>(), any::<u8>()).prop_map(|(which, how)| Said::Work { which, how }),
    ]
}

const ACTIVITIES: [Activity; 8] = [
    Activity::Test,
    Activity::Review,
    Activity::OpenPullRequest,
    Activity::Merge,
    Activity::Deploy,
    Activity::Verify,
    Activity::Watch,
    Activity::Heal,
];
const ROLES: [Role; 4] = [Role::Viewer, Role::Member, Role::Admin, Role::Owner];

fn step_report(step: u32, attempt: u32, how: u8) -> Command {
    match how % 8 {
        0 => Command::StepFailed {
            step,
            attempt,
            reason: Reason::new("broken", "it broke"),
            cost: MicroUsd(7),
        },
        1 => {
            Command::StepHeld { step, attempt, kind: GateKind::Budget, subject: "cost".into(), pinned: None }
        }
        2 => {
            let output = Payload::Blob { name: "b".into(), len: 9 };
            Command::StepSucceeded { step, attempt, output, commit: None, cost: MicroUsd(1) }
        }
        3 => Command::StepEnded { step, attempt, cost: MicroUsd(2) },
        _ => succeeded(step, attempt),
    }
}

fn activity_report(activity: Activity, attempt: u32, how: u8) -> Command {
    match how % 8 {
        0 => Command::OutcomeUnknown { activity, attempt },
        1 => Command::Undone {
            activity,
            attempt,
            reason: Reason::new("red", "tests are red"),
            mend: Mend::Nobody,
        },
        2 => Command::Undone {
            activity,
            attempt,
            reason: Reason::new("red", "tests are red"),
            mend: Mend::Agent,
        },
        3 => Command::Done { activity, attempt, commit: None, branch: None },
        4 if matches!(activity, Activity::Test | Activity::Review) => checked(activity, attempt, how > 99),
        4 if how > 99 => Command::MainMoved { activity, attempt, main: main_at(how.into()) },
        4 => {
            let reason = Reason::new("checkout_in_the_way", "it is dirty");
            Command::Undone { activity, attempt, reason, mend: Mend::Person }
        }
        _ => Command::Done { activity, attempt, commit: Some("c0ffee".into()), branch: None },
    }
}

fn meant(run: &Run, said: &Said) -> Option<Command> {
    let gate = |place: u8| run.gates.get(usize::from(place) % (run.gates.len() + 1)).map(|gate| gate.id);
    let named = |place: u8| gate(place).unwrap_or(GateId(Uuid::from_u128(404)));
    let attempt = |by: i8| run.attempt.saturating_add_signed(by.into());
    Some(match said {
        Said::Advance => Command::Advance,
        Said::Approve { gate, resolution, role } => {
            let how = |happened| if happened { Resolution::Happened } else { Resolution::Repeat };
            let role = ROLES[usize::from(*role)];
            Command::Approve { gate: gate.map(named), note: None, resolution: resolution.map(how), role }
        }
        Said::Reject { gate, role } => {
            Command::Reject { gate: gate.map(named), reason: None, role: ROLES[usize::from(*role)] }
        }
        Said::Cancel => Command::Cancel,
        Said::Retry { from } => {
            let step = |place: u8| run.plan.steps.get(usize::from(place) % (run.plan.steps.len() + 1));
            let id = |place| step(place).map_or_else(|| "nowhere".to_owned(), |step| step.id.clone());
            Command::Retry { from: from.map(id), repository: None }
        }
        Said::Step { step, attempt: by, how } => {
            let step = u32::from(*step) % (u32::try_from(run.plan.steps.len()).unwrap() + 2);
            step_report(step, attempt(*by), *how)
        }
        Said::Activity { activity, attempt: by, how } => {
            activity_report(ACTIVITIES[usize::from(*activity)], attempt(*by), *how)
        }
        Said::Due { timer: 0, gate } => Command::Due { timer: Timer::GateExpires(named(*gate)) },
        Said::Due { timer: 1, .. } => Command::Due { timer: Timer::GraceEnds },
        Said::Due { .. } => Command::Due { timer: Timer::HealthCheck },
        Said::Pass { .. } => return None,
        Said::Ask { number } => ask((*number).into()),
        Said::Work { which, how } => {
            let works: Vec<Work> = run
                .work()
                .into_values()
                .filter_map(|wanted| match wanted {
                    Wanted::Do(work) | Wanted::Stop(work) | Wanted::Ask(work) => Some(work),
                    Wanted::At(_) => None,
                })
                .collect();
            match works.get(usize::from(*which) % works.len().max(1))? {
                Work::Evaluate { step, attempt } | Work::AwaitStep { step, attempt } => {
                    step_report(*step, *attempt, *how)
                }
                Work::EndStep { step, attempt } if how % 2 == 0 => {
                    Command::StepEnded { step: *step, attempt: *attempt, cost: MicroUsd(1) }
                }
                Work::Look { attempt } => {
                    let seen = match how % 3 {
                        0 => Seen::Nothing,
                        1 => Seen::NotMerged,
                        _ => Seen::Merged(main_at((*how).into())),
                    };
                    Command::Looked { attempt: *attempt, seen }
                }
                Work::AwaitAsked { id } | Work::EndAsked { id } => {
                    Command::AskedEnded { id: *id, cost: MicroUsd(1) }
                }
                Work::EndStep { step, attempt } => step_report(*step, *attempt, *how),
                Work::Perform { activity, attempt, .. } => activity_report(*activity, *attempt, *how),
            }
        }
    })
}

fn plans() -> impl Strategy<Value = Plan> {
    let step = (0..8_u8, any::<u16>());
    let small = proptest::collection::vec(step.clone(), 1..10);
    let wide = proptest::collection::vec((5..8_u8, Just(0)), 64..80);
    prop_oneof![9 => small, 1 => wide].prop_map(|steps| {
        let step = |(place, (kind, needs)): (usize, (u8, u16))| Step {
            id: format!("s{place}"),
            kind: match kind {
                0 => StepKind::Gate { role: Role::Member, timeout_ms: 1 },
                1 => StepKind::Gate { role: Role::Admin, timeout_ms: GATE_WAITS_MS },
                2..=4 => StepKind::Transform,
                _ => StepKind::Agent,
            },
            needs: (0..u32::try_from(place.min(16)).unwrap()).filter(|need| needs >> need & 1 == 1).collect(),
        };
        Plan { version: 1, steps: steps.into_iter().enumerate().map(step).collect() }
    })
}

fn courses() -> impl Strategy<Value = Course> {
    (any::<[bool; 9]>(), proptest::option::of(1..100_000_u64)).prop_map(|(on, watch_every_ms)| Course {
        plan_gate: on[0],
        testing: on[1],
        review: on[2],
        pull_request: on[3],
        merge_gate: on[4],
        deploy: on[5],
        deploy_gate: on[6],
        verify: on[7],
        watch_every_ms,
        uncontained: on[8],
    })
}

/// What holds for every run at rest between two commands.
fn check(story: &mut Story) {
    let run = &story.run;
    assert!(running(run) <= PARALLEL_MAX && run.asked.len() <= ASKED_MAX);
    assert!(run.fixes <= FIXES_MAX && run.catch_ups <= CATCH_UPS_MAX);
    if matches!(run.status, Status::Failed { .. } | Status::Cancelled | Status::Merged) {
        let is_ending = |key: &WorkKey| matches!(key, WorkKey::Ending { .. } | WorkKey::Asked(_));
        assert!(run.work().keys().all(is_ending), "{:?}", run.work());
        assert!(run.rests());
        assert_eq!(run.gates, []);
    }
    let stages = wire::stages(run);
    let current: Vec<&wire_runs::Stage> = stages.iter().filter(|stage| stage.current).collect();
    assert!(matches!(current.as_slice(), [only] if only.reached), "{current:?}");
    for (key, wanted) in run.work() {
        match wanted {
            Wanted::At(at) => {
                let given = Given { at: story.now.max(at), by: Actor::System.into(), random: 3 };
                let after = taken(run, &Machine::due(run, &key), &given);
                assert_ne!(after.work().get(&key), Some(&wanted), "{key:?} comes again and again");
            }
            Wanted::Do(_) | Wanted::Stop(_) | Wanted::Ask(_) => {
                for how in [Lost::Panicked("oh".into()), Lost::OutcomeUnknown, Lost::Stopped] {
                    let given = Given { at: story.now, by: Actor::System.into(), random: 3 };
                    let after = taken(run, &Machine::lost(run, &key, how), &given);
                    assert_ne!(after.work().get(&key), Some(&wanted), "{key:?} is lost again and again");
                }
            }
        }
    }
}

fn taken(run: &Run, command: &Command, given: &Given) -> Run {
    let events =
        run.decide(command, given).unwrap_or_else(|refusal| panic!("{command:?} is refused: {refusal}"));
    let mut after = run.clone();
    for event in &events {
        after.apply(after.seq + 1, event);
    }
    after
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_said_a_run_keeps_its_promises(
        plan in plans(),
        course in courses(),
        advancing in any::<bool>(),
        has_repository in any::<bool>(),
        said in proptest::collection::vec(said(), 1..60),
    ) {
        let repository = has_repository.then(repository);
        let mut story = Story::begin(&Birth { repository, ..birth(plan, course, advancing) });
        check(&mut story);
        for said in &said {
            if let Said::Pass { seconds } = said {
                story.now = story.now.after(Duration::from_secs((*seconds).into()));
            }
            let Some(command) = meant(&story.run, said) else { continue };
            let before = story.run.clone();
            let taken = story.take(PERSON, &command);
            if taken.is_err() {
                prop_assert_eq!(&before, &story.run);
            }
            if matches!(before.status, Status::Failed { .. } | Status::Cancelled)
                && !matches!(command, Command::Retry { .. })
            {
                prop_assert_eq!(&before.status, &story.run.status);
            }
            check(&mut story);
        }
        let bytes = rmp_serde::to_vec_named(&story.run).unwrap();
        prop_assert_eq!(&rmp_serde::from_slice::<Run>(&bytes).unwrap(), &story.run);
        prop_assert_eq!(&rebuilt(&story.events), &story.run);
    }
}
