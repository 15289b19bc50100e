//! Takes settings anew while the agent runs: SIGHUP, which is what `systemctl reload` sends.
//!
//! Files that are not valid change nothing, and neither do keys that need a restart; both are a finding that names them, until a reading
//! has nothing of the kind any more.
//!
//! Invariant: what counts is always one whole, valid reading, but for the keys that the finding names.
//! Read next: `config/changes.rs` (which keys).

use std::error::Error as _;

use edge_agent_core::Input;
use tokio::sync::mpsc;
use wire::Parcel;

use super::{Reread, Shell};
use crate::carried::{self, CarryError};
use crate::config::{self, Changes, Config, ConfigError};

/// What is said of settings is said under this name.
const PART: &str = "settings";

/// What the files say now.
pub(super) struct Reading {
    config: Config,
    /// What lies at `bundle`, if that is set.
    bundle: Option<Result<Parcel, CarryError>>,
}

/// Reads the files on a thread that may wait for a disk; the result goes to the turn loop.
pub(super) fn begin(reread: Reread, read: mpsc::Sender<Result<Reading, ConfigError>>) {
    tokio::task::spawn_blocking(move || {
        let reading = reread().map(|config| Reading {
            bundle: config.bundle.as_deref().map(carried::read),
            config,
        });
        // Full: a reading is under way already. Closed: the agent stops.
        let _ = read.try_send(reading);
    });
}

impl Shell {
    /// Takes one reading of the settings.
    pub(super) fn reload(&mut self, read: Result<Reading, ConfigError>) {
        let why = match read {
            Ok(next) => self.adopt(next),
            Err(error) => {
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                // A finding is one line.
                let text = format!("{error}{cause}").replace('\n', " ");
                tracing::error!(error = text, "settings cannot be taken anew; the former ones count on");
                Some(format!("{text}; the former settings count on"))
            }
        };
        self.turn(Input::Finding {
            part: PART.to_owned(),
            why,
        });
        self.service.ready();
    }

    /// Puts what may change into force. Returns what does not count yet, and why.
    fn adopt(&mut self, reading: Reading) -> Option<String> {
        let Reading { config: next, bundle } = reading;
        let Changes { live, restart } = config::changes(&self.config, &next);
        tracing::info!(
            changed = live.join(" "),
            needs_restart = restart.join(" "),
            "settings taken anew"
        );
        self.pulse.pace(next.sample_every);
        self.feed.compat(next.metrics_compat.clone());
        self.turn(Input::Retimed {
            block_every: next.block_every,
            append_deadline: next.append_deadline,
        });
        self.config = Config {
            sample_every: next.sample_every,
            block_every: next.block_every,
            append_deadline: next.append_deadline,
            metrics_compat: next.metrics_compat,
            bundle: next.bundle,
            ..self.config.clone()
        };
        match bundle {
            // The file may be another one under the same name: the core takes what is newer.
            Some(Ok(parcel)) => self.import(parcel, None),
            Some(Err(error)) => return Some(format!("`bundle` has not changed: {error}")),
            None => {}
        }
        match restart.as_slice() {
            [] => None,
            [one] => Some(format!(
                "`{one}` has a new value, which counts from the agent's next start"
            )),
            more => Some(format!(
                "`{}` have new values, which count from the agent's next start",
                more.join("`, `")
            )),
        }
    }
}
