//! The command line, as a person and as a script use it.

use serde_json::{Value, json};

use crate::kit::{
    chain, gated,
    process::{Process, cendriix, printed, run},
    text,
};

fn json(data: &std::path::Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(data, &[arguments, &["--json"]].concat())).unwrap()
}

fn file(home: &tempfile::TempDir, definition: &Value) -> String {
    let path = home.path().join(format!("{}.json", text(&definition["name"])));
    std::fs::write(&path, definition.to_string()).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_is_kept_executed_and_its_runs_are_seen() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let _server = Process::serve(&data).await;
    let workflow = text(&json(&data, &["workflows", "create", &file(&home, &chain(3))])["id"]);
    let told = printed(&data, &["workflows", "execute", &workflow, "--input", r#"{"n":1}"#]);
    assert!(told.contains("✓ n2 = 4") && told.contains("merged"), "{told}");
    let listed = printed(&data, &["runs", "list"]);
    assert!(listed.starts_with("ID ") && listed.contains("merged"), "{listed}");
    let runs = json(&data, &["runs", "list", "--status", "merged"]);
    let id = text(&runs["runs"][0]["id"]);
    assert!(printed(&data, &["runs", "why", &id]).contains("The run is merged"));
    assert!(printed(&data, &["runs", "get", &id]).contains("n2 = 4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_scripts_what_happened() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let code = |arguments: &[&str]| run(&data, arguments).status.code().unwrap();
    assert_eq!(code(&["runs", "list"]), 1, "no server");
    assert_eq!(code(&["runs", "frobnicate"]), 2, "wrong usage");
    let _server = Process::serve(&data).await;
    let workflow = text(&json(&data, &["workflows", "create", &file(&home, &gated())])["id"]);
    assert_eq!(code(&["workflows", "execute", &workflow]), 6, "waits at a gate that nobody here can answer");
    let id = text(&json(&data, &["runs", "list"])["runs"][0]["id"]);
    assert_eq!(code(&["runs", "retry", &id]), 5, "its state does not allow it");
    assert_eq!(code(&["runs", "get", "00000000-0000-0000-0000-000000000000"]), 4);
    assert_eq!(code(&["runs", "list", "--token", "nonsense"]), 3);
    assert_eq!(code(&["runs", "list", "--status", "happy"]), 2);
    assert_eq!(code(&["runs", "approve", &id, "--note", "LGTM"]), 0);
    assert_eq!(code(&["runs", "watch", &id]), 0);
    assert_eq!(code(&["workflows", "create", &file(&home, &json!({ "name": "bad", "nodes": [] }))]), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_server_that_goes_on_is_restored_and_sound() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let server = Process::serve(&data).await;
    let client = server.client().login("ada").await;
    let workflow = client.chain(2).await;
    let run_it = json!({ "workflowId": workflow, "input": { "n": 1, "text": "x".repeat(10_000) } });
    let before = client.post_and_wait("/v1/workflows/execute", run_it.clone()).await.expect(202);
    let archive = home.path().join("backup.tar").display().to_string();
    printed(&data, &["backup", &archive]);
    assert!(!run(&data, &["backup", &archive]).status.success(), "nothing is overwritten");
    client.post_and_wait("/v1/workflows/execute", run_it).await.expect(202);

    let restored = home.path().join("restored");
    printed(&restored, &["restore", &archive]);
    assert!(!run(&restored, &["restore", &archive]).status.success(), "nothing is overwritten");
    assert!(printed(&restored, &["verify"]).contains("all sound"));
    let second = Process::serve(&restored).await;
    let client = second.client().login("ada").await;
    let runs = client.get("/v1/runs").await.expect(200);
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1);
    assert_eq!(client.get(&format!("/v1/runs/{}", text(&before["id"]))).await.expect(200), before);
    assert!(!restored.join("keys").join("signing.pkcs8").metadata().unwrap().permissions().readonly());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_said_clearly() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let server = Process::serve(&data).await;
    let said = |arguments: &[&str], data: &std::path::Path| {
        let output = run(data, arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let locked = said(&["serve", "--listen", "127.0.0.1:0"], &data);
    assert!(locked.contains("in use by another process"), "{locked}");
    let address = server.url.strip_prefix("http://").unwrap();
    let taken = said(&["serve", "--listen", address], &home.path().join("other"));
    assert!(taken.contains("cannot listen on") && taken.contains("--listen"), "{taken}");
    std::fs::write(home.path().join("file"), "x").unwrap();
    let no_directory = said(&["serve", "--listen", "127.0.0.1:0"], &home.path().join("file"));
    assert!(no_directory.contains("cannot use the data directory"), "{no_directory}");
    let broken = home.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("store.redb"), "this is no database".repeat(1000)).unwrap();
    let damaged = said(&["serve", "--listen", "127.0.0.1:0"], &broken);
    assert!(damaged.contains("damaged or no data file") && damaged.contains("restore"), "{damaged}");
    let blocked = home.path().join("blocked");
    std::fs::create_dir_all(blocked.join("store.redb")).unwrap();
    let blocked = said(&["serve", "--listen", "127.0.0.1:0"], &blocked);
    assert!(blocked.contains("may be written") && blocked.contains("directory (os error"), "{blocked}");
    let public = said(&["serve", "--listen", "0.0.0.0:0"], &home.path().join("public"));
    assert!(public.contains("dev_allow_public"), "{public}");
    let archive =
        said(&["restore", &home.path().join("file").display().to_string()], &home.path().join("fresh"));
    assert!(archive.contains("no backup"), "{archive}");
    // A refused start must not take the running server's announcement away.
    printed(&data, &["runs", "list"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_stop_ends_well_and_withdraws() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let server = Process::serve(&data).await;
    assert!(server.terminate().await.success());
    assert!(!data.join("control.json").exists());
    assert!(printed(&data, &["verify"]).contains("all sound"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_is_created_used_listed_and_revoked() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let server = Process::serve(&data).await;
    let created = run(&data, &["api-keys", "create", "ci", "--role", "viewer", "--days", "90"]);
    let (key, said) =
        (String::from_utf8(created.stdout).unwrap(), String::from_utf8(created.stderr).unwrap());
    let key = key.strip_suffix('\n').unwrap();
    assert!(
        key.starts_with("ak_") && !key.contains(char::is_whitespace),
        "only the key goes to stdout: {key}"
    );
    assert!(said.contains("not shown again") && said.contains("api-keys revoke"), "{said}");
    // A named server, with the key in the environment.
    let with_key = |arguments: &[&str]| {
        let mut command = cendriix(&home.path().join("nothing"));
        command.args(["--server", &server.url]).args(arguments).env("CENDRIIX_TOKEN", key);
        command.output().unwrap()
    };
    assert!(with_key(&["runs", "list"]).status.success());
    let workflow = file(&home, &chain(1));
    assert_eq!(with_key(&["workflows", "create", &workflow]).status.code(), Some(3), "it is a viewer's");
    assert_eq!(with_key(&["api-keys", "create", "another"]).status.code(), Some(3));
    let listed = printed(&data, &["api-keys", "list"]);
    assert!(listed.contains(&key[..19]) && listed.contains("viewer") && listed.ends_with("ci\n"), "{listed}");
    let id = text(&json(&data, &["api-keys", "list"])["apiKeys"][0]["id"]);
    printed(&data, &["api-keys", "revoke", &id]);
    assert_eq!(with_key(&["runs", "list"]).status.code(), Some(3));
    assert_eq!(run(&data, &["api-keys", "revoke", &id]).status.code(), Some(4));
    assert_eq!(run(&data, &["api-keys", "create", "x", "--role", "king"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_keys_are_changed_where_a_server_runs_and_where_none_does() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    assert_eq!(run(&data, &["keys", "list"]).status.code(), Some(4), "there is no data");
    let server = Process::serve(&data).await;
    let old = server.client().login("ada").await;
    let kids = |keys: &Value| {
        keys["keys"].as_array().unwrap().iter().map(|key| text(&key["kid"])).collect::<Vec<_>>()
    };
    let first = kids(&json(&data, &["keys", "list"]));
    let keys = json(&data, &["keys", "rotate"]);
    assert_eq!((kids(&keys).len(), kids(&keys)[1].as_str()), (2, first[0].as_str()));
    assert_eq!(kids(&old.get("/.well-known/jwks.json").await.expect(200)), kids(&keys));
    old.get("/v1/auth/me").await.expect(200);
    server.client().login("ada").await.get("/v1/auth/me").await.expect(200);
    assert!(server.terminate().await.success());
    let listed = printed(&data, &["keys", "list"]);
    assert!(listed.contains(" signs ") && listed.contains(" former "), "{listed}");
    printed(&data, &["keys", "rotate"]);
    assert_eq!(kids(&json(&data, &["keys", "rotate", "--end-former"])).len(), 1);
    let key = data.join("keys/signing.pkcs8");
    std::fs::write(&key, "nonsense").unwrap();
    for arguments in [["keys", "list"], ["keys", "rotate"], ["serve", "--listen=127.0.0.1:0"]] {
        let refused = run(&data, &arguments);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(key.to_str().unwrap()) && said.contains("move it away"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_an_issuer_is_trusted_the_operator_comes_in_by_the_bootstrap_token() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let config = home.path().join("cendriix.toml");
    let issuer =
        "[auth]\nmode = \"oidc\"\n[auth.oidc]\nissuer = \"http://127.0.0.1:1\"\nclient_ids = [\"app\"]\n";
    std::fs::write(&config, format!("{issuer}[egress]\nallow = [\"127.0.0.1:1\"]\n")).unwrap();
    let token = "0123456789abcdef".repeat(4);
    let _server = Process::serve_with(&data, |command| {
        command.arg("--config").arg(&config).env("CENDRIIX_AUTH__BOOTSTRAP_TOKEN", &token);
    })
    .await;
    let command = |token: Option<&str>| {
        let mut command = cendriix(&data);
        command.arg("--config").arg(&config).args(["workflows", "create", &file(&home, &chain(1))]);
        command.envs(token.map(|token| ("CENDRIIX_AUTH__BOOTSTRAP_TOKEN", token))).output().unwrap()
    };
    assert!(command(Some(&token)).status.success());
    let refused = command(None);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(said.contains("CENDRIIX_TOKEN") && said.contains("auth.bootstrap_token"), "{said}");
    let short = command(Some("short"));
    assert_eq!(short.status.code(), Some(2), "{}", String::from_utf8_lossy(&short.stderr));
    // Without the configuration the command is taken for one of a server that believes it.
    assert_eq!(run(&data, &["runs", "list"]).status.code(), Some(3));
    // The file beside the signing keys does as well.
    let secret = data.join("keys/bootstrap-token");
    std::fs::write(&secret, &token).unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert!(command(None).status.success());
}

#[test]
fn the_openapi_document_is_printed() {
    let home = tempfile::tempdir().unwrap();
    let output = cendriix(home.path()).arg("openapi").output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
}
