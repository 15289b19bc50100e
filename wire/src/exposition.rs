//! Writes metrics as Prometheus reads them: OpenMetrics 1.0, or the older text format 0.0.4.
//!
//! One writer for hub and agent, so that both follow the same rules: base units, a unit as suffix, `_total` on counters, `_info` on
//! constants, every family once with its help. It keeps no values; whoever has them fills a page when asked, and the page can also be
//! read as it was measured, for whoever sends it another way.
//!
//! Invariant: a page of valid names is accepted by `promtool check metrics` and by any OpenMetrics parser.
//! Source: OpenMetrics 1.0 (ABNF), Prometheus text format 0.0.4.

use std::fmt::Write;

/// The two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, for whoever does not ask for the other.
    Text,
    /// OpenMetrics 1.0: with units and an end mark.
    OpenMetrics,
}

impl Format {
    /// What a scraper that sends this `Accept` header gets.
    pub fn accepted(header: &str) -> Self {
        if header.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The value of the answer's `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a family's values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only goes up, until the process starts again.
    Counter,
    /// Always 1; its labels are the message.
    Info,
    /// Counts in buckets, see [`Family::histogram`].
    Histogram,
}

/// A page that is being filled: first what was measured, then how it is written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    families: Vec<Family>,
}

/// One family of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Its name, without a suffix; its unit, if it has one, is its last word.
    pub name: String,
    /// What its values mean.
    pub kind: Kind,
    /// For people.
    pub help: String,
    /// Its values, one for each set of labels.
    pub samples: Vec<Sample>,
}

/// One value of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// (name, value), in order.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: Value,
}

/// What a sample says.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// Counts in buckets.
    Histogram {
        /// Upper bounds, ascending, without infinity.
        bounds: Vec<f64>,
        /// Observations in each bucket alone, and behind them those above the last bound.
        counts: Vec<u64>,
        /// Sum of all observations.
        sum: f64,
    },
}

/// Counts in buckets, as they stand now.
#[derive(Debug, Clone, Copy)]
pub struct Buckets<'a> {
    /// Upper bounds, ascending, without infinity.
    pub bounds: &'a [f64],
    /// Observations in each bucket alone, and behind them those above the last bound.
    pub counts: &'a [u64],
    /// Sum of all observations.
    pub sum: f64,
}

impl Page {
    /// An empty page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a family. `name` has no `_total`, `_info` or bucket suffix; its unit, if it has one, is its last word.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) -> &mut Family {
        self.families.push(Family {
            name: name.to_owned(),
            kind,
            help: help.to_owned(),
            samples: Vec::new(),
        });
        let last = self.families.len() - 1;
        &mut self.families[last]
    }

    /// What was measured.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// The page as text.
    pub fn text(&self, format: Format) -> String {
        let mut text = Text {
            format,
            out: String::new(),
        };
        self.families.iter().for_each(|family| text.family(family));
        if format == Format::OpenMetrics {
            text.out.push_str("# EOF\n");
        }
        text.out
    }
}

impl Family {
    /// Adds one value. Label values may be any text; their names, and which of them there are, are the caller's promise to stay few.
    pub fn count(&mut self, labels: &[(&str, &str)], value: u64) -> &mut Self {
        self.value(labels, float(value))
    }

    /// Adds one value that may be a fraction.
    pub fn value(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.sample(labels, Value::Number(value))
    }

    /// Adds the buckets of one set of labels.
    pub fn histogram(&mut self, labels: &[(&str, &str)], buckets: Buckets<'_>) -> &mut Self {
        let value = Value::Histogram {
            bounds: buckets.bounds.to_vec(),
            counts: buckets.counts.to_vec(),
            sum: buckets.sum,
        };
        self.sample(labels, value)
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: Value) -> &mut Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let labels = labels.iter().map(owned).collect();
        self.samples.push(Sample { labels, value });
        self
    }

    /// The unit that its name ends with, if it is one of the base units that we use.
    pub fn unit(&self) -> Option<&str> {
        unit(&self.name)
    }
}

/// A page that is being written.
struct Text {
    format: Format,
    out: String,
}

impl Text {
    fn family(&mut self, family: &Family) {
        let old = self.format == Format::Text;
        let name = &family.name;
        let (shown, word) = match family.kind {
            Kind::Gauge => (name.clone(), "gauge"),
            Kind::Histogram => (name.clone(), "histogram"),
            Kind::Counter if old => (format!("{name}_total"), "counter"),
            Kind::Counter => (name.clone(), "counter"),
            Kind::Info if old => (format!("{name}_info"), "gauge"),
            Kind::Info => (name.clone(), "info"),
        };
        self.line(format_args!("# TYPE {shown} {word}"));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit(name)) {
            self.line(format_args!("# UNIT {shown} {unit}"));
        }
        let help = escaped(&family.help, self.format == Format::OpenMetrics);
        self.line(format_args!("# HELP {shown} {help}"));
        let suffix = match family.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        for Sample { labels, value } in &family.samples {
            match value {
                Value::Number(value) => self.sample((name, suffix), labels, None, *value),
                Value::Histogram { bounds, counts, sum } => {
                    let mut seen = 0;
                    let bounds = bounds.iter().copied().chain([f64::INFINITY]);
                    for (bound, count) in bounds.zip(counts) {
                        seen += count;
                        self.sample((name, "_bucket"), labels, Some(bound), float(seen));
                    }
                    self.sample((name, "_sum"), labels, None, *sum);
                    self.sample((name, "_count"), labels, None, float(seen));
                }
            }
        }
    }

    fn sample(&mut self, (name, suffix): (&str, &str), labels: &[(String, String)], bound: Option<f64>, value: f64) {
        let bound = bound.map(number);
        let le = bound.iter().map(|bound| ("le", bound.as_str()));
        let labels = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut set = String::new();
        for (name, value) in labels.chain(le) {
            let comma = if set.is_empty() { "" } else { "," };
            let _ = write!(set, "{comma}{name}=\"{}\"", escaped(value, true));
        }
        let value = number(value);
        if set.is_empty() {
            self.line(format_args!("{name}{suffix} {value}"));
        } else {
            self.line(format_args!("{name}{suffix}{{{set}}} {value}"));
        }
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.out, "{text}");
    }
}

/// The unit that a family's name ends with, if it is one of the base units that we use.
fn unit(name: &str) -> Option<&str> {
    const UNITS: &[&str] = &[
        "seconds", "bytes", "ratio", "celsius", "watts", "joules", "hertz", "volts", "amperes",
    ];
    let (_, last) = name.rsplit_once('_')?;
    UNITS.contains(&last).then_some(last)
}

#[expect(clippy::cast_precision_loss, reason = "a page shows floats, as both formats do")]
fn float(count: u64) -> f64 {
    count as f64
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        format!("{value}")
    }
}

fn escaped(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(format: Format) -> String {
        let mut page = Page::new();
        page.family("sentinel_build", Kind::Info, "Version.")
            .count(&[("version", "0.1.0")], 1);
        page.family("jobs", Kind::Counter, "Jobs \"done\".")
            .count(&[("who", "a\"b\\c\nd")], 7);
        page.family("wait_seconds", Kind::Histogram, "Waits.").histogram(
            &[],
            Buckets {
                bounds: &[0.1, 1.0],
                counts: &[2, 0, 1],
                sum: 4.25,
            },
        );
        page.text(format)
    }

    #[test]
    fn the_old_format_names_suffixes_in_its_heads() {
        assert_eq!(
            page(Format::Text),
            "# TYPE sentinel_build_info gauge\n# HELP sentinel_build_info Version.\nsentinel_build_info{version=\"0.1.0\"} 1\n\
             # TYPE jobs_total counter\n# HELP jobs_total Jobs \"done\".\njobs_total{who=\"a\\\"b\\\\c\\nd\"} 7\n\
             # TYPE wait_seconds histogram\n# HELP wait_seconds Waits.\nwait_seconds_bucket{le=\"0.1\"} 2\nwait_seconds_bucket{le=\"1\"} 2\n\
             wait_seconds_bucket{le=\"+Inf\"} 3\nwait_seconds_sum 4.25\nwait_seconds_count 3\n"
        );
    }

    #[test]
    fn openmetrics_has_units_and_an_end() {
        let text = page(Format::OpenMetrics);
        for line in [
            "# TYPE sentinel_build info\n",
            "# TYPE jobs counter\n",
            "# HELP jobs Jobs \\\"done\\\".\n",
            "# UNIT wait_seconds seconds\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_scraper_chooses() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::accepted("*/*"), Format::Text);
        assert_eq!(Format::accepted(""), Format::Text);
    }
}
