//! Why a service is not there.

use std::path::PathBuf;

/// Why a service could not be built, started or asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A file or folder cannot be used.
    #[error("cannot {doing} `{path}`")]
    File {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// A program that is needed cannot be run.
    #[error("cannot run `{program}`: {hint}")]
    Run {
        /// Which program.
        program: String,
        /// What to do.
        hint: &'static str,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// A build or an installation failed.
    #[error("cannot make {name}: {output}")]
    Make {
        /// What.
        name: String,
        /// The end of what it printed.
        output: String,
    },
    /// A service ended, or was not ready in time.
    #[error("{name} is not ready: {reason}")]
    NotReady {
        /// Which service.
        name: String,
        /// What was seen last, and where its log is.
        reason: String,
    },
    /// A service answered with something else than was asked for.
    #[error("{name} refused {request}: {reason}")]
    Refused {
        /// Which service.
        name: &'static str,
        /// Method and path.
        request: String,
        /// Status and text of the answer.
        reason: String,
    },
}

impl ServiceError {
    /// The error and everything that caused it, in one line.
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            text.push_str(&format!(": {inner}"));
            cause = inner.source();
        }
        text
    }

    /// The closure that turns an I/O failure into [`ServiceError::File`].
    pub fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |cause| Self::File { doing, path, cause }
    }
}
