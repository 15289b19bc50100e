//! What comes in by OTLP, and what a rollout gets of it.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::*;

use super::*;

const NOW: Wall = Wall(1_800_000_000_000);
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;
const DELTA: i32 = AggregationTemporality::Delta as i32;

fn label(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

fn request(service: &str, name: &str, data: Data) -> ExportMetricsServiceRequest {
    let metric = Metric {
        name: name.to_owned(),
        data: Some(data),
        ..Metric::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: vec![label("service.name", service)],
                ..Resource::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![metric],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

/// Seconds after `NOW` less a minute.
fn at(second: u64) -> u64 {
    (NOW.0 as u64 - 60_000 + second * 1_000) * 1_000_000
}

fn number(second: u64, start: u64, value: f64) -> NumberDataPoint {
    NumberDataPoint {
        time_unix_nano: at(second),
        start_time_unix_nano: start,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn sum(points: &[(u64, u64, f64)], temporality: i32) -> Data {
    Data::Sum(Sum {
        data_points: points
            .iter()
            .map(|(second, start, value)| number(*second, *start, *value))
            .collect(),
        aggregation_temporality: temporality,
        is_monotonic: true,
    })
}

fn gauge(points: &[(u64, f64)]) -> Data {
    Data::Gauge(Gauge {
        data_points: points
            .iter()
            .map(|(second, value)| number(*second, 0, *value))
            .collect(),
    })
}

fn histogram(second: u64, bounds: &[f64], buckets: &[u64]) -> Data {
    Data::Histogram(Histogram {
        data_points: vec![HistogramDataPoint {
            time_unix_nano: at(second),
            count: buckets.iter().sum(),
            sum: Some(1.0),
            bucket_counts: buckets.to_vec(),
            explicit_bounds: bounds.to_vec(),
            ..HistogramDataPoint::default()
        }],
        aggregation_temporality: DELTA,
    })
}

/// Values of a query over ten seconds, second by second.
fn ask(store: &WorkloadMetrics, text: &str) -> Vec<Option<f64>> {
    let query = Query::parse(text).expect("a query");
    store.series(&query, NOW.0 - 60_000, 1_000, 5)
}

#[test]
fn a_counter_is_what_was_added_also_over_a_restart() {
    let store = WorkloadMetrics::default();
    let points = [(0, 1, 100.0), (1, 1, 104.0), (2, 1, 104.0), (4, 2, 3.0)];
    let taken = store.take(request("shop", "requests", sum(&points, CUMULATIVE)), NOW);
    assert_eq!((taken.accepted, taken.refused), (4, 0));
    let query = r#"otlp:sum(requests{service.name="shop"})"#;
    // Nobody knows when the first hundred came.
    assert_eq!(ask(&store, query), [None, Some(4.0), Some(0.0), None, Some(3.0)]);
    let parsed = Query::parse(query).expect("a query");
    assert_eq!(store.value(&parsed, NOW.0 - 60_000, NOW.0), Some(7.0));
    let rate = Query::parse("otlp:rate(requests)").expect("a query");
    assert_eq!(store.value(&rate, NOW.0 - 60_000, NOW.0), Some(7.0 / 60.0));
}

#[test]
fn a_delta_counter_says_the_same_by_itself() {
    let store = WorkloadMetrics::default();
    store.take(
        request("shop", "requests", sum(&[(1, 0, 4.0), (2, 0, 1.0)], DELTA)),
        NOW,
    );
    assert_eq!(
        ask(&store, "otlp:sum(requests)"),
        [None, Some(4.0), Some(1.0), None, None]
    );
}

#[test]
fn sides_of_a_canary_are_told_apart_and_replicas_of_one_are_taken_together() {
    let store = WorkloadMetrics::default();
    store.take(request("shop", "queue", gauge(&[(1, 4.0), (2, 8.0)])), NOW);
    store.take(request("shop-canary", "queue", gauge(&[(1, 40.0)])), NOW);
    assert_eq!(
        ask(&store, r#"otlp:mean(queue{service.name="shop"})"#)[..3],
        [None, Some(4.0), Some(8.0)]
    );
    assert_eq!(
        ask(&store, r#"otlp:mean(queue{service.name="shop-canary"})"#)[1],
        Some(40.0)
    );
    assert_eq!(ask(&store, "otlp:mean(queue)")[1], Some(22.0));
    assert_eq!(ask(&store, "otlp:min(queue)")[1], Some(4.0));
    assert_eq!(ask(&store, "otlp:max(queue)")[1], Some(40.0));
    assert_eq!(
        ask(&store, "otlp:mean(other)"),
        [None; 5],
        "nothing told is a gap and no zero"
    );
}

#[test]
fn quantiles_are_those_of_prometheus() {
    let store = WorkloadMetrics::default();
    // 10 up to 0.1 s, 80 up to 0.2 s, 10 beyond.
    store.take(
        request("shop", "latency", histogram(1, &[0.1, 0.2], &[10, 80, 10])),
        NOW,
    );
    let value = |text: &str| ask(&store, text)[1].expect("told");
    assert!((value("otlp:p50(latency)") - 0.15).abs() < 1e-9);
    assert!(
        (value("otlp:p99(latency)") - 0.2).abs() < 1e-9,
        "beyond the last bound is the last bound"
    );
    assert!((value("otlp:mean(latency)") - 0.01).abs() < 1e-9);
    assert!((value("otlp:sum(latency)") - 100.0).abs() < 1e-9);
}

#[test]
fn what_cannot_be_used_is_refused_with_a_reason_and_hides_nothing() {
    let store = WorkloadMetrics::default();
    let far = NOW.0 as u64 / 1_000;
    for (data, why) in [
        (gauge(&[(60 + 120, 1.0), (1, 1.0)]), "of the future"),
        (gauge(&[(2, f64::NAN), (3, 1.0)]), "no finite value"),
        (gauge(&[(3, 1.0), (4, 1.0)]), "not newer"),
        (histogram(1, &[0.2, 0.1], &[1, 1, 1]), "no finite value"),
        (histogram(1, &[0.1], &[1, 1, 1]), "no finite value"),
    ] {
        let taken = store.take(request("shop", "m", data), NOW);
        assert!(
            taken.why.is_some_and(|found| found.contains(why)),
            "{taken:?} is not {why}"
        );
    }
    let old = Wall(NOW.0 + 3_600_000 + i64::try_from(far % 7).unwrap_or(0));
    let taken = store.take(request("shop", "m", gauge(&[(1, 1.0)])), old);
    assert_eq!(taken.why, Some("a point is more than an hour old"));
    assert_eq!(store.counts().2, 0, "what is an hour old is forgotten");
}

#[test]
fn memory_is_bounded_whatever_is_sent() {
    let store = WorkloadMetrics::default();
    for series in 0..MOST_SERIES + 10 {
        store.take(request(&format!("s{series}"), "m", gauge(&[(1, 1.0)])), NOW);
    }
    assert_eq!(store.counts(), (MOST_SERIES as u64, 10, MOST_SERIES));
    let wide = WorkloadMetrics::default();
    let bounds: Vec<f64> = (1..MOST_BUCKETS).map(|bound| bound as f64).collect();
    for series in 0..MOST_CELLS / MOST_BUCKETS + 20 {
        wide.take(
            request(
                &format!("s{series}"),
                "m",
                histogram(1, &bounds, &vec![1; MOST_BUCKETS]),
            ),
            NOW,
        );
    }
    let cells = || wide.inside().cells;
    let kept = cells();
    assert!(kept < MOST_CELLS + 2 * MOST_BUCKETS, "{kept}");
    assert!(wide.counts().1 > 0, "the rest was refused");
    let later = Wall(NOW.0 + 2 * KEPT_MS);
    wide.take(ExportMetricsServiceRequest::default(), later);
    assert_eq!((cells(), wide.counts().2), (0, 0));
}

#[test]
fn a_query_says_what_is_wrong_with_it() {
    for (text, why) in [
        ("p99(m)", "begin with otlp:"),
        ("otlp:p98(m)", "none of mean"),
        ("otlp:p99(m", "`)` is missing"),
        ("otlp:p99()", "name is missing"),
        ("otlp:p99(m{a=\"b\")", "`}` is missing"),
        ("otlp:p99(m{a=b})", "in quotes"),
        ("otlp:p99(m{a=\"b\" c=\"d\"})", "parted by commas"),
    ] {
        let error = Query::parse(text).expect_err(text).to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(Query::is_one(" otlp:p99(m)") && !Query::is_one("sum(rate(x[5m]))"));
}

proptest! {
    #[test]
    fn no_text_panics_the_reader(text in "(otlp:)?.{0,60}") {
        let _ = Query::parse(&text);
    }

    #[test]
    fn a_quantile_lies_within_its_buckets(counts in proptest::collection::vec(0_u64..50, 4), at in 0_usize..5) {
        let store = WorkloadMetrics::default();
        store.take(request("s", "m", histogram(1, &[1.0, 2.0, 4.0], &counts)), NOW);
        let name = ["p50", "p90", "p95", "p99", "p999"][at];
        match ask(&store, &format!("otlp:{name}(m)"))[1] {
            Some(value) => prop_assert!((0.0..=4.0).contains(&value)),
            None => prop_assert_eq!(counts.iter().sum::<u64>(), 0),
        }
    }
}
