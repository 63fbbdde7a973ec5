//! Queues, passes, and workers that end.

use tokio_util::sync::CancellationToken;

use super::*;
use crate::model_router::tests::{Scripted, answer, failure, scripted};

async fn pool(
    turns: Vec<Result<Answer, Error>>,
    lane: (usize, usize),
) -> (Arc<Pool>, Arc<Scripted>, tokio::sync::mpsc::Receiver<String>) {
    let (provider, begins) = scripted(turns);
    let seat = Seat {
        model: "m".into(),
        endpoint: "local".into(),
        name: "m".into(),
        provider: provider.clone(),
        lane: Arc::new(Lane::new(lane.0, lane.1, Duration::from_mins(1))),
        meters: crate::kit::Meters::new().unwrap().model("m"),
    };
    let limits = Limits { failures: 1, ..Limits::default() };
    let pool = Pool::start(vec![seat], limits, Clock::seeded(1)).await.unwrap();
    (Arc::new(pool), provider, begins)
}

async fn ask(pool: &Pool, stop: &CancellationToken) -> Result<Answer, Missed> {
    let call = Call { deltas: None, stop: stop.clone() };
    pool.ask("m", &Request::default(), call).await
}

/// Waits until the worker has taken in what came of a request.
async fn opened(pool: &Pool) {
    while pool.snapshots()[0].breaker.opened_at.is_none() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn past_its_bound_a_queue_takes_nobody_and_those_in_it_are_served_in_turn() {
    let (pool, provider, mut begins) = pool(vec![], (1, 1)).await;
    provider.leave.forget_permits(1000);
    let stop = CancellationToken::new();
    let (first, second) = (ask(&pool, &stop), ask(&pool, &stop));
    tokio::pin!(first, second);
    tokio::select! {
        biased;
        _ = &mut first => panic!("it has no permit"),
        _ = begins.recv() => {}
    }
    assert!(futures::poll!(&mut second).is_pending());
    let third = ask(&pool, &stop).await.unwrap_err();
    assert_eq!((third.error.class, third.was_sent), (Class::RateLimited, false));
    assert_eq!(third.error.retry_after, Some(AGAIN_AFTER));
    assert!(begins.try_recv().is_err(), "two at a time");
    provider.leave.add_permits(2);
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_ok() && second.is_ok());
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_too_long_or_are_stopped_leave_the_queue() {
    let (pool, provider, mut begins) = pool(vec![], (1, 1)).await;
    provider.leave.forget_permits(1000);
    let (never, stop) = (CancellationToken::new(), CancellationToken::new());
    let first = ask(&pool, &never);
    tokio::pin!(first);
    tokio::select! {
        biased;
        _ = &mut first => panic!("it has no permit"),
        _ = begins.recv() => {}
    }
    assert_eq!(ask(&pool, &never).await.unwrap_err().error.class, Class::RateLimited);
    stop.cancel();
    assert_eq!(ask(&pool, &stop).await.unwrap_err().error.class, Class::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_probe_whose_asker_is_gone_leaves_room_for_the_next() {
    let (pool, provider, mut begins) = pool(vec![Err(failure(Class::Failed))], (4, 4)).await;
    let stop = CancellationToken::new();
    ask(&pool, &stop).await.unwrap_err();
    begins.recv().await;
    opened(&pool).await;
    tokio::time::advance(Duration::from_secs(10)).await;
    provider.leave.forget_permits(999);
    {
        let probe = ask(&pool, &stop);
        tokio::pin!(probe);
        tokio::select! {
            biased;
            _ = &mut probe => panic!("it has no permit"),
            _ = begins.recv() => {}
        }
        let other = ask(&pool, &stop).await.unwrap_err();
        assert!(other.error.message.contains("tried by another"), "{}", other.error.message);
    }
    provider.leave.add_permits(1);
    // The report of the dropped probe and this request reach the worker in that order.
    while pool.snapshots()[0].breaker.retry_at.is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&pool, &stop).await.unwrap(), answer("again"));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_ends_is_replaced_and_its_breaker_stays() {
    let (pool, _provider, _begins) = pool(vec![Err(failure(Class::Quota))], (4, 4)).await;
    let stop = CancellationToken::new();
    ask(&pool, &stop).await.unwrap_err();
    opened(&pool).await;
    let before = pool.workers["m"].worker().clone().unwrap();
    before.kill();
    while pool.workers["m"].worker().as_ref().is_none_or(|worker| worker.get_id() == before.get_id()) {
        tokio::task::yield_now().await;
    }
    assert!(ask(&pool, &stop).await.unwrap_err().error.message.contains("rests until"));
    tokio::time::advance(Duration::from_hours(1)).await;
    assert!(ask(&pool, &stop).await.is_ok());
    pool.stop();
}
