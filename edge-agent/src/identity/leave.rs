//! Makes an agent a machine like any other again: the hub forgets it, then it forgets itself.
//!
//! Never while an agent runs on the folder, and never the other way round: an identity that is removed before the hub knows would be a
//! node that nobody can explain. What the journal holds stays, unless all of the folder is to go.

use std::fs;
use std::io;
use std::path::Path;

use wire::ids::AgentId;
use wire::time::BUILD_FLOOR;
use wire_transport::CertificateClock;

use super::file::io_error;
use super::{Identity, IdentityError, folder_in};
use crate::journal::{JournalError, lock};
use crate::link::{LinkError, say_goodbye};

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The hub, which must agree.
    Hub,
    /// Nobody: the hub is gone.
    Nobody,
}

/// Why a machine could not leave. Its identity is as it was.
#[derive(Debug, thiserror::Error)]
pub enum LeaveError {
    /// There is nothing to leave.
    #[error("this machine has not joined a hub: there is no identity in `{}`", folder.display())]
    NotJoined {
        /// Where one would be.
        folder: std::path::PathBuf,
    },
    /// An agent runs.
    #[error(transparent)]
    Running(#[from] JournalError),
    /// The disk.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The hub was not told.
    #[error(
        "the hub at {hub} was not told ({cause}), so nothing was changed. If it is gone for good, leave with --offline; one that comes \
         back is told with `sentinel node remove {agent}`"
    )]
    Hub {
        /// Where it should be.
        hub: String,
        /// What happened.
        cause: LinkError,
        /// Who wanted to leave.
        agent: AgentId,
    },
}

/// Leaves. Takes as long as the hub is away, 10 s for each of its addresses at most, and the disk.
pub async fn leave(state_dir: &Path, told: Told, purge: bool) -> Result<AgentId, LeaveError> {
    let folder = folder_in(state_dir);
    let Some(identity) = Identity::load(state_dir)? else {
        return Err(LeaveError::NotJoined { folder });
    };
    let _alone = lock(state_dir)?;
    let agent = identity.agent().clone();
    if told == Told::Hub {
        let hub = identity.hub().to_owned();
        let clock = CertificateClock::new(BUILD_FLOOR);
        let told = say_goodbye(identity, clock, state_dir).await;
        let agent = agent.clone();
        told.map_err(|cause| LeaveError::Hub { hub, cause, agent })?;
    }
    remove(&folder)?;
    if purge {
        remove(state_dir)?;
    }
    Ok(agent)
}

fn remove(folder: &Path) -> Result<(), IdentityError> {
    match fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(io_error("remove", folder)(cause)),
        _ => Ok(()),
    }
}
