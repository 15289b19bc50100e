//! Columns of what leaves the hub: consumers, webhooks and deliveries.

use wire::api::{ConsumerView, DeliveryState, DeliveryView, WebhookView};

use super::{BAD, FAINT, GOOD, REDUCED, UNKNOWN, time};
use crate::output::Row;
use crate::table::Cell;

impl Row for ConsumerView {
    fn header(wide: bool) -> Vec<&'static str> {
        match wide {
            true => vec![
                "NAME",
                "STATE",
                "LAG",
                "LAG SECONDS",
                "DELIVERED",
                "FAILURES",
                "TARGET",
                "ERROR",
            ],
            false => vec!["NAME", "STATE", "LAG", "LAG SECONDS", "TARGET"],
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let state = match self.up {
            Some(true) => Cell::styled("● up", GOOD),
            Some(false) => Cell::styled("✕ away", BAD),
            None => Cell::styled("○ not tried yet", FAINT),
        };
        let known = |text: Option<String>| Cell::from(text.unwrap_or_else(|| UNKNOWN.to_owned()));
        let mut cells = vec![
            Cell::from(self.name.clone()),
            state,
            known(self.lag_entries.map(|lag| lag.to_string())),
            known(self.lag_seconds.map(|lag| format!("{lag:.1}"))),
        ];
        if wide {
            cells.push(self.delivered.to_string().into());
            cells.push(self.failures.to_string().into());
        }
        cells.push(self.target.as_str().into());
        if wide {
            cells.push(known(self.error.clone()));
        }
        cells
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Row for WebhookView {
    fn header(wide: bool) -> Vec<&'static str> {
        match wide {
            true => vec![
                "NAME",
                "URL",
                "DELIVERED",
                "PENDING",
                "DEAD",
                "NEXT TRY",
                "TYPES",
                "CREATED",
            ],
            false => vec!["NAME", "URL", "DELIVERED", "PENDING", "DEAD"],
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let count = |count: u64, style| match count {
            0 => Cell::from("0"),
            count => Cell::styled(count.to_string(), style),
        };
        let mut cells = vec![
            Cell::from(self.name.clone()),
            self.url.as_str().into(),
            self.delivered.to_string().into(),
            count(self.pending, REDUCED),
            count(self.dead, BAD),
        ];
        if wide {
            let types = match self.types.is_empty() {
                true => "all".to_owned(),
                false => self.types.join(", "),
            };
            cells.push(self.next_try.map_or_else(|| UNKNOWN.to_owned(), time).into());
            cells.push(types.into());
            cells.push(time(self.created_at).into());
        }
        cells
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Row for DeliveryView {
    fn header(wide: bool) -> Vec<&'static str> {
        match wide {
            true => vec!["EVENT", "STATE", "TYPE", "AT", "TRIES", "STATUS", "NEXT TRY", "ERROR"],
            false => vec!["EVENT", "STATE", "TYPE", "AT", "TRIES", "STATUS"],
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let (sign, style) = match self.state {
            DeliveryState::Delivered => ("✓", GOOD),
            DeliveryState::Pending => ("◐", REDUCED),
            DeliveryState::Dead => ("✕", BAD),
        };
        let status = self
            .status
            .map_or_else(|| UNKNOWN.to_owned(), |status| status.to_string());
        let mut cells = vec![
            Cell::from(self.event.clone()),
            Cell::styled(format!("{sign} {}", self.state.name()), style),
            self.kind.as_str().into(),
            time(self.at).into(),
            self.attempts.to_string().into(),
            status.into(),
        ];
        if wide {
            cells.push(self.next_try.map_or_else(|| UNKNOWN.to_owned(), time).into());
            cells.push(self.error.as_str().into());
        }
        cells
    }

    fn name(&self) -> String {
        self.event.clone()
    }
}
