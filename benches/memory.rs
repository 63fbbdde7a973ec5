//! What entities cost in memory, asleep and awake, and what it costs to wake one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    Done,
    entities::{AWAKE, gated, ticket},
    http::{Client, first_id},
    load::{self, Until, count, quantile},
    report::Report,
    server::{self, Server},
};

const STORED: u64 = 100_000;
const AWAKE_RUNS: u64 = 10_000;
const WOKEN: usize = 1000;
/// How many are woken before it is measured, so that caches and code are warm.
const WARM: usize = 50;

/// Memory of an empty server, of one with many runs asleep, of one with many awake; and how long waking
/// takes.
pub(crate) async fn memory() -> Done {
    let mut report = Report::new("memory");
    asleep(&mut report).await?;
    let (awake, runs, server) = advanced(&mut report, &AWAKE, Duration::ZERO).await?;
    let soon = [("CENDRIIX_REST__IDLE_MS", "100")];
    let (slept, ..) = advanced(&mut report, &soon, Duration::from_secs(3)).await?;
    let each = (awake - slept) * 1024.0 / count(AWAKE_RUNS);
    report.row("per awake entity", &[("kib", each)]);
    wake(&mut report, &runs, server).await?;
    report.write()
}

/// Gives the memory of a server after it has settled.
async fn settled(server: &Server) -> Done<f64> {
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.rss()
}

/// Creates runs of a workflow with a gate and gives their ids.
async fn create(client: &mut Client, runs: u64) -> Done<Vec<String>> {
    let workflow = client.workflow(&gated()).await?;
    let request = client.target.post("/v1/runs", &ticket(&workflow));
    let ids = Arc::new(Mutex::new(Vec::new()));
    let found = Arc::clone(&ids);
    let note = move |_: u64, body: &[u8]| {
        let id = first_id(body);
        let is_there = id.is_some();
        found.lock().unwrap_or_else(PoisonError::into_inner).extend(id);
        is_there
    };
    load::run(&client.target, 64, Until::Count(runs), move |_, _| request.clone(), note).await?;
    let mut ids = std::mem::take(&mut *ids.lock().unwrap_or_else(PoisonError::into_inner));
    ids.sort_unstable();
    Ok(ids)
}

/// An empty server, and one that many runs are stored in.
async fn asleep(report: &mut Report) -> Done {
    let home = server::home()?;
    let server = Server::start(home.path(), &[]).await?;
    report.row("empty", &[("rss_mib", settled(&server).await?), ("database_mib", server.stored()?)]);
    let mut client = server.login().await?;
    create(&mut client, STORED).await?;
    let created = settled(&server).await?;
    report.row("100,000 just created", &[("rss_mib", created), ("database_mib", server.stored()?)]);
    let server = server.restart(&[]).await?;
    report.row(
        "100,000 after restart",
        &[("rss_mib", settled(&server).await?), ("database_mib", server.stored()?)],
    );
    report.row("restart", &[("listening_ms", server.listening.as_secs_f64() * 1e3)]);
    Ok(())
}

/// A server whose runs were all advanced to their gates, and what it holds after some time. With one in which
/// they stay awake and one in which they fall asleep, the difference is what they cost, without the pages of
/// the database.
async fn advanced(
    report: &mut Report,
    variables: &[(&str, &str)],
    after: Duration,
) -> Done<(f64, Vec<String>, (tempfile::TempDir, Server))> {
    let home = server::home()?;
    let server = Server::start(home.path(), variables).await?;
    let mut client = server.login().await?;
    let runs = create(&mut client, AWAKE_RUNS).await?;
    let created = settled(&server).await?;
    let (target, all) = (client.target.clone(), runs.clone());
    let advance = move |_: usize, number: u64| {
        let run = usize::try_from(number).ok().and_then(|place| all.get(place)).map_or("", String::as_str);
        target.post(&format!("/v1/runs/{run}/advance"), "")
    };
    load::run(&client.target, 64, Until::Count(AWAKE_RUNS), advance, load::any).await?;
    tokio::time::sleep(after).await;
    let advanced = settled(&server).await?;
    let series = if after.is_zero() { "10,000 stay awake" } else { "10,000 fell asleep" };
    report.row(series, &[("created_rss_mib", created), ("advanced_rss_mib", advanced)]);
    Ok((advanced, runs, (home, server)))
}

/// The first command to a run that sleeps against the same command to the same run awake.
async fn wake(report: &mut Report, runs: &[String], (_home, server): (tempfile::TempDir, Server)) -> Done {
    let server = server.restart(&AWAKE).await?;
    let mut client = server.login().await?;
    let (mut asleep, mut awake) = (Vec::new(), Vec::new());
    // Spread over all, so that neighbours do not bring each other's pages in.
    for run in runs.iter().step_by(runs.len() / (WOKEN + WARM)).take(WOKEN + WARM) {
        asleep.push(timed(&mut client, run, "cancel").await?);
        timed(&mut client, run, "retry").await?;
        awake.push(timed(&mut client, run, "cancel").await?);
    }
    for latencies in [&mut asleep, &mut awake] {
        latencies.drain(..WARM);
        latencies.sort_unstable();
    }
    let fields = |latencies: &[Duration]| {
        [("p50_ms", quantile(latencies, 0.5)), ("p99_ms", quantile(latencies, 0.99))]
    };
    let (first, again) = (fields(&asleep), fields(&awake));
    report.row("cancel, asleep", &first);
    report.row("cancel, awake", &again);
    report.row("wake", &[("p50_ms", first[0].1 - again[0].1), ("p99_ms", first[1].1 - again[1].1)]);
    Ok(())
}

async fn timed(client: &mut Client, run: &str, command: &str) -> Done<Duration> {
    let request = client.target.post(&format!("/v1/runs/{run}/{command}"), "");
    let asked = Instant::now();
    client.sent(request).await?;
    Ok(asked.elapsed())
}
