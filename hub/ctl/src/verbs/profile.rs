//! `sentinel profile`: the firmware profiles of this release, and files of one's own.
//!
//! Asks nobody: what is printed is what agents of the same release go by.

use std::fmt::Write as _;
use std::path::PathBuf;

use firmware_profiles::{Profile, Sourced, Style};
use serde::Serialize;

use super::policy::files;
use crate::args::Profile as Asked;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Row};
use crate::rows::UNKNOWN;
use crate::table::Cell;

/// Carries one out.
pub fn run(asked: &Asked, output: &mut Output) -> Result<Exit, Failure> {
    match asked {
        Asked::List => list(output),
        Asked::Show { name } => show(name, output),
        Asked::Check { files } => check(files, output),
    }
}

#[derive(Serialize)]
struct Line<'a>(&'a Profile);

impl Row for Line<'_> {
    fn header(wide: bool) -> Vec<&'static str> {
        let mut header = vec!["ID", "POWER CAPS", "DEFAULT", "SLOWS DOWN AT"];
        header.extend(wide.then_some("MODELS"));
        header
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let power = &self.0.power;
        let watts =
            |number: Option<&Sourced>| number.map_or(UNKNOWN.to_owned(), |number| format!("{} W", number.value));
        let mut cells: Vec<Cell> = vec![
            self.0.id.as_str().into(),
            format!("{}..={} W", power.min.value, power.max.value).into(),
            watts(power.default.as_ref()).into(),
            slowdown(self.0).into(),
        ];
        cells.extend(wide.then(|| self.0.models.join(", ").into()));
        cells
    }

    fn name(&self) -> String {
        self.0.id.clone()
    }
}

/// Where it slows itself down, as a temperature where the profile has one.
fn slowdown(profile: &Profile) -> String {
    let Some(temperature) = &profile.temperature else {
        return UNKNOWN.to_owned();
    };
    match (temperature.style, &temperature.slowdown, &temperature.max_operating) {
        (Style::Absolute, Some(limit), _) => format!("{} °C", limit.value),
        // What is left until the limit is told below zero once it is passed.
        (Style::Margin, Some(left), Some(most)) => format!("{} °C", most.value - left.value),
        (Style::Margin, Some(left), None) => format!("{} °C left", left.value),
        (_, None, _) => UNKNOWN.to_owned(),
    }
}

fn list(output: &mut Output) -> Result<Exit, Failure> {
    let rows: Vec<Line<'_>> = firmware_profiles::all().iter().map(Line).collect();
    output.list(&rows)?;
    Ok(Exit::Ok)
}

fn show(name: &str, output: &mut Output) -> Result<Exit, Failure> {
    let by_id = firmware_profiles::all().iter().find(|profile| profile.id == name);
    let Some(profile) = by_id.or_else(|| firmware_profiles::of(name)) else {
        let advice = "`sentinel profile list -o wide` names all; a model without one is bounded by its own word alone";
        return Err(Failure::new(
            Exit::NotFound,
            format!("no profile is called `{name}`, and none is of such a model"),
        )
        .advise(advice));
    };
    output.one(profile, &profile.id, || text(profile))?;
    Ok(Exit::Ok)
}

fn text(profile: &Profile) -> String {
    let mut text = format!("{}  {}\n", profile.id, profile.models.join(", "));
    let mut line = |name: &str, number: Option<&Sourced>, unit: &str| {
        if let Some(Sourced { value, source }) = number {
            let _infallible = writeln!(text, "  {name:<14} {value:>6} {unit:<4} {source}");
        }
    };
    line("power min", Some(&profile.power.min), "W");
    line("power default", profile.power.default.as_ref(), "W");
    line("power max", Some(&profile.power.max), "W");
    if let Some(temperature) = &profile.temperature {
        let unit = match temperature.style {
            Style::Absolute => "°C",
            Style::Margin => "left",
        };
        line("max operating", temperature.max_operating.as_ref(), "°C");
        line("slowdown", temperature.slowdown.as_ref(), unit);
        line("shutdown", temperature.shutdown.as_ref(), unit);
    }
    line("memory", profile.memory.as_ref().map(|memory| &memory.total), "MiB");
    text
}

#[derive(Serialize)]
struct Checked {
    file: String,
    problem: Option<String>,
}

fn check(paths: &[PathBuf], output: &mut Output) -> Result<Exit, Failure> {
    let mut all = Vec::new();
    for path in paths {
        let bytes = files::text(path)?;
        let problem = match std::str::from_utf8(&bytes) {
            Ok(text) => Profile::parse(text).err(),
            Err(cause) => Some(cause.to_string()),
        };
        let file = path.display().to_string();
        all.push(Checked { file, problem });
    }
    let is_good = all.iter().all(|one| one.problem.is_none());
    output.one(&all, "", || {
        let line = |one: &Checked| match &one.problem {
            None => format!("{}: ok\n", one.file),
            Some(problem) => format!("{}: {}\n", one.file, problem.trim_end()),
        };
        all.iter().map(line).collect()
    })?;
    match is_good {
        true => Ok(Exit::Ok),
        false => Ok(Exit::Failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_margin_is_told_as_the_temperature_that_it_means() {
        let of = |model: &str| slowdown(firmware_profiles::of(model).expect("it has a profile"));
        assert_eq!(of("NVIDIA L40S"), "90 °C");
        assert_eq!(of("NVIDIA A100-SXM4-80GB"), "89 °C");
    }

    #[test]
    fn each_number_stands_beside_its_source() {
        let profile = firmware_profiles::of("NVIDIA L40S").expect("it has a profile");
        let text = text(profile);
        assert!(text.starts_with("nvidia-l40s  NVIDIA L40S\n"), "{text}");
        assert_eq!(text.matches("nvidia_gpu_exporter").count(), 7, "{text}");
    }
}
