//! What goes on at one connection, and when it has gone on for too long.
//!
//! Counted by the stream below (bytes), by the service above (requests), and looked at by the task that
//! drives the connection. Instants are milliseconds since the connection was opened; 0 stands for never.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::config::Server;

/// How long things at a connection may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// The headers of a request, or the first request.
    pub(super) header: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
    /// Until the client takes more of what it is sent.
    pub(super) write: Duration,
}

impl Patience {
    pub(super) fn new(config: &Server) -> Self {
        Self {
            header: Server::wait(config.header_timeout_ms),
            idle: Server::wait(config.idle_timeout_ms),
            write: Server::wait(config.write_timeout_ms),
        }
    }

    /// After how long a connection is looked at again, so that nothing is noticed late.
    fn look(&self) -> Duration {
        self.header.min(self.idle).min(self.write)
    }
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on; it is looked at again after this.
    GoesOn(Duration),
    /// It ends in order: nothing was asked for too long.
    Ends,
    /// It is closed at once.
    Closes(&'static str),
}

/// What goes on at one connection.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    is_http2: AtomicBool,
    /// Requests so far.
    requests: AtomicU64,
    /// Requests whose answer has not been sent whole.
    in_flight: AtomicUsize,
    /// Those of them whose answer is being sent, event streams apart.
    answering: AtomicUsize,
    /// When the last request ended.
    quiet_at: AtomicU64,
    /// When the client began to send something after that.
    heard_at: AtomicU64,
    /// When something was last sent.
    wrote_at: AtomicU64,
    /// Since when nothing can be sent.
    stalled_at: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            is_http2: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            answering: AtomicUsize::new(0),
            quiet_at: AtomicU64::new(0),
            heard_at: AtomicU64::new(0),
            wrote_at: AtomicU64::new(0),
            stalled_at: AtomicU64::new(0),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// The client sent something.
    pub(super) fn heard(&self) {
        if self.in_flight.load(Relaxed) == 0 && self.heard_at.load(Relaxed) == 0 {
            self.heard_at.store(self.now(), Relaxed);
        }
    }

    /// The client took something.
    pub(super) fn wrote(&self) {
        self.wrote_at.store(self.now(), Relaxed);
        self.stalled_at.store(0, Relaxed);
    }

    /// The client took all there was.
    pub(super) fn flushed(&self) {
        if self.stalled_at.load(Relaxed) > 0 {
            self.wrote();
        }
    }

    /// The client takes nothing.
    pub(super) fn stalled(&self) {
        if self.stalled_at.load(Relaxed) == 0 {
            self.stalled_at.store(self.now(), Relaxed);
        }
    }

    /// A request begins.
    pub(super) fn began(self: &Arc<Self>, is_http2: bool) -> Flight {
        self.is_http2.store(is_http2, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        Flight { activity: Arc::clone(self), answers: false }
    }

    /// Whether nothing is being asked.
    pub(super) fn is_quiet(&self) -> bool {
        self.in_flight.load(Relaxed) == 0
    }

    /// What is to become of the connection.
    pub(super) fn verdict(&self, patience: &Patience) -> Verdict {
        let now = self.now();
        let mut next = patience.look();
        let mut over = |since: u64, most: Duration| {
            let left = (Duration::from_millis(since) + most).saturating_sub(Duration::from_millis(now));
            next = next.min(left);
            left.is_zero()
        };
        let (wrote, stalled) = (self.wrote_at.load(Relaxed), self.stalled_at.load(Relaxed));
        if stalled > 0 && over(stalled, patience.write) {
            return Verdict::Closes("the client takes nothing of what it is sent");
        }
        if self.in_flight.load(Relaxed) > 0 {
            let answers = self.answering.load(Relaxed) > 0;
            // A stream of HTTP/2 can be held back while the connection takes more.
            if answers && over(wrote, patience.write) {
                return Verdict::Closes("the client takes nothing of an answer");
            }
            return Verdict::GoesOn(next.max(LOOK_MIN));
        }
        if self.requests.load(Relaxed) == 0 {
            if over(0, patience.header) {
                return Verdict::Closes("no request came");
            }
            return Verdict::GoesOn(next.max(LOOK_MIN));
        }
        let heard = self.heard_at.load(Relaxed);
        // HTTP/2 also says things that are no requests; its idle time bounds those.
        if heard > 0 && !self.is_http2.load(Relaxed) && over(heard, patience.header) {
            return Verdict::Closes("the headers of a request did not come");
        }
        if over(self.quiet_at.load(Relaxed).max(wrote), patience.idle) {
            return Verdict::Ends;
        }
        Verdict::GoesOn(next.max(LOOK_MIN))
    }
}

/// A connection is not looked at more often than this.
const LOOK_MIN: Duration = Duration::from_millis(1);

/// A request on its way, from its headers to the end of its answer.
#[derive(Debug)]
pub(super) struct Flight {
    activity: Arc<Activity>,
    answers: bool,
}

impl Flight {
    /// Its answer is being sent from here on; an event stream may then rest for as long as it likes.
    pub(super) fn answers(&mut self, is_stream: bool) {
        if !is_stream && !self.answers {
            self.answers = true;
            // The client's time to take it begins here.
            self.activity.wrote_at.store(self.activity.now(), Relaxed);
            self.activity.answering.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let activity = &self.activity;
        if self.answers {
            activity.answering.fetch_sub(1, Relaxed);
        }
        activity.quiet_at.store(activity.now(), Relaxed);
        activity.heard_at.store(0, Relaxed);
        activity.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const PATIENCE: Patience = Patience {
        header: Duration::from_secs(10),
        idle: Duration::from_mins(1),
        write: Duration::from_secs(30),
    };

    fn goes_on(activity: &Activity) -> bool {
        matches!(activity.verdict(&PATIENCE), Verdict::GoesOn(_))
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_needs_a_first_request_whatever_bytes_come() {
        let activity = Activity::new();
        advance(Duration::from_secs(9)).await;
        activity.heard();
        assert_eq!(activity.verdict(&PATIENCE), Verdict::GoesOn(Duration::from_secs(1)));
        advance(Duration::from_secs(1)).await;
        assert!(matches!(activity.verdict(&PATIENCE), Verdict::Closes(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_it_may_be_idle_but_headers_may_not_drip() {
        let activity = Activity::new();
        drop(activity.began(false));
        advance(Duration::from_secs(50)).await;
        assert!(goes_on(&activity));
        activity.heard();
        advance(Duration::from_secs(9)).await;
        activity.heard();
        assert!(goes_on(&activity));
        advance(Duration::from_secs(1)).await;
        assert!(matches!(activity.verdict(&PATIENCE), Verdict::Closes(_)), "bytes in between gain no time");
        drop(activity.began(false));
        advance(Duration::from_mins(1)).await;
        assert_eq!(activity.verdict(&PATIENCE), Verdict::Ends);
    }

    #[tokio::test(start_paused = true)]
    async fn pings_do_not_keep_http2_and_do_not_end_it_early() {
        let activity = Activity::new();
        advance(Duration::from_secs(1)).await;
        drop(activity.began(true));
        activity.heard();
        advance(Duration::from_secs(59)).await;
        assert!(goes_on(&activity));
        activity.heard();
        advance(Duration::from_secs(1)).await;
        assert_eq!(activity.verdict(&PATIENCE), Verdict::Ends);
    }

    #[tokio::test(start_paused = true)]
    async fn work_and_event_streams_may_take_long_and_an_answer_that_nobody_takes_may_not() {
        let activity = Activity::new();
        let mut stream = activity.began(true);
        stream.answers(true);
        let mut answer = activity.began(true);
        advance(Duration::from_mins(5)).await;
        assert!(goes_on(&activity));
        answer.answers(false);
        advance(Duration::from_secs(29)).await;
        assert!(goes_on(&activity));
        advance(Duration::from_secs(1)).await;
        assert!(matches!(activity.verdict(&PATIENCE), Verdict::Closes(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_let_go_also_from_an_event_stream() {
        let activity = Activity::new();
        activity.began(false).answers(true);
        let _stream = activity.began(false);
        activity.stalled();
        advance(Duration::from_secs(20)).await;
        activity.wrote();
        activity.stalled();
        advance(Duration::from_secs(29)).await;
        assert!(goes_on(&activity));
        advance(Duration::from_secs(1)).await;
        assert!(matches!(activity.verdict(&PATIENCE), Verdict::Closes(_)));
    }
}
