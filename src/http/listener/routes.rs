//! The router as a connection calls it: each request knows who sent it, is counted, and has a paced body.

use std::{convert::Infallible, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use http_body::Body as _;
use hyper::{Request, Response, Version, body::Incoming, header};
use tower::ServiceExt as _;

use super::{
    activity::Activity,
    body::{InFlight, Paced},
};

/// The router, for one connection.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    pub(super) router: Router,
    pub(super) peer: SocketAddr,
    pub(super) activity: Arc<Activity>,
    pub(super) body_within: Duration,
}

impl hyper::service::Service<Request<Incoming>> for Routes {
    type Response = Response<InFlight>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let mut flight = self.activity.began(request.version() == Version::HTTP_2);
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let within = self.body_within;
        let request = request.map(|body| {
            if body.is_end_stream() { Body::empty() } else { Body::new(Paced::new(body, within)) }
        });
        let router = self.router.clone();
        Box::pin(async move {
            let response = router.oneshot(request).await?;
            let kind = response.headers().get(header::CONTENT_TYPE);
            flight.answers(kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")));
            Ok(response.map(|body| InFlight::new(body, flight)))
        })
    }
}
