//! Prints answers in the format that was asked for.
//!
//! Invariant: the JSON of an object is the same in `json`, `jsonl` and `yaml`, and lists are `{"items":[…]}` in `json` and `yaml`.
//! Read next: `rows.rs` (which columns a thing has).

use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

use crate::args::Format;
use crate::choice::Choice;
use crate::failure::{Exit, Failure};
use crate::table::{Cell, Table};

/// A thing that can stand in a list.
pub trait Row: Serialize {
    /// Titles of its columns; `wide` has more.
    fn header(wide: bool) -> Vec<&'static str>;
    /// Its cells, one for each title.
    fn cells(&self, wide: bool) -> Vec<Cell>;
    /// What `-o name` prints, and what other verbs take.
    fn name(&self) -> String;
}

#[derive(Serialize)]
struct Items<'a, T> {
    items: &'a [T],
}

/// Standard output in one format.
#[derive(Debug)]
pub struct Output {
    format: Format,
    edge: Option<usize>,
    table: Option<Table>,
    choice: Choice,
    headers: bool,
}

impl Output {
    /// Looks at the terminal, if standard output is one.
    pub fn new(format: Format) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let edge = terminal
            .then(terminal_size::terminal_size)
            .flatten()
            .map(|(width, _)| usize::from(width.0));
        Self {
            format,
            edge,
            table: None,
            choice: Choice::default(),
            headers: true,
        }
    }

    /// From here on, only these rows of each list, with or without its line of titles.
    pub fn choose(&mut self, choice: Choice, headers: bool) {
        (self.choice, self.headers) = (choice, headers);
    }

    /// Whether only the newest rows were wanted, so that nobody misses the others.
    pub fn is_tail(&self) -> bool {
        self.choice.tail.is_some()
    }

    /// Whether a person reads, not a program.
    pub fn for_people(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// How it prints.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether everything is one document, which can be printed only when all of it is known.
    pub fn is_document(&self) -> bool {
        matches!(self.format, Format::Json | Format::Yaml)
    }

    /// Whether more columns are wanted.
    pub fn wide(&self) -> bool {
        self.format == Format::Wide
    }

    /// Prints a whole list, or what was chosen of it.
    pub fn list<T: Row>(&mut self, rows: &[T]) -> Result<(), Failure> {
        let rows = self.chosen(rows)?;
        match self.format {
            Format::Json | Format::Yaml => self.document(&Items { items: &rows }),
            Format::Table | Format::Wide | Format::Jsonl | Format::Name => self.rows(&rows),
        }
    }

    /// The rows of a list that are printed, in their order.
    pub fn chosen<'a, T: Row>(&self, rows: &'a [T]) -> Result<Vec<&'a T>, Failure> {
        if self.choice.is_all() {
            return Ok(rows.iter().collect());
        }
        let values: Vec<serde_json::Value> = rows
            .iter()
            .map(|row| serde_json::to_value(row).map_err(unprintable))
            .collect::<Result<_, _>>()?;
        Ok(self.choice.of(&values)?.into_iter().map(|place| &rows[place]).collect())
    }

    /// Prints rows of a list that goes on: one object on each line where the format is JSON or YAML.
    pub fn more<T: Row>(&mut self, rows: &[T]) -> Result<(), Failure> {
        self.rows(&rows.iter().collect::<Vec<_>>())
    }

    fn rows<T: Row>(&mut self, rows: &[&T]) -> Result<(), Failure> {
        let mut text = String::new();
        match self.format {
            Format::Table | Format::Wide => {
                let wide = self.wide();
                let cells: Vec<Vec<Cell>> = rows.iter().map(|row| row.cells(wide)).collect();
                let (edge, headers) = (self.edge, self.headers);
                text = self
                    .table
                    .get_or_insert_with(|| Table::new(T::header(wide), edge).titled(headers))
                    .lines(&cells);
            }
            Format::Json | Format::Jsonl => {
                for &row in rows {
                    text.push_str(&json_line(row)?);
                    text.push('\n');
                }
            }
            Format::Yaml => {
                for &row in rows {
                    text.push_str("---\n");
                    text.push_str(&yaml(row)?);
                }
            }
            Format::Name => {
                for row in rows {
                    text.push_str(&row.name());
                    text.push('\n');
                }
            }
        }
        self.text(&text)
    }

    /// What follows is a list of other things: a table of its own.
    pub fn another(&mut self) {
        self.table = None;
    }

    /// Prints one thing: `people` makes its text, and the other formats print the object.
    pub fn one<T: Serialize>(&mut self, thing: &T, name: &str, people: impl FnOnce() -> String) -> Result<(), Failure> {
        match self.format {
            Format::Table | Format::Wide => self.text(&people()),
            Format::Name => self.text(&format!("{name}\n")),
            Format::Json | Format::Yaml | Format::Jsonl => self.document(thing),
        }
    }

    /// Prints one row of a list by itself: the object, not a list of one.
    pub fn single<T: Row>(&mut self, row: &T) -> Result<(), Failure> {
        match self.format {
            Format::Json | Format::Yaml => self.document(row),
            Format::Table | Format::Wide | Format::Jsonl | Format::Name => self.more(std::slice::from_ref(row)),
        }
    }

    /// Prints one thing as one line of JSON, whatever the format.
    pub fn json_line<T: Serialize>(&self, thing: &T) -> Result<(), Failure> {
        self.text(&(json_line(thing)? + "\n"))
    }

    /// Prints bytes as they came.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }

    fn document<T: Serialize>(&self, thing: &T) -> Result<(), Failure> {
        let text = match self.format {
            Format::Yaml => yaml(thing)?,
            Format::Jsonl => json_line(thing)? + "\n",
            Format::Json | Format::Table | Format::Wide | Format::Name => {
                serde_json::to_string_pretty(thing).map_err(unprintable)? + "\n"
            }
        };
        self.text(&text)
    }

    /// Prints a text; colours are left out where nobody sees them (`NO_COLOR`, a pipe).
    fn text(&self, text: &str) -> Result<(), Failure> {
        let mut out = anstream::stdout().lock();
        out.write_all(text.as_bytes())?;
        // Each object leaves at once: a program may wait for the next line.
        Ok(out.flush()?)
    }
}

/// Names in one line that a person can read: some of them, and how many more there are.
pub fn few(names: &[String]) -> String {
    // As many as fit into a line of a usual terminal beside what is said of them.
    const SHOWN: usize = 6;
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..SHOWN].join(", ")),
    }
}

/// Prints words beside the data, on standard error.
pub fn say(words: &str) {
    // Nobody is left to tell when standard error is closed.
    drop(writeln!(anstream::stderr().lock(), "{words}"));
}

fn json_line<T: Serialize>(thing: &T) -> Result<String, Failure> {
    serde_json::to_string(thing).map_err(unprintable)
}

fn yaml<T: Serialize>(thing: &T) -> Result<String, Failure> {
    let mut text = serde_saphyr::to_string(thing).map_err(|cause| unprintable(cause.to_string()))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

fn unprintable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::new(Exit::Failure, "the answer cannot be printed in this format").because(cause)
}

#[cfg(test)]
mod tests {
    use super::few;

    #[test]
    fn a_thousand_names_are_told_in_one_short_line() {
        let names: Vec<String> = (1..=1_004).map(|number| format!("edge-{number:04}")).collect();
        assert_eq!(few(&names[..2]), "edge-0001, edge-0002");
        assert!(few(&names[..6]).ends_with("edge-0006"));
        assert!(few(&names).ends_with("edge-0006 and 998 more"));
        assert!(few(&names).len() < 80);
    }
}
