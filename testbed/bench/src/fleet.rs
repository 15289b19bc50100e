//! Bare agents inside this process: really enrolled, really connected, with nothing behind them. They load a real hub.

use std::net::SocketAddr;

use ed25519_dalek::Signer as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use wire::enroll::{Credentials, EnrollAnswer, JoinRequest};
use wire::entry::ChainHead;
use wire::frame::{Frame, Hello, OLDEST_VERSION, VERSION, Welcome};
use wire::{BundleRef, Epoch, Generation, HubEpoch, Now, Seq, Wall};
use wire_transport::{CertificateClock, Client, ClientTls, Event, Leaf, PeerTls, Session, Timing, Trust};

use crate::lab::Lab;

/// One bare agent.
pub struct Bare {
    /// What the hub gave it.
    pub credentials: Credentials,
    tls: ClientTls,
    leaf: Leaf,
    trust: Trust,
}

/// Enrols one.
pub async fn enroll(lab: &Lab, client: &Client, name: &str) -> Result<Bare, String> {
    let (token, pin) = lab.token(name)?;
    let clock = CertificateClock::new(Wall(0));
    let text = |cause: &dyn std::fmt::Display| format!("enrolment of {name}: {cause}");
    let token = token.parse().map_err(|cause: wire::ids::IdError| text(&cause))?;
    let pin = pin.parse().map_err(|cause: wire::ids::IdError| text(&cause))?;
    let key = rcgen::KeyPair::generate().map_err(|cause| text(&cause))?;
    let csr = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .map_err(|cause| text(&cause))?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|cause| text(&cause))?;
    let node_key = ed25519_dalek::SigningKey::from_bytes(&seed);
    let tls = ClientTls::join(pin, &clock).map_err(|cause| text(&cause))?;
    let visit = client.visit(lab.address, &tls).await.map_err(|cause| text(&cause))?;
    let mut door = visit.open().await.map_err(|cause| text(&cause))?;
    let message = JoinRequest::message(&token, &door.exporter(), csr.der());
    let request = JoinRequest {
        token,
        name: None,
        node_key: node_key.verifying_key().to_bytes(),
        csr: csr.der().to_vec(),
        program: "bench".to_owned(),
        signature: node_key.sign(&message).to_bytes().to_vec(),
    };
    door.write(&request).await.map_err(|cause| text(&cause))?;
    let answer: EnrollAnswer = door.read().await.map_err(|cause| text(&cause))?;
    visit.leave();
    let credentials = match answer {
        EnrollAnswer::Granted(credentials) => *credentials,
        EnrollAnswer::Refused { detail, .. } => return Err(text(&detail)),
    };
    let ca: Vec<CertificateDer<'static>> = credentials
        .ca
        .iter()
        .map(|der| CertificateDer::from(der.clone()))
        .collect();
    let leaf = Leaf {
        chain: vec![CertificateDer::from(credentials.certificate.clone())],
        key: PrivateKeyDer::try_from(key.serialize_der()).map_err(|cause| text(&cause))?,
    };
    let trust = Trust {
        ca,
        trust_domain: credentials.trust_domain.clone(),
    };
    let tls = ClientTls::session(leaf.clone(), trust.clone(), &clock).map_err(|cause| text(&cause))?;
    Ok(Bare {
        credentials,
        tls,
        leaf,
        trust,
    })
}

impl Bare {
    /// How it shows itself to the agents of its site.
    pub fn peer_tls(&self) -> Result<PeerTls, String> {
        let clock = CertificateClock::new(Wall(0));
        PeerTls::new(self.leaf.clone(), self.trust.clone(), &clock).map_err(|cause| cause.to_string())
    }

    /// Connects and says hello with an empty journal.
    pub async fn connect(&self, client: &Client, hub: SocketAddr) -> Result<(Session, Welcome), String> {
        let name = &self.credentials.agent;
        let mut session = client
            .session(hub, &self.tls)
            .await
            .map_err(|cause| format!("session of {name}: {cause}"))?;
        let mut process = [0; 8];
        getrandom::fill(&mut process).map_err(|cause| cause.to_string())?;
        let hello = Hello {
            version: VERSION,
            oldest_version: OLDEST_VERSION,
            program: "bench".to_owned(),
            head: ChainHead::empty(Epoch(1)),
            oldest_entry: Seq(1),
            acked: Seq(0),
            older: Vec::new(),
            telemetry: Seq(0),
            bundle: BundleRef::NONE,
            generation_floor: Generation(0),
            hub_epoch: HubEpoch(0),
            process: u64::from_le_bytes(process),
            last_session: 0,
            now: Now::default(),
        };
        session
            .sender()
            .send(&Frame::Hello(hello))
            .map_err(|cause| cause.to_string())?;
        loop {
            match session.recv().await {
                Event::Frame(Frame::Welcome(welcome)) => return Ok((session, welcome)),
                Event::Frame(Frame::Goodbye(goodbye)) => return Err(format!("{name} was sent away: {goodbye:?}")),
                Event::Frame(_) | Event::Asked { .. } => {}
                Event::Ended(end) => return Err(format!("the session of {name} ended: {end:?}")),
            }
        }
    }
}

/// A client for many bare agents of one process.
pub fn client(lab: &Lab) -> Result<Client, String> {
    // Patient: a thousand handshakes on two shared cores take their time.
    let timing = Timing {
        connect: std::time::Duration::from_secs(60),
        ..Timing::default()
    };
    Client::new(lab.address, timing).map_err(|cause| cause.to_string())
}
