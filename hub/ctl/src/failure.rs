//! What a person reads when something could not be done: what happened, what still works, what to do.
//!
//! Invariant: every failure has one of the documented exit statuses, and its cause is printed once.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use wire::api::Problem;

/// The exit statuses that scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was done.
    Ok = 0,
    /// It could not be done.
    Failure = 1,
    /// The command line, or a file that it names, is not right.
    Usage = 2,
    /// There is no such node, decision or policy.
    NotFound = 3,
    /// Policy said no.
    Denied = 4,
    /// The present state does not allow it.
    Conflict = 5,
    /// The hub or the node does not answer.
    Unreachable = 6,
    /// What was waited for did not come in time.
    TimedOut = 7,
    /// It was answered, and the answer is that something is not whole.
    Degraded = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not be carried out.
#[derive(Debug)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    happened: String,
    still_works: Option<String>,
    to_do: Vec<String>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// What happened, in lower case, with the values that help.
    pub fn new(exit: Exit, happened: impl Into<String>) -> Self {
        Self {
            exit,
            happened: happened.into(),
            still_works: None,
            to_do: Vec::new(),
            cause: None,
        }
    }

    /// The error underneath, which is not repeated in the text.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// What goes on in spite of it.
    #[must_use]
    pub fn still(mut self, works: impl Into<String>) -> Self {
        self.still_works = Some(works.into());
        self
    }

    /// A way out; several are printed one below the other.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.to_do.push(advice.into());
        self
    }

    /// An answer of a hub or node that is an error.
    pub fn from_problem(from: &str, problem: &Problem) -> Self {
        let exit = match (problem.code.as_str(), problem.status) {
            ("not_found", _) | (_, 404) => Exit::NotFound,
            ("denied", _) => Exit::Denied,
            ("conflict", _) | (_, 409 | 412) => Exit::Conflict,
            ("bad_request" | "too_large", _) | (_, 400 | 413 | 422) => Exit::Usage,
            ("unavailable", _) | (_, 502 | 503) => Exit::Unreachable,
            (_, 504) => Exit::TimedOut,
            _ => Exit::Failure,
        };
        let mut happened = match problem.detail.as_str() {
            "" => format!("{from} says: {} ({})", problem.title, problem.status),
            detail => detail.to_owned(),
        };
        // Some problems are about one field only, and then say the same twice.
        for field in problem.errors.iter().filter(|field| field.detail != problem.detail) {
            let _infallible = write!(happened, "\n  {}: {}", field.pointer, field.detail);
        }
        let failure = Self::new(exit, happened);
        let failure = match &problem.decision_id {
            Some(id) => failure.advise(format!("sentinel why {id}")),
            None => failure,
        };
        if problem.code == "unauthorized" || problem.status == 401 {
            failure
                .advise("log in again: sentinel login --user NAME")
                .advise("or take a fresh context file from the hub's state folder (admin.json), mode 0600")
        } else {
            failure
        }
    }

    /// Standard output was closed by whoever read it.
    pub fn is_closed_pipe(&self) -> bool {
        self.cause
            .as_ref()
            .and_then(|cause| cause.downcast_ref::<io::Error>())
            .is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether the reason is that nobody answered.
    pub fn is_unreachable(&self) -> bool {
        self.exit == Exit::Unreachable
    }

    /// The text for standard error, with a line break at the end.
    pub fn told(&self) -> String {
        let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        let mut text = format!("{red}error:{red:#} {}{}\n", self.happened, self.causes());
        if let Some(works) = &self.still_works {
            let _infallible = writeln!(text, "  still works: {works}");
        }
        for advice in &self.to_do {
            let _infallible = writeln!(text, "  to do: {advice}");
        }
        text
    }

    /// One line, for a note beside other data.
    pub fn short(&self) -> String {
        format!("{}{}", self.happened, self.causes())
    }

    /// The chain of causes, each told once: some libraries repeat their cause in their own text.
    fn causes(&self) -> String {
        let mut text = String::new();
        let mut cause = self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static));
        while let Some(present) = cause {
            let told = present.to_string();
            if !text.contains(&told) {
                let _infallible = write!(text, ": {told}");
            }
            cause = present.source();
        }
        text
    }
}

impl From<io::Error> for Failure {
    fn from(cause: io::Error) -> Self {
        Self::new(Exit::Failure, "cannot write the output").because(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: &str, status: u16, expected: Exit) {
        let problem = Problem {
            kind: "about:blank".to_owned(),
            title: "title".to_owned(),
            status,
            detail: "what happened".to_owned(),
            code: code.to_owned(),
            errors: Vec::new(),
            decision_id: None,
            permission: None,
            retry_after: None,
        };
        assert_eq!(Failure::from_problem("hub", &problem).exit, expected, "{code} {status}");
    }

    #[test]
    fn every_problem_code_has_its_exit_status() {
        check("not_found", 404, Exit::NotFound);
        check("bad_request", 400, Exit::Usage);
        check("unauthorized", 401, Exit::Failure);
        check("denied", 403, Exit::Denied);
        check("conflict", 409, Exit::Conflict);
        check("unavailable", 503, Exit::Unreachable);
        check("too_large", 413, Exit::Usage);
        check("internal", 500, Exit::Failure);
        check("of a newer hub", 409, Exit::Conflict);
    }

    #[test]
    fn a_cause_is_told_once() {
        let inner = io::Error::other("no route");
        let failure = Failure::new(Exit::Unreachable, "hub h cannot be reached")
            .because(io::Error::other(inner))
            .still("the nodes");
        let told = anstream::adapter::strip_str(&failure.told()).to_string();
        assert_eq!(
            told,
            "error: hub h cannot be reached: no route\n  still works: the nodes\n"
        );
    }
}
