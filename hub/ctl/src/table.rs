//! Columns for people, in the manner of `kubectl`: no lines, two spaces between columns, one header.
//!
//! Widths are counted in terminal cells, so that `●` and `°` do not shift what follows. On a terminal the last column is cut at
//! the edge; in a pipe nothing is ever cut.

use anstyle::Style;
use unicode_width::UnicodeWidthStr as _;

/// One cell: a text, and how it looks on a terminal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A text with a look.
    pub fn styled(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: text.into(),
            style,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::new())
    }
}

/// Remembers the widths of its columns, so that rows printed later stand below those printed first.
#[derive(Debug)]
pub struct Table {
    header: Vec<&'static str>,
    widths: Vec<usize>,
    edge: Option<usize>,
    titles: bool,
    begun: bool,
}

impl Table {
    /// `edge` is the width of the terminal, if there is one.
    pub fn new(header: Vec<&'static str>, edge: Option<usize>) -> Self {
        Self {
            widths: header.iter().map(|title| title.width()).collect(),
            header,
            edge,
            titles: true,
            begun: false,
        }
    }

    /// The same, with or without the line of titles.
    #[must_use]
    pub fn titled(self, titles: bool) -> Self {
        Self { titles, ..self }
    }

    /// Lines for some rows, the header first when it was not printed yet, and again where columns had to be moved, so that no value
    /// ever stands below another column's title. Each ends with a line break.
    pub fn lines(&mut self, rows: &[Vec<Cell>]) -> String {
        let before = self.widths.clone();
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        // Nothing stands behind the last column.
        let last = before.len().saturating_sub(1);
        let moved = self.widths[..last] != before[..last];
        let mut out = String::new();
        if self.titles && (!self.begun || moved) {
            let titles: Vec<Cell> = self
                .header
                .iter()
                .map(|title| Cell::styled(*title, Style::new().bold()))
                .collect();
            self.line(&titles, &mut out);
        }
        self.begun = true;
        for row in rows {
            self.line(row, &mut out);
        }
        out
    }

    fn line(&self, row: &[Cell], out: &mut String) {
        let mut used = 0;
        let last = row.iter().rposition(|cell| !cell.text.is_empty()).unwrap_or(0);
        for (index, (cell, width)) in row.iter().zip(&self.widths).enumerate().take(last + 1) {
            let text = match self.edge {
                Some(edge) if index + 1 == self.header.len() => cut(&cell.text, edge.saturating_sub(used)),
                _ => cell.text.clone(),
            };
            let (on, off) = (cell.style.render(), cell.style.render_reset());
            out.push_str(&format!("{on}{text}{off}"));
            if index < last {
                let gap = width + 2 - cell.text.width();
                out.extend(std::iter::repeat_n(' ', gap));
                used += width + 2;
            }
        }
        out.push('\n');
    }
}

/// A text that is at most `room` cells wide, with `…` where it was cut. At least 12 cells are always shown.
fn cut(text: &str, room: usize) -> String {
    let room = room.max(12);
    if text.width() <= room {
        return text.to_owned();
    }
    let mut out = String::new();
    for letter in text.chars() {
        let mut longer = out.clone();
        longer.push(letter);
        if longer.width() + 1 > room {
            break;
        }
        out = longer;
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(edge: Option<usize>, rows: &[&[&str]], expected: &str) {
        let mut table = Table::new(vec!["NAME", "STATE", "TEXT"], edge);
        let rows: Vec<Vec<Cell>> = rows
            .iter()
            .map(|row| row.iter().map(|text| Cell::from(*text)).collect())
            .collect();
        let lines = table.lines(&rows);
        assert_eq!(anstream::adapter::strip_str(&lines).to_string(), expected);
    }

    #[test]
    fn columns_stand_below_each_other() {
        check(
            None,
            &[&["a", "● connected", "91 °C"], &["edge-03", "✕ down", ""]],
            "NAME     STATE        TEXT\na        ● connected  91 °C\nedge-03  ✕ down\n",
        );
    }

    #[test]
    fn only_a_terminal_cuts_and_only_the_last_column() {
        let long = "abcdefghijklmnopqrstuvwxyz";
        check(
            Some(30),
            &[&["a", "b", long]],
            "NAME  STATE  TEXT\na     b      abcdefghijklmnop…\n",
        );
        check(
            None,
            &[&["a", "b", long]],
            &format!("NAME  STATE  TEXT\na     b      {long}\n"),
        );
    }

    #[test]
    fn later_rows_keep_the_columns_and_repeat_no_header() {
        let mut table = Table::new(vec!["NAME", "TEXT"], None);
        drop(table.lines(&[vec!["edge-03".into(), "x".into()]]));
        assert_eq!(table.lines(&[vec!["e".into(), "y".into()]]), "e        y\n");
    }

    #[test]
    fn columns_that_move_are_titled_again() {
        let mut table = Table::new(vec!["NAME", "TEXT"], None);
        drop(table.lines(&[vec!["a".into(), "x".into()]]));
        let wider = table.lines(&[vec!["edge-03".into(), "a longer text".into()]]);
        let plain = anstream::adapter::strip_str(&wider).to_string();
        assert_eq!(plain, "NAME     TEXT\nedge-03  a longer text\n");
        let mut bare = Table::new(vec!["NAME", "TEXT"], None).titled(false);
        assert_eq!(bare.lines(&[vec!["a".into(), "x".into()]]), "a     x\n");
    }
}
