//! A connection's bytes, with or without TLS, told to its [`Activity`]; it holds the connection's places for
//! as long as it lives.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::activity::Activity;
use crate::http::places::Place;

/// What a connection holds: one of all places, and one of its address.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) _any: OwnedSemaphorePermit,
    pub(super) _own: Place<IpAddr>,
}

/// A connection's bytes.
#[derive(Debug)]
pub(super) struct Stream {
    bytes: Either<TcpStream, TlsStream<TcpStream>>,
    activity: Arc<Activity>,
    _held: Held,
}

impl Stream {
    pub(super) fn new(
        bytes: Either<TcpStream, TlsStream<TcpStream>>,
        activity: Arc<Activity>,
        held: Held,
    ) -> Self {
        Self { bytes, activity, _held: held }
    }

    /// Tells what came of an attempt to send.
    fn told(&self, sent: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &sent {
            Poll::Ready(Ok(_)) => self.activity.wrote(),
            Poll::Pending => self.activity.stalled(),
            Poll::Ready(Err(_)) => (),
        }
        sent
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.bytes).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.activity.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.bytes).poll_write(context, buffer);
        self.told(sent)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.bytes).poll_write_vectored(context, buffers);
        self.told(sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.bytes.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.bytes).poll_flush(context);
        match &flushed {
            Poll::Pending => self.activity.stalled(),
            Poll::Ready(Ok(())) => self.activity.flushed(),
            Poll::Ready(Err(_)) => (),
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(context)
    }
}
