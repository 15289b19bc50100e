//! OTLP in: metrics of workloads, as workloads and Collectors send them (`POST /v1/metrics`, protobuf, gzip or not).
//!
//! Whoever sends needs an API token with `workloads:write`. What is not kept is told in the answer, as OTLP has it, so that a sender
//! does not send it again.
//!
//! Source: OTLP specification 1.x, OTLP/HTTP. Read next: `workload_metrics.rs`.

use std::io::Read as _;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message as _;
use serde::Deserialize;
use wire::api::{List, WorkloadMetricView};

use super::answer::{body, limit, query};
use super::{App, Failure};

/// The only encoding that is read: every exporter has it.
const PROTOBUF: &str = "application/x-protobuf";
/// Most bytes of a request once it is unpacked: ten times a packed one.
const MOST_UNPACKED: u64 = 8 * 1024 * 1024;
/// Rows of a list, if nothing else is asked for, and at most.
const USUAL: usize = 100;
const MOST: usize = 1_000;

/// Takes metrics in.
pub async fn metrics(
    State(app): State<App>,
    headers: HeaderMap,
    sent: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some(PROTOBUF) {
        let detail = format!(
            "the content type is `{kind}`, it must be {PROTOBUF}: set the exporter's protocol to http/protobuf"
        );
        return Err(Failure::field("", detail));
    }
    let bytes = unpacked(&headers, body(sent)?)?;
    let request = ExportMetricsServiceRequest::decode(bytes)
        .map_err(|cause| Failure::field("", format!("the body is no ExportMetricsServiceRequest: {cause}")))?;
    let taken = app.clusters.workload_metrics().take(request, app.now());
    let answer = ExportMetricsServiceResponse {
        partial_success: taken.why.map(|why| ExportMetricsPartialSuccess {
            rejected_data_points: i64::try_from(taken.refused).unwrap_or(i64::MAX),
            error_message: why.to_owned(),
        }),
    };
    let kind = HeaderValue::from_static(PROTOBUF);
    Ok(([(CONTENT_TYPE, kind)], answer.encode_to_vec()).into_response())
}

fn unpacked(headers: &HeaderMap, bytes: Bytes) -> Result<Bytes, Failure> {
    match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(bytes),
        Some(b"gzip") => {
            let mut out = Vec::new();
            let mut reader = GzDecoder::new(&bytes[..]).take(MOST_UNPACKED + 1);
            let read = reader.read_to_end(&mut out);
            read.map_err(|cause| Failure::field("", format!("the body is not gzip: {cause}")))?;
            match out.len() as u64 {
                0..=MOST_UNPACKED => Ok(out.into()),
                _ => Err(Failure::too_large("a request has at most 8 MiB once it is unpacked")),
            }
        }
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            Err(Failure::field(
                "",
                format!("the content encoding is `{other}`, it must be gzip or none"),
            ))
        }
    }
}

/// Query of `workload-metrics`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    metric: Option<String>,
    limit: Option<usize>,
}

/// The newest value of every series.
pub async fn list(
    State(app): State<App>,
    asked: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<List<WorkloadMetricView>>, Failure> {
    let asked = query(asked)?;
    let most = limit(asked.limit, USUAL, MOST)?;
    Ok(Json(List {
        items: app.clusters.workload_metrics().newest(asked.metric.as_deref(), most),
        next_cursor: None,
    }))
}
