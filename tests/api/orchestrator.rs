//! Plans, before anything runs.

use cendriix_protocol::money::MicroUsd;
use serde_json::{Value, json};

use crate::kit::{
    TestServer,
    openai::{FakeOpenAi, Turn},
};

fn decomposing() -> Value {
    json!({
        "name": "ship",
        "nodes": [
            { "id": "before", "type": "transform", "logic": 1 },
            { "id": "implement", "type": "agent", "decompose": true },
            { "id": "after", "type": "approval-gate" },
            { "id": "tests", "type": "run-tests" },
        ],
        "edges": [
            { "from": "before", "to": "implement" },
            { "from": "implement", "to": "after" },
            { "from": "after", "to": "tests" },
        ],
    })
}

async fn server(turns: impl IntoIterator<Item = Turn>) -> (TestServer, FakeOpenAi) {
    let openai = FakeOpenAi::start(turns).await;
    let server = TestServer::start_with(|config| {
        openai.configure(config, &["m"]);
        config.models.openai.models[0].usd_per_mtok_in = Some(MicroUsd(1_000_000));
        config.models.openai.models[0].usd_per_mtok_out = Some(MicroUsd(4_000_000));
    })
    .await;
    (server, openai)
}

fn part(id: &str, depends_on: &[&str]) -> Value {
    json!({ "id": id, "name": id, "dependsOn": depends_on, "prompt": "do it", "confidenceScore": 0.5, "reasons": [] })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_takes_the_place_of_its_node_in_the_graph_and_is_costed() {
    let steps = json!({ "steps": [part("a", &[]), part("b", &[]), part("after", &["a"])] });
    let (server, _openai) = server([Turn::text(&steps.to_string())]).await;
    let ada = server.login("ada").await;
    let workflow = ada.workflow(decomposing()).await;
    let body = json!({ "workflowId": workflow, "input": { "title": "t", "body": "b" } });
    let planned = ada.post("/v1/orchestrator/decompose", body).await.expect(200);
    let told: Vec<String> = planned["plan"]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| format!("{} {} {}", step["id"], step["type"], step["dependsOn"]))
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    "before" "transform" []
    "a" "agent" ["before"]
    "b" "agent" ["before"]
    "implement-1-after" "agent" ["a"]
    "after" "approval-gate" ["b","implement-1-after"]
    "#);
    let cost = planned["estimatedCostUsd"].as_f64().unwrap();
    let each = planned["plan"]["steps"][1]["estimatedCostUsd"].as_f64().unwrap();
    assert!(each > 0.0 && (cost - 3.0 * each).abs() < 1e-9, "{planned}");
    assert_eq!(ada.get("/v1/runs").await.expect(200)["runs"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_makes_no_sound_plan_is_replaced_by_the_built_in_planner_which_says_so() {
    let circle = json!({ "steps": [part("a", &["b"]), part("b", &["a"])] });
    let (server, openai) = server([Turn::text(&circle.to_string())]).await;
    let ada = server.login("ada").await;
    let workflow = ada.workflow(decomposing()).await;
    let input = json!({ "title": "t", "body": "1. Run `true`\n2. Run `false`\n" });
    let body = json!({ "workflowId": workflow, "input": input });
    let planned = ada.post("/v1/orchestrator/decompose", body.clone()).await.expect(200);
    assert_eq!(planned["plan"]["planner"], "cendriix-rules-1");
    let reasons = planned["plan"]["steps"][1]["reasons"].to_string();
    assert!(reasons.contains("no earlier step"), "{reasons}");
    openai.script([Turn::text("I would rather not.")]);
    let planned = ada.post("/v1/orchestrator/decompose", body).await.expect(200);
    assert_eq!(planned["plan"]["planner"], "cendriix-rules-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_plan_is_costed_again_and_an_unsound_one_is_refused_with_every_fault() {
    let (server, _openai) = server([]).await;
    let ada = server.login("ada").await;
    let sound = json!({ "plan": { "steps": [
        { "id": "a", "prompt": "x".repeat(40_000) }, { "id": "b", "dependsOn": ["a"], "type": "approval-gate" },
    ], "generatedAt": "2026-01-01T00:00:00Z" } });
    let planned = ada.post("/v1/orchestrator/estimate", sound).await.expect(200);
    let steps = &planned["plan"]["steps"];
    assert!(steps[0]["estimatedCostUsd"].as_f64().unwrap() > 0.05, "{planned}");
    assert_eq!((&steps[1]["estimatedCostUsd"], &steps[1]["gate"]), (&json!(0.0), &json!(true)));
    assert_eq!(planned["plan"]["generatedAt"], "2026-01-01T00:00:00.000Z");
    let unsound = json!({ "plan": { "steps": [
        { "id": "a", "dependsOn": ["b"] }, { "id": "a b" }, { "id": "a", "confidenceScore": 2.0 },
    ] }, "model": "m" });
    let refused = ada.post("/v1/orchestrator/estimate", unsound).await.expect(422);
    let fields: Vec<&String> = refused["fieldErrors"].as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        ["plan.steps[0].dependsOn", "plan.steps[1].id", "plan.steps[2].confidenceScore", "plan.steps[2].id"]
    );
    let unknown = json!({ "plan": { "steps": [{ "id": "a" }] }, "model": "nobody" });
    let refused = ada.post("/v1/orchestrator/estimate", unknown).await.expect(422);
    assert!(refused["fieldErrors"]["model"].to_string().contains("cendriix-rules-1"), "{refused}");
}
