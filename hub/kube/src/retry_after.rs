//! Keeps the header `Retry-After`, which the client drops: it is put into the status that the client reads.
//!
//! The API server's priority and fairness answers 429 with the header and plain text only.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use kube::client::{Body, DynBody};
use kube::core::Status;
use kube::core::response::StatusDetails;
use tower::{BoxError, Layer, Service};

/// Most bytes of an error's text that are read.
const MAX_TEXT: usize = 64 * 1024;

type Answer = Response<Box<DynBody>>;

/// Wraps the client's service.
#[derive(Debug, Clone, Copy)]
pub struct KeepRetryAfter;

/// The wrapped service.
#[derive(Debug)]
pub struct Keeping<S>(S);

impl<S> Layer<S> for KeepRetryAfter {
    type Service = Keeping<S>;

    fn layer(&self, inner: S) -> Keeping<S> {
        Keeping(inner)
    }
}

impl<S> Service<Request<Body>> for Keeping<S>
where
    S: Service<Request<Body>, Response = Answer, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            match answer.await {
                Ok(answer) => keep(answer).await,
                Err(cause) => Err(cause),
            }
        })
    }
}

/// The answer as it is, or with the header's seconds in its status.
async fn keep(answer: Answer) -> Result<Answer, BoxError> {
    let header = answer
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let seconds = header.and_then(|text| text.parse::<u32>().ok());
    let (Some(seconds), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) = (seconds, answer.status())
    else {
        return Ok(answer);
    };
    let (mut parts, body) = answer.into_parts();
    let text = match read(body).await {
        Ok(text) => text,
        Err(cause) => return Err(cause),
    };
    let mut status: Status = serde_json::from_slice(&text).unwrap_or_else(|_| {
        let message = String::from_utf8_lossy(&text).into_owned();
        Status::failure(&message, "TooManyRequests").with_code(parts.status.as_u16())
    });
    let details = status.details.get_or_insert_with(no_details);
    if details.retry_after_seconds == 0 {
        details.retry_after_seconds = seconds;
    }
    let text = serde_json::to_vec(&status).map_err(|cause| -> BoxError { Box::new(cause) })?;
    parts.headers.remove(header::CONTENT_LENGTH);
    let body = Full::from(text).map_err(|never| match never {});
    Ok(Response::from_parts(parts, Box::new(body)))
}

/// The beginning of a body, up to [`MAX_TEXT`].
async fn read(mut body: Box<DynBody>) -> Result<Vec<u8>, BoxError> {
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) if text.len() + data.len() > MAX_TEXT => break,
            Ok(Ok(data)) => text.extend_from_slice(&data),
            Ok(Err(_trailers)) => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(text)
}

fn no_details() -> StatusDetails {
    StatusDetails {
        name: String::new(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        causes: Vec::new(),
        retry_after_seconds: 0,
    }
}
