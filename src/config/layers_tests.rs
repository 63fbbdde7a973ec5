//! What is said of configurations that are wrong, and where values come from.

use std::path::PathBuf;

use serde_json::json;

use crate::config::{Config, ConfigError, Flags, Loaded, Shown};

struct Written(tempfile::NamedTempFile);

impl Written {
    fn new(text: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Self(file)
    }

    fn flags(&self) -> Flags {
        let variables = vec![("CENDRIIX_LISTEN".to_owned(), "--listen".to_owned())];
        Flags { config: Some(self.0.path().to_owned()), variables, ..Flags::default() }
    }
}

fn variables(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// What is wrong with a file and variables, the file's path left out.
fn wrong(text: &str, given: &[(&str, &str)]) -> String {
    let file = Written::new(text);
    let error = Loaded::new(&file.flags(), variables(given)).unwrap_err();
    let shown = error.to_string().replace(&file.0.path().display().to_string(), "file");
    shown.trim_start_matches("the configuration is wrong:").trim().to_owned()
}

#[test]
fn an_unknown_key_is_an_error_that_names_the_nearest() {
    for (text, said) in [
        ("\n[server]\nlissten = \"x\"", "file:3: unknown key server.lissten; did you mean server.listen?"),
        ("[sever]\nlisten = \"x\"", "file:1: unknown key sever; did you mean server?"),
        ("[server]\ndata = \"x\"", "file:2: unknown key server.data; did you mean storage.data?"),
        ("drain_ms = 1", "file:1: unknown key drain_ms; did you mean server.drain_ms?"),
        ("[log]\nzzz = 1", "file:2: unknown key log.zzz; there are format, level"),
        ("server = 1", "file:1: server is a section; write [server] and its keys below"),
        (
            "[models.openai]\nmodels = [{ id = \"m\", contxt = 1 }]",
            "file:2: models.openai.models[0].contxt has an unknown key contxt; did you mean context?",
        ),
    ] {
        assert_eq!(wrong(text, &[]), said);
    }
}

#[test]
fn a_misspelt_variable_is_an_error_too() {
    for (name, text, said) in [
        (
            "CENDRIIX_SERVER__LISSTEN",
            "x",
            "CENDRIIX_SERVER__LISSTEN: unknown key server.lissten; did you mean CENDRIIX_SERVER__LISTEN?",
        ),
        (
            "CENDRIIX_SERVER__DRAIN_MS",
            "soon",
            "CENDRIIX_SERVER__DRAIN_MS: server.drain_ms must be a number; the default is 25000",
        ),
        (
            "CENDRIIX_EGRESS__ALLOW",
            "localhost:1",
            "CENDRIIX_EGRESS__ALLOW: egress.allow must be a list, such as [\"a\", \"b\"]",
        ),
        (
            "CENDRIIX_LOG__FORMAT",
            "yaml",
            "CENDRIIX_LOG__FORMAT: log.format must be \"text\" or \"json\"; the default is \"text\"",
        ),
    ] {
        assert_eq!(wrong("", &[(name, text)]), said);
    }
    assert!(wrong("", &[("CENDRIIX_MODELS__BREAKER", "1")]).contains("CENDRIIX_MODELS__BREAKER__ACCOUNT_MS"));
}

#[test]
fn every_wrong_value_is_told_at_once_and_none_is_shown() {
    let text =
        "[server]\ndrain_ms = -1\nlisten = \"here\"\n[models.openai]\napi_key = 123456\n[log]\nlevel = 1";
    assert_eq!(
        wrong(text, &[]).lines().map(str::trim).collect::<Vec<_>>(),
        [
            "file:7: log.level must be a string, not a number; the default is \"info\"",
            "file:5: models.openai.api_key must be a string, not a number; the default is \"\"",
            "file:2: server.drain_ms must be a whole number from 0, not a number; the default is 25000",
            "file:3: server.listen is wrong: invalid socket address syntax; the default is \"127.0.0.1:8080\"",
        ]
    );
    let said = wrong("[models.openai]\napi_key = sk-secret\n", &[]);
    assert!(said.starts_with("file:2: this is no TOML") && !said.contains("sk-secret"), "{said}");
}

#[test]
fn what_contradicts_the_rest_is_told_with_its_place() {
    for (text, said) in [
        ("[server]\nlisten = \"0.0.0.0:1\"", "file:2: log-in mode `dev`"),
        ("[admin]\nlisten = \"0.0.0.0:1\"", "file:2: admin.listen is an address that others can reach"),
        ("[storage]\nqueue = 0", "file:2: storage.queue must be at least 1"),
        ("[log]\nlevel = \"a=b=c\"", "file:2: log.level is no filter"),
        ("[models.openai]\nbase_url = \"here\"", "file:2: models.openai.base_url is wrong"),
    ] {
        let found = wrong(text, &[]);
        assert!(found.starts_with(said), "{found}");
    }
}

#[test]
fn each_layer_goes_over_the_one_before_and_is_named() {
    let file = Written::new(
        "[server]\nlisten = \"127.0.0.1:1\"\ndrain_ms = 1\nstreams_max = 1\n[repositories.tokens]\n\
         \"GitHub.com\" = \"t\"\n[rest]\nidle_ms = 3\n",
    );
    let given = variables(&[
        ("CENDRIIX_SERVER__DRAIN_MS", "2"),
        ("CENDRIIX_SERVER__LISTEN", "127.0.0.1:2"),
        ("CENDRIIX_EGRESS__ALLOW", "[\"a:1\"]"),
        ("CENDRIIX_ADMIN__METRICS_TOKEN", "12345"),
        ("OPENAI_API_KEY", "sk-1"),
    ]);
    let flags = Flags {
        listen: Some(([127, 0, 0, 1], 3).into()),
        data: Some(PathBuf::from("/d")),
        from_variables: vec!["--listen".to_owned()],
        ..file.flags()
    };
    let loaded = Loaded::new(&flags, given).unwrap();
    let shown = loaded.shown();
    let path = file.0.path().display().to_string();
    let found = |key: &str| {
        let Shown { value, from, .. } = shown.iter().find(|shown| shown.key == key).unwrap();
        format!("{value} {from}").replace(&path, "file")
    };
    assert_eq!(found("server.listen"), "\"127.0.0.1:3\" CENDRIIX_LISTEN");
    assert_eq!(found("server.drain_ms"), "2 CENDRIIX_SERVER__DRAIN_MS");
    assert_eq!(found("server.streams_max"), "1 file:4");
    assert_eq!(found("server.body_bytes_max"), "1048576 default");
    assert_eq!(found("storage.data"), "\"/d\" --data");
    assert_eq!(found("egress.allow"), "[\"a:1\"] CENDRIIX_EGRESS__ALLOW");
    assert_eq!(found("repositories.tokens.\"github.com\""), "\"(hidden)\" file:6");
    assert_eq!(found("admin.metrics_token"), "\"(hidden)\" CENDRIIX_ADMIN__METRICS_TOKEN");
    assert_eq!(found("models.openai.api_key"), "\"(hidden)\" OPENAI_API_KEY");
    assert_eq!(loaded.config.admin.metrics_token.reveal(), "12345");
    assert!(!serde_json::to_string(&shown).unwrap().contains("sk-1"));
}

#[test]
fn a_variable_that_nothing_reads_is_warned_about() {
    let file = Written::new("");
    let given =
        variables(&[("CENDRIIX_SERVER_LISTEN", "x"), ("CENDRIIX_LISTEN", "x"), ("CENDRIIX_SEED", "1")]);
    let warnings = Loaded::new(&file.flags(), given).unwrap().warnings;
    assert_eq!(
        warnings,
        ["nothing reads the variable CENDRIIX_SERVER_LISTEN; did you mean CENDRIIX_SERVER__LISTEN?"]
    );
}

#[test]
fn the_file_must_be_there_and_defaults_are_enough() {
    let flags = Flags { config: Some("/nowhere.toml".into()), ..Flags::default() };
    assert!(matches!(Loaded::new(&flags, []), Err(ConfigError::NoFile(_))));
    let loaded = Loaded::new(&Flags::default(), []).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.shown().iter().all(|shown| json!(shown.from) == json!({ "kind": "default" })));
}
