//! What the person at the terminal sees: one line for each thing that happened, with the time at which it did.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::clock::Started;

/// Width of the word that a line begins with.
const WORD_WIDTH: usize = 10;

/// Standard output.
#[derive(Debug)]
pub struct Screen {
    started: Started,
    colour: bool,
    terminal: bool,
    /// A line that is still being rewritten.
    live: Mutex<bool>,
}

impl Screen {
    /// The demo starts now.
    pub fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            started: Started::now(),
            colour: terminal && wanted,
            terminal,
            live: Mutex::new(false),
        }
    }

    /// When the demo was started.
    pub fn started(&self) -> Started {
        self.started
    }

    /// Something happened now.
    pub fn happened(&self, word: &str, text: &str) {
        self.happened_at(&self.started.elapsed(), word, text);
    }

    /// Something happened then.
    pub fn happened_at(&self, at: &str, word: &str, text: &str) {
        let (time, word) = (self.faint(at), self.bold(&format!("{word:WORD_WIDTH$}")));
        self.print(&format!("{time}  {word}  {text}"));
    }

    /// A line that belongs to the one before.
    pub fn more(&self, text: &str) {
        self.print(&format!("{:width$}{text}", "", width = 9 + 2 + WORD_WIDTH + 2));
    }

    /// A line by itself.
    pub fn note(&self, text: &str) {
        self.print(text);
    }

    /// What went wrong.
    pub fn problem(&self, reason: &str) {
        self.finish_live();
        let word = match self.colour {
            true => "\u{1b}[1;31mproblem:\u{1b}[0m",
            false => "problem:",
        };
        // Nobody is left to tell when standard error is closed.
        drop(writeln!(
            std::io::stderr(),
            "{} {word} {reason}",
            self.started.elapsed()
        ));
    }

    /// Rewrites one line on a terminal; elsewhere prints nothing.
    pub fn live(&self, text: &str) -> bool {
        if self.terminal {
            *self.lock() = true;
            self.write(&format!("\r\u{1b}[2K{text}"));
        }
        self.terminal
    }

    fn print(&self, text: &str) {
        self.finish_live();
        self.write(&format!("{text}\n"));
    }

    fn finish_live(&self) {
        if std::mem::take(&mut *self.lock()) {
            self.write("\r\u{1b}[2K");
        }
    }

    fn write(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // A closed terminal is no reason to leave processes behind: go on, and end by the signal that follows.
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, bool> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bold(&self, text: &str) -> String {
        match self.colour {
            true => format!("\u{1b}[1m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    fn faint(&self, text: &str) -> String {
        match self.colour {
            true => format!("\u{1b}[2m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}
