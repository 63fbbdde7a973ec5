//! Single commands and reads on runs: durable transitions, creation, and reads of one that is awake.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    Done, floors,
    http::{Client, Target, text},
    load::{self, Until},
    report::Report,
    server::{self, Server},
};

const MEASURED: Duration = Duration::from_secs(5);
const CONNECTIONS: [usize; 2] = [1, 64];
/// How many steps stand behind the gate, so that the stored state is about 1 KiB.
const BEHIND: usize = 10;

/// Variables with which nothing falls asleep by itself.
pub(crate) const AWAKE: [(&str, &str); 2] =
    [("CENDRIIX_REST__IDLE_MS", "3600000"), ("CENDRIIX_REST__AWAKE_MAX", "20000")];

/// A gate with transforms behind it.
pub(crate) fn gated() -> Value {
    let steps =
        (0..BEHIND).map(|place| json!({ "id": format!("n{place}"), "type": "transform", "logic": place }));
    let gate = json!({ "id": "gate", "type": "approval-gate", "role": "member" });
    let before = |place: usize| if place == 0 { "gate".to_owned() } else { format!("n{}", place - 1) };
    let edge = |place: usize| json!({ "from": before(place), "to": format!("n{place}") });
    json!({
        "name": "gated",
        "nodes": std::iter::once(gate).chain(steps).collect::<Vec<_>>(),
        "edges": (0..BEHIND).map(edge).collect::<Vec<_>>(),
    })
}

/// The body that creates a run of a workflow.
pub(crate) fn ticket(workflow: &str) -> String {
    format!(r#"{{"workflowId":"{workflow}","input":{{"title":"A ticket","body":"that says what to do"}}}}"#)
}

/// A run that waits at its gate.
async fn waiting(client: &mut Client, workflow: &str) -> Done<String> {
    let run = client.sent(client.target.post("/v1/runs", &ticket(workflow))).await?;
    let id = text(&run["id"])?.to_owned();
    let advance = client.target.request("POST", &format!("/v1/runs/{id}/advance"), "Prefer: wait=30\r\n", "");
    let run = client.sent(advance).await?;
    match run["gates"].as_array() {
        Some(gates) if gates.len() == 1 => Ok(id),
        _ => Err(format!("the run does not wait at its gate: {run}").into()),
    }
}

/// A command with a key of its own.
fn keyed(target: &Target, path: &str, (place, number): (usize, u64), body: &str) -> Vec<u8> {
    target.request("POST", path, &format!("Idempotency-Key: {place}-{number}\r\n"), body)
}

/// How many durable transitions and creations a second.
pub(crate) async fn transitions() -> Done {
    let mut report = Report::new("transitions");
    report.floor(("fdatasync_per_s", floors::syncs()?));
    for connections in CONNECTIONS {
        let hello = floors::hello(connections).await?.per_second();
        let name = if connections == 1 { "hello_1_per_s" } else { "hello_64_per_s" };
        report.floor((name, hello));
        let home = server::home()?;
        let server = Server::start(home.path(), &AWAKE).await?;
        let mut client = server.login().await?;
        let workflow = client.workflow(&gated()).await?;
        let mut runs = Vec::new();
        for _ in 0..connections {
            runs.push(waiting(&mut client, &workflow).await?);
        }
        let target = client.target.clone();
        let turn = move |place: usize, number: u64| {
            let command = if number.is_multiple_of(2) { "cancel" } else { "retry" };
            keyed(&target, &format!("/v1/runs/{}/{command}", runs[place]), (place, number), "")
        };
        let target = client.target.clone();
        let body = ticket(&workflow);
        let create = move |place: usize, number: u64| keyed(&target, "/v1/runs", (place, number), &body);

        let before = server.cpu()?;
        let turned = load::run(&client.target, connections, Until::Time(MEASURED), turn, load::any).await?;
        let between = server.cpu()?;
        let created =
            load::run(&client.target, connections, Until::Time(MEASURED), create, load::any).await?;
        let after = server.cpu()?;
        for (series, tally, cpu) in
            [("transitions", turned, between - before), ("create", created, after - between)]
        {
            let mut fields = tally.fields("per_s");
            let each = cpu * 1e6 / load::count(tally.answered);
            fields.extend([
                ("cpu_us_each", each),
                ("answer_bytes", tally.mean_bytes()),
                ("to_hello", tally.per_second() / hello),
            ]);
            report.row(&format!("{series}, {connections} conn."), &fields);
        }
    }
    report.write()
}

/// How many reads of a run a second.
pub(crate) async fn reads() -> Done {
    let mut report = Report::new("reads");
    let hello = floors::hello(64).await?.per_second();
    report.floor(("hello_64_per_s", hello));
    let home = server::home()?;
    let server = Server::start(home.path(), &AWAKE).await?;
    let mut client = server.login().await?;
    let workflow = client.workflow(&gated()).await?;
    let run = waiting(&mut client, &workflow).await?;
    let read = client.target.get(&format!("/v1/runs/{run}"));
    let before = server.cpu()?;
    let tally =
        load::run(&client.target, 64, Until::Time(MEASURED), move |_, _| read.clone(), load::any).await?;
    let each = (server.cpu()? - before) * 1e6 / load::count(tally.answered);
    let mut fields = tally.fields("per_s");
    fields.extend([
        ("cpu_us_each", each),
        ("answer_bytes", tally.mean_bytes()),
        ("to_hello", tally.per_second() / hello),
    ]);
    report.row("awake run, 64 conn.", &fields);
    report.write()
}
