//! `kill -9` with ten thousand runs in flight: how soon the next process listens, works, and is done.

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use cendriix_protocol::time::Timestamp;
use serde_json::{Value, json};

use crate::{
    Done, floors,
    http::{Client, text},
    load::{self, Until, count},
    report::Report,
    server::{self, Server},
};

const IN_FLIGHT: usize = 10_000;
/// How many of the oldest runs are watched at a time after the restart.
const WATCHED: usize = 8;
/// How many run alone, to see how long one takes.
const ALONE: u64 = 2;
/// How long all of them may take.
const ALL_WITHIN: Duration = Duration::from_mins(5);

/// How many numbers the input has: with them it is a little larger than what is computed at once.
const NUMBERS: u32 = 7500;
/// How often each of them is looked at, so that it takes a while.
const LOOKS: u32 = 30;

/// One transform that takes a while: it looks through a list for each number of its input.
fn slow() -> Value {
    let looks: Vec<u32> = (1..=LOOKS).collect();
    let inner = json!({ "none": [looks, { "<": [{ "var": "" }, 0] }] });
    let logic = json!({ "all": [{ "var": "inputs.numbers" }, inner] });
    json!({ "name": "slow", "nodes": [{ "id": "look", "type": "transform", "logic": logic }], "edges": [] })
}

/// A run as the list shows it.
struct Line {
    id: String,
    status: String,
    since: Timestamp,
}

/// The runs with a status, or all, newest first.
async fn listed(client: &mut Client, status: Option<&str>) -> Done<Vec<Line>> {
    let filter = status.map(|status| format!("&status={status}")).unwrap_or_default();
    let (mut lines, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/runs?limit=200{filter}{cursor}")).await?;
        for run in page["runs"].as_array().ok_or("a page without runs")? {
            let (id, status) = (text(&run["id"])?.to_owned(), text(&run["status"])?.to_owned());
            let since = text(&run["statusSince"])?.parse().map_err(|_| "statusSince is no instant")?;
            lines.push(Line { id, status, since });
        }
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(lines),
        }
    }
}

/// Whether any run still executes.
async fn executing(client: &mut Client) -> Done<bool> {
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("/v1/runs?limit=1&status=executing{cursor}")).await?;
        if page["runs"].as_array().is_some_and(|runs| !runs.is_empty()) {
            return Ok(true);
        }
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(false),
        }
    }
}

/// Executes until so many runs are in flight; gives how many were accepted and those in flight, newest first.
async fn fill(client: &mut Client, execute: &[u8]) -> Done<(u64, Vec<Line>)> {
    let mut accepted = 0;
    loop {
        let in_flight = listed(client, Some("executing")).await?;
        if in_flight.len() >= IN_FLIGHT {
            return Ok((accepted, in_flight));
        }
        let more = (IN_FLIGHT - in_flight.len() + 200) as u64;
        let execute = execute.to_vec();
        load::run(&client.target, 64, Until::Count(more), move |_, _| execute.clone(), load::any).await?;
        accepted += more;
    }
}

/// How soon after the start one of the oldest runs is seen merged that was not merged before it.
async fn first_seen(
    client: &mut Client,
    mut oldest: Vec<String>,
    restarted: Timestamp,
    started: Instant,
) -> Done<Duration> {
    let mut looks = tokio::time::interval(Duration::from_millis(3));
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while started.elapsed() < ALL_WITHIN {
        looks.tick().await;
        let mut ended_before = Vec::new();
        for id in oldest.iter().take(WATCHED) {
            let run = client.get(&format!("/v1/runs/{id}")).await?;
            let updated: Timestamp =
                text(&run["updatedAt"])?.parse().map_err(|_| "updatedAt is no instant")?;
            match run["status"] == "merged" {
                true if updated.0 >= restarted.0 => return Ok(started.elapsed()),
                true => ended_before.push(id.clone()),
                false => (),
            }
        }
        oldest.retain(|id| !ended_before.contains(id));
    }
    Err("no run that was in flight is merged after the restart".into())
}

/// Fills a server with runs and kills it; gives how many were accepted and the ones in flight, oldest first.
async fn crash(report: &mut Report, data: &Path) -> Done<(u64, Vec<String>)> {
    let server = Server::start(data, &[]).await?;
    let mut client = server.login().await?;
    let workflow = client.workflow(&slow()).await?;
    let numbers: Vec<u32> = (1000..1000 + NUMBERS).collect();
    let body = json!({ "workflowId": workflow, "input": { "numbers": numbers } }).to_string();
    let wait = client.target.request("POST", "/v1/workflows/execute", "Prefer: wait=30\r\n", &body);
    let mut alone = Duration::ZERO;
    for _ in 0..ALONE {
        let begun = Instant::now();
        client.sent(wait.clone()).await?;
        alone = begun.elapsed();
    }
    let execute = client.target.post("/v1/workflows/execute", &body);
    let begun = Instant::now();
    let (accepted, in_flight) = fill(&mut client, &execute).await?;
    let (filled, rss) = (begun.elapsed(), server.rss()?);
    server.kill()?;
    report.row(
        "at the kill",
        &[
            ("in_flight", count(in_flight.len())),
            ("accepted", count(accepted)),
            ("filled_s", filled.as_secs_f64()),
            ("one_alone_ms", alone.as_secs_f64() * 1e3),
            ("rss_mib", rss),
        ],
    );
    Ok((accepted + ALONE, in_flight.into_iter().rev().map(|line| line.id).collect()))
}

/// Waits until nothing executes any more; gives the most memory that was seen.
async fn done(client: &mut Client, server: &Server) -> Done<f64> {
    let mut peak = server.rss()?;
    let mut looks = tokio::time::interval(Duration::from_millis(250));
    while executing(client).await? {
        peak = peak.max(server.rss()?);
        if server.started.elapsed() > ALL_WITHIN {
            return Err("not all runs were done in time".into());
        }
        looks.tick().await;
    }
    Ok(peak)
}

/// Times from the start of the next process after a kill.
pub(crate) async fn restart() -> Done {
    let mut report = Report::new("restart");
    report.floor(("fdatasync_per_s", floors::syncs()?));
    let home = server::home()?;
    let (accepted, oldest) = crash(&mut report, home.path()).await?;

    let clock = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let restarted = Timestamp(u64::try_from(clock)?);
    let server = Server::start(home.path(), &[]).await?;
    let mut client = server.login().await?;
    let answering = server.started.elapsed();
    let seen = first_seen(&mut client, oldest, restarted, server.started).await?;
    let peak = done(&mut client, &server).await?;
    let runs = listed(&mut client, None).await?;
    let unmerged = runs.iter().filter(|line| line.status != "merged").count();
    if unmerged > 0 || runs.len() as u64 != accepted {
        return Err(
            format!("{accepted} were accepted, {} are there, {unmerged} not merged", runs.len()).into()
        );
    }
    let after = runs.iter().map(|line| line.since.0).filter(|since| *since >= restarted.0);
    let (first, last) = (after.clone().min().unwrap_or_default(), after.clone().max().unwrap_or_default());
    report.row(
        "after the restart",
        &[
            ("listening_ms", server.listening.as_secs_f64() * 1e3),
            ("answering_ms", answering.as_secs_f64() * 1e3),
            ("first_done_ms", count(first.saturating_sub(restarted.0))),
            ("first_seen_ms", seen.as_secs_f64() * 1e3),
            ("all_done_ms", count(last.saturating_sub(restarted.0))),
            ("done_after", count(after.count())),
            ("peak_rss_mib", peak),
        ],
    );
    report.write()
}
