//! What a command cannot use up.

use std::{fs, time::Duration};

use cendriix_actors::sandboxes::{Allowed, ExecSpec, Limiter};

use super::{Bench, all_gone, marker, resident_bytes, why};

/// The walls, and the weaker one without cgroups.
async fn benches() -> Vec<Bench> {
    let mut benches = Vec::from(Bench::each().await);
    benches.push(Bench::behind_landlock(Allowed { bubblewrap: false, cgroups: false }).await);
    benches
}

#[tokio::test]
async fn a_fork_bomb_is_contained_while_another_sandbox_goes_on() {
    for bench in benches().await {
        let marker = marker();
        let mut spec = bench.shell(format!("bomb() {{ bomb {marker} | bomb & }}; bomb; wait; sleep 30"));
        spec.limits.processes = 48;
        spec.limits.wall = Duration::from_secs(2);
        let bomb = bench.start(spec).await;
        let other = bench.beside("other");
        let said = bench.run(ExecSpec::new(&other, ["echo", "fine"])).await;
        assert_eq!(said.stdout, b"fine\n", "{}", why(&said));
        let exit = bomb.exit().await;
        assert!(exit.duration < Duration::from_secs(8), "{exit:?}");
        all_gone(&marker).await;
    }
}

#[tokio::test]
async fn memory_is_limited_and_the_server_feels_nothing() {
    for bench in benches().await {
        let before = resident_bytes();
        let mut spec = ExecSpec::new(&bench.tree, ["tail", "/dev/zero"]);
        spec.limits.memory_bytes = 96 << 20;
        let said = bench.run(spec).await;
        assert!(!said.exit.is_success() && !said.exit.timed_out, "{}", why(&said));
        let is_known = bench.local.capabilities().memory == Limiter::Cgroup;
        assert_eq!(said.exit.out_of_memory, is_known, "{}", why(&said));
        assert!(resident_bytes() < before + (128 << 20));
    }
}

#[tokio::test]
async fn temporary_files_are_capped() {
    let bench = Bench::bubblewrap().await;
    for dir in ["/tmp", "/dev/shm"] {
        let mut spec = bench.shell(format!("head -c 100M /dev/zero > {dir}/big; wc -c < {dir}/big"));
        spec.limits.memory_bytes = 128 << 20;
        let said = bench.run(spec).await;
        let written: u64 = String::from_utf8_lossy(&said.stdout).trim().parse().unwrap();
        assert_eq!(written, 32 << 20, "{}", why(&said));
    }
}

#[tokio::test]
async fn a_file_grows_to_its_limit_and_no_further() {
    for bench in benches().await {
        let mut spec = bench.shell("head -c 10M /dev/zero > big");
        spec.limits.file_bytes = 1 << 20;
        let said = bench.run(spec).await;
        assert!(!said.exit.is_success(), "{}", why(&said));
        assert_eq!(fs::metadata(bench.tree.join("big")).unwrap().len(), 1 << 20);
    }
}

#[tokio::test]
async fn a_command_that_fills_the_disk_is_ended_before_it_has() {
    for bench in benches().await {
        let disk = rustix::fs::statvfs(&bench.tree).unwrap();
        let mut spec = bench.shell("n=0; while :; do n=$((n + 1)); head -c 4M /dev/urandom > file$n; done");
        spec.limits.disk_free_bytes = disk.f_bavail * disk.f_frsize - (64 << 20);
        let said = bench.run(spec).await;
        assert!(said.exit.out_of_disk && !said.exit.timed_out, "{}", why(&said));
    }
}

#[tokio::test]
async fn a_command_waits_for_its_turn_and_can_be_stopped_meanwhile() {
    let bench = Bench::bubblewrap().await;
    let most = 8 * std::thread::available_parallelism().unwrap().get();
    let mut running = Vec::new();
    for _ in 0..most {
        running.push(bench.start(ExecSpec::new(&bench.tree, ["cat", "/dev/zero"])).await);
    }
    let waiting = ExecSpec::new(&bench.tree, ["true"]);
    let stop = waiting.stop.clone();
    let (waited, ()) = tokio::join!(bench.local.exec(waiting), async { stop.cancel() });
    assert_eq!(waited.unwrap_err().to_string(), "it was stopped before it began");
    drop(running.pop());
    assert!(bench.start(ExecSpec::new(&bench.tree, ["true"])).await.exit().await.is_success());
}

#[tokio::test]
async fn endless_output_is_cut_and_costs_no_memory() {
    for bench in Bench::each().await {
        let before = resident_bytes();
        let mut spec = ExecSpec::new(&bench.tree, ["yes"]);
        spec.limits.output_bytes = 100_000;
        spec.limits.wall = Duration::from_millis(700);
        let said = bench.run(spec).await;
        assert!(said.exit.truncated && said.exit.timed_out, "{:?}", said.exit);
        assert_eq!(said.stdout.len(), 100_000);
        assert!(resident_bytes() < before + (128 << 20));
        let mut spec = ExecSpec::new(&bench.tree, ["head", "-c", "100000", "/dev/zero"]);
        spec.limits.output_bytes = 100_000;
        let said = bench.run(spec).await;
        assert!(
            said.exit.is_success() && !said.exit.truncated && said.stdout.len() == 100_000,
            "{:?}",
            said.exit
        );
    }
}

#[tokio::test]
async fn a_command_that_nobody_listens_to_waits_and_loses_nothing() {
    for bench in Bench::each().await {
        let mut running =
            bench.start(ExecSpec::new(&bench.tree, ["head", "-c", "900000", "/dev/zero"])).await;
        let mut looks = tokio::time::interval(Duration::from_millis(3));
        let mut length = 0;
        while let Some(output) = running.next().await {
            looks.tick().await;
            let (cendriix_actors::sandboxes::Output::Stdout(bytes)
            | cendriix_actors::sandboxes::Output::Stderr(bytes)) = output;
            length += bytes.len();
        }
        let exit = running.exit().await;
        assert!(exit.is_success() && !exit.truncated && length == 900_000, "{length} {exit:?}");
    }
}

#[tokio::test]
async fn processor_time_is_limited() {
    for bench in benches().await {
        // Where only each process is limited, one is enough.
        let script = match bench.local.capabilities().cpu {
            Limiter::Cgroup => "(while :; do :; done) & while :; do :; done",
            Limiter::Rlimit | Limiter::None => "while :; do :; done",
        };
        let mut spec = bench.shell(script);
        spec.limits.cpu_seconds = 1;
        let said = bench.run(spec).await;
        assert!(said.exit.out_of_cpu && !said.exit.timed_out, "{}", why(&said));
    }
}

#[tokio::test]
async fn limits_of_nothing_are_refused() {
    let bench = Bench::bubblewrap().await;
    let mut spec = ExecSpec::new(&bench.tree, ["true"]);
    spec.limits.processes = 0;
    assert_eq!(bench.local.exec(spec).await.unwrap_err().to_string(), "a limit is zero");
    let mut spec = ExecSpec::new(&bench.tree, ["true"]);
    spec.limits.file_bytes = 1_000;
    assert!(bench.local.exec(spec).await.unwrap_err().to_string().starts_with("a limit is less than"));
    let spec = ExecSpec::new(&bench.tree, [""]);
    assert_eq!(bench.local.exec(spec).await.unwrap_err().to_string(), "the command is empty");
    let mut spec = ExecSpec::new(&bench.tree, ["true"]);
    spec.env.insert("LD=".to_owned(), String::new());
    assert!(bench.local.exec(spec).await.is_err());
}
