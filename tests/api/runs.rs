//! Runs: creating, steering and following them.

use std::sync::Arc;

use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::{sync::Notify, task::JoinSet};

use crate::kit::{Answer, TestClient, TestServer, gated, text};

async fn planned(client: &TestClient, definition: Value) -> String {
    let workflow = client.workflow(definition).await;
    let body = json!({ "workflowId": workflow, "input": { "title": "A ticket", "body": "what is wanted" } });
    text(&client.post("/v1/runs", body).await.expect(201)["id"])
}

/// Reads events until the stream closes, or `enough` says so; each as `name data`.
pub(super) async fn events(
    client: &TestClient,
    run: &str,
    after: u64,
    enough: impl Fn(&str) -> bool,
) -> Vec<(u64, String)> {
    let request = client.request(reqwest::Method::GET, &format!("/v1/workflow-runs/{run}/stream"));
    let response = request.header("last-event-id", after.to_string()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut chunks = response.bytes_stream();
    let (mut text, mut seen) = (String::new(), Vec::new());
    while let Some(chunk) = chunks.next().await {
        text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        while let Some((message, rest)) = text.split_once("\n\n") {
            let field = |name: &str| {
                message.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
            };
            let (name, id) = (field("event: "), field("id: "));
            if !name.is_empty() {
                seen.push((id.parse().unwrap_or(0), name.clone()));
            }
            text = rest.to_owned();
            if enough(&name) {
                return seen;
            }
        }
    }
    seen
}

/// Reads all events of a run beside the test.
fn follow(client: &TestClient, run: &str) -> JoinSet<Vec<(u64, String)>> {
    let (client, run) = (client.clone(), run.to_owned());
    let mut following = JoinSet::new();
    following.spawn(async move { events(&client, &run, 0, |_| false).await });
    following
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_becomes_a_planned_run_and_advances() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = planned(&ada, crate::kit::chain(1)).await;
    let run = ada.get(&format!("/v1/runs/{id}")).await;
    assert_eq!(run.header("etag"), "\"v1\"");
    insta::assert_snapshot!(run.story(), @r#"200 {"allowedActions":["advance","cancel"],"attempt":1,"costUsd":0.0,"createdAt":"<at>","createdBy":"<id>","gates":[],"id":"<id>","input":{"body":"what is wanted","title":"A ticket"},"plan":{"estimatedCostUsd":0.0,"generatedAt":"<at>","steps":[{"confidenceScore":1.0,"dependsOn":[],"estimatedCostUsd":0.0,"gate":false,"id":"n0","name":"n0","reversibilityTier":"reversible","type":"transform"}]},"status":"planned","steps":[{"attempt":0,"id":"n0","status":"pending"}],"tenantId":"<id>","title":"A ticket","updatedAt":"<at>","version":1,"workflowId":"<id>","workflowVersion":1,"workspaceId":"<id>"}"#);
    let advance = format!("/v1/runs/{id}/advance");
    let run = ada.post_and_wait(&advance, json!({})).await.expect(200);
    assert_eq!(run["status"], "merged", "{run}");
    let again = ada.post(&advance, json!({})).await.expect(409);
    assert_eq!((&again["currentStatus"], &again["allowedActions"]), (&json!("merged"), &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_holds_the_run_until_somebody_approves() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = planned(&ada, gated()).await;
    let run = ada.post_and_wait(&format!("/v1/runs/{id}/advance"), json!({})).await.expect(200);
    assert_eq!(
        (run["status"].as_str(), run["steps"][1]["status"].as_str()),
        (Some("executing"), Some("waiting"))
    );
    assert_eq!(run["gates"][0]["nodeId"], "gate");
    let listed = ada.get("/v1/runs?status=executing").await.expect(200);
    assert_eq!(listed["runs"][0]["openGates"], 1);
    let wrong = ada.post(&format!("/v1/runs/{id}/approve"), json!({ "gateId": id })).await;
    assert_eq!(wrong.status, 409);
    ada.post(&format!("/v1/runs/{id}/approve"), json!({ "note": "LGTM" })).await.expect(200);
    events(&ada, &id, 0, |_| false).await;
    let run = ada.get(&format!("/v1/runs/{id}")).await.expect(200);
    assert_eq!((run["status"].as_str(), &run["outputs"]), (Some("merged"), &json!({ "after": true })));
    ada.post(&format!("/v1/runs/{id}/approve"), json!({})).await.expect(409);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_approve_at_once_do_it_once() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = planned(&ada, gated()).await;
    let run = ada.post_and_wait(&format!("/v1/runs/{id}/advance"), json!({})).await.expect(200);
    let gate = json!({ "gateId": run["gates"][0]["id"] });
    let path = format!("/v1/runs/{id}/approve");
    let both = futures::future::join_all((0..4).map(|_| ada.post(&path, gate.clone()))).await;
    let mut statuses: Vec<u16> = both.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_gate_fails_the_run_and_a_retry_begins_again() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = planned(&ada, gated()).await;
    ada.post_and_wait(&format!("/v1/runs/{id}/advance"), json!({})).await.expect(200);
    let run = ada.post(&format!("/v1/runs/{id}/reject"), json!({ "reason": "not today" })).await.expect(200);
    assert_eq!(
        (run["status"].as_str(), run["reason"]["code"].as_str()),
        (Some("failed"), Some("gate_denied"))
    );
    assert!(run["reason"]["message"].as_str().unwrap().contains("not today"));
    ada.post(&format!("/v1/runs/{id}/retry"), json!({ "fromStepId": "nope" })).await.expect(422);
    let retry = json!({ "fromStepId": "gate" });
    let run = ada.post_and_wait(&format!("/v1/runs/{id}/retry"), retry).await.expect(202);
    assert_eq!(
        (run["attempt"].as_u64(), run["steps"][0]["attempt"].as_u64()),
        (Some(2), Some(1)),
        "what came before is kept"
    );
    assert_eq!(run["steps"][1]["status"], "waiting");
    ada.post(&format!("/v1/runs/{id}/retry"), json!({})).await.expect(409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_cancelled_once() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = planned(&ada, gated()).await;
    ada.post_and_wait(&format!("/v1/runs/{id}/advance"), json!({})).await.expect(200);
    let cancel = format!("/v1/runs/{id}/cancel");
    assert_eq!(ada.post(&cancel, json!({})).await.expect(200)["status"], "cancelled");
    ada.post(&cancel, json!({})).await.expect(409);
}

#[tokio::test(flavor = "multi_thread")]
async fn why_says_who_is_waited_for_and_until_when() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = planned(&ada, gated()).await;
    let why = ada.get(&format!("/v1/runs/{id}/why")).await.expect(200);
    assert!(why["text"].as_str().unwrap().contains("can start it with `advance`"), "{why}");
    ada.post_and_wait(&format!("/v1/runs/{id}/advance"), json!({})).await.expect(200);
    let why = ada.get(&format!("/v1/runs/{id}/why")).await.expect(200);
    assert_eq!(
        (why["waitingFor"][0]["kind"].as_str(), &why["nextDeadline"]),
        (Some("gate"), &why["waitingFor"][0]["deadline"])
    );
    assert!(
        why["text"].as_str().unwrap().contains("somebody with role member or higher to decide: approve gate"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lifecycle_has_exactly_one_current_stage() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = planned(&ada, gated()).await;
    let walk = |stages: &Value| -> (Vec<String>, Vec<String>) {
        let all = stages["stages"].as_array().unwrap();
        let named = |flag: &str| {
            all.iter().filter(|stage| stage[flag] == true).map(|stage| text(&stage["id"])).collect()
        };
        (named("reached"), named("current"))
    };
    let (reached, current) = walk(&ada.get(&format!("/v1/runs/{id}/lifecycle")).await.expect(200));
    assert_eq!(
        (reached.join(" "), current.join(" ")),
        ("intake-queued triaged scoped plan-draft planned".into(), "planned".into())
    );
    ada.post_and_wait(&format!("/v1/runs/{id}/advance"), json!({})).await.expect(200);
    ada.post(&format!("/v1/runs/{id}/cancel"), json!({})).await.expect(200);
    let (reached, current) = walk(&ada.get(&format!("/v1/runs/{id}/lifecycle")).await.expect(200));
    assert_eq!(current, ["cancelled"]);
    assert!(
        reached.contains(&"executing".to_owned()) && !reached.contains(&"testing".to_owned()),
        "{reached:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_tells_everything_in_order_and_closes_at_the_end() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let workflow = ada.chain(2).await;
    let run = ada
        .post("/v1/workflows/execute", json!({ "workflowId": workflow, "input": { "n": 1 } }))
        .await
        .expect(202);
    let id = text(&run["id"]);
    let all = events(&ada, &id, 0, |_| false).await;
    let numbers: Vec<u64> = all.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(numbers, (1..=all.len() as u64).collect::<Vec<_>>());
    let names: Vec<&str> = all.iter().map(|(_, name)| name.as_str()).collect();
    insta::assert_snapshot!(names.join(" "), @"RUN_CREATED RUN_STATUS_CHANGED NODE_RUN_STARTED NODE_RUN_COMPLETED NODE_RUN_STARTED NODE_RUN_COMPLETED RUN_COMPLETED");
    let rest = events(&ada, &id, 5, |_| false).await;
    assert_eq!(rest, all[5..], "a reconnect goes on where it was");
    let unknown = events(&ada, &id, 999, |_| false).await;
    assert_eq!(unknown, all, "a number that was never given starts from the beginning");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_a_run_that_goes_on_is_live() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = planned(&ada, gated()).await;
    let mut following = follow(&ada, &id);
    ada.post_and_wait(&format!("/v1/runs/{id}/advance"), json!({})).await.expect(200);
    ada.post(&format!("/v1/runs/{id}/approve"), json!({})).await.expect(200);
    let seen = following.join_next().await.unwrap().unwrap();
    assert_eq!(seen.last().unwrap().1, "RUN_COMPLETED");
    assert!(seen.iter().any(|(_, name)| name == "GATE_CLOSED"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_says_goodbye_to_its_streams() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = planned(&ada, gated()).await;
    // The stream is open once its first event has come.
    let opened = Arc::new(Notify::new());
    let mut following = JoinSet::new();
    let (client, run, first) = (ada.clone(), id.clone(), Arc::clone(&opened));
    following.spawn(async move {
        let heard = |_: &str| {
            first.notify_one();
            false
        };
        events(&client, &run, 0, heard).await
    });
    opened.notified().await;
    let server = server.restart().await;
    drop(server);
    let seen = following.join_next().await.unwrap().unwrap();
    assert_eq!(seen.last().unwrap().1, "server_shutdown", "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_waits_through_a_restart() {
    let server = TestServer::start().await;
    let token = server.login("ada").await.token.unwrap();
    let ada = server.stranger().with_token(&token);
    let id = planned(&ada, gated()).await;
    ada.post_and_wait(&format!("/v1/runs/{id}/advance"), json!({})).await.expect(200);
    let server = server.restart().await;
    let ada = server.stranger().with_token(&token);
    ada.post(&format!("/v1/runs/{id}/approve"), json!({})).await.expect(200);
    assert_eq!(events(&ada, &id, 0, |_| false).await.last().unwrap().1, "RUN_COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_and_filtered() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let workflow = ada.chain(1).await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let body = json!({ "workflowId": workflow, "input": { "title": format!("t{number}") } });
        ids.insert(0, text(&ada.post("/v1/runs", body).await.expect(201)["id"]));
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = ada.get(&format!("/v1/runs?limit=2&status=planned{cursor}")).await.expect(200);
        seen.extend(page["runs"].as_array().unwrap().iter().map(|run| text(&run["id"])));
        let Value::String(next) = &page["nextCursor"] else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, ids);
    assert_eq!(ada.get("/v1/runs?status=merged").await.expect(200)["runs"], json!([]));
    assert_eq!(
        ada.get(&format!("/v1/runs?workflowId={workflow}")).await.expect(200)["runs"]
            .as_array()
            .unwrap()
            .len(),
        5
    );
    for wrong in ["limit=0", "limit=201", "limit=x", "cursor=x", "status=happy", "workflowId=x"] {
        let refused = ada.get(&format!("/v1/runs?{wrong}")).await.expect(422);
        let field = wrong.split('=').next().unwrap();
        assert!(refused["fieldErrors"][field].is_array(), "{wrong}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tickets_are_refused_with_the_field() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let workflow = ada.chain(1).await;
    let refused = |input: Value| {
        let body = json!({ "workflowId": workflow, "input": input });
        let ada = ada.clone();
        async move { ada.post("/v1/runs", body).await.expect(422)["fieldErrors"].clone() }
    };
    assert!(refused(json!({ "title": " " })).await["input.title"].is_array());
    assert!(refused(json!({ "title": "t", "body": "x".repeat(262_145) })).await["input.body"].is_array());
    assert!(refused(json!({ "body": "x" })).await.to_string().contains("title"));
    let unknown = json!({ "workflowId": uuid::Uuid::nil(), "input": { "title": "t" } });
    ada.post("/v1/runs", unknown).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_below_the_gates_cannot_decide_it() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let workspace = ada.workspace().await;
    let mut graph = gated();
    graph["nodes"][1]["role"] = json!("owner");
    let id = planned(&ada, graph).await;
    ada.post_and_wait(&format!("/v1/runs/{id}/advance"), json!({})).await.expect(200);
    let invite = json!({ "email": "bob@example.com", "role": "admin" });
    ada.post(&format!("/v1/workspaces/{workspace}/members"), invite).await.expect(201);
    let bob = server.login("bob").await.switch(&workspace).await;
    let refused = bob.post(&format!("/v1/runs/{id}/approve"), json!({})).await.expect(403);
    assert!(refused["message"].as_str().unwrap().contains("owner"), "{refused}");
    ada.post(&format!("/v1/runs/{id}/approve"), json!({})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_gate_comes_before_planned() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let mut graph = crate::kit::chain(1);
    graph["planApproval"] = json!(true);
    let id = planned(&ada, graph).await;
    let run = ada.get(&format!("/v1/runs/{id}")).await.expect(200);
    assert_eq!(
        (run["status"].as_str(), run["gates"][0]["kind"].as_str()),
        (Some("plan-approval"), Some("plan"))
    );
    ada.post(&format!("/v1/runs/{id}/advance"), json!({})).await.expect(409);
    assert_eq!(ada.post(&format!("/v1/runs/{id}/approve"), json!({})).await.expect(200)["status"], "planned");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_be_left_out_where_all_of_it_is_optional() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = planned(&ada, gated()).await;
    Answer::of(
        ada.request(reqwest::Method::POST, &format!("/v1/runs/{id}/advance")).header("prefer", "wait=30"),
    )
    .await
    .expect(200);
    Answer::of(ada.request(reqwest::Method::POST, &format!("/v1/runs/{id}/approve"))).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_with_the_same_key_takes_effect_once() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let run = planned(&ada, gated()).await;
    let act = |action: &str, key: &'static str, body: Value| {
        let request = ada.request(reqwest::Method::POST, &format!("/v1/runs/{run}/{action}"));
        Answer::of(request.header("idempotency-key", key).header("prefer", "wait=30").json(&body))
    };
    assert_eq!(act("advance", "a", json!({})).await.expect(200)["status"], "executing");
    // Without a key the same would be a conflict: the run is no longer planned.
    assert_eq!(act("advance", "a", json!({})).await.expect(200)["status"], "executing");
    act("advance", "b", json!({})).await.expect(409);
    let done = act("approve", "a", json!({ "note": "fine" })).await.expect(200);
    assert_eq!(done["status"], "merged");
    assert_eq!(act("approve", "a", json!({ "note": "fine" })).await.expect(200)["version"], done["version"]);
    let other = act("approve", "a", json!({ "note": "another body" })).await.expect(422);
    assert!(other["fieldErrors"]["Idempotency-Key"].is_array(), "{other}");
}
