//! Workflows of five transforms, executed over HTTP and waited for.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    Done, floors,
    load::{self, Until, count},
    report::Report,
    server::{self, Server},
};

const CLIENTS: [usize; 4] = [1, 16, 64, 256];
const MEASURED: Duration = Duration::from_secs(5);
const STEPS: usize = 5;

/// Transforms in a row, each adding one to the one before.
fn chain() -> Value {
    let node = |place: usize| {
        let before = match place {
            0 => json!({ "var": "inputs.n" }),
            _ => json!({ "var": format!("steps.n{}.output", place - 1) }),
        };
        json!({ "id": format!("n{place}"), "type": "transform", "logic": { "+": [before, 1] } })
    };
    let edge = |place: usize| json!({ "from": format!("n{}", place - 1), "to": format!("n{place}") });
    json!({
        "name": "chain",
        "nodes": (0..STEPS).map(node).collect::<Vec<_>>(),
        "edges": (1..STEPS).map(edge).collect::<Vec<_>>(),
    })
}

/// How many workflows a second, how long each takes, and what it costs.
pub(crate) async fn workflows() -> Done {
    let mut report = Report::new("workflows");
    let syncs = floors::syncs()?;
    let hello = floors::hello(64).await?.per_second();
    report.floor(("fdatasync_per_s", syncs));
    report.floor(("hello_64_per_s", hello));
    for clients in CLIENTS {
        let home = server::home()?;
        let server = Server::start(home.path(), &[]).await?;
        let mut client = server.login().await?;
        let workflow = client.workflow(&chain()).await?;
        let target = client.target.clone();
        let ask = move |place: usize, number: u64| {
            let n = number % 1_000_000 + place as u64;
            let body = format!(r#"{{"workflowId":"{workflow}","input":{{"n":{n}}}}}"#);
            target.request("POST", "/v1/workflows/execute", "Prefer: wait=30\r\n", &body)
        };
        let merged = |_: u64, body: &[u8]| String::from_utf8_lossy(body).contains(r#""status":"merged""#);
        let before = server.cpu()?;
        let tally = load::run(&client.target, clients, Until::Time(MEASURED), ask, merged).await?;
        let cpu = (server.cpu()? - before) / count(tally.answered) * 1e3;
        let mut fields = tally.fields("workflows_per_s");
        fields.extend([
            ("cpu_s_per_1000", cpu),
            ("to_fdatasync", tally.per_second() / syncs),
            ("to_hello_64", tally.per_second() / hello),
        ]);
        report.row(&format!("clients: {clients}"), &fields);
    }
    report.write()
}
