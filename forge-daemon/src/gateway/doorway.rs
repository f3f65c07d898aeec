//! Where requests of a connection enter the routes: who sent them is added, and the connection's clocks are told.

use std::{
    convert::Infallible,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, Response, Version, header},
};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tower::ServiceExt;

use super::{
    pace::{InProgress, Pace},
    proxy::Proxies,
};

/// Request bodies up to this are read away by the server itself.
const SMALL: u64 = 64 * 1024;

/// Marks requests of a connection above the limit, taken in so that health can be asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crowded;

/// The service of one connection.
pub(super) struct Doorway {
    pub router: Router,
    pub proxies: Arc<Proxies>,
    pub peer: IpAddr,
    pub pace: Arc<Pace>,
    pub crowded: bool,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Answering>, Infallible>> + Send>>;

impl hyper::service::Service<Request<Incoming>> for Doorway {
    type Response = Response<Answering>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, mut request: Request<Incoming>) -> Answer {
        let request_in_progress = self.pace.begin(request.version());
        let client = self.proxies.client(self.peer, request.headers());
        request.extensions_mut().insert(client);
        if self.crowded {
            request.extensions_mut().insert(Crowded);
        }
        let http2 = request.version() == Version::HTTP_2;
        let last = self.crowded && !http2;
        let large = request.body().size_hint().upper().is_none_or(|n| n > SMALL);
        let pace = self.pace.clone();
        let answer = self.router.clone().oneshot(request);
        Box::pin(async move {
            let mut response = answer.await?;
            if last {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            } else if http2 {
                // It has no meaning there.
                response.headers_mut().remove(header::CONNECTION);
            }
            if large && !response.status().is_success() {
                pace.leave_unread();
            }
            Ok(response.map(|body| Answering {
                body,
                _request: request_in_progress,
            }))
        })
    }
}

/// An answer's body: its request is in progress until this is dropped.
pub(super) struct Answering {
    body: Body,
    _request: InProgress,
}

impl HttpBody for Answering {
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
