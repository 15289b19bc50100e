//! CloudEvents by HTTP: a page of them, or a stream that goes on where its caller was cut off.
//!
//! The stream is server-sent events whose `id` is the event's cursor: a caller that comes again with `Last-Event-ID` misses nothing.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use serde::Deserialize;
use tokio_stream::StreamExt as _;
use wire::api::List;

use super::answer::{json, limit, query};
use super::{App, Failure};
use crate::events::{CloudEvent, Reader, cursor_text, event, read_cursor};
use crate::store::Cursor;

/// Events of a page, if nothing else is asked for.
const USUAL: usize = 100;
/// Most events of a page, and what a stream reads at once.
const MOST: usize = 500;

/// Query of `events`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    after: Option<String>,
    watch: Option<bool>,
    limit: Option<usize>,
}

/// A page of events after a cursor, oldest first; with `watch=true` or `Accept: text/event-stream` all of them, and those to come.
pub async fn list(
    State(app): State<App>,
    headers: HeaderMap,
    asked: Result<Query<EventQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let EventQuery {
        after,
        watch,
        limit: most,
    } = query(asked)?;
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let after = resumed.or(after.as_deref()).map(read_cursor).transpose();
    let after = after.map_err(|detail| Failure::field("/after", detail))?;
    let streams = headers.get(ACCEPT).is_some_and(|kind| kind == "text/event-stream");
    if streams || watch == Some(true) {
        return stream(&app, after);
    }
    let most = limit(most, USUAL, MOST)?;
    let arrived = app.read(move |store| store.arrived(after, most)).await?;
    let next = arrived.last().filter(|_| arrived.len() == most).map(|last| last.cursor);
    let items: Vec<CloudEvent> = arrived.iter().filter_map(event).collect();
    let next_cursor = next.map(cursor_text);
    Ok(json(&headers, &List { items, next_cursor }))
}

fn stream(app: &App, after: Option<Cursor>) -> Result<Response, Failure> {
    if app.feed.followers() >= super::stream::MOST_WATCHERS {
        return Err(Failure::unavailable(
            "too many programs follow the events of this hub: end one and try again",
        ));
    }
    let reader = Reader::new(app.store.clone(), app.feed.arrivals(), after);
    // Two pages are on their way at most: a slow caller makes the reader wait, and nothing is kept for it.
    let (sender, pages) = tokio::sync::mpsc::channel(1);
    tokio::spawn(forward(reader, sender));
    let pages = tokio_stream::wrappers::ReceiverStream::new(pages).map(Ok::<Bytes, Infallible>);
    let mut response = Response::new(Body::from_stream(pages));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Sends pages until the caller or the hub is gone. A quiet stream sends a comment now and then, so that both ends notice.
async fn forward(mut reader: Reader, sender: tokio::sync::mpsc::Sender<Bytes>) {
    loop {
        let page = tokio::select! {
            () = sender.closed() => return,
            next = tokio::time::timeout(super::stream::TICK, reader.next(MOST)) => match next {
                Ok(Some(Ok(events))) => events.iter().map(text).collect::<String>(),
                Ok(Some(Err(error))) => {
                    tracing::warn!(error = error.chain(), "a stream of events ends");
                    return;
                }
                Ok(None) => return,
                Err(_) => ":\n\n".to_owned(),
            },
        };
        if sender.send(page.into()).await.is_err() {
            return;
        }
    }
}

fn text(event: &CloudEvent) -> String {
    let json = serde_json::to_string(event).expect("an event has string keys only, so it always has a JSON form");
    format!("id: {}\ndata: {json}\n\n", event.sentinelcursor)
}
