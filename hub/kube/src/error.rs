//! What can go wrong with a cluster, sorted by what the caller should do.

use std::time::Duration;

use kube::core::Status;

/// Why a cluster did not do or tell what was asked.
#[derive(Debug, thiserror::Error)]
pub enum KubeError {
    /// The kubeconfig cannot be used. Nothing was sent.
    #[error("kubeconfig of cluster {cluster}: {reason}")]
    Kubeconfig {
        /// Which cluster.
        cluster: String,
        /// What is wrong, and what to change.
        reason: String,
    },
    /// The API server could not be reached, or the connection broke.
    #[error("cluster {cluster} cannot be reached for {what}")]
    Unreachable {
        /// Which cluster.
        cluster: String,
        /// What was asked.
        what: String,
        /// How the connection failed.
        #[source]
        cause: Box<kube::Error>,
    },
    /// No answer in time.
    #[error("cluster {cluster} did not answer {what} within {} ms", within.as_millis())]
    TimedOut {
        /// Which cluster.
        cluster: String,
        /// What was asked.
        what: String,
        /// How long was waited.
        within: Duration,
    },
    /// The credentials are not accepted: 401.
    #[error("cluster {cluster} does not accept the credentials; renew the token or certificate in its kubeconfig")]
    Unauthorized {
        /// Which cluster.
        cluster: String,
    },
    /// The credentials do not allow it: 403.
    #[error("cluster {cluster} does not allow {what}: {message}")]
    Forbidden {
        /// Which cluster.
        cluster: String,
        /// What was asked.
        what: String,
        /// The server's words.
        message: String,
    },
    /// There is no such object: 404.
    #[error("cluster {cluster} has no {what}")]
    NotFound {
        /// Which cluster.
        cluster: String,
        /// What was asked.
        what: String,
    },
    /// Somebody else changed or owns it: 409.
    #[error("cluster {cluster}, {what}: {message}")]
    Conflict {
        /// Which cluster.
        cluster: String,
        /// What was asked.
        what: String,
        /// The server's words; they name the other field manager.
        message: String,
    },
    /// The server refuses the object as it is: 400, 413, 422.
    #[error("cluster {cluster} refuses {what}: {message}")]
    Invalid {
        /// Which cluster.
        cluster: String,
        /// What was asked.
        what: String,
        /// The server's words.
        message: String,
    },
    /// The server has too much to do: 429. Nothing was done.
    #[error("cluster {cluster} is too busy for {what}{}", wish(*retry_after))]
    Busy {
        /// Which cluster.
        cluster: String,
        /// What was asked.
        what: String,
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
        /// The server's words.
        message: String,
    },
    /// What was asked about is no longer known: 410. List again.
    #[error("cluster {cluster} has forgotten what {what} continues from")]
    Expired {
        /// Which cluster.
        cluster: String,
        /// What was asked.
        what: String,
    },
    /// The server failed: 5xx.
    #[error("cluster {cluster} failed at {what}: {code} {message}")]
    Server {
        /// Which cluster.
        cluster: String,
        /// What was asked.
        what: String,
        /// HTTP status.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// The answer is not what it should be.
    #[error("cluster {cluster} gave an answer to {what} that cannot be read: {reason}")]
    Answer {
        /// Which cluster.
        cluster: String,
        /// What was asked.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl KubeError {
    /// Whether a change that ended with this may have been carried out all the same. Then read back; never do it again blindly.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Server { .. } | Self::Answer { .. } => true,
            Self::Kubeconfig { .. }
            | Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::NotFound { .. }
            | Self::Conflict { .. }
            | Self::Invalid { .. }
            | Self::Busy { .. }
            | Self::Expired { .. } => false,
        }
    }

    /// Whether the same may work a little later, without anybody changing anything.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Busy { .. } => true,
            Self::Server { code, .. } => matches!(code, 500 | 502 | 503 | 504),
            Self::Kubeconfig { .. }
            | Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::NotFound { .. }
            | Self::Conflict { .. }
            | Self::Invalid { .. }
            | Self::Expired { .. }
            | Self::Answer { .. } => false,
        }
    }

    /// Sorts what the client says about a call.
    pub(crate) fn sort(cluster: &str, what: &str, error: kube::Error) -> Self {
        let (cluster, what) = (cluster.to_owned(), what.to_owned());
        match error {
            kube::Error::Api(status) => Self::of_status(cluster, what, *status),
            kube::Error::SerdeError(cause) => Self::Answer {
                cluster,
                what,
                reason: cause.to_string(),
            },
            kube::Error::FromUtf8(cause) => Self::Answer {
                cluster,
                what,
                reason: cause.to_string(),
            },
            kube::Error::BuildRequest(cause) => Self::Invalid {
                cluster,
                what,
                message: cause.to_string(),
            },
            kube::Error::InferConfig(cause) => Self::Kubeconfig {
                cluster,
                reason: cause.to_string(),
            },
            kube::Error::InferKubeconfig(cause) => Self::Kubeconfig {
                cluster,
                reason: cause.to_string(),
            },
            kube::Error::Auth(cause) => Self::Kubeconfig {
                cluster,
                reason: cause.to_string(),
            },
            kube::Error::RustlsTls(cause) => Self::Kubeconfig {
                cluster,
                reason: cause.to_string(),
            },
            other => Self::Unreachable {
                cluster,
                what,
                cause: Box::new(other),
            },
        }
    }

    pub(crate) fn of_status(cluster: String, what: String, status: Status) -> Self {
        let message = status.message;
        match status.code {
            401 => Self::Unauthorized { cluster },
            403 => Self::Forbidden { cluster, what, message },
            404 => Self::NotFound { cluster, what },
            409 => Self::Conflict { cluster, what, message },
            410 => Self::Expired { cluster, what },
            429 => {
                let seconds = status.details.map_or(0, |details| details.retry_after_seconds);
                let retry_after = (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)));
                Self::Busy {
                    cluster,
                    what,
                    retry_after,
                    message,
                }
            }
            400 | 405 | 406 | 413 | 415 | 422 => Self::Invalid { cluster, what, message },
            code => Self::Server {
                cluster,
                what,
                code,
                message,
            },
        }
    }
}

fn wish(retry_after: Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |wait| {
        format!("; it wants to be asked again in {} s", wait.as_secs())
    })
}
