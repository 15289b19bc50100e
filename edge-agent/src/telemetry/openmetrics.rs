//! Samples as text: OpenMetrics 1.0 for who asks for it, Prometheus text 0.0.4 for everybody else.
//!
//! Pure: samples in, text out. Dots in names and labels become underscores, and what has no conventional prefix gets `sentinel_`.
//!
//! Invariant: all samples of a metric stand together below its type; no two samples have the same name and labels.
//! Source: the OpenMetrics specification 1.0.0.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::samples::{Kind, Metric, Sample};

/// What the answer is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/openmetrics-text; version=1.0.0`.
    OpenMetrics,
    /// `text/plain; version=0.0.4`.
    Plain,
}

impl Format {
    /// The best that an `Accept` header takes.
    pub fn accepted(header: &str) -> Self {
        match header.contains("application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Plain,
        }
    }

    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes samples out.
pub fn text(samples: &[Sample], format: Format) -> String {
    let mut families: BTreeMap<String, (Metric, Vec<&Sample>)> = BTreeMap::new();
    for sample in samples {
        let (_, members) = families
            .entry(family(&sample.metric))
            .or_insert_with(|| (sample.metric, Vec::new()));
        members.push(sample);
    }
    let mut out = String::with_capacity(samples.len() * 96);
    for (name, (metric, members)) in &families {
        head(&mut out, name, metric, format);
        let name = match metric.kind {
            Kind::Gauge => name.clone(),
            Kind::Counter => format!("{name}_total"),
        };
        let mut written = BTreeSet::new();
        for sample in members {
            let labels = labels(sample);
            if !written.insert(labels.clone()) {
                continue;
            }
            // Writing to a string does not fail.
            let _ = writeln!(out, "{name}{labels} {}", number(sample.value));
        }
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

/// Nine digits are more than any sensor has; without the noise of binary fractions.
fn number(value: f64) -> f64 {
    (value * 1e9).round() / 1e9
}

fn head(out: &mut String, name: &str, metric: &Metric, format: Format) {
    let kind = match metric.kind {
        Kind::Gauge => "gauge",
        Kind::Counter => "counter",
    };
    // Before OpenMetrics a counter's type stood at the name of its samples.
    let typed = match (metric.kind, format) {
        (Kind::Counter, Format::Plain) => format!("{name}_total"),
        _ => name.to_owned(),
    };
    let _ = writeln!(out, "# TYPE {typed} {kind}");
    if format == Format::OpenMetrics && !metric.unit.is_empty() {
        let _ = writeln!(out, "# UNIT {name} {}", metric.unit);
    }
}

/// The name of a metric's family, with its unit and without `_total`.
pub fn family(metric: &Metric) -> String {
    let mut name = metric.dotted().replace(['.', '-'], "_");
    if !metric.unit.is_empty() && !name.ends_with(&format!("_{}", metric.unit)) {
        name.push('_');
        name.push_str(metric.unit);
    }
    name
}

fn labels(sample: &Sample) -> String {
    if sample.labels.is_empty() {
        return String::new();
    }
    let mut pairs: Vec<String> = sample
        .labels
        .iter()
        .map(|(name, value)| format!("{}=\"{}\"", name.replace('.', "_"), escaped(value)))
        .collect();
    pairs.sort();
    format!("{{{}}}", pairs.join(","))
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(
        name: &'static str,
        unit: &'static str,
        kind: Kind,
        labels: &[(&'static str, &str)],
        value: f64,
    ) -> Sample {
        Sample {
            metric: Metric { name, unit, kind },
            labels: labels
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            value,
        }
    }

    fn some() -> Vec<Sample> {
        vec![
            sample(
                "hw.temperature",
                "celsius",
                Kind::Gauge,
                &[("hw.id", "GPU-a"), ("hw.type", "gpu")],
                41.0,
            ),
            sample(
                "net.received",
                "bytes_per_second",
                Kind::Gauge,
                &[("network.interface.name", "eth0")],
                1_500.0,
            ),
            sample("hw.errors", "", Kind::Counter, &[("error.type", "ecc_corrected")], 3.0),
            sample(
                "hw.temperature",
                "celsius",
                Kind::Gauge,
                &[("hw.id", "a \"b\"\\\n")],
                36.6,
            ),
            sample(
                "hw.temperature",
                "celsius",
                Kind::Gauge,
                &[("hw.id", "GPU-a"), ("hw.type", "gpu")],
                99.0,
            ),
            sample("gpu.used", "ratio", Kind::Gauge, &[], 1_234.0 * 1e-4),
        ]
    }

    #[test]
    fn families_stand_together_and_a_pair_of_name_and_labels_stands_once() {
        assert_eq!(
            text(&some(), Format::OpenMetrics),
            "# TYPE hw_errors counter\n\
             hw_errors_total{error_type=\"ecc_corrected\"} 3\n\
             # TYPE hw_temperature_celsius gauge\n\
             # UNIT hw_temperature_celsius celsius\n\
             hw_temperature_celsius{hw_id=\"GPU-a\",hw_type=\"gpu\"} 41\n\
             hw_temperature_celsius{hw_id=\"a \\\"b\\\"\\\\\\n\"} 36.6\n\
             # TYPE sentinel_gpu_used_ratio gauge\n\
             # UNIT sentinel_gpu_used_ratio ratio\n\
             sentinel_gpu_used_ratio 0.1234\n\
             # TYPE sentinel_net_received_bytes_per_second gauge\n\
             # UNIT sentinel_net_received_bytes_per_second bytes_per_second\n\
             sentinel_net_received_bytes_per_second{network_interface_name=\"eth0\"} 1500\n\
             # EOF\n"
        );
    }

    #[test]
    fn who_does_not_ask_for_openmetrics_gets_the_older_text() {
        let plain = text(&some(), Format::Plain);
        assert!(plain.starts_with("# TYPE hw_errors_total counter\n"), "{plain}");
        assert!(!plain.contains("# EOF") && !plain.contains("# UNIT"));
        let header = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::accepted(header), Format::OpenMetrics);
        assert_eq!(Format::accepted("*/*"), Format::Plain);
    }
}
