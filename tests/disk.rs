//! A disk that gets full while the server works, and has space again.

use serde_json::{Value, json};

use crate::kit::{
    chain,
    openai::{FakeOpenAi, Turn},
    process::Process,
    text,
};

/// How large the disk is, and what fills it up to less than the server wants to have free, which is 64 MiB.
const DISK: usize = 96 << 20;
const FILLING: usize = 40 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_while_the_disk_is_full_and_goes_on_with_what_it_has() {
    let openai = FakeOpenAi::start([Turn::Held("Done.".into())]).await;
    let home = tempfile::tempdir().unwrap();
    let (server, disk) = Process::serve_on_disk(home.path(), DISK, |command| openai.show_to(command)).await;
    let filling = disk.join("filling");
    let ada = server.client().login("ada").await;
    let nodes = json!([{ "id": "work", "type": "agent", "prompt": "Look at it." }]);
    let workflow = ada.workflow(json!({ "name": "w", "nodes": nodes, "edges": [] })).await;
    let body = json!({ "workflowId": workflow, "input": { "title": "t" }, "repository": { "project": "p" } });
    let run = format!("/v1/runs/{}", text(&ada.post("/v1/runs", body).await.expect(201)["id"]));
    ada.post(&format!("{run}/advance"), json!({})).await.expect(200);
    openai.arrived(1).await;

    std::fs::write(&filling, vec![0; FILLING]).unwrap();
    // The server looks at the disk once a second.
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(50));
    let refused = loop {
        looks.tick().await;
        let answer = ada.post("/v1/workflows", chain(1)).await;
        if answer.status != 201 {
            break answer.expect(503);
        }
    };
    assert!(text(&refused["message"]).contains("free some space"), "{refused}");
    // What the model says meanwhile is kept until it can be saved.
    openai.let_go();
    assert_eq!(ada.get(&run).await.expect(200)["status"], "executing");

    std::fs::remove_file(&filling).unwrap();
    let ended = loop {
        looks.tick().await;
        let run: Value = ada.get(&run).await.expect(200);
        if run["status"] != "executing" {
            break run;
        }
    };
    assert_eq!(ended["status"], "merged", "{ended}");
    assert_eq!(openai.requests().len(), 1, "the model was not asked again");
    ada.post("/v1/workflows", chain(1)).await.expect(201);
}
