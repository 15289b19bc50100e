//! Enrolment over a real core and store: proofs and certificates. Who gets one is tried in `hub/core/tests/agents.rs`.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use hub_core::{Certificates, Hub, NewToken, Settings};
use rcgen::{CertificateParams, KeyPair};
use tokio::sync::mpsc;
use wire::ids::HubEpoch;

use super::*;
use crate::hub::{Outlet, Parts, Stop, Turn};
use crate::store::{DurableStore, Store, StoreSettings};

struct Nowhere;

impl Outlet for Nowhere {
    fn send(&self, _session: hub_core::SessionId, _frame: &wire::frame::Frame) {}
    fn close(&self, _session: hub_core::SessionId, _reason: &str) {}
}

/// A hub's desk with its CA, its store and its core in a temporary folder.
pub(crate) struct Office {
    pub(crate) desk: Arc<Enrollment>,
    pub(crate) ca: Arc<Ca>,
    pub(crate) hub: Handle,
    stop: Stop,
    _inputs: mpsc::Sender<hub_core::Input>,
    _folder: tempfile::TempDir,
}

impl Drop for Office {
    fn drop(&mut self) {
        self.stop.end.cancel();
    }
}

pub(crate) fn office(certificates: Certificates) -> Office {
    let folder = tempfile::tempdir().unwrap();
    let ca = Arc::new(Ca::open_or_create(&folder.path().join("pki"), "test").unwrap());
    let (done, completions) = mpsc::channel(16);
    let store = DurableStore::open(StoreSettings::new(folder.path().join("store")), done).unwrap();
    let clock = store.clock();
    let store: Arc<dyn Store> = Arc::new(store);
    let settings = Settings {
        trust_domain: "test".to_owned(),
        policy_key: None,
        beacon_key: None,
        roles: None,
        seed: 1,
        first_hub_epoch: HubEpoch(1),
        max_handshakes: 16,
        beacon_every: Duration::from_secs(3_600),
        checkpoints: hub_core::Checkpointing::default(),
        certificates,
    };
    let core = Hub::new(settings, store.recover().unwrap(), clock.now()).unwrap();
    let bars = Arc::new(Bars::of(core.agents()));
    let meters = Arc::new(Meters::default());
    let (feed, _stories) = crate::feed::Feed::new(Arc::clone(&store));
    let (inputs, told) = mpsc::channel(16);
    let (turn, hub) = Turn::new(Parts {
        people: Arc::new(crate::people::People::of(core.access())),
        hooks: Arc::new(crate::deliveries::Hooks::of(core.webhooks())),
        core,
        clock,
        store,
        done: completions,
        inputs: told,
        outlet: Arc::new(Nowhere),
        kube: crate::kube::Kube::new().0,
        feed,
        bars: Arc::clone(&bars),
        meters: Arc::clone(&meters),
        publish: mpsc::channel(4).0,
        compare: mpsc::channel(4).0,
    });
    let stop = Stop::default();
    tokio::spawn(turn.run(stop.clone()));
    let keys = KeyRing::single([9; 32]);
    let desk = Enrollment::new(ca.clone(), hub.clone(), bars, meters, keys);
    Office {
        desk: Arc::new(desk),
        ca,
        hub,
        stop,
        _inputs: inputs,
        _folder: folder,
    }
}

impl Office {
    pub(crate) async fn ask(&self, what: AgentRequest) -> Answer {
        let caller = Caller::new("ann", Via::Api);
        self.hub.request(Request::Agents { caller, what }).await.unwrap()
    }

    pub(crate) async fn token(&self, name: &str, takes_over: bool) -> JoinToken {
        let token = JoinToken(crate::ca::random());
        let new = NewToken {
            hash: token.hash(),
            label: None,
            name: Some(id(name)),
            site: Some("lab".to_owned()),
            ttl: Duration::from_secs(3_600),
            takes_over,
        };
        let answer = self.ask(AgentRequest::CreateToken(new)).await;
        assert!(matches!(answer, Answer::JoinToken(_)), "{answer:?}");
        token
    }

    pub(crate) async fn deny(&self, name: &str) {
        let reason = "stolen".to_owned();
        let answer = self
            .ask(AgentRequest::Deny {
                agent: id(name),
                reason,
            })
            .await;
        assert!(matches!(answer, Answer::Agent(_)), "{answer:?}");
    }
}

/// A machine that wants to be, or is, an agent.
pub(crate) struct Machine {
    pub(crate) node_key: SigningKey,
    pub(crate) generation: u64,
    pub(crate) leaf_key: KeyPair,
}

impl Machine {
    pub(crate) fn new(number: u8) -> Self {
        Self {
            node_key: SigningKey::from_bytes(&[number; 32]),
            generation: 0,
            leaf_key: KeyPair::generate().unwrap(),
        }
    }

    pub(crate) fn new_leaf_key(&mut self) {
        self.leaf_key = KeyPair::generate().unwrap();
    }

    pub(crate) fn csr(&self) -> Vec<u8> {
        let request = CertificateParams::default().serialize_request(&self.leaf_key);
        request.unwrap().der().to_vec()
    }

    pub(crate) fn join(&self, token: &JoinToken, exporter: &[u8; 32]) -> JoinRequest {
        let csr = self.csr();
        let message = JoinRequest::message(token, exporter, &csr);
        JoinRequest {
            token: token.clone(),
            name: None,
            node_key: self.node_key.verifying_key().to_bytes(),
            csr,
            program: "test".to_owned(),
            signature: self.node_key.sign(&message).to_bytes().to_vec(),
        }
    }

    pub(crate) fn renew(&self) -> RenewRequest {
        RenewRequest {
            csr: self.csr(),
            generation: self.generation,
        }
    }

    pub(crate) fn rejoin(&self, agent: &AgentId, challenge: &[u8; 32], exporter: &[u8; 32]) -> RejoinRequest {
        let csr = self.csr();
        let message = [REJOIN_PREFIX, challenge, exporter, &csr].concat();
        RejoinRequest {
            agent: agent.clone(),
            signature: self.node_key.sign(&message).to_bytes().to_vec(),
            csr,
            generation: self.generation,
        }
    }
}

pub(crate) fn id(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

fn from() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 4_711))
}

/// `granted GENERATION` or the refusal's name.
fn word(answer: &EnrollAnswer) -> String {
    match answer {
        EnrollAnswer::Granted(credentials) => format!("granted {}", credentials.generation),
        EnrollAnswer::Refused { refusal, .. } => format!("{refusal:?}"),
    }
}

const EXPORTER: [u8; 32] = [4; 32];

#[tokio::test]
async fn the_certificate_says_what_the_identity_says() {
    let office = office(Certificates::default());
    let token = office.token("edge-7", false).await;
    let request = Machine::new(1).join(&token, &EXPORTER);
    let EnrollAnswer::Granted(credentials) = office.desk.join(request, &EXPORTER, from()).await else {
        panic!("granted");
    };
    assert_eq!(
        (credentials.agent.as_str(), credentials.site.as_str()),
        ("edge-7", "lab")
    );
    assert_eq!(generation_of(&credentials.certificate), Some(1));
    assert_eq!(office.desk.meters.enrolled.load(Ordering::Relaxed), 1);
    let life_ms = credentials.ends.0 - credentials.issued.0;
    assert!((86_000_000..=86_400_000).contains(&life_ms), "{life_ms}");
}

#[tokio::test]
async fn a_proof_counts_in_its_own_tls_session_only() {
    let office = office(Certificates::default());
    let token = office.token("edge-1", false).await;
    let machine = Machine::new(1);
    let join = |request, exporter| office.desk.join(request, exporter, from());
    let first = join(machine.join(&token, &EXPORTER), &EXPORTER).await;
    assert_eq!(word(&first), "granted 1");
    // What a listener could have kept, shown in a session of theirs.
    let replayed = join(machine.join(&token, &EXPORTER), &[5; 32]).await;
    assert_eq!(word(&replayed), "TokenUsed");
    // An agent of before sends no proof.
    let unsigned = JoinRequest {
        signature: Vec::new(),
        ..machine.join(&token, &EXPORTER)
    };
    assert_eq!(word(&join(unsigned, &EXPORTER).await), "TokenUsed");
    assert_eq!(
        word(&join(machine.join(&token, &EXPORTER), &EXPORTER).await),
        "granted 2"
    );
    let other = office.token("edge-2", false).await;
    let garbage = JoinRequest {
        csr: vec![1, 2, 3],
        ..machine.join(&other, &EXPORTER)
    };
    assert_eq!(word(&join(garbage, &EXPORTER).await), "Malformed");
}

#[tokio::test]
async fn certificates_of_a_machine_whose_place_was_taken_open_nothing() {
    let office = office(Certificates::default());
    let copied = Machine::new(1);
    let token = office.token("edge-1", false).await;
    let answer = office
        .desk
        .join(copied.join(&token, &EXPORTER), &EXPORTER, from())
        .await;
    let EnrollAnswer::Granted(old) = answer else {
        panic!("granted");
    };
    assert_eq!(office.desk.refuses(&old.agent, &old.certificate), None);
    let token = office.token("edge-1", true).await;
    let answer = office
        .desk
        .join(Machine::new(2).join(&token, &EXPORTER), &EXPORTER, from())
        .await;
    let EnrollAnswer::Granted(new) = answer else {
        panic!("granted");
    };
    assert_eq!(office.desk.refuses(&new.agent, &new.certificate), None);
    let refused = office.desk.refuses(&old.agent, &old.certificate).unwrap_or_default();
    assert!(refused.contains("another machine has taken the place"), "{refused}");
}

#[tokio::test]
async fn the_join_line_is_whole() {
    let office = office(Certificates::default());
    let line = office.desk.join_line("hub:7443", &JoinToken([0xab; 16]));
    let pin = office.ca.pin();
    assert_eq!(
        line,
        format!(
            "sentinel-agent join hub:7443 --token sjt_{} --ca-pin {pin}",
            "ab".repeat(16)
        )
    );
}
