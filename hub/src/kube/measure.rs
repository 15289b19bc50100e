//! What a canary is judged by: queries to the cluster's Prometheus, or to what workloads told this hub by OTLP, asked alike of both
//! sides.
//!
//! Decides nothing: an answer that is missing is a gap in the series, and a Prometheus that does not answer is no data. Neither is ever
//! read as success or failure.
//!
//! Source: Prometheus HTTP API v1, `query_range` and `query`. Read next: `policy/src/canary.rs` (who judges).

use std::time::Duration;

use hub_core::rollouts::{ErrorQuery, Facts, Measure, Measured, MetricQuery};
use policy::canary::{Counter, Effect, Errors, Metric};
use serde_json::Value;
use wire::kube::DeploymentRef;

use super::Clusters;
use super::rollout::{BASELINE, CANARY};
use crate::workload_metrics::{Query, WorkloadMetrics};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Both sides of a canary in one Prometheus.
struct Sides<'a> {
    client: reqwest::Client,
    cluster: &'a str,
    url: Option<String>,
    told: &'a WorkloadMetrics,
    measure: &'a Measure,
    namespace: &'a str,
    canary: String,
    baseline: String,
}

/// All metrics of an analysis since its step began.
pub async fn series(clusters: &Clusters, target: &DeploymentRef, measure: &Measure, facts: &Facts) -> Measured {
    // Without a fresh group of the old image the canary is compared with the workload itself.
    let baseline = match facts.baseline.there() {
        Some(_) => format!("{}-{BASELINE}", target.name),
        None => target.name.clone(),
    };
    let sides = Sides {
        client: crate::https::client(),
        cluster: &target.cluster,
        url: clusters.prometheus(&target.cluster),
        told: clusters.workload_metrics(),
        measure,
        namespace: &target.namespace,
        canary: format!("{}-{CANARY}", target.name),
        baseline,
    };
    sides.all().await.unwrap_or_else(|why| Measured::Nothing { why })
}

impl Sides<'_> {
    async fn all(&self) -> Result<Measured, String> {
        let mut metrics = Vec::new();
        for query in &self.measure.analysis.metrics {
            metrics.push(self.metric(query).await?);
        }
        let errors = match &self.measure.analysis.errors {
            Some(errors) => self.errors(errors).await?,
            None => None,
        };
        Ok(Measured::Series {
            metrics,
            errors,
            page_fast: false,
        })
    }

    async fn metric(&self, query: &MetricQuery) -> Result<Metric, String> {
        let of = |workload: &str| self.series(self.filled(&query.query, workload), query.interval_ms);
        let (baseline, canary) = tokio::join!(of(&self.baseline), of(&self.canary));
        let named = |why: String| format!("metric {}: {why}", query.name);
        Ok(Metric {
            name: query.name.clone(),
            direction: query.direction,
            effect: Effect {
                rel_bp: query.tolerated_bp,
                abs: query.tolerated,
            },
            critical: query.critical,
            weight: query.weight,
            min_n: usize::try_from(query.min_n).unwrap_or(usize::MAX),
            nodata: query.nodata,
            paired: false,
            counter: Counter::Gauge,
            independent: false,
            hard_limit: query.hard_limit,
            interval_ms: query.interval_ms,
            warm_up_ms: query.warm_up_ms,
            expected: None,
            baseline: baseline.map_err(named)?,
            canary: canary.map_err(named)?,
            history: Vec::new(),
        })
    }

    /// Counted requests of both sides; `None` while a side has none.
    async fn errors(&self, queries: &ErrorQuery) -> Result<Option<Errors>, String> {
        let seconds = (self.measure.until_ms - self.measure.since_ms).max(1_000) / 1_000;
        let of = |query: &str, workload: &str| {
            let query = self.filled(query, workload).replace("$range", &format!("{seconds}s"));
            self.value(query)
        };
        let counts = tokio::join!(
            of(&queries.failed, &self.canary),
            of(&queries.total, &self.canary),
            of(&queries.failed, &self.baseline),
            of(&queries.total, &self.baseline),
        );
        let [
            Some(canary_failed),
            Some(canary_total),
            Some(baseline_failed),
            Some(baseline_total),
        ] = [counts.0?, counts.1?, counts.2?, counts.3?]
        else {
            return Ok(None);
        };
        // A rate over a window is extrapolated: never more failures than requests.
        Ok(Some(Errors {
            canary_failed: canary_failed.min(canary_total),
            canary_total,
            baseline_failed: baseline_failed.min(baseline_total),
            baseline_total,
        }))
    }

    fn filled(&self, query: &str, workload: &str) -> String {
        query
            .replace("$workload", workload)
            .replace("$namespace", self.namespace)
    }

    async fn series(&self, query: String, interval_ms: u64) -> Result<Vec<Option<f64>>, String> {
        let seconds = |ms: i64| format!("{}.{:03}", ms / 1_000, ms % 1_000);
        let (since, until) = (self.measure.since_ms, self.measure.until_ms);
        let span = u64::try_from(until - since).unwrap_or(0);
        let intervals = span / interval_ms.max(1) + 1;
        if Query::is_one(&query) {
            let query = Query::parse(&query).map_err(|error| error.to_string())?;
            let intervals = usize::try_from(intervals).unwrap_or(0).min(policy::canary::MAX_SAMPLES);
            return Ok(self.told.series(&query, since, interval_ms, intervals));
        }
        let step = seconds(i64::try_from(interval_ms).unwrap_or(i64::MAX));
        let asked = [
            ("query", query),
            ("start", seconds(since)),
            ("end", seconds(until)),
            ("step", step),
        ];
        let answer = self.ask("query_range", &asked).await?;
        placed(&answer, since, interval_ms, intervals)
    }

    async fn value(&self, query: String) -> Result<Option<u64>, String> {
        if Query::is_one(&query) {
            let query = Query::parse(&query).map_err(|error| error.to_string())?;
            let value = self.told.value(&query, self.measure.since_ms, self.measure.until_ms);
            return Ok(value.map(|value| value.max(0.0).round() as u64));
        }
        let time = format!("{}.{:03}", self.measure.until_ms / 1_000, self.measure.until_ms % 1_000);
        let answer = self.ask("query", &[("query", query), ("time", time)]).await?;
        let value = only(&answer)?.and_then(|one| one["value"][1].as_str()?.parse::<f64>().ok());
        Ok(value
            .filter(|value| value.is_finite() && *value >= 0.0)
            .map(|value| value.round() as u64))
    }

    async fn ask(&self, what: &str, asked: &[(&str, String)]) -> Result<Value, String> {
        let url = self.url.as_ref().ok_or_else(|| {
            let cluster = self.cluster;
            format!(
                "cluster {cluster} has no Prometheus: register it again with the address of one, or have the workload send OTLP here and \
                 ask otlp:…"
            )
        })?;
        ask(&self.client, url, what, asked).await
    }
}

/// What a query gives now, for one deployment: a number from 0. `None`: it gives no series.
pub async fn instant(url: &str, query: &str, target: &DeploymentRef) -> Result<Option<f64>, String> {
    let query = query
        .replace("$workload", &target.name)
        .replace("$namespace", &target.namespace);
    let answer = ask(&crate::https::client(), url, "query", &[("query", query)]).await?;
    let value = only(&answer)?.and_then(|one| one["value"][1].as_str()?.parse::<f64>().ok());
    Ok(value.filter(|value| value.is_finite() && *value >= 0.0))
}

async fn ask(client: &reqwest::Client, url: &str, what: &str, asked: &[(&str, String)]) -> Result<Value, String> {
    let url = format!("{}/api/v1/{what}", url.trim_end_matches('/'));
    let sent = client.post(&url).form(asked).timeout(PATIENCE).send().await;
    let answer = sent.map_err(|error| format!("{url}: {error}"))?;
    let status = answer.status();
    let text = answer.text().await.map_err(|error| format!("{url}: {error}"))?;
    let answer: Value = serde_json::from_str(&text).map_err(|_| format!("{url} answers {status} and no JSON"))?;
    match answer["status"].as_str() {
        Some("success") => Ok(answer),
        _ => Err(format!(
            "{url}: {}",
            answer["error"].as_str().unwrap_or("it says no reason")
        )),
    }
}

/// The only series of an answer; `None` if there is none.
fn only(answer: &Value) -> Result<Option<&Value>, String> {
    match answer["data"]["result"].as_array().map(Vec::as_slice) {
        Some([]) => Ok(None),
        Some([one]) => Ok(Some(one)),
        Some(many) => Err(format!(
            "the query gives {} series, not one: put sum or avg around it",
            many.len()
        )),
        None => Err("the query gives no series: a number or text is none".to_owned()),
    }
}

/// The samples of an answer in their intervals, with gaps where there is none.
fn placed(answer: &Value, since_ms: i64, interval_ms: u64, intervals: u64) -> Result<Vec<Option<f64>>, String> {
    let mut samples = vec![None; usize::try_from(intervals).unwrap_or(0).min(policy::canary::MAX_SAMPLES)];
    let values = only(answer)?.map(|one| &one["values"]);
    for sample in values.and_then(Value::as_array).into_iter().flatten() {
        let (Some(at), Some(value)) = (
            sample[0].as_f64(),
            sample[1].as_str().and_then(|text| text.parse::<f64>().ok()),
        ) else {
            continue;
        };
        let since = at * 1_000.0 - since_ms as f64;
        let place = (since / interval_ms.max(1) as f64).round();
        if place >= 0.0
            && let Some(kept) = samples.get_mut(place as usize)
        {
            *kept = value.is_finite().then_some(value);
        }
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use hub_core::rollouts::Seen;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::{
        Gauge, Metric as ProtoMetric, NumberDataPoint, ResourceMetrics, ScopeMetrics, number_data_point,
    };
    use serde_json::json;

    use super::*;

    #[test]
    fn samples_stand_in_their_intervals_and_gaps_stay_gaps() {
        let result = json!([{ "metric": {}, "values": [[1_000.0, "1"], [1_002.0, "NaN"], [1_003.0, "4"]] }]);
        let answer = json!({ "data": { "result": result } });
        assert_eq!(
            placed(&answer, 1_000_000, 1_000, 5),
            Ok(vec![Some(1.0), None, None, Some(4.0), None])
        );
        let none = json!({ "data": { "result": [] } });
        assert_eq!(placed(&none, 0, 1_000, 2), Ok(vec![None, None]), "no series is no data");
    }

    fn gauge(workload: &str, at_ms: i64, value: f64) -> ExportMetricsServiceRequest {
        let name = AnyValue {
            value: Some(any_value::Value::StringValue(workload.to_owned())),
        };
        let label = KeyValue {
            key: "service.name".to_owned(),
            value: Some(name),
            ..KeyValue::default()
        };
        let point = NumberDataPoint {
            attributes: vec![label],
            time_unix_nano: u64::try_from(at_ms).expect("after 1970") * 1_000_000,
            value: Some(number_data_point::Value::AsDouble(value)),
            ..NumberDataPoint::default()
        };
        let metric = ProtoMetric {
            name: "queue".to_owned(),
            data: Some(Data::Gauge(Gauge {
                data_points: vec![point],
            })),
            ..ProtoMetric::default()
        };
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                scope_metrics: vec![ScopeMetrics {
                    metrics: vec![metric],
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        }
    }

    #[tokio::test]
    async fn a_canary_is_measured_by_what_both_sides_told_without_a_prometheus() {
        let clusters = Clusters::default();
        let since = 1_800_000_000_000_i64;
        for second in 1..=3 {
            for (workload, value) in [("web-canary", 9.0), ("web", 4.0)] {
                let request = gauge(workload, since + second * 1_000, value);
                clusters.workload_metrics().take(request, wire::Wall(since + 4_000));
            }
        }
        let unread = || Seen::Unread("not looked at".to_owned());
        let facts = Facts {
            stable: unread(),
            canary: unread(),
            baseline: unread(),
            weight: None,
            autoscaler: None,
        };
        let query = r#"{ "metrics": [{ "name": "queue", "direction": "up", "interval_ms": 1000, "tolerated": 1.0,
            "query": "otlp:mean(queue{service.name=\"$workload\"})" }] }"#;
        let measure = Measure {
            since_ms: since,
            until_ms: since + 3_000,
            analysis: serde_json::from_str(query).expect("an analysis"),
        };
        let target = DeploymentRef {
            cluster: "edge".to_owned(),
            namespace: "default".to_owned(),
            name: "web".to_owned(),
        };
        let Measured::Series { metrics, .. } = series(&clusters, &target, &measure, &facts).await else {
            panic!("both sides told something");
        };
        assert_eq!(metrics[0].canary, [None, Some(9.0), Some(9.0), Some(9.0)]);
        assert_eq!(metrics[0].baseline, [None, Some(4.0), Some(4.0), Some(4.0)]);
        let prometheus = query.replace("otlp:", "");
        let measure = Measure {
            analysis: serde_json::from_str(&prometheus).expect("an analysis"),
            ..measure
        };
        let Measured::Nothing { why } = series(&clusters, &target, &measure, &facts).await else {
            panic!("there is no Prometheus");
        };
        assert!(why.contains("has no Prometheus") && why.contains("OTLP"), "{why}");
    }

    #[test]
    fn a_query_of_two_series_says_what_to_do() {
        let answer = json!({ "data": { "result": [{}, {}] } });
        assert!(placed(&answer, 0, 1_000, 2).is_err_and(|why| why.contains("sum or avg")));
    }
}
