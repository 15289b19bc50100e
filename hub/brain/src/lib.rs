//! The embedded InfraMind: it forecasts what nodes will measure, and suggests what to do before a limit is reached.
//!
//! Pure: told readings with their own times, asked for forecasts and suggestions. No clock, no I/O, no randomness, so that the same
//! readings give the same answers, and a stored state goes on where it stopped. It does not grade itself: `policy-trust` does, for
//! every brain alike.
//!
//! Read next: [`brain`] (the whole), [`plan`] (a suggestion as a plan), [`watch`] (limits minutes ahead), [`forecast`] (a series over days).

pub mod brain;
pub mod forecast;
pub mod heat;
pub mod load;
pub mod plan;
pub mod watch;

pub use brain::{Brain, Effect, Settings, Suggestion};
pub use forecast::{Forecast, Forecaster, Method, Point, Refused};
pub use load::load_within;
pub use watch::{Foreseen, Watch};
