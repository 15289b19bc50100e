//! Compresses answers for whoever can read that: lists, pages and files whole, the stream of events one event at a time.
//!
//! A console over a slow line reads a fleet of a thousand rows in a tenth of the bytes. Short answers stay as they are: their packet is
//! sent anyway. Never delays an event: each one is flushed by itself.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Frame;

use super::Failure;

/// Answers below this many bytes fit into one packet.
const LEAST_BYTES: usize = 1_400;
/// Answers above this many bytes are compressed on a thread of their own: a megabyte takes some 10 ms.
const LARGE_BYTES: usize = 64 * 1_024;

/// Compresses what the handler answers.
pub async fn compress(request: Request, next: Next) -> Response {
    let wanted = reads_gzip(request.headers());
    let response = next.run(request).await;
    match (wanted, kind(response.headers())) {
        (true, Some(Kind::Stream)) => encoded(response, Flushing::of),
        (true, Some(Kind::Text)) if response.status() != StatusCode::NOT_MODIFIED => whole(response).await,
        _ => response,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Stream,
}

/// Whether somebody reads gzip; a quality of 0 says no.
fn reads_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.unwrap_or_default().split(',').any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let refused = |part: &str| matches!(part.replace(' ', "").as_str(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
        parts.next() == Some("gzip") && !parts.any(refused)
    })
}

/// What may be compressed: texts that are not compressed already.
fn kind(headers: &HeaderMap) -> Option<Kind> {
    if headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let kind = kind.split(';').next().unwrap_or_default().trim();
    match kind {
        "text/event-stream" => Some(Kind::Stream),
        "application/json" | "application/problem+json" | "image/svg+xml" => Some(Kind::Text),
        "application/javascript" | "application/yaml" => Some(Kind::Text),
        text if text.starts_with("text/") => Some(Kind::Text),
        _ => None,
    }
}

fn encoded(response: Response, body: impl FnOnce(Body) -> Body) -> Response {
    let (mut head, plain) = response.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    Response::from_parts(head, body(plain))
}

async fn whole(response: Response) -> Response {
    let (head, body) = response.into_parts();
    // Every answer but a stream is in memory already.
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return Failure::internal("the answer broke off").into_response();
    };
    if bytes.len() < LEAST_BYTES {
        return Response::from_parts(head, Body::from(bytes));
    }
    let packed = match bytes.len() {
        0..LARGE_BYTES => gzip(&bytes),
        _ => {
            let plain = bytes.clone();
            tokio::task::spawn_blocking(move || gzip(&plain))
                .await
                .unwrap_or_default()
        }
    };
    match packed.is_empty() {
        true => Response::from_parts(head, Body::from(bytes)),
        false => encoded(Response::from_parts(head, Body::empty()), |_| Body::from(packed)),
    }
}

/// The bytes in gzip; empty if that failed, which writing to memory does not.
fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    match encoder.write_all(plain) {
        Ok(()) => encoder.finish().unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

/// A body whose pieces leave one by one.
struct Flushing {
    plain: Body,
    encoder: GzEncoder<Vec<u8>>,
    ended: bool,
}

impl Flushing {
    fn of(plain: Body) -> Body {
        Body::new(Self {
            plain,
            encoder: GzEncoder::new(Vec::new(), Compression::fast()),
            ended: false,
        })
    }

    fn piece(&mut self, data: &[u8]) -> std::io::Result<Bytes> {
        self.encoder.write_all(data)?;
        self.encoder.flush()?;
        Ok(std::mem::take(self.encoder.get_mut()).into())
    }
}

impl HttpBody for Flushing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(frame) = Pin::new(&mut self.plain).poll_frame(context) else {
            return Poll::Pending;
        };
        let piece = match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.piece(&data),
                // Trailers: there are none in a stream of events.
                Err(_) => Ok(Bytes::new()),
            },
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => {
                self.ended = true;
                let finished = self.encoder.try_finish();
                finished.map(|()| std::mem::take(self.encoder.get_mut()).into())
            }
        };
        Poll::Ready(Some(piece.map(Frame::data).map_err(axum::Error::new)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn headers(name: axum::http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn only_who_reads_gzip_gets_it() {
        for (accept, expected) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, gzip;q=0.8", true),
            ("gzip;q=0", false),
            ("deflate", false),
            ("*/*", false),
        ] {
            assert_eq!(reads_gzip(&headers(ACCEPT_ENCODING, accept)), expected, "{accept}");
        }
        assert!(!reads_gzip(&HeaderMap::new()));
    }

    #[test]
    fn texts_are_compressed_and_pictures_are_not() {
        for (content, expected) in [
            ("application/json", Some(Kind::Text)),
            ("text/html; charset=utf-8", Some(Kind::Text)),
            ("text/event-stream", Some(Kind::Stream)),
            ("image/png", None),
        ] {
            assert_eq!(kind(&headers(CONTENT_TYPE, content)), expected, "{content}");
        }
    }

    #[test]
    fn each_event_can_be_read_before_the_next_comes() {
        let mut body = Flushing {
            plain: Body::empty(),
            encoder: GzEncoder::new(Vec::new(), Compression::fast()),
            ended: false,
        };
        let mut sent = Vec::new();
        for event in ["data: one\n\n", "data: two\n\n"] {
            sent.extend(body.piece(event.as_bytes()).expect("memory"));
            let mut read = [0; 64];
            let mut decoder = flate2::read::GzDecoder::new(sent.as_slice());
            let mut text = String::new();
            // The stream has not ended, so that reading on would fail: what is there is read.
            while let Ok(count @ 1..) = decoder.read(&mut read) {
                text.push_str(std::str::from_utf8(&read[..count]).expect("text"));
            }
            assert!(text.ends_with(event), "{text}");
        }
    }
}
