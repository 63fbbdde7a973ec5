//! `config show`, `config check` and `doctor`, as an operator gives them.

use serde_json::Value;

use crate::kit::{
    openai::{FakeOpenAi, Turn},
    process::{Process, cendriix},
    text,
};

/// Runs a command with variables; gives its code, what it printed and what it said.
fn given(
    data: &std::path::Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> (Option<i32>, String, String) {
    let mut command = cendriix(data);
    for name in ["OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"] {
        command.env_remove(name);
    }
    let output = command.args(arguments).envs(variables.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn each_key_is_shown_with_where_it_comes_from_and_secrets_are_not() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("c.toml");
    std::fs::write(&file, "[server]\ndrain_ms = 7\n[models.openai]\napi_key = \"sk-secret\"\n").unwrap();
    let arguments = ["config", "show", "--config", file.to_str().unwrap()];
    let variables = [("CENDRIIX_REST__IDLE_MS", "9")];
    let (code, table, _) = given(home.path(), &arguments, &variables);
    assert_eq!(code, Some(0));
    let row = |key: &str| {
        let line = table.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("server.drain_ms"), ["server.drain_ms", "7", &format!("{}:2", file.display())]);
    assert_eq!(row("rest.idle_ms"), ["rest.idle_ms", "9", "CENDRIIX_REST__IDLE_MS"]);
    assert_eq!(row("storage.data")[2], "--data");
    assert_eq!(row("server.listen")[2], "default");
    let (_, json, _) = given(home.path(), &[&arguments[..], &["--json"]].concat(), &variables);
    let shown: Value = serde_json::from_str(&json).unwrap();
    let key = shown["keys"].as_array().unwrap().iter().find(|key| key["key"] == "models.openai.api_key");
    assert_eq!(key.unwrap()["value"], "(hidden)");
    assert_eq!(key.unwrap()["from"]["line"], 4);
    assert!(!table.contains("sk-secret") && !json.contains("sk-secret"));
    let (_, json, _) = given(home.path(), &["config", "show", "--json"], &[("CENDRIIX_DATA", "x")]);
    assert!(json.contains("--data"), "the flag goes over the variable");
}

#[test]
fn a_wrong_configuration_is_refused_with_2_and_says_what_would_be_right() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("c.toml");
    let check = ["config", "check", "--config", file.to_str().unwrap()];
    std::fs::write(&file, "[server]\nlissten = \"127.0.0.1:1\"\n").unwrap();
    let (code, _, said) = given(home.path(), &check, &[]);
    assert_eq!(code, Some(2));
    assert!(said.contains("c.toml:2: unknown key server.lissten; did you mean server.listen?"), "{said}");
    std::fs::write(&file, "[server]\nlisten = \"127.0.0.1:1\"\n").unwrap();
    let (code, printed, _) = given(home.path(), &check, &[]);
    assert!(code == Some(0) && printed.contains("can be used"), "{printed}");
    let (code, _, said) = given(home.path(), &check, &[("CENDRIIX_SERVER__LISSTEN", "127.0.0.1:2")]);
    assert!(code == Some(2) && said.contains("CENDRIIX_SERVER__LISTEN"), "{said}");
    let (code, _, said) = given(home.path(), &["runs", "list"], &[("CENDRIIX_SERVR", "x")]);
    assert!(code == Some(1) && said.contains("did you mean CENDRIIX_SERVER?"), "{said}");
}

/// What `doctor` found, by name, and whether all is well.
fn doctor(data: &std::path::Path, variables: &[(&str, &str)]) -> (Option<i32>, Vec<Value>) {
    let (code, json, said) = given(data, &["doctor", "--json"], variables);
    let report: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json} {said}"));
    assert_eq!(report["ok"] == true, code == Some(0));
    (code, report["findings"].as_array().unwrap().clone())
}

fn found<'a>(findings: &'a [Value], name: &str) -> &'a Value {
    findings.iter().find(|finding| finding["name"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_what_works_beside_a_running_server_and_leaves_it_alone() {
    let openai = FakeOpenAi::start(vec![Turn::text("hello")]).await;
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let server = Process::serve(&data).await;
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    let listen = format!("127.0.0.1:{port}");
    let variables = [
        ("CENDRIIX_SERVER__LISTEN", listen.as_str()),
        ("OPENAI_BASE_URL", &openai.base_url()),
        ("OPENAI_MODEL", "m"),
    ];
    let (code, findings) = doctor(&data, &variables);
    assert_eq!(code, Some(0), "{findings:?}");
    assert!(text(&found(&findings, "server")["said"]).contains(&server.url));
    assert!(text(&found(&findings, "address")["said"]).contains("held by the running server"));
    assert_eq!(found(&findings, "data directory")["verdict"], "good");
    for name in ["configuration", "disk", "sandbox", "git", "toolchains", "models", "clock", "program"] {
        assert_ne!(found(&findings, name)["verdict"], "bad", "{findings:?}");
    }
    server.client().get("/readyz").await.expect(200);
    let (_, table, _) = given(&data, &["doctor"], &variables);
    assert!(table.lines().any(|line| line.starts_with("✓ data directory")), "{table}");
}

#[test]
fn the_doctor_says_what_does_not_work_and_how_to_mend_it() {
    let home = tempfile::tempdir().unwrap();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = holder.local_addr().unwrap().to_string();
    let file = home.path().join("data");
    std::fs::write(&file, "no directory").unwrap();
    let variables = [("CENDRIIX_LOG__LEVEL", "info"), ("CENDRIIX_SERVER__LISTEN", listen.as_str())];
    let endpoint = [("OPENAI_BASE_URL", "http://127.0.0.1:1/v1"), ("OPENAI_MODEL", "m")];
    let (code, findings) = doctor(&file, &[&variables[..], &endpoint].concat());
    assert_eq!(code, Some(1));
    for name in ["data directory", "address", "models"] {
        let finding = found(&findings, name);
        assert_eq!(finding["verdict"], "bad", "{finding}");
        assert!(!text(&finding["mend"]).is_empty());
    }
    let holder = text(&found(&findings, "address")["said"]);
    assert!(holder.contains(&std::process::id().to_string()), "{holder}");
    let (code, findings) = doctor(home.path(), &[("CENDRIIX_SERVER__LISSTEN", "x")]);
    let said = text(&found(&findings, "configuration")["said"]);
    assert!(code == Some(1) && said.contains("did you mean CENDRIIX_SERVER__LISTEN?"), "{said}");
    assert_ne!(found(&findings, "data directory")["verdict"], "bad", "the rest is looked at all the same");
}
