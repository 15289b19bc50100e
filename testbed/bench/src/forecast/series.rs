//! Series to forecast: read from files, or generated.
//!
//! A file's values are put into steps as long as the usual distance of two of its times; a step without a value stays empty.

use std::path::Path;

use wire::Wall;

/// A series in equal steps.
pub struct Series {
    /// The file's name, or what was generated.
    pub name: String,
    /// Length of a step.
    pub step_ms: u64,
    /// Steps in a day.
    pub day: usize,
    /// The mean value of each step.
    pub values: Vec<Option<f64>>,
    start_ms: u64,
}

impl Series {
    /// When this step begins, by a clock that steps are whole on.
    pub fn at_ms(&self, place: usize) -> u64 {
        self.start_ms + place as u64 * self.step_ms
    }

    /// The values, with the last one carried on into empty steps.
    pub fn filled(&self) -> Vec<f64> {
        let mut last = self.values.iter().flatten().next().copied().unwrap_or_default();
        let carry = |value: &Option<f64>| {
            last = value.unwrap_or(last);
            last
        };
        self.values.iter().map(carry).collect()
    }

    fn new(name: String, step_ms: u64, start_ms: u64, values: Vec<Option<f64>>) -> Self {
        Self {
            name,
            step_ms,
            day: (86_400_000 / step_ms).max(1) as usize,
            values,
            start_ms: start_ms / step_ms * step_ms,
        }
    }
}

/// Reads a CSV file with a header that names the columns `timestamp` (`2014-07-01 00:30:00` or RFC 3339) and `value`.
pub fn read(file: &Path) -> Result<Series, String> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|cause| format!("cannot read `{name}`: {cause}"))?;
    let mut rows = rows(&text).map_err(|problem| format!("`{name}`: {problem}"))?;
    rows.sort_by_key(|(at, _)| *at);
    let mut distances: Vec<u64> = rows
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .filter(|distance| *distance > 0)
        .collect();
    distances.sort_unstable();
    let step_ms = *distances
        .get(distances.len() / 2)
        .ok_or_else(|| format!("`{name}` has less than two times"))?;
    if !(1_000..=86_400_000).contains(&step_ms) {
        return Err(format!("`{name}` has steps of {step_ms} ms, it takes 1 s to a day"));
    }
    let (start, end) = (rows[0].0, rows[rows.len() - 1].0);
    let steps = (end - start) / step_ms + 1;
    if steps > 1_000_000 {
        return Err(format!("`{name}` spans {steps} steps, it takes 1000000 at most"));
    }
    let mut sums = vec![(0.0, 0.0); steps as usize];
    for (at, value) in rows {
        let (sum, count) = &mut sums[((at - start) / step_ms) as usize];
        *sum += value;
        *count += 1.0;
    }
    let values = sums
        .iter()
        .map(|(sum, count)| (*count > 0.0).then(|| sum / count))
        .collect();
    Ok(Series::new(name, step_ms, start, values))
}

fn rows(text: &str) -> Result<Vec<(u64, f64)>, String> {
    let mut lines = text.lines().enumerate();
    let header: Vec<&str> = lines.next().ok_or("is empty")?.1.split(',').map(str::trim).collect();
    let column = |name: &str| {
        let found = header.iter().position(|column| *column == name);
        found.ok_or_else(|| format!("has no column `{name}`, its first line is `{}`", header.join(",")))
    };
    let (time, value) = (column("timestamp")?, column("value")?);
    let read = |(line, text): (usize, &str)| {
        let cells: Vec<&str> = text.split(',').map(str::trim).collect();
        let cell = |column: usize| cells.get(column).copied().unwrap_or_default();
        let at = moment(cell(time)).ok_or_else(|| format!("line {}: `{}` is no time", line + 1, cell(time)))?;
        let number = cell(value).parse::<f64>().ok().filter(|value| value.abs() <= 1e15);
        let number = number.ok_or_else(|| format!("line {}: `{}` is no value", line + 1, cell(value)))?;
        Ok((at, number))
    };
    lines.filter(|(_, text)| !text.trim().is_empty()).map(read).collect()
}

fn moment(text: &str) -> Option<u64> {
    let mut text = text.replacen(' ', "T", 1);
    if text.len() == 10 {
        text.push_str("T00:00:00");
    }
    if text.len() <= 19 || !text.ends_with('Z') && !text[19..].contains(['+', '-']) {
        text.push('Z');
    }
    let at: Wall = text.parse().ok()?;
    u64::try_from(at.0).ok()
}

/// A small set that needs no file: a day's wave, working days and weekends, a random walk, and bursts.
pub fn generated() -> Vec<Series> {
    const DAY: usize = 288;
    let series = |name: &str, value: &mut dyn FnMut(usize) -> f64| {
        let values = (0..21 * DAY).map(|step| Some(value(step))).collect();
        Series::new(name.to_owned(), 300_000, 1_388_534_400_000, values)
    };
    let wave = |step: usize| (step as f64 / DAY as f64 * std::f64::consts::TAU).sin();
    let (mut level, mut burst) = (0.0, 0.0);
    vec![
        series("wave", &mut |step| 50.0 + 20.0 * wave(step) + 4.0 * noise(step)),
        series("week", &mut |step| {
            let busy = if step / DAY % 7 < 5 { 1.0 } else { 0.4 };
            100.0 * busy * (1.2 + wave(step)) + 8.0 * noise(step)
        }),
        series("walk", &mut |step| {
            level += noise(step);
            100.0 + level
        }),
        series("bursts", &mut |step| {
            burst = if noise(step / 7) > 0.95 { 60.0 } else { 0.9 * burst };
            20.0 + burst + 5.0 * wave(step) + 3.0 * noise(step)
        }),
    ]
}

/// Between -1 and 1, the same for the same step.
fn noise(step: usize) -> f64 {
    let mut x = (step as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    for _ in 0..3 {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x ^= x >> 27;
    }
    (x >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_by_the_names_of_their_columns() {
        let found = rows("value,timestamp\n1.5,2014-07-01 00:30:00\n\n2,2014-07-01T01:00:00Z\n").expect("well formed");
        assert_eq!(found, [(1_404_174_600_000, 1.5), (1_404_176_400_000, 2.0)]);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        let problem = |text: &str| rows(text).expect_err("not well formed");
        assert_eq!(
            problem("time,value\n"),
            "has no column `timestamp`, its first line is `time,value`"
        );
        assert_eq!(problem("timestamp,value\nsoon,1\n"), "line 2: `soon` is no time");
        assert_eq!(
            problem("timestamp,value\n2014-07-01,NaN\n"),
            "line 2: `NaN` is no value"
        );
    }
}
