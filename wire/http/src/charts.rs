//! What a chart's query says: hub and node draw the same charts.

use serde::Deserialize;
use wire::chart::{Extent, POINTS};
use wire::reading::Quantity;

/// Query of `series`. Times are milliseconds since 1970.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesQuery {
    /// Whose values.
    pub node: Option<String>,
    since_ms: Option<i64>,
    until_ms: Option<i64>,
    points: Option<usize>,
    quantity: Option<Quantity>,
}

impl SeriesQuery {
    /// What is drawn; `usual` is from when on where nobody says it.
    pub fn extent(&self, usual: i64) -> Extent {
        Extent {
            until_ms: self.until_ms.unwrap_or(i64::MAX),
            points: self.points.unwrap_or(POINTS),
            only: self.quantity,
            ..Extent::since(self.since_ms.unwrap_or(usual))
        }
    }
}
