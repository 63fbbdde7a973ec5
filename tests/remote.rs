//! Runs on repositories of another server, which speaks git's own protocol over HTTP.

use std::{path::Path, sync::Arc};

use cendriix_actors::secret::Secret;
use serde_json::{Value, json};

use crate::kit::{
    Answer, TestClient, TestServer, git,
    git_server::{GitServer, Mood, commit},
    openai::{FakeOpenAi, Turn},
    process::{cendriix, printed},
    text,
};

/// Everything that a run on another server needs.
struct Stage {
    server: TestServer,
    client: TestClient,
    git: GitServer,
    openai: FakeOpenAi,
}

impl Stage {
    /// A stage on which the git server may be reached, and agents write `a.txt`.
    async fn set() -> Self {
        Self::set_with(None, |_| ()).await
    }

    async fn set_with(token: Option<&str>, change: impl FnOnce(&mut cendriix::Config)) -> Self {
        let git = GitServer::start(token).await;
        let openai = FakeOpenAi::start([]).await;
        let server = TestServer::start_with(|config| {
            openai.configure(config, &["m"]);
            config.egress.allow = vec![git.pair.clone()];
            change(config);
        })
        .await;
        let client = server.login("ada").await;
        Self { server, client, git, openai }
    }

    async fn create(&self, url: &str) -> Answer {
        self.openai.script([
            Turn::call("write_file", json!({ "path": "a.txt", "content": "two\n" })),
            Turn::text("Done."),
        ]);
        let definition = json!({
            "name": "one agent",
            "nodes": [
                { "id": "work", "type": "agent", "prompt": "Write a.txt." },
                { "id": "merge", "type": "merge" },
            ],
            "edges": [{ "from": "work", "to": "merge" }],
        });
        let workflow = self.client.workflow(definition).await;
        let body = json!({
            "workflowId": workflow, "input": { "title": "Write it" }, "repository": { "url": url },
        });
        self.client.post("/v1/runs", body).await
    }

    /// A run that waits for leave to merge.
    async fn at_the_gate(&self, url: &str) -> Value {
        let run = self.create(url).await.expect(201);
        let path = format!("/v1/runs/{}/advance", text(&run["id"]));
        let run = self.client.post_and_wait(&path, json!({})).await.expect(200);
        assert_eq!(run["status"], "merge-approval", "{run}");
        run
    }

    /// Approves its gates, all of this kind, until the run rests at none of them.
    async fn approve(&self, run: &Value, kind: &str, resolution: Option<&str>) -> Value {
        let path = format!("/v1/runs/{}", text(&run["id"]));
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            looks.tick().await;
            let run = self.client.get(&path).await.expect(200);
            let gates = run["gates"].as_array().unwrap();
            if let Some(gate) = gates.iter().find(|gate| gate["kind"] == kind) {
                let body = json!({ "gateId": gate["id"], "resolution": resolution });
                self.client.post(&format!("{path}/approve"), body).await.expect(200);
            } else if !gates.is_empty() || ["merged", "failed"].map(Value::from).contains(&run["status"]) {
                return run;
            }
        }
    }

    async fn merge(&self, run: &Value) -> Value {
        self.approve(run, "merge", None).await
    }

    /// Approves the merge once, and waits until the run rests.
    async fn merge_once(&self, run: &Value) -> Value {
        let path = format!("/v1/runs/{}/approve", text(&run["id"]));
        self.client.post_and_wait(&path, json!({})).await.expect(200)
    }
}

fn subjects(bare: &Path, branch: &str) -> String {
    git(bare, &["log", "--format=%s", branch])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_merged_on_the_other_server_with_one_command() {
    let there = GitServer::start(Some("s3cret-token")).await;
    let bare = there.with_a_commit("team/words.git", "main");
    let home = tempfile::tempdir().unwrap();
    let (data, config) = (home.path().join("data"), home.path().join("cendriix.toml"));
    let pair = &there.pair;
    let settings = format!(
        "[egress]\nallow = [\"{pair}\"]\n[repositories.tokens]\n\"{pair}/team\" = \"env:GIT_TOKEN_OF_A_TEST\"\n"
    );
    std::fs::write(&config, settings).unwrap();
    let ticket = format!("{}/examples/tickets/word-count.md", env!("CARGO_MANIFEST_DIR"));
    let mut command = cendriix(&data);
    command.arg("--config").arg(&config).env("GIT_TOKEN_OF_A_TEST", "s3cret-token");
    for name in ["OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"] {
        command.env_remove(name);
    }
    command.args(["run", &ticket, "--approve", "--repo", &there.url("team/words.git/")]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = [output.stdout.as_slice(), output.stderr.as_slice()].map(String::from_utf8_lossy).concat();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains(&format!("main branch of {}", there.url("team/words.git"))), "{told}");
    assert!(!told.contains("s3cret"), "{told}");

    // The remote has it all, and the branch that shows it.
    let log = subjects(&bare, "main");
    assert!(log.contains("Count the words") && log.contains("By hand: first.txt"), "{log}");
    assert!(git(&bare, &["show", "main:test.sh"]).contains("counts one file"));
    assert!(git(&bare, &["branch", "--list", "cendriix/*"]).contains("count-the-words"));
    git(&bare, &["fsck", "--strict"]);

    // What is kept of it is proved, backed up and restored like any other.
    let (archive, again) = (home.path().join("backup.tar"), home.path().join("again"));
    let prove = || {
        let verified = printed(&data, &["verify"]);
        assert!(verified.contains("all sound") && !verified.contains(" 0 checkpoints"), "{verified}");
        printed(&data, &["backup", &archive.display().to_string()]);
        printed(&again, &["restore", &archive.display().to_string()]);
        assert_eq!(printed(&again, &["verify"]), verified);
    };
    tokio::task::block_in_place(prove);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_branch_is_the_one_that_the_server_names() {
    let stage = Stage::set().await;
    let bare = stage.git.with_a_commit("a.git", "trunk");
    commit(&bare, "main", "other.txt", "not this\n");
    let before = git(&bare, &["rev-parse", "main"]);
    let run = stage.at_the_gate(&stage.git.url("a.git")).await;
    assert_eq!(run["repository"]["url"], stage.git.url("a.git"));
    assert_eq!(run["repository"]["baseCommit"], git(&bare, &["rev-parse", "trunk"]).trim());
    let branch = text(&run["repository"]["branch"]);
    assert_eq!(run["repository"]["commit"], git(&bare, &["rev-parse", &branch]).trim());
    let run = stage.merge(&run).await;
    assert_eq!(run["status"], "merged", "{run}");
    assert_eq!(git(&bare, &["show", "trunk:a.txt"]), "two\n");
    assert_eq!(git(&bare, &["rev-parse", "main"]), before);
    // The next run begins from what the server has by then.
    commit(&bare, "trunk", "later.txt", "3\n");
    let next = stage.create(&stage.git.url("a.git")).await.expect(201);
    assert_eq!(next["repository"]["baseCommit"], git(&bare, &["rev-parse", "trunk"]).trim());
    assert_eq!(next["repository"]["path"], run["repository"]["path"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_repository_gets_its_main_branch() {
    let stage = Stage::set().await;
    for (name, branch) in [("a.git", "main"), ("b.git", "trunk")] {
        let bare = stage.git.empty(name, branch);
        let run = stage.at_the_gate(&stage.git.url(name)).await;
        assert_eq!(run["repository"]["baseCommit"], Value::Null);
        assert!(git(&bare, &["branch", "--list", branch]).is_empty());
        let run = stage.merge(&run).await;
        assert_eq!(run["status"], "merged", "{run}");
        assert_eq!(git(&bare, &["show", "HEAD:a.txt"]), "two\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_push_meanwhile_is_never_lost() {
    let stage = Stage::set().await;
    let bare = stage.git.with_a_commit("a.git", "main");
    let run = stage.at_the_gate(&stage.git.url("a.git")).await;
    // One commit comes before the merge begins, and one in the very moment of the push.
    commit(&bare, "main", "before.txt", "1\n");
    git(&bare, &["branch", "next", "main"]);
    commit(&bare, "next", "during.txt", "1\n");
    let hook = "#!/bin/sh\n\
        grep -q ' refs/heads/main$' || exit 0\n\
        mkdir moved 2>/dev/null || exit 0\n\
        unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES\n\
        git update-ref refs/heads/main refs/heads/next\n";
    std::fs::write(bare.join("hooks/pre-receive"), hook).unwrap();
    std::process::Command::new("chmod").arg("+x").arg(bare.join("hooks/pre-receive")).status().unwrap();
    // Each makes the change be joined with it, tested and approved again.
    let mut run = run;
    for status in ["merge-approval", "merge-approval", "merged"] {
        run = stage.merge_once(&run).await;
        assert_eq!(run["status"], status, "{run}");
    }
    assert!(bare.join("moved").exists());
    let files = git(&bare, &["ls-tree", "--name-only", "main"]);
    assert_eq!(files.lines().collect::<Vec<_>>(), ["a.txt", "before.txt", "during.txt", "first.txt"]);
    assert_eq!(run["repository"]["commit"], git(&bare, &["rev-parse", "main"]).trim());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_the_server_refuses_changes_nothing_and_says_why() {
    let stage = Stage::set().await;
    let bare = stage.git.with_a_commit("a.git", "main");
    let run = stage.at_the_gate(&stage.git.url("a.git")).await;
    let before = git(&bare, &["rev-parse", "main"]);
    std::fs::write(bare.join("hooks/pre-receive"), "#!/bin/sh\necho main is frozen >&2\nexit 1\n").unwrap();
    std::process::Command::new("chmod").arg("+x").arg(bare.join("hooks/pre-receive")).status().unwrap();
    let run = stage.merge_once(&run).await;
    assert_eq!(run["status"], "merge-approval", "{run}");
    assert!(text(&run["gates"][0]["subject"]).contains("main is frozen"), "{run}");
    let mirror = text(&run["repository"]["path"]);
    assert_eq!(git(&bare, &["rev-parse", "main"]), before);
    assert_eq!(git(Path::new(&mirror), &["rev-parse", "main"]), before, "the mirror does not run ahead");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_whose_answer_was_lost_is_looked_for_on_the_server() {
    let stage = Stage::set().await;
    let bare = stage.git.with_a_commit("a.git", "main");
    let run = stage.at_the_gate(&stage.git.url("a.git")).await;
    stage.git.set(Mood::LosesAnswers);
    let run = stage.merge(&run).await;
    assert_eq!(run["status"], "merged", "{run}");
    assert_eq!(run["repository"]["commit"], git(&bare, &["rev-parse", "main"]).trim());

    // While the server cannot be asked, a person is.
    let bare = stage.git.with_a_commit("b.git", "main");
    stage.git.set(Mood::Fine);
    let run = stage.at_the_gate(&stage.git.url("b.git")).await;
    stage.git.set(Mood::Breaks);
    let run = stage.merge(&run).await;
    assert_eq!(run["gates"][0]["kind"], "unknown_outcome", "{run}");
    stage.git.set(Mood::Fine);
    let run = stage.approve(&run, "unknown_outcome", Some("repeat")).await;
    assert_eq!(run["status"], "merged", "{run}");
    let merges = git(&bare, &["log", "--merges", "--format=%s", "main"]);
    assert_eq!(merges.lines().count(), 1, "it is not merged twice: {merges}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_perhaps_comes_later_is_not_repeated_before_a_person_says_so() {
    let stage = Stage::set().await;
    let bare = stage.git.with_a_commit("a.git", "main");
    let run = stage.at_the_gate(&stage.git.url("a.git")).await;
    let before = stage.git.asked().len();
    stage.git.set(Mood::DropsPushes);
    let run = stage.merge_once(&run).await;
    assert_eq!(run["gates"][0]["kind"], "unknown_outcome", "{run}");
    let asked = stage.git.asked();
    let pushes = asked[before..].iter().filter(|path| path.ends_with("/git-receive-pack")).count();
    assert_eq!(pushes, 1, "{asked:?}");
    stage.git.set(Mood::Fine);
    let run = stage.approve(&run, "unknown_outcome", Some("repeat")).await;
    assert_eq!(run["status"], "merged", "{run}");
    assert_eq!(git(&bare, &["log", "--merges", "--format=%s", "main"]).lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_wants_a_token_gets_the_operators() {
    let stage = Stage::set_with(Some("right"), |_| ()).await;
    stage.git.with_a_commit("a.git", "main");
    let refused = stage.create(&stage.git.url("a.git")).await.expect(422).to_string();
    assert!(refused.contains("repositories.tokens") && refused.contains(&stage.git.pair), "{refused}");
    for (token, status) in [("wrong", 422), ("right", 201)] {
        let git = GitServer::start(Some("right")).await;
        git.with_a_commit("a.git", "main");
        let url = git.url("a.git");
        let server = TestServer::start_with(|config| {
            config.egress.allow = vec![git.pair.clone()];
            config.repositories.tokens.insert(git.pair.clone(), Secret::new(token));
        })
        .await;
        let ada = server.login("ada").await;
        let workflow = ada.chain(1).await;
        let body = json!({ "workflowId": workflow, "input": { "title": "t" }, "repository": { "url": url } });
        let answered = ada.post("/v1/runs", body).await.expect(status).to_string();
        assert_eq!(answered.contains("does not accept the token"), status == 422, "{answered}");
        assert!(!answered.contains("\"right\"") && !answered.contains("\"wrong\""), "{answered}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_cannot_be_used_is_refused_with_a_reason() {
    let stage = Stage::set().await;
    stage.git.empty("words.git", "main");
    let closed = Arc::new(tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    let private = format!("https://{}/a.git", closed.local_addr().unwrap());
    for (url, said) in [
        (stage.git.url("missing.git"), "no git repository"),
        (stage.git.url("page"), "no git repository"),
        (stage.git.url("elsewhere"), "leads to another address"),
        (private, "egress.allow"),
        ("http://127.0.0.1:1/a.git".into(), "only https"),
        ("https://10.0.0.1/a.git".into(), "egress.allow"),
        ("https://[::ffff:169.254.169.254]/a.git".into(), "egress.allow"),
        ("https://localhost/a.git".into(), "egress.allow"),
        ("https://no-such-host.invalid/a.git".into(), "cannot be found"),
        (format!("http://user:hidden@{}/words.git", stage.git.pair), "repositories.tokens"),
        ("ssh://git@example.com/a.git".into(), "https address"),
        ("git@example.com:a.git".into(), "https one"),
        ("ext::sh -c true".into(), "no spaces"),
        ("--upload-pack=true".into(), "whole address"),
        ("file:///etc".into(), "by path"),
    ] {
        let refused = stage.create(&url).await.expect(422);
        let fields = refused["fieldErrors"].to_string();
        assert!(fields.contains(said) && !fields.contains("hidden"), "{url}: {refused}");
    }
    assert!(!stage.git.asked().iter().any(|path| path.starts_with("/team")), "a redirect was followed");
    // Of what is refused nothing is kept.
    let kept = stage.server.home.path().join("data/repositories");
    assert_eq!(
        std::fs::read_dir(kept).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(),
        0
    );
    let closed = Arc::into_inner(closed).unwrap();
    let unreachable = format!("http://{}/a.git", closed.local_addr().unwrap());
    drop(closed);
    let pair = unreachable.split('/').nth(2).unwrap().to_owned();
    let server = TestServer::start_with(|config| config.egress.allow = vec![pair]).await;
    let ada = server.login("ada").await;
    let workflow = ada.chain(1).await;
    let body =
        json!({ "workflowId": workflow, "input": { "title": "t" }, "repository": { "url": unreachable } });
    let refused = ada.post("/v1/runs", body).await.expect(422);
    assert!(refused.to_string().contains("git could not do it at"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_workspace_has_a_mirror_of_its_own() {
    let stage = Stage::set().await;
    stage.git.with_a_commit("a.git", "main");
    let run = stage.create(&stage.git.url("a.git")).await.expect(201);
    let bob = stage.server.login("bob").await;
    let workflow = bob.chain(1).await;
    let url = stage.git.url("a.git");
    let body = json!({ "workflowId": workflow, "input": { "title": "t" }, "repository": { "url": url } });
    let other = bob.post("/v1/runs", body).await.expect(201);
    assert_ne!(run["repository"]["path"], other["repository"]["path"]);
    assert_eq!(run["repository"]["baseCommit"], other["repository"]["baseCommit"]);
}
