//! One watcher's stream of server-sent events.
//!
//! Bounded: a watcher that falls behind gets `reset`, and reads its lists again. A quiet stream says `tick`, so that both ends
//! notice when the other has gone.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use hyper::body::Frame;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use wire::api::StreamEvent;
use wire_http::event_text;

use super::{App, Failure};

/// Longest silence: shorter than the patience of proxies and of people.
pub const TICK: Duration = Duration::from_secs(10);

/// Streams at once: half the places of people, so that lists and actions always have some.
pub const MOST_WATCHERS: usize = 128;

type Next = Pin<Box<dyn Future<Output = (Receiver<Arc<str>>, Option<Bytes>)> + Send>>;

struct Events {
    hello: Option<Bytes>,
    next: Next,
}

async fn next(mut events: Receiver<Arc<str>>) -> (Receiver<Arc<str>>, Option<Bytes>) {
    let text = match tokio::time::timeout(TICK, events.recv()).await {
        Ok(Ok(text)) => Bytes::copy_from_slice(text.as_bytes()),
        Ok(Err(RecvError::Lagged(_))) => {
            // What is left is older than the lists that the watcher will read now.
            events = events.resubscribe();
            event_text(&StreamEvent::Reset).into()
        }
        Ok(Err(RecvError::Closed)) => return (events, None),
        Err(_) => event_text(&StreamEvent::Tick {
            now: crate::clock::wall(),
        })
        .into(),
    };
    (events, Some(text))
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(hello) = self.hello.take() {
            return Poll::Ready(Some(Ok(Frame::data(hello))));
        }
        let Poll::Ready((events, text)) = self.next.as_mut().poll(context) else {
            return Poll::Pending;
        };
        self.next = Box::pin(next(events));
        Poll::Ready(text.map(|text| Ok(Frame::data(text))))
    }
}

/// Opens a stream.
pub async fn stream(State(app): State<App>) -> Result<Response, Failure> {
    if app.feed.watchers() >= MOST_WATCHERS {
        return Err(Failure::unavailable(
            "too many pages watch this hub: close one and try again",
        ));
    }
    // First the subscription, then the hello: what changes in between is not lost.
    let events = app.feed.watch();
    let hello = StreamEvent::Hello {
        from: "hub".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hub_epoch: app.hub.epoch().await?,
        now: app.now(),
    };
    let body = Events {
        hello: Some(event_text(&hello).into()),
        next: Box::pin(next(events)),
    };
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
