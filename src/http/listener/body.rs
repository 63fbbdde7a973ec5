//! Bodies on their way: one that comes in has to come at a pace, and one that goes out keeps its request in
//! flight.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::Flight;

/// How many bytes gain a body another second.
const BYTES_A_SECOND: u64 = 16 << 10;

/// The body of a request came too slowly.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body did not come in time")]
pub(crate) struct TooSlow;

/// The body of a request, which has to come at a pace.
#[derive(Debug)]
pub(super) struct Paced<B> {
    body: B,
    patience: Duration,
    read: u64,
    /// Runs from when the body is first waited for.
    due: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<B> Paced<B> {
    pub(super) fn new(body: B, patience: Duration) -> Self {
        Self { body, patience, read: 0, due: None }
    }

    /// Waits no longer than the body may take, by what has come of it.
    fn poll_due(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let gained = Duration::from_secs(self.read / BYTES_A_SECOND);
        let patience = self.patience;
        let (began, due) = self.due.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(sleep_until(now + patience)))
        });
        let until = *began + patience + gained;
        if due.deadline() != until {
            due.as_mut().reset(until);
        }
        due.as_mut().poll(context)
    }
}

impl<B> http_body::Body for Paced<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            ready!(self.poll_due(context));
            return Poll::Ready(Some(Err(TooSlow.into())));
        };
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(Into::into)?;
        self.read += frame.data_ref().map_or(0, |data| data.len() as u64);
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, which keeps its request in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    body: Body,
    _flight: Flight,
}

impl InFlight {
    pub(super) fn new(body: Body, flight: Flight) -> Self {
        Self { body, _flight: flight }
    }
}

impl http_body::Body for InFlight {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::body;
    use futures::{StreamExt as _, stream};

    use super::*;

    /// A body of so many pieces of one size, one each second.
    fn dripping(pieces: u64, size: usize) -> Body {
        let each = stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, axum::Error>(Bytes::from(vec![0; size]))
        });
        Body::from_stream(each)
    }

    async fn read(body: Body) -> Result<usize, axum::Error> {
        let paced = Body::new(Paced::new(body, Duration::from_secs(5)));
        body::to_bytes(paced, usize::MAX).await.map(|bytes| bytes.len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_ends_and_a_slow_line_does_not() {
        assert_eq!(read(dripping(60, 32 << 10)).await.unwrap(), 60 * (32 << 10));
        assert_eq!(read(dripping(4, 1)).await.unwrap(), 4);
        let error = read(dripping(60, 1)).await.unwrap_err().to_string();
        assert_eq!(error, TooSlow.to_string());
    }
}
