//! Makes this machine an agent: one question to a hub under the pinned CA.
//!
//! Keys are stored before they are shown, so a join whose answer was lost is repeated with the same keys and the same token.
//! Never trusts the hub's name or address: only the CA whose hash stands in the join line.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer as _, SigningKey};
use wire::enroll::{CaPin, Credentials, EnrollAnswer, JoinRequest, JoinToken, Refusal};
use wire::ids::AgentId;
use wire::time::Wall;
use wire_transport::{CertificateClock, Client, ClientTls, ConnectError, DoorError, Timing, pin_of};

use super::address::{reachable_first, resolve};
use super::file::{FORMAT, Stored, io_error, read, write};
use super::{Identity, IdentityError, Joined, csr, folder_in, new_leaf_key};

/// What `sentinel-agent join` was told.
#[derive(Debug, Clone)]
pub struct JoinOptions {
    /// The agent's state folder.
    pub state_dir: PathBuf,
    /// `HOST:PORT` of the hub.
    pub hub: String,
    /// The token.
    pub token: JoinToken,
    /// The pin of the hub's CA.
    pub ca_pin: CaPin,
    /// The name that it would like.
    pub name: Option<AgentId>,
    /// The name of the machine, which it asks for when nobody wants another, and leaves when somebody has it.
    pub host: Option<AgentId>,
    /// A time that is certainly past.
    pub wall_floor: Wall,
    /// Version of the program, for the hub's people.
    pub program: String,
}

/// Why joining failed. The node key is kept, everything else is as before.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// There is an identity already.
    #[error(
        "this machine is agent `{agent}` of {hub} already; nothing was changed. Use another --state folder for a second agent, \
         or move `{}` away to join anew",
        folder.display()
    )]
    AlreadyJoined {
        /// Who it is.
        agent: AgentId,
        /// Whose.
        hub: String,
        /// Where that stands.
        folder: PathBuf,
    },
    /// The hub's name leads nowhere.
    #[error("cannot find `{hub}`; write HOST:PORT as the join line has it, or an address instead of the name")]
    Name {
        /// The name.
        hub: String,
        /// What the resolver says.
        #[source]
        cause: io::Error,
    },
    /// No connection, or not with our hub.
    #[error("cannot join {hub}: {cause}. The token was not used; {advice}")]
    Connect {
        /// The hub.
        hub: String,
        /// What happened.
        cause: Box<ConnectError>,
        /// What to do.
        advice: &'static str,
    },
    /// The connection broke.
    #[error("the answer of {hub} was lost: {cause}. Run the same line again: the token is still good for this machine")]
    Lost {
        /// The hub.
        hub: String,
        /// What happened.
        cause: DoorError,
    },
    /// The hub says no.
    #[error("{hub} refuses: {detail}")]
    Refused {
        /// The hub.
        hub: String,
        /// Which kind of no.
        refusal: Refusal,
        /// What it says.
        detail: String,
    },
    /// The hub's answer does not fit what it showed in the handshake.
    #[error("{hub} gave an identity that does not fit: {detail}. It was not stored")]
    Unfit {
        /// The hub.
        hub: String,
        /// Why.
        detail: String,
    },
    /// The identity cannot be stored.
    #[error("the identity cannot be stored; free the disk and run the same line again")]
    Identity(#[from] IdentityError),
}

/// Makes this machine an agent: keys, one question to the hub under the pinned CA, and the identity on the disk.
///
/// Takes as long as the hub is away, 10 s at most, and the disk. Texts of errors are ready to print.
pub async fn join(options: JoinOptions) -> Result<Identity, JoinError> {
    let folder = folder_in(&options.state_dir);
    let stored = prepare_to_join(&folder)?;
    let key = stored.asking_key.clone().unwrap_or_default();
    let hub = options.hub.clone();
    let addresses = resolve(&hub).await.map_err(|cause| JoinError::Name {
        hub: hub.clone(),
        cause,
    })?;
    let addresses = reachable_first(addresses).await;
    let node_key = SigningKey::from_bytes(&stored.node_key);
    let csr = csr(&folder, &key)?;
    let wish = options.name.as_ref().or(options.host.as_ref());
    let credentials = match ask_to_join(&options, wish, &addresses, &node_key, csr.clone()).await {
        // Two machines of one name: nobody chose it, so the hub makes another; the token is still good.
        Err(JoinError::Refused {
            refusal: Refusal::NameTaken,
            ..
        }) if options.name.is_none() && wish.is_some() => {
            ask_to_join(&options, None, &addresses, &node_key, csr).await?
        }
        other => other?,
    };
    let identity = Identity {
        folder,
        node_key,
        joined: Joined {
            hub,
            credentials,
            leaf_key: key,
            pending_key: None,
        },
    };
    identity.check()?;
    identity.store()?;
    Ok(identity)
}

/// This machine's name as a node's name: its first label, in the grammar of node names; `None` where it says nothing.
pub fn host_name() -> Option<AgentId> {
    name_of_host(&rustix::system::uname().nodename().to_string_lossy())
}

fn name_of_host(host: &str) -> Option<AgentId> {
    let label = host.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let plain: String = label
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .collect();
    let name = plain.trim_matches('-');
    match name {
        // Every machine is called that until somebody names it.
        "" | "localhost" => None,
        name => AgentId::new(name).ok(),
    }
}

async fn ask_to_join(
    options: &JoinOptions,
    wish: Option<&AgentId>,
    addresses: &[SocketAddr],
    node_key: &SigningKey,
    csr: Vec<u8>,
) -> Result<Credentials, JoinError> {
    let hub = || options.hub.clone();
    let clock = CertificateClock::new(options.wall_floor);
    let tls = ClientTls::join(options.ca_pin, &clock).map_err(|error| JoinError::Unfit {
        hub: hub(),
        detail: error.to_string(),
    })?;
    let mut last = None;
    for address in addresses {
        let visit = match visit(*address, &tls).await {
            Ok(visit) => visit,
            Err(cause) => {
                last = Some(cause);
                continue;
            }
        };
        let lost = |cause| JoinError::Lost { hub: hub(), cause };
        let mut door = visit.open().await.map_err(lost)?;
        let message = JoinRequest::message(&options.token, &door.exporter(), &csr);
        let request = JoinRequest {
            token: options.token.clone(),
            name: wish.map(ToString::to_string),
            node_key: node_key.verifying_key().to_bytes(),
            csr,
            program: options.program.clone(),
            signature: node_key.sign(&message).to_bytes().to_vec(),
        };
        door.write(&request).await.map_err(lost)?;
        let answer = door.read().await.map_err(lost)?;
        let domain = visit.trust_domain();
        visit.leave();
        return match answer {
            EnrollAnswer::Refused { refusal, detail } => Err(JoinError::Refused {
                hub: hub(),
                refusal,
                detail,
            }),
            EnrollAnswer::Granted(credentials) => {
                let pinned = credentials.ca.iter().any(|ca| pin_of(ca) == options.ca_pin);
                if pinned && domain.as_deref() == Some(credentials.trust_domain.as_str()) {
                    Ok(*credentials)
                } else {
                    Err(JoinError::Unfit {
                        hub: hub(),
                        detail: "its CA or trust domain is another".to_owned(),
                    })
                }
            }
        };
    }
    let cause = last.unwrap_or(ConnectError::Socket {
        reason: "the name has no address".to_owned(),
    });
    Err(JoinError::Connect {
        hub: hub(),
        advice: advice(&cause),
        cause: Box::new(cause),
    })
}

async fn visit(address: SocketAddr, tls: &ClientTls) -> Result<wire_transport::Visit, ConnectError> {
    Client::new(address, Timing::default())?.visit(address, tls).await
}

fn advice(cause: &ConnectError) -> &'static str {
    match cause {
        ConnectError::Unreachable { .. } => "check that the hub runs and that UDP reaches it",
        ConnectError::NotOurHub { .. } => {
            "nothing was told to it; check the whole join line and who answers at that address"
        }
        ConnectError::Clock { .. } => {
            "set the clock that is wrong, this machine's or the hub's, and run the same line again"
        }
        ConnectError::Version { .. } => "use the agent that came with the hub",
        ConnectError::Expired { .. }
        | ConnectError::Refused { .. }
        | ConnectError::Closed { .. }
        | ConnectError::Failed { .. }
        | ConnectError::Socket { .. } => "try again",
    }
}

/// The keys with which to ask: those of an earlier try, or new ones.
fn prepare_to_join(folder: &Path) -> Result<Stored, JoinError> {
    let before = read(folder)?;
    if let Some(Stored {
        joined: Some(joined), ..
    }) = before
    {
        return Err(JoinError::AlreadyJoined {
            agent: joined.credentials.agent,
            hub: joined.hub,
            folder: folder.to_owned(),
        });
    }
    if let Some(stored) = before.filter(|stored| stored.asking_key.is_some()) {
        return Ok(stored);
    }
    if let Some(state_dir) = folder.parent() {
        wire_files::private_folder(state_dir).map_err(io_error("create", state_dir))?;
    }
    wire_files::private_folder(folder).map_err(io_error("create", folder))?;
    let mut node_key = [0; 32];
    getrandom::fill(&mut node_key).map_err(|cause| IdentityError::Unusable {
        path: folder.to_owned(),
        detail: format!("no random numbers: {cause}"),
    })?;
    let stored = Stored {
        format: FORMAT,
        node_key,
        asking_key: Some(new_leaf_key(folder)?),
        joined: None,
    };
    write(folder, &stored)?;
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_called_as_its_host_where_that_is_a_name() {
        for (host, expected) in [
            ("gpu-box-7", Some("gpu-box-7")),
            ("GPU_Box.rack7.example.org", Some("gpu-box")),
            ("-odd-", Some("odd")),
            ("localhost.localdomain", None),
            ("(none)", Some("none")),
            ("", None),
            ("...", None),
        ] {
            let name = name_of_host(host);
            assert_eq!(name.as_ref().map(AgentId::as_str), expected, "{host}");
        }
        assert_eq!(name_of_host(&"x".repeat(64)), None);
    }
}
