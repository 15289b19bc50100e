//! `sentinel-agent check`: says what this machine offers, before anything runs.
//!
//! Changes nothing: it opens no journal, starts no workload, and ends the GPU probe that it asked.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, access};
use tokio::sync::mpsc;
use wire::probe::{Ask, Reply};

use crate::agent::RunError;
use crate::config::Config;
use crate::faults::Faults;
use crate::identity::Identity;
use crate::probe::Probe;
use crate::sensors::process::WatchList;
use crate::sensors::{self, Round};
use crate::watch::Watch;

/// Prints one line for each part. Blocks for the probe's deadline at most.
pub fn check(config: &Config) -> Result<(), RunError> {
    let failed = |cause| RunError::System {
        what: "write to standard output",
        cause,
    };
    let mut out = std::io::stdout().lock();
    can_keep(&config.state_dir).map_err(|cause| RunError::System {
        what: "write to the state folder: what the agent decides must be durable before it acts",
        cause,
    })?;
    writeln!(out, "state     {}, writable", config.state_dir.display()).map_err(failed)?;
    let identity = match Identity::load(&config.state_dir)? {
        Some(identity) => format!(
            "{} of {}, certificate until {}",
            identity.agent(),
            identity.hub(),
            identity.certificate_ends()
        ),
        None => "none: this node has not joined a hub".to_owned(),
    };
    writeln!(out, "identity  {identity}").map_err(failed)?;
    writeln!(out, "sensors   {} series", series()).map_err(failed)?;
    writeln!(out, "gpus      {}", gpus(config)).map_err(failed)?;
    writeln!(out, "workloads {}", config.workload.len()).map_err(failed)
}

/// Whether an agent could keep its state there: in the folder, or in a new one where it would be made. Makes nothing.
fn can_keep(folder: &Path) -> io::Result<()> {
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if !there.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            format!("`{}` is not a folder", there.display()),
        ));
    }
    // Root may write anywhere but on a file system that is read-only, which this tells too.
    let asked = Access::WRITE_OK | Access::EXEC_OK;
    access(there, asked).map_err(|errno| {
        let cause = io::Error::from(errno);
        io::Error::new(cause.kind(), format!("`{}`: {cause}", there.display()))
    })
}

fn series() -> usize {
    let mut round = Round::default();
    sensors::host().iter_mut().for_each(|sensor| sensor.sample(&mut round));
    round.readings.len()
}

fn gpus(config: &Config) -> String {
    let mut settings = match config.probe() {
        Ok(Some(settings)) => settings,
        Ok(None) => return "none: no GPU driver's library is found, and no probe is set".to_owned(),
        Err(error) => return format!("the probe cannot be started: {error}"),
    };
    // Nobody listens to what it tells; the room is enough for what it may say until it is dropped.
    let (inputs, _heard) = mpsc::channel(16);
    // A check leaves no trace.
    settings.names = None;
    let (watch, _died) = Watch::new();
    let deadline = settings.deadline;
    let faults = Faults::new(inputs.clone());
    let probe = match Probe::start(settings, Vec::new(), inputs, (faults, WatchList::default(), &watch)) {
        Ok(probe) => probe,
        Err(error) => return format!("the probe's thread cannot start: {error}"),
    };
    match probe.call(Ask::Hello) {
        Ok(Reply::Hello { driver, gpus, .. }) => format!("{} by {driver}", gpus.len()),
        Ok(_) => "the probe does not answer a greeting with one".to_owned(),
        Err(error) => format!(
            "{error} (deadline {:?})",
            Duration::max(deadline, Duration::from_millis(1))
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_that_cannot_be_written_is_not_all_well() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(can_keep(folder.path()).is_ok());
        assert!(can_keep(&folder.path().join("made/later")).is_ok());
        let file = folder.path().join("file");
        std::fs::write(&file, "x").expect("written");
        let told = can_keep(&file.join("state")).expect_err("a file").to_string();
        assert!(told.contains("is not a folder"), "{told}");
        let closed = folder.path().join("closed");
        std::fs::create_dir(&closed).expect("made");
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).expect("ours");
        let is_root = rustix::process::getuid().is_root();
        assert_eq!(
            can_keep(&closed.join("state")).is_ok(),
            is_root,
            "root may write what others may not"
        );
    }
}
