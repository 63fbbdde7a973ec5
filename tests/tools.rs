//! Commands that agents run, in the real sandboxes: whatever they do, the answer comes, is short, and tells.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use cendriix_actors::{
    agent_steps::tools::{CallLimits, Live, Outcome, Toolbox},
    sandboxes::{Allowed, Limits, Local, Mode, Site},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

/// Tools on a tree, behind one wall.
struct Bench {
    toolbox: Toolbox,
    _home: TempDir,
    wall: &'static str,
}

impl Bench {
    async fn new(wall: &'static str, allowed: Allowed, mode: Mode) -> Self {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_cendriix"));
        let local = Local::probe_allowing(program, allowed).await;
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let tree = home.path().join("tree");
        fs::create_dir(&tree).unwrap();
        Self { toolbox: Toolbox::new(Site::apart(local, mode), tree).unwrap(), _home: home, wall }
    }

    async fn each() -> [Self; 3] {
        let landlock = Allowed { bubblewrap: false, ..Allowed::default() };
        [
            Self::new("bubblewrap", Allowed::default(), Mode::Local).await,
            Self::new("landlock", landlock, Mode::Local).await,
            Self::new("none", Allowed::default(), Mode::None).await,
        ]
    }

    async fn call(&self, name: &str, arguments: Value) -> Outcome {
        self.limited(name, arguments, CallLimits::default()).await
    }

    async fn limited(&self, name: &str, arguments: Value, limits: CallLimits) -> Outcome {
        let stop = CancellationToken::new();
        self.toolbox.call(name, &arguments.to_string(), limits, None, stop).await
    }

    async fn run(&self, command: &str) -> Outcome {
        self.call("run_command", json!({ "command": command })).await
    }
}

#[tokio::test]
async fn a_command_answers_with_its_code_and_what_it_printed() {
    for bench in Bench::each().await {
        let said = bench.run("echo out; echo err >&2; echo é > made; exit 3").await;
        let (head, rest) = said.text.split_once('\n').unwrap();
        assert_eq!(head, "exit code 3", "{}: {said:?}", bench.wall);
        assert!(rest == "out\nerr" || rest == "err\nout", "{}: {said:?}", bench.wall);
        assert!(said.is_error && !said.truncated && said.duration > Duration::ZERO);
        assert_eq!(bench.call("read_file", json!({ "path": "made" })).await.text, "é\n");
        let said = bench.run("true").await;
        assert_eq!((said.text.as_str(), said.is_error), ("exit code 0", false), "{}", bench.wall);
        let said = bench.run("no-such-program").await;
        assert!(said.text.starts_with("exit code 127\n") && said.is_error, "{said:?}");
        let said = bench.run("printf 'a\\0b\\377'; kill -9 $$").await;
        assert_eq!(said.text, "exit code 137\na\0b\u{FFFD}", "{}", bench.wall);
        for wrong in [
            json!({ "command": " " }),
            json!({ "command": "true", "timeoutMs": 0 }),
            json!({ "command": "a\0" }),
        ] {
            assert!(bench.call("run_command", wrong).await.is_error);
        }
    }
}

#[tokio::test]
async fn files_written_by_tools_are_run_and_paths_of_commands_are_understood() {
    for bench in Bench::each().await {
        let script = json!({ "path": "bin/say", "content": "#!/bin/sh\npwd\n", "executable": true });
        assert!(!bench.call("write_file", script).await.is_error);
        let said = bench.run("bin/say").await;
        let here = said.text.strip_prefix("exit code 0\n").unwrap_or_else(|| panic!("{said:?}"));
        let read = bench.call("read_file", json!({ "path": format!("{here}/bin/say") })).await;
        assert_eq!(read.text, "#!/bin/sh\npwd\n", "{}: {here}", bench.wall);
        let patch = "--- a/bin/say\n+++ b/bin/say\n@@ -2 +2 @@\n-pwd\n+echo changed\n";
        let patched = bench.call("apply_patch", json!({ "patch": patch })).await;
        assert!(!patched.is_error, "{patched:?}");
        assert_eq!(bench.run("bin/say").await.text, "exit code 0\nchanged", "{}", bench.wall);
    }
}

#[tokio::test]
async fn a_command_without_end_is_ended() {
    let stubborn = "trap '' TERM INT HUP; echo begun; (setsid sleep 600 &); while true; do sleep 600; done";
    for bench in Bench::each().await {
        let began = Instant::now();
        let said = bench.call("run_command", json!({ "command": stubborn, "timeoutMs": 500 })).await;
        assert!(said.text.contains("because its time of 500 ms was over\nbegun"), "{}: {said:?}", bench.wall);
        assert!(said.is_error && began.elapsed() < Duration::from_secs(8), "{}: {said:?}", bench.wall);
        // What is asked for is no more than what is allowed.
        let limits = CallLimits { timeout: Duration::from_millis(300), ..CallLimits::default() };
        let said = bench
            .limited("run_command", json!({ "command": "sleep 600", "timeoutMs": 60_000 }), limits)
            .await;
        assert!(said.text.contains("its time of 300 ms was over"), "{}: {said:?}", bench.wall);
    }
}

#[tokio::test]
async fn a_command_that_forks_without_end_is_contained() {
    let bomb = "echo begun; f() { f | f & f; }; f 2>/dev/null";
    for bench in Bench::each().await.into_iter().take(2) {
        let toolbox = bench.toolbox.clone().limited(Limits { processes: 64, ..Limits::default() });
        let began = Instant::now();
        let arguments = json!({ "command": bomb, "timeoutMs": 1_000 }).to_string();
        let said = toolbox
            .call("run_command", &arguments, CallLimits::default(), None, CancellationToken::new())
            .await;
        assert!(said.text.contains("\nbegun"), "{}: {said:?}", bench.wall);
        assert!(began.elapsed() < Duration::from_secs(20), "{}: {said:?}", bench.wall);
        assert_eq!(bench.run("echo alive").await.text, "exit code 0\nalive", "{}", bench.wall);
    }
}

#[tokio::test]
async fn endless_output_is_cut_in_the_middle() {
    for bench in Bench::each().await {
        let limits = CallLimits { output_bytes: 4_000, ..CallLimits::default() };
        let counted = json!({ "command": "seq 100000; echo last >&2" });
        let said = bench.limited("run_command", counted, limits).await;
        assert!(said.truncated && !said.is_error && said.text.len() < 4_200, "{}: {said:?}", bench.wall);
        assert!(said.text.starts_with("exit code 0\n1\n2\n3\n"), "{}: {said:?}", bench.wall);
        assert!(said.text.contains("bytes are left out here") && said.text.contains("\n100000"), "{said:?}");
        let said = bench.run("yes").await;
        assert!(
            said.text.contains("because it printed more than 64 MiB\ny\ny\n"),
            "{}: {}",
            bench.wall,
            &said.text[..200]
        );
        assert!(said.truncated && said.is_error && said.text.len() < 40_000);
        let said = bench.run("cat /dev/zero").await;
        assert!(said.truncated && said.is_error && said.text.len() < 40_000);
    }
}

#[tokio::test]
async fn memory_that_is_used_up_is_told() {
    for bench in Bench::each().await.into_iter().take(2) {
        let toolbox = bench.toolbox.clone().limited(Limits { memory_bytes: 64 << 20, ..Limits::default() });
        let arguments = json!({ "command": "perl -e '$x = \"x\" x (1 << 29)'; exit $?" }).to_string();
        let said = toolbox
            .call("run_command", &arguments, CallLimits::default(), None, CancellationToken::new())
            .await;
        let is_told = said.text.contains("its memory was used up")
            || said.text.to_lowercase().contains("out of memory");
        assert!(said.is_error && is_told, "{}: {said:?}", bench.wall);
    }
}

#[tokio::test]
async fn output_is_shown_as_it_comes_and_nobody_waits_for_a_slow_reader() {
    for bench in Bench::each().await {
        let (live, mut shown) = mpsc::channel(1);
        let arguments = json!({ "command": "echo one; read line < gate; seq 200000; echo end" }).to_string();
        bench.run("mkfifo gate").await;
        let limits = CallLimits { timeout: Duration::from_secs(20), ..CallLimits::default() };
        let call =
            bench.toolbox.call("run_command", &arguments, limits, Some(live), CancellationToken::new());
        let follow = async {
            // It waits at the gate until its first line was seen.
            assert_eq!(shown.recv().await, Some(Live::Stdout("one\n".to_owned())), "{}", bench.wall);
            let opened = bench.run("echo > gate").await;
            assert!(!opened.is_error, "{opened:?}");
            // Nothing is taken from here on.
            shown
        };
        let (said, _shown) = tokio::join!(call, follow);
        assert!(said.text.ends_with("\nend"), "{}: {said:?}", bench.wall);
    }
}

#[tokio::test]
async fn a_call_that_is_stopped_or_dropped_leaves_nothing_running() {
    for bench in Bench::each().await {
        let stop = CancellationToken::new();
        let arguments = json!({ "command": "echo begun; sleep 600" }).to_string();
        let (live, mut shown) = mpsc::channel(4);
        let call =
            bench.toolbox.call("run_command", &arguments, CallLimits::default(), Some(live), stop.clone());
        let (said, ()) = tokio::join!(call, async {
            shown.recv().await;
            stop.cancel();
        });
        assert!(
            said.is_error && said.text.contains("because it was stopped\nbegun"),
            "{}: {said:?}",
            bench.wall
        );
        let marker = format!("61{:09}", fastrand::u32(..1_000_000_000));
        let arguments = json!({ "command": format!("sleep {marker}") }).to_string();
        let call = bench.toolbox.call(
            "run_command",
            &arguments,
            CallLimits::default(),
            None,
            CancellationToken::new(),
        );
        assert!(tokio::time::timeout(Duration::from_millis(500), call).await.is_err());
        crate::sandbox::all_gone(&marker).await;
    }
}
