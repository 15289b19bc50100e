//! `cargo xtask heat [MINUTES]`: one GPU of a demo that wants all the power there is, and what its node makes of it, as a picture.
//!
//! Samples temperature, power and power cap through the node's own API, once a second, beside the limit that the published policy sets.
//! The picture is `target/heat.svg`, the samples are `target/heat.json`. Fails if the GPU was above its limit for longer than it
//! takes to see that and to cool down: then nothing protected it.

use std::fmt::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::demo::{Asked, Demo, rounded};
use crate::shell::root;

const MINUTES: f64 = 30.0;
/// Who is heated.
const GPU: &str = "edge-01/gpu0";
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// The demo's rule waits three seconds, the cap takes some more, and the simulated heat sink half a dozen to cool.
const MAY_BE_ABOVE_S: f64 = 20.0;

/// One look at the GPU.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sample {
    /// Seconds since the heat began.
    at_s: f64,
    celsius: f64,
    watts: f64,
    cap_watts: f64,
}

/// Runs it.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let asked = Asked::read(arguments, MINUTES, 1)?;
    let demo = Demo::start("heat", &asked)?;
    let policies = demo.list(&["get", "policies"])?;
    let limit = limit_of(&policies).ok_or("the published policy has no limit for `gpu.temperature`")?;
    let samples = watch(&demo, Duration::from_secs_f64(asked.span * 60.0))?;
    drop(demo);
    let report = report(&samples, limit);
    let (picture, numbers) = (root().join("target/heat.svg"), root().join("target/heat.json"));
    for (path, text) in [(&picture, svg(&samples, limit)), (&numbers, format!("{report:#}\n"))] {
        std::fs::write(path, text).map_err(|cause| format!("cannot write {}: {cause}", path.display()))?;
    }
    match asked.json {
        true => println!("{report:#}"),
        false => println!(
            "{GPU} for {} min: limit {limit} °C, most {} °C, above it {} s in all and {} s at a time\n{}\n{}",
            asked.span,
            report["most_celsius"],
            report["above_s"],
            report["longest_above_s"],
            picture.display(),
            numbers.display()
        ),
    }
    match longest_above(&samples, limit) {
        longest if longest > MAY_BE_ABOVE_S => Err(format!(
            "{GPU} was above {limit} °C for {longest:.0} s at a time, {MAY_BE_ABOVE_S:.0} s are what it takes to act"
        )),
        _ => Ok(()),
    }
}

fn watch(demo: &Demo, span: Duration) -> Result<Vec<Sample>, String> {
    demo.do_to("heat", GPU)?;
    let begun = Instant::now();
    let mut samples = Vec::new();
    while begun.elapsed() < span {
        let at_s = begun.elapsed().as_secs_f64();
        let rows = demo.list(&["get", "nodes", "--local"])?;
        // A look at which a value is missing is none: the picture has a gap there.
        samples.extend(rows.first().and_then(|row| sample(at_s, &row["gpus"][0])));
        sleep(SAMPLE_EVERY);
    }
    match samples.is_empty() {
        true => Err(format!("{GPU} told no value")),
        false => Ok(samples),
    }
}

fn sample(at_s: f64, gpu: &Value) -> Option<Sample> {
    Some(Sample {
        at_s,
        celsius: gpu["temperature_celsius"].as_f64()?,
        watts: gpu["power_watts"].as_f64()?,
        cap_watts: gpu["power_cap_watts"].as_f64()?,
    })
}

/// The lowest temperature that a rule in force acts above, from its line for people: `gpu.temperature > 85 °C for 3 s`.
fn limit_of(policies: &[Value]) -> Option<f64> {
    let active = policies.iter().find(|policy| policy["active"] == true)?;
    let rules = active["rules"]
        .as_array()?
        .iter()
        .filter(|rule| rule["mode"] == "enforce");
    let limits = rules.filter_map(|rule| {
        let (_, behind) = rule["text"].as_str()?.split_once("gpu.temperature")?;
        let (before, _) = behind.split_once(" °C")?;
        before.rsplit(' ').next()?.parse().ok()
    });
    limits.min_by(f64::total_cmp)
}

/// Stretches above the limit, in seconds: from the first look that sees it to the first that does not.
fn stretches(samples: &[Sample], limit: f64) -> Vec<f64> {
    let mut found = Vec::new();
    let mut since: Option<f64> = None;
    for sample in samples {
        match (sample.celsius > limit, since) {
            (true, None) => since = Some(sample.at_s),
            (false, Some(from)) => {
                found.push(sample.at_s - from);
                since = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    found.extend(since.and_then(|from| samples.last().map(|last| last.at_s - from)));
    found
}

fn longest_above(samples: &[Sample], limit: f64) -> f64 {
    stretches(samples, limit).into_iter().fold(0.0, f64::max)
}

fn report(samples: &[Sample], limit: f64) -> Value {
    let most = samples.iter().map(|sample| sample.celsius).fold(f64::MIN, f64::max);
    let row = |sample: &Sample| {
        let Sample {
            at_s,
            celsius,
            watts,
            cap_watts,
        } = *sample;
        json!([
            rounded(at_s, 1),
            rounded(celsius, 2),
            rounded(watts, 1),
            rounded(cap_watts, 1)
        ])
    };
    json!({
        "gpu": GPU,
        "limit_celsius": limit,
        "most_celsius": rounded(most, 1),
        "above_s": rounded(stretches(samples, limit).iter().sum(), 0),
        "longest_above_s": rounded(longest_above(samples, limit), 0),
        "columns": ["at_s", "celsius", "watts", "cap_watts"],
        "samples": samples.iter().map(row).collect::<Vec<_>>(),
    })
}

const WIDTH: f64 = 960.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
/// Top of each panel, and their height.
const PANELS: [f64; 2] = [56.0, 296.0];
const HEIGHT: f64 = 184.0;

/// One panel's scale: values from `low` to `high` over its height.
struct Panel {
    top: f64,
    low: f64,
    high: f64,
    seconds: f64,
}

impl Panel {
    fn x(&self, at_s: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * at_s / self.seconds
    }

    fn y(&self, value: f64) -> f64 {
        self.top + HEIGHT * (self.high - value) / (self.high - self.low)
    }

    /// A line through the samples; a cap changes at once, so its line has steps.
    fn line(&self, samples: &[Sample], of: fn(&Sample) -> f64, steps: bool, class: &str) -> String {
        let mut path = String::new();
        for sample in samples {
            let (x, y) = (self.x(sample.at_s), self.y(of(sample)));
            let _infallible = match (path.is_empty(), steps) {
                (true, _) => write!(path, "M{x:.1} {y:.1}"),
                (false, true) => write!(path, "H{x:.1}V{y:.1}"),
                (false, false) => write!(path, "L{x:.1} {y:.1}"),
            };
        }
        format!("<path class=\"{class}\" d=\"{path}\"/>\n")
    }

    /// Frame, marks at each `step`, and the title.
    fn frame(&self, title: &str, step: f64) -> String {
        let (right, bottom) = (WIDTH - RIGHT, self.top + HEIGHT);
        let mut text = format!(
            "<text class=\"title\" x=\"{LEFT}\" y=\"{:.0}\">{title}</text>\n",
            self.top - 10.0
        );
        let mut mark = (self.low / step).ceil() * step;
        while mark <= self.high {
            let y = self.y(mark);
            let _infallible = writeln!(
                text,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text class=\"y\" x=\"{:.0}\" y=\"{:.1}\">{mark}</text>",
                LEFT - 8.0,
                y + 4.0
            );
            mark += step;
        }
        let every = minutes_between(self.seconds / 60.0);
        let mut minute = 0.0;
        while minute * 60.0 <= self.seconds {
            let _infallible = writeln!(
                text,
                "<text class=\"x\" x=\"{:.1}\" y=\"{:.0}\">{minute} min</text>",
                self.x(minute * 60.0),
                bottom + 18.0
            );
            minute += every;
        }
        text
    }
}

/// At most a dozen marks of whole minutes.
fn minutes_between(minutes: f64) -> f64 {
    let steps = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
    steps.into_iter().find(|step| minutes / step <= 12.0).unwrap_or(60.0)
}

fn svg(samples: &[Sample], limit: f64) -> String {
    let seconds = samples.last().map_or(1.0, |last| last.at_s.max(1.0));
    let most = |of: fn(&Sample) -> f64| samples.iter().map(of).fold(0.0, f64::max);
    let [first, second] = PANELS;
    let heat = Panel {
        top: first,
        low: 30.0,
        high: (most(|sample| sample.celsius).max(limit) / 10.0).ceil() * 10.0,
        seconds,
    };
    let power = Panel {
        top: second,
        low: 0.0,
        high: (most(|sample| sample.cap_watts.max(sample.watts)) / 50.0).ceil() * 50.0,
        seconds,
    };
    let y = heat.y(limit);
    let right = WIDTH - RIGHT;
    let height = second + HEIGHT + 32.0;
    let (mut above, mut body) = (String::new(), String::new());
    body.push_str(&heat.frame("temperature, °C", 10.0));
    body.push_str(&power.frame("power and its cap, W", 100.0));
    let _infallible = writeln!(
        above,
        "<path class=\"limit\" d=\"M{LEFT} {y:.1}H{right}\"/><text class=\"limit\" x=\"{right}\" y=\"{:.1}\">limit {limit} °C</text>",
        y - 6.0
    );
    above.push_str(&heat.line(samples, |sample| sample.celsius, false, "heat"));
    above.push_str(&power.line(samples, |sample| sample.cap_watts, true, "cap"));
    above.push_str(&power.line(samples, |sample| sample.watts, false, "power"));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>{GPU} wants all the power there is</title>\n<style>{STYLE}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{GPU} wants all the power there is (simulated GPU, policy as published)</text>\n\
         {body}{above}</svg>\n"
    )
}

const STYLE: &str = "path{fill:none}text{fill:#333}.grid{stroke:#ddd}.title{font-weight:bold}.y{text-anchor:end}.x{text-anchor:middle}\
path.limit{stroke:#c22;stroke-dasharray:6 4}text.limit{fill:#c22;text-anchor:end}.heat{stroke:#d60;stroke-width:1.5}\
.cap{stroke:#26a;stroke-width:1.5}.power{stroke:#2a6;stroke-width:1}";

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(celsius: &[f64]) -> Vec<Sample> {
        let at = |(at, celsius): (usize, &f64)| Sample {
            at_s: at as f64,
            celsius: *celsius,
            watts: 200.0,
            cap_watts: 220.0,
        };
        celsius.iter().enumerate().map(at).collect()
    }

    #[test]
    fn the_limit_is_the_lowest_that_a_rule_in_force_acts_above() {
        let rule = |mode: &str, text: &str| json!({ "mode": mode, "text": text });
        let policies = [
            json!({ "active": false, "rules": [rule("enforce", "gpu.temperature > 10 °C")] }),
            json!({ "active": true, "rules": [
                rule("enforce", "gpu.temperature > 85 °C for 3 s, then power_cap to 220 W"),
                rule("enforce", "gpu.temperature of gpu0 > 90.5 °C"),
                rule("shadow", "gpu.temperature > 60 °C"),
                rule("enforce", "workload.memory > 200 MiB"),
            ] }),
        ];
        assert_eq!(limit_of(&policies), Some(85.0));
        assert_eq!(limit_of(&policies[..1]), None);
    }

    #[test]
    fn a_stretch_above_lasts_until_it_is_seen_below() {
        let samples = samples(&[80.0, 90.0, 95.0, 84.0, 80.0, 86.0, 85.0, 90.0, 91.0]);
        assert_eq!(stretches(&samples, 85.0), [2.0, 1.0, 1.0]);
        assert_eq!(longest_above(&samples, 85.0), 2.0);
        assert_eq!(longest_above(&samples, 100.0), 0.0);
        let report = report(&samples, 85.0);
        assert_eq!(
            (&report["most_celsius"], &report["above_s"]),
            (&json!(95.0), &json!(4.0))
        );
    }

    #[test]
    fn the_picture_has_both_panels_the_limit_and_every_sample() {
        let samples = samples(&[50.0; 121]);
        let picture = svg(&samples, 85.0);
        for part in [
            "limit 85 °C",
            "class=\"heat\"",
            "class=\"cap\"",
            "class=\"power\"",
            ">2 min<",
        ] {
            assert!(picture.contains(part), "{part} in {picture}");
        }
        let line = picture
            .lines()
            .find(|line| line.contains("class=\"heat\""))
            .expect("drawn");
        assert_eq!(line.matches('L').count(), 120);
        assert_eq!(
            sample(1.0, &json!({ "temperature_celsius": 50.0, "power_watts": 200.0 })),
            None,
            "one value is missing"
        );
    }
}
