//! Load that is to be served some minutes from now: what scaling ahead rests on.
//!
//! Too few replicas cost more than too many, so not the most likely load counts, but one that is rarely passed. Only a forecast: whoever
//! scales may add replicas for it and takes none away.

use crate::forecast::{Forecast, Point};

/// Too few replicas are nine times as dear as too many, so the load is taken that nine of ten times is not passed (newsvendor).
///
/// Source: quantiles of the normal distribution, 1.2816 at 90 % and 1.6449 at 95 %.
const OF_BAND: f64 = 0.779;

/// The largest load that is to be served until new replicas are ready, `within_ms` from the end of the last step; `None` if the
/// forecast does not reach so far.
pub fn load_within(forecast: &Forecast, within_ms: u64) -> Option<f64> {
    let steps = usize::try_from(within_ms.div_ceil(forecast.step_ms.max(1)))
        .ok()?
        .max(1);
    let reached = forecast.points.get(..steps)?;
    let most = reached.iter().map(rarely_passed).fold(0.0, f64::max);
    most.is_finite().then_some(most)
}

fn rarely_passed(point: &Point) -> f64 {
    point.middle + (point.high - point.middle) * OF_BAND
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::Method;

    #[test]
    fn the_largest_load_on_the_way_counts_and_a_forecast_that_ends_before_says_nothing() {
        let point = |middle: f64| Point {
            low: middle,
            middle,
            high: middle + 10.0,
        };
        let forecast = Forecast {
            at_ms: 0,
            step_ms: 60_000,
            method: Method::Mixture,
            points: vec![point(50.0), point(80.0), point(60.0)],
        };
        assert_eq!(load_within(&forecast, 60_000), Some(57.79));
        assert_eq!(load_within(&forecast, 150_000), Some(87.79));
        assert_eq!(load_within(&forecast, 240_000), None);
    }
}
