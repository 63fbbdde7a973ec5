//! `run TICKET.md`: a ticket becomes a merged change, with one command.

use std::path::{Path, PathBuf};

use cendriix_protocol::{
    ids::{RunId, WorkflowId},
    orchestrator::{Decompose, Planned},
    runs::{
        CreateRun, PlanStep, RepositoryRef, Run, RunEventKind, RunPlan, RunRepository, Runs, Status,
        Ticket as Input,
    },
    workflows::{Definition, Edge, Node, NodeKind, Workflow, Workflows},
};
use clap::Args;
use serde_json::json;

use super::{
    Done, Failure,
    client::Client,
    gates::{self, Answered, Answers, Opening, Undecided},
    live::Live,
    output::{self, Paint, plain, plain_line},
    session::{Purpose, Session},
    ticket::{self, Ticket},
};
use crate::Config;

/// The workflow that a ticket takes unless it names another.
const WORKFLOW: &str = "ship-from-ticket";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The ticket, a Markdown file
    #[arg(value_name = "TICKET.md")]
    ticket: PathBuf,
    /// Answer plan, step, merge and deploy gates with yes
    #[arg(long)]
    approve: bool,
    /// The id of the model to ask first
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Work on the git repository at this path or https address, instead of one that the server keeps for the
    /// ticket
    #[arg(long, value_name = "PATH|URL")]
    repo: Option<PathBuf>,
    /// The workflow to run, by its id or name
    #[arg(long, value_name = "WORKFLOW")]
    workflow: Option<String>,
    /// Show the plan and what it would cost, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// What is to be done, and where.
struct Wanted {
    ticket: Ticket,
    repository: RepositoryRef,
    model: Option<String>,
}

/// A run that is followed, and the last of its events that was shown.
#[derive(Clone, Copy, Debug)]
struct Followed {
    id: RunId,
    seen: u64,
}

pub(super) async fn run(
    arguments: Arguments,
    config: &Config,
    server: Option<&str>,
    token: Option<String>,
    json: bool,
) -> Done {
    let wanted = wanted(&arguments)?;
    let mut followed = None;
    loop {
        let session = Session::open(config, server, token.clone(), Purpose::Ticket).await?;
        let done = tokio::select! {
            done = Box::pin(go(&session, &arguments, &wanted, &mut followed, json)) => done,
            failure = session.failed() => Err(failure),
            _ = tokio::signal::ctrl_c() => {
                let again = again(&arguments);
                output::note(&if session.is_own() {
                    format!("\nstopped; what is done is kept, and the run goes on with: {again}")
                } else {
                    format!("\ndetached; the run goes on. Attach to it again with: {again}")
                });
                Ok(130)
            }
        };
        let is_passing = session.is_passing();
        session.close().await;
        match done {
            // Another command had the server, and both have ended: this one goes on with the run.
            Err(failure) if failure.is_lost() && is_passing => {
                output::note("the command that went on with the run has ended; this one goes on with it");
            }
            Err(failure) if failure.is_lost() && followed.is_some() => {
                let kept =
                    format!("{failure}; what is done is kept, and goes on with: {}", again(&arguments));
                return Err(Failure::new(kept));
            }
            done => return done,
        }
    }
}

/// The same command, to be given again.
fn again(arguments: &Arguments) -> String {
    let flag = |name: &str, value: Option<String>| value.map(|value| format!("--{name} {value}"));
    let parts = [
        Some(format!("run {}", arguments.ticket.display())),
        flag("repo", arguments.repo.as_ref().map(|repo| repo.display().to_string())),
        flag("workflow", arguments.workflow.as_ref().map(|workflow| format!("{workflow:?}"))),
        flag("model", arguments.model.clone()),
        arguments.approve.then(|| "--approve".to_owned()),
    ];
    output::command(&parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
}

/// Looks at everything that was said, before anything is started for it.
fn wanted(arguments: &Arguments) -> Result<Wanted, Failure> {
    let mut ticket = ticket::read(&arguments.ticket)?;
    ticket.workflow = arguments.workflow.clone().or(ticket.workflow);
    let repository = match &arguments.repo {
        Some(repo) if address(repo).is_some() => {
            RepositoryRef { url: address(repo).map(str::to_owned), ..RepositoryRef::default() }
        }
        Some(path) => {
            let found = std::fs::canonicalize(path);
            let found =
                found.map_err(|error| Failure::with(2, format!("cannot use {}: {error}", path.display())))?;
            RepositoryRef { path: Some(found.display().to_string()), ..RepositoryRef::default() }
        }
        None => RepositoryRef { project: Some(ticket.project.clone()), ..RepositoryRef::default() },
    };
    let model = arguments.model.clone().or_else(|| ticket.model.clone());
    Ok(Wanted { ticket, repository, model })
}

/// The text of `--repo`, when it is an address and no path; `host:path` too, which the server refuses with
/// what to take instead.
fn address(repo: &Path) -> Option<&str> {
    let text = repo.to_str()?;
    let is_short = !repo.exists() && text.split('/').next().is_some_and(|host| host.contains(':'));
    (text.contains("://") || is_short).then_some(text)
}

async fn go(
    session: &Session,
    arguments: &Arguments,
    wanted: &Wanted,
    followed: &mut Option<Followed>,
    json: bool,
) -> Done {
    let client = &session.client;
    let follows = if let Some(follows) = followed {
        follows
    } else {
        let workflow = workflow(client, wanted.ticket.workflow.as_deref()).await?;
        if arguments.dry_run {
            return plan_only(client, workflow, wanted, json).await;
        }
        let id = begin(client, workflow, arguments, wanted, json).await?;
        followed.insert(Followed { id, seen: 0 })
    };
    let answers = Answers::new(arguments.approve, !json && output::is_dialogue());
    let code = follow(client, follows, answers, json).await?;
    let run: Run = client.get(&format!("/runs/{}", follows.id)).await?;
    if json {
        output::line(&serde_json::to_string(&run).map_err(Failure::of)?);
    } else {
        tail(&run);
    }
    Ok(code)
}

/// Attaches to the unfinished run of the ticket, or creates one; one that waits to be started is started.
async fn begin(
    client: &Client,
    workflow: WorkflowId,
    arguments: &Arguments,
    wanted: &Wanted,
    json: bool,
) -> Result<RunId, Failure> {
    let (run, attached) = match unfinished(client, workflow, wanted).await? {
        Some(run) => (run, true),
        None => (create(client, workflow, wanted).await?, false),
    };
    if !json {
        head(&arguments.ticket, &run, attached);
        show_plan(&run.plan);
    }
    if run.status == Status::Planned {
        let _: Run = client.post(&format!("/runs/{}/advance", run.id), &json!({}), None).await?;
    }
    Ok(run.id)
}

/// The workflow that is named, or the usual one, which is kept when it is not there yet.
async fn workflow(client: &Client, named: Option<&str>) -> Result<WorkflowId, Failure> {
    if let Some(id) = named.and_then(|named| named.parse::<WorkflowId>().ok()) {
        return Ok(client.get::<Workflow>(&format!("/workflows/{id}")).await?.id);
    }
    let name = named.unwrap_or(WORKFLOW);
    let usual = shipping();
    let mut cursor = String::new();
    loop {
        let page: Workflows = client.get(&format!("/workflows?limit=200{cursor}")).await?;
        for item in page.workflows.iter().filter(|item| item.name == name) {
            let kept: Workflow = client.get(&format!("/workflows/{}", item.id)).await?;
            if named.is_some() || kept.definition == usual {
                return Ok(kept.id);
            }
        }
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    match named {
        Some(name) => Err(Failure::with(
            4,
            format!("there is no workflow {name:?}; `cendriix workflows list` shows all"),
        )),
        None => Ok(client.post::<Workflow>("/workflows", &usual, None).await?.id),
    }
}

/// From a ticket to a merge that a person approves.
fn shipping() -> Definition {
    let node = |id: &str, name: &str, kind| Node { id: id.to_owned(), name: Some(name.to_owned()), kind };
    let edge = |from: &str, to: &str| Edge { from: from.to_owned(), to: to.to_owned() };
    let agent = NodeKind::Agent { prompt: None, agent: None, model: None, policy: None, decompose: true };
    Definition {
        name: WORKFLOW.to_owned(),
        description: Some("A ticket becomes a reviewed and merged change.".to_owned()),
        nodes: vec![
            node("implement", "Do what the ticket asks", agent),
            node("tests", "Run the repository's tests", NodeKind::RunTests { command: None }),
            node("review", "Review the change", NodeKind::Review { model: None }),
            node("merge", "Merge the change", NodeKind::Merge { approval: true }),
        ],
        edges: vec![edge("implement", "tests"), edge("tests", "review"), edge("review", "merge")],
        plan_approval: false,
    }
}

async fn plan_only(client: &Client, workflow_id: WorkflowId, wanted: &Wanted, json: bool) -> Done {
    let Wanted { ticket: Ticket { title, body, .. }, model, .. } = wanted;
    let (title, body, model) = (title.clone(), body.clone(), model.clone());
    let body = Decompose { workflow_id, input: Input { title, body }, model };
    let planned: Planned = client.post("/orchestrator/decompose", &body, None).await?;
    if json {
        output::line(&serde_json::to_string_pretty(&planned).map_err(Failure::of)?);
    } else {
        show_plan(&planned.plan);
        output::line("nothing was run");
    }
    Ok(0)
}

/// The newest run of the same ticket on the same repository that has not come to an end. Each page holds
/// older runs than the one before, so the search ends with the oldest.
async fn unfinished(client: &Client, workflow: WorkflowId, wanted: &Wanted) -> Result<Option<Run>, Failure> {
    let mut cursor = String::new();
    loop {
        let page: Runs = client.get(&format!("/runs?workflowId={workflow}&limit=200{cursor}")).await?;
        let mut items = page.runs.into_iter();
        while let Some(item) = items.find(|item| !ended(item.status) && item.title == wanted.ticket.title) {
            let run: Run = client.get(&format!("/runs/{}", item.id)).await?;
            if is_wanted(&run, wanted) {
                return Ok(Some(run));
            }
        }
        let Some(next) = page.next_cursor else { return Ok(None) };
        cursor = format!("&cursor={next}");
    }
}

/// Whether a run is of that ticket and on that repository.
fn is_wanted(run: &Run, wanted: &Wanted) -> bool {
    let is_there = |found: &RunRepository| match &wanted.repository {
        RepositoryRef { url: Some(url), .. } => found.url.as_ref().is_some_and(|there| leads_to(url, there)),
        RepositoryRef { path: Some(path), .. } => found.project.is_none() && is_same(path, &found.path),
        RepositoryRef { project, .. } => found.url.is_none() && found.project == *project,
    };
    run.input["body"] == wanted.ticket.body.as_str() && run.repository.as_ref().is_some_and(is_there)
}

/// Whether two paths lead to the same repository; one may be a folder in it.
fn is_same(asked: &str, found: &str) -> bool {
    let found = Path::new(found);
    let real = found.canonicalize().unwrap_or_else(|_| found.to_owned());
    Path::new(asked).starts_with(&real)
}

/// Whether an address, however it is written, is that one.
fn leads_to(asked: &str, found: &str) -> bool {
    reqwest::Url::parse(asked).is_ok_and(|url| url.as_str().trim_end_matches('/') == found)
}

async fn create(client: &Client, workflow_id: WorkflowId, wanted: &Wanted) -> Result<Run, Failure> {
    let Ticket { title, body, .. } = &wanted.ticket;
    let body = CreateRun {
        workflow_id,
        input: Input { title: title.clone(), body: body.clone() },
        repository: Some(wanted.repository.clone()),
        model: wanted.model.clone(),
    };
    client.post("/runs", &body, None).await
}

fn ended(status: Status) -> bool {
    matches!(status, Status::Merged | Status::Operating | Status::Failed | Status::Cancelled)
}

/// Shows what happens and has gates answered as they open, until the run ends or waits for nothing but
/// somebody who is not here. Agents at work beside a gate go on while it stands, and are shown after it.
async fn follow(
    client: &Client,
    followed: &mut Followed,
    mut answers: Answers,
    json: bool,
) -> Result<u8, Failure> {
    let id = followed.id;
    let mut live = Live::of(client, id, followed.seen, true, json);
    let (mut undecided, mut opening) = (Undecided::default(), Opening::default());
    while let Some(event) = live.next().await? {
        undecided.hear(&event.kind);
        let open = opening.hear(&event.kind);
        // What is open is shown and asked again, should the server go away meanwhile.
        if undecided.are_none() && !opening.is_open() {
            followed.seen = event.seq - u64::from(open.is_some());
        }
        let has_completed = matches!(event.kind, RunEventKind::RunCompleted { .. });
        if open.is_none() && !has_completed && undecided.are_none() {
            continue;
        }
        let run: Run = client.get(&format!("/runs/{id}")).await?;
        if let Some(open) = open {
            // What the journal tells may have been decided long ago.
            let Some(gate) = run.gates.iter().find(|gate| gate.id == open) else { continue };
            if answers.decide(client, &run, gate).await? == Answered::Decided {
                continue;
            }
            undecided.leave(gate.id);
        } else if has_completed && ended(run.status) {
            return Ok(u8::from(matches!(run.status, Status::Failed | Status::Cancelled)));
        }
        if undecided.hold_up(&run) {
            if !answers.person {
                output::note("the run waits at a gate and nobody here can answer it; approve it with:");
                for gate in &run.gates {
                    output::note(&format!("  {}", gates::approval(id, gate)));
                }
            }
            return Ok(6);
        }
    }
    let run: Run = client.get(&format!("/runs/{id}")).await?;
    Ok(u8::from(!matches!(run.status, Status::Merged | Status::Operating)))
}

fn head(ticket: &Path, run: &Run, attached: bool) {
    let paint = Paint::of_stdout();
    output::told(&paint.with(Paint::BOLD, &plain_line(&run.title)));
    output::told(&format!("  ticket      {}", ticket.display()));
    if let Some(repository) = &run.repository {
        output::told(&format!("  repository  {}", plain(place(repository))));
    }
    let again =
        if attached { format!(" (attached to the unfinished run, {})", run.status) } else { String::new() };
    output::told(&format!("  run         {}{again}", run.id));
}

/// Where people find a repository.
fn place(repository: &RunRepository) -> &str {
    repository.url.as_deref().unwrap_or(&repository.path)
}

/// Shows a plan: what comes after what, what it would cost, how far it can be taken back, how sure it is.
pub(super) fn show_plan(plan: &RunPlan) {
    let by = plan.planner.as_ref().map_or_else(String::new, |planner| format!(" by {}", plain(planner)));
    output::told(&format!("\nPlan{by}, about {}", plan.estimated_cost_usd));
    let rows: Vec<Vec<String>> = plan.steps.iter().map(row).collect();
    output::table(&["  STEP", "AFTER", "COST", "REVERSIBILITY", "SURE", "NAME"], &rows);
    output::told("");
}

fn row(step: &PlanStep) -> Vec<String> {
    let tier = format!("{:?}", step.reversibility_tier).to_lowercase();
    let reason = step.reasons.first().map_or_else(String::new, |reason| format!(" ({reason})"));
    let gate = if step.gate { " [gate]" } else { "" };
    vec![
        format!("  {}", step.id),
        if step.depends_on.is_empty() { "-".to_owned() } else { step.depends_on.join(", ") },
        step.estimated_cost_usd.to_string(),
        tier,
        format!("{:.0} %", step.confidence_score * 100.0),
        plain_line(&format!("{}{gate}{reason}", step.name)),
    ]
}

fn tail(run: &Run) {
    let paint = Paint::of_stdout();
    let took = run.updated_at.since(run.created_at);
    output::told("");
    match (&run.repository, run.status) {
        (Some(repository), Status::Merged | Status::Operating) => {
            let what = match &repository.commit {
                Some(commit) => {
                    format!("merged as {commit:.10} into the main branch of {}", plain(place(repository)))
                }
                None => "done; nothing had to be changed".to_owned(),
            };
            output::told(&format!("{} {what}", paint.with(Paint::GREEN, "✓")));
        }
        (None, Status::Merged | Status::Operating) => output::told(&paint.with(Paint::GREEN, "✓ done")),
        (_, Status::Failed | Status::Cancelled) => {
            let why = run
                .reason
                .as_ref()
                .map_or_else(String::new, |reason| format!(": {}", plain(&reason.message)));
            output::told(&format!("{} {}{why}", paint.with(Paint::RED, "✗"), run.status));
            output::told(&format!("  try again   {}", output::command(&format!("runs retry {}", run.id))));
        }
        (_, status) => {
            let waits = if run.gates.is_empty() { "" } else { " and waits at a gate" };
            output::told(&format!("the run is {status}{waits}"));
            for gate in &run.gates {
                output::told(&format!("  approve     {}", gates::approval(run.id, gate)));
            }
        }
    }
    output::told(&format!("  cost        {}", run.cost_usd));
    output::told(&format!("  took        {:.1} s", took.as_secs_f64()));
    output::told(&format!("  look again  {}", output::command(&format!("runs watch {}", run.id))));
}
