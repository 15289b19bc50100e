//! One profile: what its file says, and what must hold between its numbers.
//!
//! Limits in a file are sanity bands, not promises: captures show variants of one model with other ranges, and a file then has the widest
//! that was seen.

use serde::{Deserialize, Serialize};

/// What simulated devices put before the name of what they play.
const SIMULATED: &str = "Sim ";
/// What real ones have there.
const VENDOR: &str = "NVIDIA ";

/// A number, and where it was read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sourced {
    /// The number, in the unit of its table.
    pub value: i64,
    /// Repository and file, document or measurement.
    pub source: String,
}

/// Power, in watts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Power {
    /// The least cap that the model accepts.
    pub min: Sourced,
    /// The cap without anybody's doing.
    pub default: Option<Sourced>,
    /// The greatest cap that the model accepts.
    pub max: Sourced,
}

/// How a driver tells a thermal limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// As a temperature.
    Absolute,
    /// As degrees that are left until the limit, negative beyond it (`T.Limit`).
    Margin,
}

/// Thermal limits, in degrees Celsius.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Temperature {
    /// How `slowdown` and `shutdown` are told.
    pub style: Style,
    /// The highest temperature to work at; always a temperature.
    pub max_operating: Option<Sourced>,
    /// Where the device slows itself down.
    pub slowdown: Option<Sourced>,
    /// Where it switches itself off.
    pub shutdown: Option<Sourced>,
}

/// Device memory, in MiB.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// All of it.
    pub total: Sourced,
}

/// What is known of a model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Vendor and model: `nvidia-l40s`.
    pub id: String,
    /// Its names as drivers tell them.
    pub models: Vec<String>,
    /// What it may draw.
    pub power: Power,
    /// How hot it may become.
    pub temperature: Option<Temperature>,
    /// How much memory it has.
    pub memory: Option<Memory>,
}

impl Profile {
    /// Reads a file. An error says what is wrong with it, for whoever writes it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let profile: Self = toml::from_str(text).map_err(|cause| cause.to_string())?;
        match profile.problem() {
            Some(problem) => Err(problem),
            None => Ok(profile),
        }
    }

    /// Whether a driver's name for a device means this model.
    pub fn names(&self, model: &str) -> bool {
        let is_it = |known: &str| known.eq_ignore_ascii_case(model);
        let is_played = |known: &str| {
            let (plays, plain) = (model.strip_prefix(SIMULATED), known.strip_prefix(VENDOR));
            plays.is_some_and(|plays| plain.unwrap_or(known).eq_ignore_ascii_case(plays))
        };
        self.models.iter().any(|known| is_it(known) || is_played(known))
    }

    fn problem(&self) -> Option<String> {
        let power = &self.power;
        let numbers = [Some(&power.min), power.default.as_ref(), Some(&power.max)];
        let hot = self
            .temperature
            .iter()
            .flat_map(|t| [&t.max_operating, &t.slowdown, &t.shutdown]);
        let memory = self.memory.iter().map(|memory| &memory.total);
        let mut all = numbers
            .into_iter()
            .chain(hot.map(Option::as_ref))
            .flatten()
            .chain(memory);
        let problem = |is_wrong: bool, text: &str| is_wrong.then(|| text.to_owned());
        let in_order = |low: Option<&Sourced>, high: Option<&Sourced>| {
            low.zip(high).is_none_or(|(low, high)| low.value <= high.value)
        };
        let default = power.default.as_ref();
        problem(self.models.is_empty(), "`models` names no model")
            .or_else(|| {
                problem(
                    self.models.iter().any(|m| m.trim() != m || m.is_empty()),
                    "`models` has an empty name",
                )
            })
            .or_else(|| {
                problem(
                    all.any(|number| number.source.trim().is_empty()),
                    "a number has no `source`",
                )
            })
            .or_else(|| {
                problem(
                    !(1..=20_000).contains(&power.min.value),
                    "`power.min` is outside 1..=20000 W",
                )
            })
            .or_else(|| {
                problem(
                    !(1..=20_000).contains(&power.max.value),
                    "`power.max` is outside 1..=20000 W",
                )
            })
            .or_else(|| {
                problem(
                    !in_order(Some(&power.min), Some(&power.max)),
                    "`power.max` lies below `power.min`",
                )
            })
            .or_else(|| {
                let is_within = in_order(Some(&power.min), default) && in_order(default, Some(&power.max));
                problem(!is_within, "`power.default` lies outside `power.min`..=`power.max`")
            })
            .or_else(|| self.temperature.as_ref().and_then(Temperature::problem))
    }
}

impl Power {
    /// What a device accepts, within the profile; both in milliwatts. Empty if they have nothing in common.
    pub fn narrowed_mw(&self, accepts: (u32, u32)) -> (u32, u32) {
        let (min, max) = self.range_mw();
        (accepts.0.max(min), accepts.1.min(max))
    }

    /// Least and greatest cap, in milliwatts.
    pub fn range_mw(&self) -> (u32, u32) {
        let mw = |watts: i64| u32::try_from(watts.saturating_mul(1_000)).unwrap_or(u32::MAX);
        (mw(self.min.value), mw(self.max.value))
    }
}

impl Temperature {
    fn problem(&self) -> Option<String> {
        let value = |number: &Option<Sourced>| number.as_ref().map(|number| number.value);
        let (slow, off) = (value(&self.slowdown), value(&self.shutdown));
        let is_temperature = |degrees: i64| (40..=130).contains(&degrees);
        let is_margin = |degrees: i64| (-40..=40).contains(&degrees);
        if value(&self.max_operating).is_some_and(|degrees| !is_temperature(degrees)) {
            return Some("`temperature.max_operating` is outside 40..=130 °C".to_owned());
        }
        for (name, limit) in [("slowdown", slow), ("shutdown", off)] {
            let is_wrong = limit.is_some_and(|degrees| match self.style {
                Style::Absolute => !is_temperature(degrees),
                Style::Margin => !is_margin(degrees),
            });
            if is_wrong {
                return Some(format!(
                    "`temperature.{name}` cannot be true: `style` is absolute for temperatures and margin for what is left until the limit"
                ));
            }
        }
        let is_backwards = slow.zip(off).is_some_and(|(slow, off)| match self.style {
            Style::Absolute => off < slow,
            // Less is left when it is hotter.
            Style::Margin => off > slow,
        });
        is_backwards.then(|| "the device would switch itself off before it slows down".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
id = "v-m"
models = ["V M"]
[power]
min = { value = 100, source = "a data sheet" }
default = { value = 300, source = "a data sheet" }
max = { value = 350, source = "a data sheet" }
[temperature]
style = "margin"
max_operating = { value = 88, source = "a data sheet" }
slowdown = { value = -2, source = "a data sheet" }
shutdown = { value = -5, source = "a data sheet" }
"#;

    fn check(from: &str, to: &str, expected: &str) {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replace(from, to);
        match Profile::parse(&text) {
            Ok(_) => assert_eq!(expected, "", "{to}"),
            Err(problem) => assert!(!expected.is_empty() && problem.contains(expected), "{to}: {problem}"),
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told() {
        check("V M", "V M", "");
        check("\"V M\"", "", "names no model");
        check("\"V M\"", "\" V\"", "empty name");
        check("id = \"v-m\"\n", "", "missing field `id`");
        check(
            "{ value = 100, source = \"a data sheet\" }",
            "{ value = 100 }",
            "missing field `source`",
        );
        check(
            "{ value = 100, source = \"a data sheet\" }",
            "{ value = 100, source = \" \" }",
            "no `source`",
        );
        check("value = 100", "value = 400", "`power.max` lies below");
        check("value = 100", "value = 0", "outside 1..=20000 W");
        check("value = 300", "value = 360", "`power.default` lies outside");
        check("value = 88", "value = 188", "outside 40..=130");
        check("value = -5", "value = -1", "before it slows down");
        check("\"margin\"", "\"absolute\"", "style");
        check("[power]", "[power]\nmost = 3", "unknown field `most`");
    }
}
