//! How hub and node answer over HTTP, so that whoever knows one of them knows the other.
//!
//! Both read a request by the same rules (bounded, unknown names refused, the error points at the field) and answer in the same shapes
//! (JSON with an entity tag, a problem document of RFC 9457 with a stable code). Decides nothing about who may ask for what, and holds no
//! route.
//!
//! Read next: [`Failure`] (what a problem says), [`KINDS`] (what each code means).

mod body;
mod charts;
mod failure;
mod kinds;
mod tag;

pub use body::{body, limit, pointer, query, read_json};
pub use charts::SeriesQuery;
pub use failure::Failure;
pub use kinds::{BELOW, KINDS, Kind};
pub use tag::{if_match, json, tagged};

use wire::api::StreamEvent;

/// One server-sent event, with the empty line that ends it.
pub fn event_text(event: &StreamEvent) -> String {
    let json = serde_json::to_string(event).expect("views have string keys only, so they always have a JSON form");
    format!("data: {json}\n\n")
}
