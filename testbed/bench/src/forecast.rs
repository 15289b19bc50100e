//! `forecast`: how well and how fast the embedded brain forecasts a series, 60 steps ahead from 24 origins.
//!
//! The series come from files (`-- --series FILE.csv`, columns `timestamp` and `value`, as often as there are files) or, without any,
//! from a small generated set. Origins lie evenly over the last three fifths of each series; both sides see every value before an
//! origin and none after it. The peer, augurs' MSTL with AutoETS, is fitted anew at each origin to the last 2,016 steps (a week of
//! five minutes) with the day and, where two of them fit, the week as periods. Ours is told each value once, in order, and a refresh
//! is 60 new values and one forecast of 60 steps. A step without a value is not scored.
//!
//! Errors are scaled per series by the other side's before the mean over series is taken, so no series outweighs another.

pub mod series;

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use hub_brain::{Forecast, Forecaster};
use series::Series;

use crate::report::{Figure, Goal, quantile};

/// Steps ahead.
const AHEAD: usize = 60;
/// From so many places of each series.
const ORIGINS: usize = 24;

/// Runs it on these files, or on the generated set.
pub fn run(files: &[PathBuf]) -> Result<Vec<Figure>, String> {
    let all = match files {
        [] => series::generated(),
        files => files.iter().map(|file| series::read(file)).collect::<Result<_, _>>()?,
    };
    let (mut to_peer, mut to_naive) = (Vec::new(), Vec::new());
    let (mut coverage, mut times, mut peer_times) = (Vec::new(), Vec::new(), Vec::new());
    for series in &all {
        let scored = score(series)?;
        to_naive.push(scored.ours / scored.naive);
        to_peer.extend(scored.peer.map(|peer| scored.ours / peer));
        coverage.push(scored.covered);
        times.extend(scored.times);
        peer_times.extend(scored.peer_times);
    }
    let time = Figure::new("forecast-ms", "ms", quantile(&mut times, 0.5), Goal::AtMost(0.5));
    let mut figures = vec![match peer_times.is_empty() {
        true => time,
        false => time.peer(PEER, quantile(&mut peer_times, 0.5)),
    }];
    if !to_peer.is_empty() {
        figures.push(Figure::new(
            "forecast-error-to-augurs",
            "x",
            mean(&to_peer),
            Goal::AtMost(1.1),
        ));
    }
    figures.push(Figure::new(
        "forecast-error-to-naive",
        "x",
        mean(&to_naive),
        Goal::AtMost(1.0),
    ));
    let covered = mean(&coverage) * 100.0;
    figures.push(Figure::new(
        "forecast-coverage-90",
        "percent",
        covered,
        Goal::Between(85.0, 95.0),
    ));
    Ok(figures)
}

/// What came of one series: mean absolute errors, the share inside the band, and milliseconds per refresh.
struct Scored {
    ours: f64,
    naive: f64,
    peer: Option<f64>,
    covered: f64,
    times: Vec<f64>,
    peer_times: Vec<f64>,
}

fn score(series: &Series) -> Result<Scored, String> {
    let filled = series.filled();
    let mut forecaster = Forecaster::new(series.step_ms);
    let (mut told, mut count, mut inside) = (0, 0.0, 0.0);
    let (mut ours, mut naive, mut peer) = (0.0, 0.0, None);
    let (mut times, mut peer_times) = (Vec::new(), Vec::new());
    for origin in origins(series)? {
        tell(&mut forecaster, series, told..told.max(origin - AHEAD));
        let started = Instant::now();
        tell(&mut forecaster, series, told.max(origin - AHEAD)..origin);
        forecaster.close();
        let forecast = black_box(forecaster.forecast(2 * AHEAD as u32));
        times.push(started.elapsed().as_secs_f64() * 1_000.0);
        let forecast = forecast.ok_or("nothing was learned before the first origin")?;
        told = origin;
        let started = Instant::now();
        let rival = rival(&filled[..origin], series.day);
        if rival.is_some() {
            peer_times.push(started.elapsed().as_secs_f64() * 1_000.0);
        }
        let points = after(&forecast, series, origin);
        for (place, value) in (origin..origin + AHEAD).zip(&series.values[origin..]) {
            let Some(value) = value else { continue };
            let point = points[place - origin];
            ours += (value - point.middle).abs();
            naive += (value - filled[place - series.day]).abs();
            if let Some(rival) = &rival {
                *peer.get_or_insert(0.0) += (value - rival[place - origin]).abs();
            }
            inside += f64::from(u8::from((point.low..=point.high).contains(value)));
            count += 1.0;
        }
    }
    if count == 0.0 || naive == 0.0 || peer == Some(0.0) {
        return Err(format!(
            "`{}` does not vary where it is forecast, so errors cannot be compared",
            series.name
        ));
    }
    let covered = inside / count;
    Ok(Scored {
        ours,
        naive,
        peer,
        covered,
        times,
        peer_times,
    })
}

/// Evenly over the last three fifths.
fn origins(series: &Series) -> Result<Vec<usize>, String> {
    let (first, last) = (series.values.len() * 2 / 5, series.values.len().saturating_sub(AHEAD));
    if first < series.day.max(AHEAD) || last <= first + ORIGINS {
        return Err(format!(
            "`{}` has {} steps: it takes two and a half days of at least {} steps",
            series.name,
            series.values.len(),
            series.day.max(AHEAD)
        ));
    }
    Ok((0..ORIGINS)
        .map(|index| first + (last - first) * index / (ORIGINS - 1))
        .collect())
}

fn tell(forecaster: &mut Forecaster, series: &Series, steps: std::ops::Range<usize>) {
    for place in steps {
        if let Some(value) = series.values[place] {
            forecaster
                .observe(series.at_ms(place), value)
                .expect("a series read from a file is finite and in order");
        }
    }
}

/// The part of a forecast from `origin` on: it starts after the last step that had a value.
fn after<'a>(forecast: &'a Forecast, series: &Series, origin: usize) -> &'a [hub_brain::Point] {
    let behind = (series.at_ms(origin).saturating_sub(forecast.at_ms) / series.step_ms) as usize;
    &forecast.points[behind.min(AHEAD)..]
}

const PEER: &str = "augurs 0.10 MSTL + AutoETS";

#[cfg(feature = "peers")]
fn rival(history: &[f64], day: usize) -> Option<Vec<f64>> {
    use augurs::ets::{AutoETS, trend::AutoETSTrendModel};
    use augurs::mstl::MSTLModel;
    use augurs::{Fit, Predict};

    /// A week of five minutes.
    const WINDOW: usize = 2_016;
    let history = &history[history.len().saturating_sub(WINDOW)..];
    let periods: Vec<usize> = [day, 7 * day]
        .into_iter()
        .filter(|period| history.len() > 2 * period)
        .collect();
    let point = if periods.is_empty() {
        AutoETS::non_seasonal()
            .fit(history)
            .ok()?
            .predict(AHEAD, None)
            .ok()?
            .point
    } else {
        let trend = AutoETSTrendModel::from(AutoETS::non_seasonal());
        MSTLModel::new(periods, trend)
            .fit(history)
            .ok()?
            .predict(AHEAD, None)
            .ok()?
            .point
    };
    Some(point)
}

#[cfg(not(feature = "peers"))]
fn rival(_: &[f64], _: usize) -> Option<Vec<f64>> {
    None
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
