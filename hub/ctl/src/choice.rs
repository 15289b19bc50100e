//! Which rows of a list are printed, and in which order: `-l`, `--since`, `--sort-by`, `--tail`.
//!
//! Works on a row's JSON, which is what `-o json` prints, so that one place serves every list and a field is called here as it is
//! there. Never asks anybody. Invariant: a field that no row has is an error that names those that exist, never an empty list.
//! Read next: `output.rs` (who applies it), `verbs/get.rs` (how much is read).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde_json::Value;
use wire::Wall;

use crate::failure::{Exit, Failure};

/// Names of the fields that say when something happened, by how well they say it.
const TIMES: [&str; 9] = [
    "at",
    "time",
    "created_at",
    "created",
    "issued_at",
    "started_at",
    "registered_at",
    "received_at",
    "last_seen",
];

/// What a person wants of a list.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Only rows that this fits.
    pub selector: Selector,
    /// Only rows of this time and later.
    pub since: Option<Wall>,
    /// By which field, and whether the greatest comes first.
    pub sort_by: Option<Field>,
    /// Only the newest, oldest first.
    pub tail: Option<usize>,
    /// At most so many rows, of those that are left.
    pub limit: Option<usize>,
    /// Labels of nodes by name, for rows that name a node and have no labels of their own.
    pub labels: BTreeMap<String, BTreeMap<String, String>>,
}

impl Choice {
    /// Whether every row is wanted, in the order in which it came.
    pub fn is_all(&self) -> bool {
        self.selector.is_empty()
            && self.since.is_none()
            && self.sort_by.is_none()
            && self.tail.is_none()
            && self.limit.is_none()
    }

    /// The places of the rows that are wanted, in the order in which they are printed.
    pub fn of(&self, rows: &[Value]) -> Result<Vec<usize>, Failure> {
        self.exists(rows)?;
        let mut chosen: Vec<usize> = (0..rows.len()).filter(|&place| self.wants(&rows[place])).collect();
        if let Some(field) = &self.sort_by {
            chosen.sort_by(|&a, &b| field.compare(&rows[a], &rows[b]));
        }
        chosen.truncate(self.limit.unwrap_or(usize::MAX));
        if let Some(count) = self.tail {
            if self.sort_by.is_none() && chosen.iter().any(|&place| time_of(&rows[place]).is_some()) {
                // Lists in time come newest first: turned round, what happened in one moment keeps its order.
                chosen.reverse();
                chosen.sort_by_key(|&place| time_of(&rows[place]));
            }
            chosen.drain(..chosen.len().saturating_sub(count));
        }
        Ok(chosen)
    }

    fn wants(&self, row: &Value) -> bool {
        let in_time = match self.since {
            Some(since) => time_of(row).is_some_and(|at| at >= since),
            None => true,
        };
        in_time && self.selector.fits(row, &self.labels)
    }

    /// Whether the list has what is asked of it. An empty list has everything.
    fn exists(&self, rows: &[Value]) -> Result<(), Failure> {
        if rows.is_empty() {
            return Ok(());
        }
        if self.since.is_some() && rows.iter().all(|row| time_of(row).is_none()) {
            return Err(Failure::new(
                Exit::Usage,
                "the rows of this list have no time, so --since cannot choose among them",
            ));
        }
        match &self.sort_by {
            Some(field) if rows.iter().all(|row| field.of(row).is_none()) => {
                let names: BTreeSet<&String> = rows
                    .iter()
                    .filter_map(Value::as_object)
                    .flat_map(|row| row.keys())
                    .collect();
                let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
                Err(
                    Failure::new(Exit::Usage, format!("no row has the field `{}`", field.name))
                        .advise(format!("sort by one of {}", names.join(", "))),
                )
            }
            _ => Ok(()),
        }
    }
}

/// When a row happened, if it says so.
fn time_of(row: &Value) -> Option<Wall> {
    TIMES.iter().find_map(|name| row.get(name)?.as_str()?.parse().ok())
}

/// `FIELD`, `PART.FIELD`, `LIST.0.FIELD`; `-` before it puts the greatest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    name: String,
    falling: bool,
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, falling) = match text.strip_prefix('-') {
            Some(name) => (name, true),
            None => (text, false),
        };
        // As `kubectl` writes it.
        let name = name.trim_start_matches('.').to_ascii_lowercase();
        match name.is_empty() {
            true => Err("give a field as -o json names it, for example state or -backlog_entries".to_owned()),
            false => Ok(Self { name, falling }),
        }
    }
}

impl Field {
    fn of<'a>(&self, row: &'a Value) -> Option<&'a Value> {
        let part = |at: &'a Value, name: &str| match at {
            Value::Array(list) => list.get(name.parse::<usize>().ok()?),
            other => other.get(name),
        };
        let mut at = row;
        for name in self.name.split('.') {
            at = part(at, name)?;
        }
        Some(at).filter(|value| !value.is_null())
    }

    /// Rows without the field come last, whichever way it goes.
    fn compare(&self, a: &Value, b: &Value) -> Ordering {
        match (self.of(a), self.of(b)) {
            (Some(a), Some(b)) if self.falling => order(b, a),
            (Some(a), Some(b)) => order(a, b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }
}

/// Numbers as numbers, everything else as text.
fn order(a: &Value, b: &Value) -> Ordering {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => text(a).cmp(&text(b)),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `rack=r7,site!=berlin,driver`: all of it must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector(Vec<Term>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    name: String,
    wanted: Wanted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Is(String),
    IsNot(String),
    There,
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let term = |text: &str| {
            let (name, wanted) = match (text.split_once("!="), text.split_once('=')) {
                (Some((name, value)), _) => (name, Wanted::IsNot(value.trim().to_owned())),
                (None, Some((name, value))) => (name, Wanted::Is(value.trim_start_matches('=').trim().to_owned())),
                (None, None) => (text, Wanted::There),
            };
            match name.trim() {
                "" => Err(format!(
                    "`{text}` names no label: write rack=r7, site!=berlin or driver, with commas between"
                )),
                name => Ok(Term {
                    name: name.to_owned(),
                    wanted,
                }),
            }
        };
        text.split(',').map(term).collect::<Result<_, _>>().map(Self)
    }
}

impl Selector {
    /// Whether it chooses anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a row fits: by its labels, else by its own fields, else by the labels of the node that it names.
    pub fn fits(&self, row: &Value, labels: &BTreeMap<String, BTreeMap<String, String>>) -> bool {
        let node = row
            .get("node")
            .and_then(Value::as_str)
            .and_then(|node| labels.get(node));
        self.0.iter().all(|term| {
            let own = row.get("labels").and_then(|labels| labels.get(&term.name));
            let found = own
                .or_else(|| row.get(&term.name))
                .filter(|value| !value.is_null())
                .map(text);
            let found = found.or_else(|| node?.get(&term.name).cloned());
            match (&term.wanted, found) {
                (Wanted::Is(wanted), found) => found.as_ref() == Some(wanted),
                (Wanted::IsNot(unwanted), found) => found.as_ref() != Some(unwanted),
                (Wanted::There, found) => found.is_some(),
            }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows() -> Vec<Value> {
        vec![
            json!({"name": "a", "site": "berlin", "labels": {"rack": "r7"}, "count": 10, "at": "2026-11-24T12:00:03Z"}),
            json!({"name": "b", "site": "oslo", "labels": {}, "count": 9, "at": "2026-11-24T12:00:01Z"}),
            json!({"name": "c", "site": "berlin", "labels": {"rack": "r8"}, "count": null, "at": "2026-11-24T12:00:02Z"}),
        ]
    }

    fn check(change: impl FnOnce(&mut Choice), expected: &str) {
        let mut choice = Choice::default();
        change(&mut choice);
        let rows = rows();
        let names: Vec<&str> = choice
            .of(&rows)
            .unwrap()
            .into_iter()
            .map(|place| rows[place]["name"].as_str().unwrap())
            .collect();
        assert_eq!(names.join(" "), expected);
    }

    #[test]
    fn rows_are_chosen_by_label_and_by_field() {
        check(|choice| choice.selector = "rack=r7".parse().unwrap(), "a");
        check(|choice| choice.selector = "rack!=r7".parse().unwrap(), "b c");
        check(|choice| choice.selector = "site=berlin,rack==r8".parse().unwrap(), "c");
        check(|choice| choice.selector = "rack".parse().unwrap(), "a c");
        assert!("=r7".parse::<Selector>().unwrap_err().contains("names no label"));
    }

    #[test]
    fn rows_are_sorted_as_numbers_and_rows_without_the_field_come_last() {
        check(|choice| choice.sort_by = Some("count".parse().unwrap()), "b a c");
        check(|choice| choice.sort_by = Some("-count".parse().unwrap()), "a b c");
        check(|choice| choice.sort_by = Some(".labels.rack".parse().unwrap()), "a c b");
        let choice = Choice {
            sort_by: Some("colour".parse().unwrap()),
            ..Choice::default()
        };
        let told = choice.of(&rows()).unwrap_err().told();
        assert!(
            told.contains("no row has the field `colour`") && told.contains("at, count, labels"),
            "{told}"
        );
    }

    #[test]
    fn the_newest_come_last_as_in_a_log() {
        check(|choice| choice.tail = Some(2), "c a");
        check(|choice| choice.tail = Some(9), "b c a");
        check(
            |choice| choice.since = Some("2026-11-24T12:00:02Z".parse().unwrap()),
            "a c",
        );
        let choice = Choice {
            since: Some(Wall(0)),
            ..Choice::default()
        };
        assert!(choice.of(&[json!({"name": "x"})]).is_err());
    }

    #[test]
    fn what_happened_in_one_moment_keeps_its_order() {
        let at = |name: &str| json!({"name": name, "at": "2026-11-24T12:00:00Z"});
        let choice = Choice {
            tail: Some(2),
            ..Choice::default()
        };
        assert_eq!(choice.of(&[at("third"), at("second"), at("first")]).unwrap(), [1, 0]);
    }

    #[test]
    fn what_a_node_has_in_common_chooses_what_it_did() {
        let labels = BTreeMap::from([("a".to_owned(), BTreeMap::from([("rack".to_owned(), "r7".to_owned())]))]);
        let selector: Selector = "rack=r7".parse().unwrap();
        assert!(selector.fits(&json!({"node": "a"}), &labels));
        assert!(!selector.fits(&json!({"node": "b"}), &labels));
    }
}
