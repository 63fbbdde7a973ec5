//! The breaker of one model at one endpoint: it stops asking what keeps failing, and tries again later; pure.
//!
//! ```text
//!            failures in a row reach the limit, or the account or the rate is at fault
//!   closed ──────────────────────────────────────────────────────────────────────▶ open
//!     ▲                                                                            │  ▲
//!     │ the probe succeeds                                       its time is over  │  │ the probe fails:
//!     └──────────────────────────────── half-open ◀────────────────────────────────┘  │ twice as long
//!                                           └─────────────────────────────────────────┘
//! ```
//!
//! **Invariant:** while it is half-open exactly one request is under way. **Invariant:** a request that began
//! before the last change of state changes nothing when it ends.

use std::time::Duration;

use cendriix_protocol::time::Timestamp;

use super::provider::Class;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// With which failure in a row it opens.
    pub failures: u32,
    /// How long it is open at first; twice as long each time the probe fails.
    pub open: Duration,
    /// The longest that it is open for failures.
    pub open_max: Duration,
    /// How long it is open when the key is refused or the account used up: a person must act.
    pub account: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            failures: 5,
            open: Duration::from_secs(10),
            open_max: Duration::from_mins(5),
            account: Duration::from_mins(15),
        }
    }
}

/// The longest that a provider's own word (`Retry-After`) keeps it open.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// A breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    limits: Limits,
    state: State,
    /// Counts the changes of state, so that late reports are known as such.
    generation: u64,
    /// Failures in a row.
    failures: u32,
    /// How often it opened for failures since the last success.
    openings: u32,
    last_error: Option<Class>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { since: Timestamp, until: Timestamp },
    HalfOpen { since: Timestamp },
}

/// Leave to ask once; it is handed back with what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    generation: u64,
}

/// Why nobody may ask at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resting {
    /// When a probe may be tried; `None` while one is under way.
    pub until: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// What failed last.
    pub last_error: Option<Class>,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// An answer.
    Answered,
    /// A failure, and when the provider wants to be asked again.
    Failed(Class, Option<Duration>),
}

/// How a breaker looks from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Where it stands.
    pub position: Position,
    /// Failures in a row.
    pub failures: u32,
    /// Since when it does not let everybody through.
    pub opened_at: Option<Timestamp>,
    /// When a probe may be tried.
    pub retry_at: Option<Timestamp>,
    /// What failed last.
    pub last_error: Option<Class>,
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Everybody is let through.
    Closed,
    /// Nobody is.
    Open,
    /// One may try.
    HalfOpen,
}

impl Breaker {
    /// A breaker that lets everybody through.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: State::Closed, generation: 0, failures: 0, openings: 0, last_error: None }
    }

    /// Lets a request begin.
    ///
    /// # Errors
    ///
    /// While it is open, or a probe is under way.
    pub fn begin(&mut self, now: Timestamp) -> Result<Pass, Resting> {
        match self.state {
            State::Closed => {}
            State::Open { since, until } if now >= until => self.enter(State::HalfOpen { since }),
            State::Open { until, .. } => return Err(self.resting(Some(until))),
            State::HalfOpen { .. } => return Err(self.resting(None)),
        }
        Ok(Pass { generation: self.generation })
    }

    fn resting(&self, until: Option<Timestamp>) -> Resting {
        Resting { until, failures: self.failures, last_error: self.last_error }
    }

    /// Takes in what came of a request.
    pub fn end(&mut self, pass: Pass, end: End, now: Timestamp) {
        if pass.generation != self.generation {
            return;
        }
        match end {
            End::Answered => self.answered(),
            // Neither says anything about the provider; a probe leaves room for the next.
            End::Failed(Class::Caller | Class::TooLong | Class::Stopped, _) => self.give_back(now),
            End::Failed(class @ (Class::Auth | Class::Quota), _) => {
                self.failed(class);
                self.open(now, self.limits.account);
            }
            End::Failed(class @ Class::RateLimited, Some(wish)) => {
                self.failed(class);
                self.open(now, wish.min(RETRY_AFTER_MAX));
            }
            End::Failed(class @ Class::RateLimited, None) => {
                self.failed(class);
                self.open_longer(now);
            }
            End::Failed(class @ (Class::TimedOut | Class::Failed | Class::BadAnswer), _) => {
                self.failed(class);
                let is_probe = matches!(self.state, State::HalfOpen { .. });
                if is_probe || self.failures >= self.limits.failures {
                    self.open_longer(now);
                }
            }
        }
    }

    fn answered(&mut self) {
        (self.failures, self.openings) = (0, 0);
        if self.state != State::Closed {
            self.enter(State::Closed);
        }
    }

    /// Goes on after whoever kept it was started again: a probe that was under way is not waited for.
    pub fn resumed(&mut self, now: Timestamp) {
        self.give_back(now);
    }

    fn give_back(&mut self, now: Timestamp) {
        if let State::HalfOpen { since } = self.state {
            self.enter(State::Open { since, until: now });
        }
    }

    fn failed(&mut self, class: Class) {
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(class);
    }

    /// Opens, twice as long as the last time.
    fn open_longer(&mut self, now: Timestamp) {
        let time = self.limits.open.saturating_mul(1 << self.openings.min(16)).min(self.limits.open_max);
        self.openings = self.openings.saturating_add(1);
        self.open(now, time);
    }

    fn open(&mut self, now: Timestamp, time: Duration) {
        let since = match self.state {
            State::Closed => now,
            State::Open { since, .. } | State::HalfOpen { since } => since,
        };
        self.enter(State::Open { since, until: now.after(time) });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }

    /// How it looks at `now`.
    pub fn shown(&self, now: Timestamp) -> Shown {
        let (position, opened_at, retry_at) = match self.state {
            State::Closed => (Position::Closed, None, None),
            State::Open { since, until } if now >= until => (Position::HalfOpen, Some(since), Some(until)),
            State::Open { since, until } => (Position::Open, Some(since), Some(until)),
            State::HalfOpen { since } => (Position::HalfOpen, Some(since), None),
        };
        Shown { position, failures: self.failures, opened_at, retry_at, last_error: self.last_error }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAILED: End = End::Failed(Class::Failed, None);

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    fn closed() -> Breaker {
        Breaker::new(Limits {
            failures: 3,
            open: Duration::from_secs(10),
            open_max: Duration::from_secs(35),
            account: Duration::from_mins(15),
        })
    }

    /// Begins and ends a request at one instant.
    fn ask(breaker: &mut Breaker, end: End, seconds: u64) {
        let pass = breaker.begin(at(seconds)).unwrap();
        breaker.end(pass, end, at(seconds));
    }

    fn open_until(breaker: &mut Breaker, seconds: u64) -> u64 {
        breaker.begin(at(seconds)).unwrap_err().until.unwrap().0 / 1000
    }

    #[test]
    fn it_opens_with_the_third_failure_in_a_row_and_twice_as_long_each_time_up_to_a_limit() {
        let mut breaker = closed();
        ask(&mut breaker, FAILED, 1);
        ask(&mut breaker, FAILED, 1);
        ask(&mut breaker, End::Answered, 1);
        for _ in 0..3 {
            ask(&mut breaker, FAILED, 2);
        }
        let mut opened = vec![];
        for now in [2, 12, 32, 67] {
            if now > 2 {
                ask(&mut breaker, FAILED, now);
            }
            opened.push(open_until(&mut breaker, now));
        }
        assert_eq!(opened, [12, 32, 67, 102]);
        ask(&mut breaker, End::Answered, 102);
        assert_eq!(breaker.shown(at(102)).position, Position::Closed);
    }

    #[test]
    fn one_probe_goes_and_the_others_wait_for_it() {
        let mut breaker = closed();
        for _ in 0..3 {
            ask(&mut breaker, FAILED, 0);
        }
        let probe = breaker.begin(at(10)).unwrap();
        assert_eq!(breaker.begin(at(10)).unwrap_err().until, None);
        breaker.end(probe, End::Failed(Class::Stopped, None), at(11));
        let probe = breaker.begin(at(11)).unwrap();
        assert!(breaker.begin(at(11)).is_err());
        breaker.end(probe, End::Answered, at(12));
        assert!(breaker.begin(at(12)).is_ok() && breaker.begin(at(12)).is_ok());
    }

    #[test]
    fn an_account_in_trouble_opens_it_long_and_a_rate_for_as_long_as_the_provider_says() {
        let mut breaker = closed();
        ask(&mut breaker, End::Failed(Class::Quota, None), 0);
        assert_eq!(open_until(&mut breaker, 0), 900);
        let mut breaker = closed();
        ask(&mut breaker, End::Failed(Class::RateLimited, Some(Duration::from_secs(7))), 0);
        assert_eq!(open_until(&mut breaker, 0), 7);
        let mut breaker = closed();
        ask(&mut breaker, End::Failed(Class::RateLimited, Some(Duration::MAX)), 0);
        assert_eq!(open_until(&mut breaker, 0), 3600);
    }

    #[test]
    fn what_began_before_it_opened_changes_nothing_any_more() {
        let mut breaker = closed();
        let late = breaker.begin(at(0)).unwrap();
        for _ in 0..3 {
            ask(&mut breaker, FAILED, 0);
        }
        let before = breaker;
        breaker.end(late, End::Answered, at(1));
        assert_eq!(breaker, before);
    }

    fn ends() -> impl Strategy<Value = End> {
        let class = prop::sample::select(vec![
            Class::Caller,
            Class::TooLong,
            Class::Auth,
            Class::Quota,
            Class::RateLimited,
            Class::TimedOut,
            Class::Failed,
            Class::BadAnswer,
            Class::Stopped,
        ]);
        let wish = prop::option::of((0_u64..100_000).prop_map(Duration::from_secs));
        prop_oneof![Just(End::Answered), (class, wish).prop_map(|(class, wish)| End::Failed(class, wish))]
    }

    proptest! {
        #[test]
        fn whatever_happens_there_is_one_probe_and_an_end_to_every_rest(
            steps in prop::collection::vec((0_u64..2000, any::<bool>(), ends()), 0..200)
        ) {
            let mut breaker = closed();
            let mut now = 0;
            let mut under_way: Vec<(Pass, bool)> = Vec::new();
            for (wait, begins, end) in steps {
                now += wait;
                let before = breaker;
                if begins {
                    let shown = breaker.shown(at(now));
                    if let Ok(pass) = breaker.begin(at(now)) {
                        let is_probe = shown.position == Position::HalfOpen;
                        let now = breaker.generation;
                        let current = |(pass, probe): &(Pass, bool)| *probe && pass.generation == now;
                        prop_assert!(shown.position != Position::Open);
                        prop_assert!(!is_probe || !under_way.iter().any(current));
                        under_way.push((pass, is_probe));
                    } else {
                        prop_assert_eq!(before, breaker);
                        prop_assert!(shown.position != Position::Closed);
                    }
                } else if let Some((pass, _)) = under_way.pop() {
                    breaker.end(pass, end, at(now));
                    if matches!(end, End::Failed(Class::Caller | Class::TooLong | Class::Stopped, _)) {
                        prop_assert_eq!(before.failures, breaker.failures);
                    }
                    if breaker.failures >= 3 {
                        prop_assert!(breaker.state != State::Closed);
                    }
                }
                if let Some(until) = breaker.shown(at(now)).retry_at {
                    prop_assert!(until.since(at(now)) <= RETRY_AFTER_MAX);
                }
            }
            // What is under way ends; then somebody may ask after an hour at the latest, and heals it.
            for (pass, _) in under_way {
                breaker.end(pass, End::Failed(Class::Stopped, None), at(now));
            }
            let later = at(now).after(RETRY_AFTER_MAX);
            let pass = breaker.begin(later);
            prop_assert!(pass.is_ok());
            breaker.end(pass.unwrap(), End::Answered, later);
            prop_assert_eq!(breaker.shown(later).position, Position::Closed);
        }
    }
}
