//! A load generator: connections that are kept alive, each asking again as soon as it is answered.
//!
//! It runs on one thread, so that it takes little from the server on a small machine. An answer that is not
//! 2xx, or not what was asked for, fails the load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    Done,
    http::{Answer, Connection, Target},
};

/// How long a load may take beyond its end before it counts as stalled.
const STALLED_AFTER: Duration = Duration::from_mins(2);
/// What comes before the measured time, so that caches and code are warm.
const WARM: Duration = Duration::from_millis(500);

/// When a load ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// So much time is measured.
    Time(Duration),
    /// So many requests are answered, counted over all connections.
    Count(u64),
}

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Sorted, of the answers in the measured time.
    latencies: Vec<Duration>,
    elapsed: Duration,
    /// All answers, also those before the measured time.
    pub(crate) answered: u64,
    bytes: u64,
    wrong: u64,
    first_wrong: Option<String>,
}

impl Tally {
    pub(crate) fn per_second(&self) -> f64 {
        count(self.latencies.len()) / self.elapsed.as_secs_f64()
    }

    /// The latency that this share of the answers did not exceed, in milliseconds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        quantile(&self.latencies, share)
    }

    /// How long the bodies of answers were, in bytes.
    pub(crate) fn mean_bytes(&self) -> f64 {
        count(self.bytes) / count(self.answered)
    }

    /// What every series says, in the order it is shown.
    pub(crate) fn fields(&self, rate: &'static str) -> Vec<(&'static str, f64)> {
        vec![
            (rate, self.per_second()),
            ("p50_ms", self.quantile(0.5)),
            ("p99_ms", self.quantile(0.99)),
            ("max_ms", self.quantile(1.0)),
        ]
    }

    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.answered += other.answered;
        self.bytes += other.bytes;
        self.wrong += other.wrong;
        self.first_wrong = self.first_wrong.take().or(other.first_wrong);
    }

    /// Takes in an answer.
    fn note(&mut self, answer: &Answer<'_>, good: bool) {
        self.answered += 1;
        self.bytes += answer.body.len() as u64;
        if !good {
            self.wrong += 1;
            self.first_wrong.get_or_insert_with(|| {
                let body: String = String::from_utf8_lossy(answer.body).chars().take(300).collect();
                format!("{}: {body}", answer.status)
            });
        }
    }
}

/// A number as the ratios need it.
pub(crate) fn count(number: impl TryInto<u32>) -> f64 {
    number.try_into().map_or(f64::INFINITY, f64::from)
}

/// The value, in milliseconds, that this share of the sorted ones does not exceed.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a length is a place in it"
)]
pub(crate) fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let place = (count(sorted.len()) * share).ceil() as usize;
    let at = sorted.get(place.clamp(1, sorted.len().max(1)) - 1);
    at.map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
}

/// What a load does: the request of a connection and a number, and whether an answer is the one expected.
///
/// Numbers count from 0, for each connection until a time, over all connections until a count.
trait Asks: Fn(usize, u64) -> Vec<u8> + Send + Sync + 'static {}
impl<F: Fn(usize, u64) -> Vec<u8> + Send + Sync + 'static> Asks for F {}

/// Looks at the good answers; the ones it finds wrong fail the load.
trait Judges: Fn(u64, &[u8]) -> bool + Send + Sync + 'static {}
impl<F: Fn(u64, &[u8]) -> bool + Send + Sync + 'static> Judges for F {}

/// Asks with so many connections; `ask` makes the request of a connection and a number, `judge` says whether
/// the body of a 2xx is right.
///
/// Numbers count from 0, for each connection until a time, over all connections until a count.
#[expect(private_bounds, reason = "the bounds are names for what the closures are")]
pub(crate) async fn run(
    target: &Target,
    connections: usize,
    until: Until,
    ask: impl Asks,
    judge: impl Judges,
) -> Done<Tally> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(target.addr).await?);
    }
    let begun = Instant::now();
    let (from, within) = match until {
        Until::Time(measured) => (begun + WARM, WARM + measured),
        Until::Count(_) => (begun, Duration::from_mins(10)),
    };
    let plan = Arc::new(Plan { ask, judge, until, from, ends: begun + within, next: AtomicU64::new(0) });
    let mut loops = JoinSet::new();
    for (place, connection) in open.into_iter().enumerate() {
        loops.spawn(Arc::clone(&plan).follow(place, connection));
    }
    let mut tally = Tally::default();
    let all = async {
        while let Some(ended) = loops.join_next().await {
            tally.add(ended??);
        }
        Done::Ok(())
    };
    tokio::time::timeout(within + STALLED_AFTER, all).await.map_err(|_| "the load stalled")??;
    tally.elapsed = from.elapsed();
    tally.latencies.sort_unstable();
    match &tally.first_wrong {
        Some(first) => {
            let (wrong, all) = (tally.wrong, tally.answered);
            Err(format!("{wrong} of {all} answers were not as expected, the first one: {first}").into())
        }
        None => Ok(tally),
    }
}

struct Plan<A, J> {
    ask: A,
    judge: J,
    until: Until,
    /// Where the measured time begins.
    from: Instant,
    ends: Instant,
    next: AtomicU64,
}

impl<A: Asks, J: Judges> Plan<A, J> {
    async fn follow(self: Arc<Self>, place: usize, mut connection: Connection) -> Done<Tally> {
        let mut tally = Tally::default();
        let mut mine = 0;
        loop {
            let number = match self.until {
                Until::Time(_) => mine,
                Until::Count(total) => match self.next.fetch_add(1, Ordering::Relaxed) {
                    number if number < total => number,
                    _ => return Ok(tally),
                },
            };
            mine += 1;
            let request = (self.ask)(place, number);
            let asked = Instant::now();
            let answer = connection.ask(&request).await?;
            let answered = Instant::now();
            let good = (200..300).contains(&answer.status) && (self.judge)(number, answer.body);
            tally.note(&answer, good);
            if asked >= self.from {
                tally.latencies.push(answered - asked);
            }
            if answered >= self.ends || tally.wrong >= 100 {
                return Ok(tally);
            }
        }
    }
}

/// Takes any answer.
pub(crate) fn any(_number: u64, _body: &[u8]) -> bool {
    true
}
