//! The embedded InfraMind: it forecasts what nodes will measure.
//!
//! Pure: told readings with their own times, asked for forecasts. No clock, no I/O, no randomness, so that the same readings give
//! the same forecasts, and a stored state goes on where it stopped. It does not grade itself: `policy-trust` does, for every brain alike.
//!
//! Read next: [`forecast`] (one series).

pub mod forecast;

pub use forecast::{Forecast, Forecaster, Method, Point, Refused};
