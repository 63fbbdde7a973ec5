//! Commands: run in the sandbox, shown while they run, and told about in a text that is never too long.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Answer, CallLimits, Live,
    arguments::RunCommand,
    kept::{Decoder, Kept},
};
use crate::{
    reason::chain,
    sandboxes::{ExecSpec, Exit, Limits, NOT_STARTED, Output, Site, confine::SUBCOMMAND},
};

/// A command that prints more is ended: nobody reads that, and passing it on costs the server.
const PRINTED_MAX: u64 = 64 << 20;

/// A command to run, and where.
#[derive(Debug)]
pub(super) struct Order<'o> {
    pub(super) site: &'o Site,
    /// The tree and the limits; the command itself is put in.
    pub(super) spec: ExecSpec,
    pub(super) asked: &'o RunCommand,
    pub(super) limits: CallLimits,
    pub(super) live: Option<mpsc::Sender<Live>>,
    pub(super) stop: CancellationToken,
}

/// What was printed, and what is known about its end.
struct Printed {
    kept: Kept,
    /// The first that was printed to stderr.
    complaint: String,
    is_too_much: bool,
}

pub(super) async fn run(order: Order<'_>) -> Answer {
    let Order { site, mut spec, asked, limits, live, stop } = order;
    if asked.timeout_ms == Some(0) {
        return Answer::error("timeoutMs is at least 1");
    }
    if asked.command.trim().is_empty() {
        return Answer::error("the command is empty");
    }
    let wall = asked.timeout_ms.map_or(limits.timeout, |ms| limits.timeout.min(Duration::from_millis(ms)));
    // Its own, so that a command that prints too much can be ended alone.
    let ending = stop.child_token();
    spec.argv = ["sh", "-c", &asked.command].map(str::to_owned).to_vec();
    spec.limits = Limits { wall, output_bytes: PRINTED_MAX, ..spec.limits };
    spec.stop = ending.clone();
    let mut running = match site.exec(spec).await {
        Ok(running) => running,
        Err(error) => return Answer::error(format!("could not be started: {}", chain(&error))),
    };
    let mut printed =
        Printed { kept: Kept::new(limits.output_bytes), complaint: String::new(), is_too_much: false };
    let (mut stdout, mut stderr) = (Decoder::default(), Decoder::default());
    let mut bytes = 0;
    while let Some(output) = running.next().await {
        let piece = match output {
            Output::Stdout(piece) => {
                bytes += piece.len();
                Live::Stdout(stdout.text(&piece))
            }
            Output::Stderr(piece) => {
                bytes += piece.len();
                Live::Stderr(stderr.text(&piece))
            }
        };
        printed.take(piece, live.as_ref());
        if u64::try_from(bytes).unwrap_or(u64::MAX) >= PRINTED_MAX {
            printed.is_too_much = true;
            ending.cancel();
        }
    }
    for rest in [Live::Stdout(stdout.rest()), Live::Stderr(stderr.rest())] {
        printed.take(rest, live.as_ref());
    }
    let exit = running.exit().await;
    printed.answer(&exit, wall, stop.is_cancelled())
}

impl Printed {
    fn take(&mut self, piece: Live, live: Option<&mpsc::Sender<Live>>) {
        let (Live::Stdout(text) | Live::Stderr(text)) = &piece;
        if text.is_empty() {
            return;
        }
        self.kept.push(text);
        if let Live::Stderr(text) = &piece
            && self.complaint.is_empty()
        {
            self.complaint.clone_from(text);
        }
        if let Some(live) = live {
            // Whoever follows is shown less when they fall behind; the command does not wait for them.
            drop(live.try_send(piece));
        }
    }

    fn answer(self, exit: &Exit, wall: Duration, is_stopped: bool) -> Answer {
        let is_started = exit.code != Some(NOT_STARTED) || !self.complaint.starts_with(SUBCOMMAND);
        let head = if is_started {
            ended(exit, wall, self.is_too_much, is_stopped)
        } else {
            "could not be started".to_owned()
        };
        let truncated = self.kept.left_out() > 0 || self.is_too_much || exit.truncated;
        let output = self.kept.text();
        let separator = if output.is_empty() { "" } else { "\n" };
        Answer {
            text: format!("{head}{separator}{}", output.trim_end_matches('\n')),
            is_error: !exit.is_success(),
            truncated,
        }
    }
}

/// How a command ended, in one line.
fn ended(exit: &Exit, wall: Duration, is_too_much: bool, is_stopped: bool) -> String {
    let how = match (exit.code, exit.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("no exit code: ended by signal {signal}"),
        (None, None) => "no exit code: killed".to_owned(),
    };
    let why = if is_too_much {
        format!("it printed more than {} MiB", PRINTED_MAX >> 20)
    } else if exit.timed_out {
        format!("its time of {} ms was over", wall.as_millis())
    } else if exit.out_of_memory {
        "its memory was used up".to_owned()
    } else if exit.out_of_cpu {
        "its processor time was used up".to_owned()
    } else if exit.out_of_disk {
        "the disk was nearly full".to_owned()
    } else if exit.code.is_none() && is_stopped {
        "it was stopped".to_owned()
    } else {
        return how;
    };
    format!("{how}, because {why}")
}
