//! `kill -9` at random moments under load: every acknowledged command is there, every run goes on by itself.
//!
//! `CENDRIIX_CRASHES` says how often to kill (10), `CENDRIIX_SEED` with which seed; a failure prints the
//! seed.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::kit::{
    Answer, TestClient,
    process::{Process, from_environment, run},
    text,
};

/// How many clients ask at the same time.
const CLIENTS: usize = 8;
/// At most so many answers come before the process is killed.
const ANSWERS_MAX: usize = 120;

/// What the server has said yes to.
#[derive(Debug, Default)]
struct Acknowledged {
    /// Runs that were created, with what their last step must give.
    created: Mutex<Vec<(String, u64)>>,
    /// Runs whose gate was approved.
    approved: Mutex<Vec<String>>,
    /// Runs that wait at their gate and may be approved.
    waiting: Mutex<Vec<String>>,
    count: AtomicUsize,
    another: Notify,
}

impl Acknowledged {
    fn one_more(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.another.notify_one();
    }

    async fn reach(&self, count: usize) {
        while self.count.load(Ordering::Relaxed) < count {
            self.another.notified().await;
        }
    }
}

/// Asks without an end; stops when the server no longer answers.
async fn ask(client: TestClient, chain: String, gated: String, seed: u64, said: Arc<Acknowledged>) {
    let mut dice = fastrand::Rng::with_seed(seed);
    loop {
        let waiting = said.waiting.lock().unwrap().pop();
        if let Some(run) = waiting.filter(|_| dice.bool()) {
            let Some(answer) = sent(&client, &format!("/v1/runs/{run}/approve"), json!({})).await else {
                return;
            };
            // Another try of ours before the last crash may have got through without our hearing of it.
            if answer.status == 200 {
                said.approved.lock().unwrap().push(run);
                said.one_more();
            }
            continue;
        }
        let n = dice.u64(0..1_000_000);
        let gate = dice.u8(0..4) == 0;
        let body = json!({ "workflowId": if gate { &gated } else { &chain }, "input": { "n": n } });
        let Some(answer) = sent(&client, "/v1/workflows/execute", body).await else { return };
        let run = text(&answer.expect(202)["id"]);
        if gate {
            said.waiting.lock().unwrap().push(run);
        } else {
            said.created.lock().unwrap().push((run, n + 5));
        }
        said.one_more();
    }
}

/// The answer, or nothing when the server went away before it came.
async fn sent(client: &TestClient, path: &str, body: Value) -> Option<Answer> {
    let response = client.request(reqwest::Method::POST, path).json(&body).send().await.ok()?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.json().await.ok()?;
    Some(Answer { status, headers, body })
}

/// The run, once it rests.
async fn rested(client: &TestClient, run: &str) -> Value {
    let why = client.request(reqwest::Method::GET, &format!("/v1/workflow-runs/{run}/stream"));
    // The stream closes when the run has ended.
    why.send().await.unwrap().bytes().await.unwrap();
    client.get(&format!("/v1/runs/{run}")).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_acknowledged_is_lost_by_kill_9() {
    let crashes = from_environment("CENDRIIX_CRASHES", 10);
    let seed = from_environment("CENDRIIX_SEED", fastrand::u64(..));
    eprintln!("CENDRIIX_SEED={seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");

    let server = Process::serve(&data).await;
    let client = server.client().login("ada").await;
    let token = client.token.clone().unwrap();
    let (chain, gated) = (client.chain(5).await, client.workflow(crate::kit::gated()).await);
    assert!(server.terminate().await.success(), "a server that is told to stop stops well");

    let said = Arc::new(Acknowledged::default());
    for crash in 0..crashes {
        let server = Process::serve(&data).await;
        let client = server.client().with_token(&token);
        let target = said.count.load(Ordering::Relaxed) + dice.usize(1..ANSWERS_MAX);
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(ask(client.clone(), chain.clone(), gated.clone(), dice.u64(..), Arc::clone(&said)));
        }
        said.reach(target).await;
        server.kill();
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
        let verified = run(&data, &["verify"]);
        let report = String::from_utf8_lossy(&verified.stdout);
        assert!(verified.status.success(), "seed {seed}, crash {crash}: {report}");
    }

    let server = Process::serve(&data).await;
    let client = server.client().with_token(&token);
    let created = said.created.lock().unwrap().clone();
    assert!(!created.is_empty());
    for (id, result) in created {
        let run = rested(&client, &id).await;
        assert_eq!(run["status"], "merged", "seed {seed}: {run}");
        assert_eq!(run["outputs"], json!({ "n4": result }), "seed {seed}: {run}");
    }
    let approved = said.approved.lock().unwrap().clone();
    for id in approved {
        assert_eq!(rested(&client, &id).await["status"], "merged", "seed {seed}: {id} was approved");
    }
    let waiting = said.waiting.lock().unwrap().clone();
    for id in waiting {
        client.get(&format!("/v1/runs/{id}")).await.expect(200);
    }
}
