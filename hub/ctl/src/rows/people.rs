//! Columns of people, roles, tokens, routes, and of what people did.

use wire::api::{ApiTokenView, AuditView, JoinTokenView, RoleView, RouteView, TokenKeyView, UserView};

use super::{BAD, FAINT, GOOD, REDUCED, UNKNOWN, time};
use crate::output::Row;
use crate::table::Cell;

impl Row for UserView {
    fn header(wide: bool) -> Vec<&'static str> {
        match wide {
            true => vec!["NAME", "ROLE", "STATE", "SESSIONS", "TENANT", "CREATED"],
            false => vec!["NAME", "ROLE", "STATE", "SESSIONS"],
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let state = match (self.disabled, self.has_password, self.invited_until) {
            (true, ..) => Cell::styled("✕ closed", BAD),
            (_, _, Some(until)) => Cell::styled(format!("◌ invited until {}", time(until)), REDUCED),
            (_, true, None) => Cell::styled("● active", GOOD),
            (_, false, None) => Cell::styled("○ no password", FAINT),
        };
        let mut cells: Vec<Cell> = vec![
            self.name.as_str().into(),
            self.role.name().into(),
            state,
            self.sessions.to_string().into(),
        ];
        if wide {
            cells.push(self.tenant.as_deref().unwrap_or(UNKNOWN).into());
            cells.push(time(self.created_at).into());
        }
        cells
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Row for RoleView {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["NAME", "PERMISSIONS"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        let held: Vec<&str> = self.permissions.iter().map(|permission| permission.name()).collect();
        vec![self.name.name().into(), held.join(", ").into()]
    }

    fn name(&self) -> String {
        self.name.to_string()
    }
}

impl Row for TokenKeyView {
    fn header(wide: bool) -> Vec<&'static str> {
        match wide {
            true => vec!["ID", "STATE", "MADE", "PUBLIC KEY"],
            false => vec!["ID", "STATE", "MADE"],
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let state = match self.accepted_until {
            None => Cell::styled("● signs", GOOD),
            Some(until) => Cell::styled(format!("◌ accepted until {}", time(until)), REDUCED),
        };
        let mut cells: Vec<Cell> = vec![self.id.as_str().into(), state, time(self.made_at).into()];
        if wide {
            cells.push(self.public_key.as_str().into());
        }
        cells
    }

    fn name(&self) -> String {
        self.id.clone()
    }
}

impl Row for ApiTokenView {
    fn header(wide: bool) -> Vec<&'static str> {
        match wide {
            true => vec!["ID", "NAME", "OWNER", "ROLE", "ENDS", "USED", "SCOPE"],
            false => vec!["ID", "NAME", "OWNER", "ROLE", "ENDS", "USED"],
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let used = self.used_at.map_or_else(|| "never".to_owned(), time);
        let mut cells: Vec<Cell> = vec![
            self.id.as_str().into(),
            self.name.as_str().into(),
            self.owner.as_str().into(),
            self.role.name().into(),
            time(self.ends).into(),
            used.into(),
        ];
        if wide {
            let scope: Vec<&str> = self.scope.iter().map(|permission| permission.name()).collect();
            let scope = if scope.is_empty() {
                "all".to_owned()
            } else {
                scope.join(", ")
            };
            cells.push(scope.into());
        }
        cells
    }

    fn name(&self) -> String {
        self.id.clone()
    }
}

impl Row for JoinTokenView {
    fn header(wide: bool) -> Vec<&'static str> {
        match wide {
            true => vec![
                "ID",
                "STATE",
                "FOR",
                "SITE",
                "LABEL",
                "ENDS",
                "USES LEFT",
                "USED BY",
                "MADE BY",
                "MADE",
            ],
            false => vec!["ID", "STATE", "FOR", "SITE", "LABEL", "ENDS", "USES LEFT", "USED BY"],
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let name = self.name.as_ref().map_or("any name", wire::AgentId::as_str);
        let whose = match self.takes_over {
            true => format!("{name}, new keys"),
            false => name.to_owned(),
        };
        let mut cells: Vec<Cell> = vec![
            self.id.as_str().into(),
            match self.state.as_str() {
                "open" => Cell::styled("✓ open", GOOD),
                other => Cell::styled(other, FAINT),
            },
            whose.into(),
            self.site.as_str().into(),
            self.label.as_deref().unwrap_or(UNKNOWN).into(),
            time(self.ends).into(),
            self.uses_left.to_string().into(),
            self.used_by.as_ref().map_or(UNKNOWN, wire::AgentId::as_str).into(),
        ];
        if wide {
            cells.push(self.by.as_str().into());
            cells.push(time(self.made).into());
        }
        cells
    }

    fn name(&self) -> String {
        self.id.clone()
    }
}

impl Row for RouteView {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["METHOD", "PATH", "PERMISSION", "VIEWER", "OPERATOR", "ADMIN", "SYSTEM"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        let may = |may: bool| match may {
            true => Cell::styled("✓", GOOD),
            false => Cell::styled("✕", FAINT),
        };
        vec![
            self.method.as_str().into(),
            self.path.as_str().into(),
            self.permission.as_str().into(),
            may(self.viewer),
            may(self.operator),
            may(self.admin),
            may(self.system),
        ]
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

impl Row for AuditView {
    fn header(wide: bool) -> Vec<&'static str> {
        match wide {
            true => vec![
                "AT", "WHO", "VIA", "VERB", "TARGET", "RESULT", "ADDRESS", "ID", "DETAILS",
            ],
            false => vec!["AT", "WHO", "VIA", "VERB", "TARGET", "RESULT"],
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let result = match &self.code {
            None => Cell::styled("✓ done", GOOD),
            Some(code) => Cell::styled(format!("✕ {code}"), BAD),
        };
        let mut cells: Vec<Cell> = vec![
            time(self.at).into(),
            self.who.as_str().into(),
            self.via.name().into(),
            self.verb.as_str().into(),
            self.target.as_str().into(),
            result,
        ];
        if wide {
            let details = self.details.iter().map(|(name, value)| format!("{name} {value}"));
            let told = details.chain(self.detail.clone()).collect::<Vec<_>>().join("; ");
            cells.push(self.address.as_deref().unwrap_or(UNKNOWN).into());
            cells.push(self.id.to_string().into());
            cells.push(told.into());
        }
        cells
    }

    fn name(&self) -> String {
        self.id.to_string()
    }
}
