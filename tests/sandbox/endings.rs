//! That nothing stays of a command, however it ends.

use std::time::Duration;

use cendriix_actors::sandboxes::{Allowed, ExecSpec, Mode};

use super::{Bench, all_gone, marker, processes_with, tests, why};

/// What is left of a command.
const NOBODY_LEFT: [i32; 0] = [];

/// Names the marker to a test process that is going to be killed.
const DOOMED: &str = "CENDRIIX_TEST_DOOMED";

/// Leaves processes in sessions of their own, orphans, and such that do not mind being asked to go.
fn clingers(marker: &str) -> String {
    format!(
        "trap '' TERM HUP; setsid nohup sleep {marker} >/dev/null 2>&1 &
         (setsid sh -c \"trap '' TERM HUP; (sleep {marker} &) ; sleep {marker}; true\" &)
         sleep 0.1; echo ready;"
    )
}

/// The walls, the weaker one without cgroups, and no wall at all.
async fn benches() -> Vec<(Bench, Mode)> {
    let [bubblewrap, landlock] = Bench::each().await;
    let weakest = Bench::behind_landlock(Allowed { bubblewrap: false, cgroups: false }).await;
    let open = Bench::with(Allowed { bubblewrap: true, cgroups: false }).await;
    vec![(bubblewrap, Mode::Local), (landlock, Mode::Local), (weakest, Mode::Local), (open, Mode::None)]
}

#[tokio::test]
async fn nothing_stays_when_a_command_ends() {
    for (bench, mode) in benches().await {
        let marker = marker();
        let mut spec = bench.shell(format!("{} exit 3", clingers(&marker)));
        spec.mode = mode;
        let said = bench.run(spec).await;
        assert_eq!(said.exit.code, Some(3), "{}", why(&said));
        assert_eq!(said.stdout, b"ready\n");
        assert_eq!(processes_with(&marker), NOBODY_LEFT);
    }
}

#[tokio::test]
async fn nothing_stays_when_time_is_over() {
    for (bench, mode) in benches().await {
        let marker = marker();
        let mut spec = bench.shell(format!("{} sleep {marker}", clingers(&marker)));
        spec.mode = mode;
        spec.limits.wall = Duration::from_millis(600);
        let said = bench.run(spec).await;
        assert!(said.exit.timed_out && said.exit.duration < Duration::from_secs(5), "{}", why(&said));
        assert_eq!(processes_with(&marker), NOBODY_LEFT);
    }
}

#[tokio::test]
async fn nothing_stays_when_it_is_stopped_or_its_handle_is_dropped() {
    for (bench, mode) in benches().await {
        let marker = marker();
        let spec = || ExecSpec { mode, ..bench.shell(format!("{} sleep {marker}", clingers(&marker))) };
        let mut running = bench.start(spec()).await;
        running.next().await.unwrap();
        running.stop();
        assert!(!running.exit().await.is_success());
        assert_eq!(processes_with(&marker), NOBODY_LEFT);

        let asked = spec();
        let token = asked.stop.clone();
        let mut running = bench.start(asked).await;
        running.next().await.unwrap();
        token.cancel();
        assert!(!running.exit().await.is_success());
        assert_eq!(processes_with(&marker), NOBODY_LEFT);

        let mut running = bench.start(spec()).await;
        running.next().await.unwrap();
        assert!(!processes_with(&marker).is_empty());
        drop(running);
        all_gone(&marker).await;
    }
}

#[tokio::test]
async fn nothing_stays_when_the_engine_is_closed() {
    let bench = Bench::bubblewrap().await;
    let marker = marker();
    let mut running = bench.start(bench.shell(format!("echo ready; sleep {marker}"))).await;
    running.next().await.unwrap();
    assert!(bench.local.close(Duration::from_secs(10)).await);
    assert_eq!(processes_with(&marker), NOBODY_LEFT);
}

#[tokio::test]
async fn nothing_stays_when_the_server_is_killed() {
    let markers = [marker(), marker(), marker()];
    let mut server = tests("sandbox::endings::a_server_that_waits_to_be_killed")
        .env(DOOMED, markers.join(","))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    while markers.iter().any(|marker| processes_with(marker).len() < 4) {
        assert!(server.try_wait().unwrap().is_none(), "the server ended by itself");
        looks.tick().await;
    }
    server.kill().unwrap();
    server.wait().unwrap();
    for marker in &markers {
        all_gone(marker).await;
    }
    // Its cgroups are empty, and the next start removes them.
    Bench::bubblewrap().await;
    assert_eq!(leftover_groups(server.id()), 0);
}

/// Runs only inside the process that the test above kills.
#[tokio::test]
async fn a_server_that_waits_to_be_killed() {
    let Ok(markers) = std::env::var(DOOMED) else { return };
    let mut running = Vec::new();
    for ((bench, _), marker) in benches().await.iter().zip(markers.split(',')) {
        let mut command = bench.start(bench.shell(format!("{} sleep {marker}", clingers(marker)))).await;
        command.next().await.unwrap();
        running.push(command);
    }
    std::future::pending::<()>().await;
}

fn leftover_groups(server: u32) -> usize {
    let prefix = format!("cendriix-{server}-");
    let mut dirs = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    let mut found = 0;
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            found += usize::from(entry.file_name().to_string_lossy().starts_with(&prefix));
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(entry.path());
            }
        }
    }
    found
}
