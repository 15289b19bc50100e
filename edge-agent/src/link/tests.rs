//! Joining and the link against a small hub on loopback that grants what a test wants.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, SanType, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::time::timeout;
use wire::bundle::KeyRing;
use wire::enroll::{CaPin, Credentials, JoinRequest, JoinToken, Refusal, RejoinRequest, RenewRequest};
use wire::frame::Ack;
use wire::ids::{AgentId, Epoch, Seq};
use wire_transport::{Arrival, Leaf, Server, ServerTls, Trust, pin_of};

use super::*;
use crate::identity::{JoinError, JoinOptions, join};

const DEADLINE: Duration = Duration::from_secs(20);

/// Issues whatever it is asked for.
struct Ca {
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    /// Life of what it grants, in milliseconds; below zero it is over already.
    life_ms: i64,
    /// Answers instead of a grant.
    refuse: Option<(Refusal, &'static str)>,
    /// What was asked: `join`, `renew 1`, `rejoin 1`, in this order.
    asked: Vec<String>,
    generation: u64,
}

type Shared = Arc<Mutex<Ca>>;

impl Ca {
    fn new(life: Duration) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let der = params.self_signed(&key).unwrap().der().clone();
        Self {
            der,
            issuer: Issuer::new(params, key),
            life_ms: life.as_millis() as i64,
            refuse: None,
            asked: Vec::new(),
            generation: 0,
        }
    }

    fn trust(&self) -> Trust {
        Trust {
            ca: vec![self.der.clone()],
            trust_domain: "test".to_owned(),
        }
    }

    fn hub_tls(&self) -> ServerTls {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI("spiffe://test/hub".try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = Leaf {
            chain: vec![
                params.signed_by(&key, &self.issuer).unwrap().der().clone(),
                self.der.clone(),
            ],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        };
        ServerTls::new(leaf, self.trust(), &CertificateClock::new(Wall(0))).unwrap()
    }

    fn answer(&mut self, asked: String, csr: &[u8]) -> EnrollAnswer {
        self.asked.push(asked);
        if let Some((refusal, detail)) = self.refuse {
            return EnrollAnswer::Refused {
                refusal,
                detail: detail.to_owned(),
            };
        }
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr)).unwrap();
        let issued = CertificateClock::new(Wall(0)).now();
        let ends = Wall(issued.0 + self.life_ms);
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI("spiffe://test/agent/edge-1".try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs((ends.0 / 1000) as u64);
        let certificate = params.signed_by(&request.public_key, &self.issuer).unwrap();
        self.generation += 1;
        EnrollAnswer::Granted(Box::new(Credentials {
            agent: AgentId::new("edge-1").unwrap(),
            site: "lab".to_owned(),
            trust_domain: "test".to_owned(),
            certificate: certificate.der().to_vec(),
            issued,
            ends,
            generation: self.generation,
            ca: vec![self.der.to_vec()],
            policy_keys: KeyRing::single([1; 32]),
            rejoins: self.asked.iter().filter(|asked| asked.starts_with("rejoin")).count() as u32,
        }))
    }
}

struct Hub {
    ca: Shared,
    address: SocketAddr,
    sessions: mpsc::Receiver<Sender>,
    folder: tempfile::TempDir,
}

/// A hub that echoes frames.
fn hub(life: Duration) -> Hub {
    let ca = Arc::new(Mutex::new(Ca::new(life)));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let server = Server::new(socket, &ca.lock().unwrap().hub_tls(), Timing::default()).unwrap();
    let (send, sessions) = mpsc::channel(8);
    tokio::spawn(serve(server, ca.clone(), send));
    Hub {
        ca,
        address,
        sessions,
        folder: tempfile::tempdir().unwrap(),
    }
}

async fn serve(mut server: Server, ca: Shared, sessions: mpsc::Sender<Sender>) {
    while let Some(arrival) = server.accept().await {
        let ca = ca.clone();
        match arrival {
            Arrival::Session(pending) => {
                let Ok(session) = pending.admit().await else {
                    continue;
                };
                sessions.send(session.sender()).await.unwrap();
                tokio::spawn(echo(session, ca));
            }
            Arrival::Join(guest) => {
                let mut door = guest.listen().await.unwrap();
                let request: JoinRequest = door.read().await.unwrap();
                let answer = ca.lock().unwrap().answer("join".to_owned(), &request.csr);
                door.write(&answer).await.unwrap();
                door.finish().await;
                guest.see_off().await;
            }
            Arrival::Rejoin(guest) => {
                let mut door = guest.challenge().await.unwrap();
                door.write_raw(&[5; 32]).await.unwrap();
                let request: RejoinRequest = door.read().await.unwrap();
                let asked = format!("rejoin {}", request.generation);
                let answer = ca.lock().unwrap().answer(asked, &request.csr);
                door.write(&answer).await.unwrap();
                door.finish().await;
                guest.see_off().await;
            }
        }
    }
}

async fn echo(mut session: Session, ca: Shared) {
    let sender = session.sender();
    loop {
        match session.recv().await {
            Event::Frame(frame) => sender.send(&frame).unwrap(),
            Event::Asked { mut door, .. } => {
                let request: RenewRequest = door.read().await.unwrap();
                let asked = format!("renew {}", request.generation);
                let answer = ca.lock().unwrap().answer(asked, &request.csr);
                door.write(&answer).await.unwrap();
                door.finish().await;
            }
            Event::Ended(_) => return,
        }
    }
}

fn clock() -> CertificateClock {
    CertificateClock::new(Wall(0))
}

impl Hub {
    fn options(&self) -> JoinOptions {
        JoinOptions {
            state_dir: self.folder.path().to_owned(),
            hub: self.address.to_string(),
            token: JoinToken([1; 16]),
            ca_pin: pin_of(&self.ca.lock().unwrap().der),
            name: None,
            host: None,
            wall_floor: Wall(0),
            program: "test".to_owned(),
        }
    }

    fn link(&self, identity: Identity) -> (Link, mpsc::Receiver<Input>) {
        self.link_by(identity, clock())
    }

    fn link_by(&self, identity: Identity, clock: CertificateClock) -> (Link, mpsc::Receiver<Input>) {
        let (send, inputs) = mpsc::channel(16);
        let settings = LinkSettings {
            state_dir: self.folder.path().to_owned(),
            hub: None,
            timing: Timing {
                connect: Duration::from_secs(2),
                ..Timing::default()
            },
            seed: 1,
            peers: None,
            renamed: mpsc::channel(1).0,
        };
        (
            Link::start(identity, clock, settings, send, &crate::watch::Watch::new().0),
            inputs,
        )
    }

    fn asked(&self) -> Vec<String> {
        self.ca.lock().unwrap().asked.clone()
    }
}

async fn next(inputs: &mut mpsc::Receiver<Input>) -> Input {
    timeout(DEADLINE, inputs.recv())
        .await
        .expect("comes in time")
        .expect("the link runs")
}

async fn down(inputs: &mut mpsc::Receiver<Input>) -> String {
    match next(inputs).await {
        Input::LinkDown { reason } => reason,
        other => panic!("{other:?}"),
    }
}

async fn trouble(inputs: &mut mpsc::Receiver<Input>) -> Option<String> {
    match next(inputs).await {
        Input::Finding { part, why } => {
            assert_eq!(part, PART);
            why
        }
        other => panic!("{other:?}"),
    }
}

fn ack(seq: u64) -> Frame {
    Frame::Ack(Ack {
        epoch: Epoch(1),
        entries: Some(Seq(seq)),
        telemetry: None,
    })
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn joining_leaves_an_identity_that_only_we_can_read() {
    let hub = hub(DAY);
    let identity = join(hub.options()).await.unwrap();
    assert_eq!(
        (identity.agent().as_str(), identity.site(), identity.generation()),
        ("edge-1", "lab", 1)
    );
    let folder = hub.folder.path().join("identity");
    assert_eq!((mode(&folder), mode(&folder.join("identity.bin"))), (0o700, 0o600));
    fs::set_permissions(folder.join("identity.bin"), fs::Permissions::from_mode(0o644)).unwrap();
    let again = Identity::load(hub.folder.path()).unwrap().expect("joined");
    assert_eq!(again.certificate_ends(), identity.certificate_ends());
    assert_eq!(mode(&folder.join("identity.bin")), 0o600, "closed again");
    let error = join(hub.options()).await.unwrap_err();
    assert!(matches!(error, JoinError::AlreadyJoined { .. }), "{error}");
}

#[tokio::test]
async fn a_failed_join_says_what_happened_and_can_be_repeated() {
    let hub = hub(DAY);
    let wrong = JoinOptions {
        ca_pin: CaPin([3; 32]),
        ..hub.options()
    };
    let error = join(wrong).await.unwrap_err().to_string();
    assert!(
        error.contains("has the pin sha256:") && error.contains("The token was not used"),
        "{error}"
    );
    assert!(hub.asked().is_empty(), "nothing was told to it");
    let nowhere = JoinOptions {
        hub: "no.such.host.invalid:7443".to_owned(),
        ..hub.options()
    };
    let error = join(nowhere).await.unwrap_err().to_string();
    assert!(error.contains("cannot find `no.such.host.invalid:7443`"), "{error}");
    hub.ca.lock().unwrap().refuse = Some((Refusal::TokenExpired, "this token ended yesterday"));
    let error = join(hub.options()).await.unwrap_err().to_string();
    assert!(error.contains("this token ended yesterday"), "{error}");
    assert!(Identity::load(hub.folder.path()).unwrap().is_none());
    hub.ca.lock().unwrap().refuse = None;
    join(hub.options()).await.unwrap();
}

#[tokio::test]
async fn an_address_that_is_silent_never_comes_before_one_that_answers() {
    let hub = hub(DAY);
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let (dead, alive) = (silent.local_addr().unwrap(), hub.address);
    assert_eq!(reachable_first(vec![dead, alive]).await, [alive, dead]);
    assert_eq!(reachable_first(vec![alive, dead]).await, [alive, dead]);
    assert_eq!(reachable_first(vec![dead]).await, [dead], "one needs no asking");
}

#[tokio::test]
async fn a_host_name_that_somebody_has_is_left_for_one_that_the_hub_makes() {
    let hub = hub(DAY);
    hub.ca.lock().unwrap().refuse = Some((Refusal::NameTaken, "another node is named so"));
    let named = JoinOptions {
        name: Some(AgentId::new("gpu-box").unwrap()),
        ..hub.options()
    };
    assert!(join(named).await.is_err(), "a name that a person chose is not changed");
    assert_eq!(hub.asked().len(), 1);
    let by_host = JoinOptions {
        host: Some(AgentId::new("gpu-box").unwrap()),
        ..hub.options()
    };
    assert!(join(by_host).await.is_err(), "this hub refuses every name");
    assert_eq!(hub.asked().len(), 3, "it asked once more, without a wish");
}

#[tokio::test]
async fn frames_go_both_ways_until_the_core_disconnects() {
    let mut hub = hub(DAY);
    let (link, mut inputs) = hub.link(join(hub.options()).await.unwrap());
    link.send(&ack(1));
    link.disconnect("nothing is up");
    link.connect();
    assert!(matches!(next(&mut inputs).await, Input::LinkUp));
    link.send(&ack(2));
    assert!(matches!(next(&mut inputs).await, Input::Frame(frame) if frame == ack(2)));
    link.disconnect("the core wants it");
    assert!(down(&mut inputs).await.contains("the core wants it"));
    link.connect();
    assert!(matches!(next(&mut inputs).await, Input::LinkUp));
    hub.sessions.recv().await.unwrap();
    let second = hub.sessions.recv().await.unwrap();
    second.close(CloseCode::Stopping, "restart");
    assert!(down(&mut inputs).await.contains("restart"));
    timeout(DEADLINE, link.stop()).await.expect("stops");
}

#[tokio::test]
async fn a_hub_that_is_away_is_reported_and_a_stop_does_not_wait_for_it() {
    let hub = hub(DAY);
    let identity = join(hub.options()).await.unwrap();
    let hole = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (send, mut inputs) = mpsc::channel(16);
    let settings = LinkSettings {
        state_dir: hub.folder.path().to_owned(),
        hub: Some(hole.local_addr().unwrap().to_string()),
        timing: Timing {
            connect: Duration::from_millis(200),
            ..Timing::default()
        },
        seed: 1,
        peers: None,
        renamed: mpsc::channel(1).0,
    };
    let link = Link::start(
        identity.clone(),
        clock(),
        settings.clone(),
        send.clone(),
        &crate::watch::Watch::new().0,
    );
    link.connect();
    assert!(down(&mut inputs).await.contains("no answer from"));
    link.stop().await;
    let timing = Timing {
        connect: Duration::from_secs(3600),
        ..Timing::default()
    };
    let link = Link::start(
        identity,
        clock(),
        LinkSettings { timing, ..settings },
        send,
        &crate::watch::Watch::new().0,
    );
    link.connect();
    timeout(DEADLINE, link.stop()).await.expect("stops at once");
}

#[tokio::test]
async fn an_expired_certificate_is_replaced_by_the_node_key_however_late() {
    let hub = hub(DAY);
    hub.ca.lock().unwrap().life_ms = -60_000;
    let identity = join(hub.options()).await.unwrap();
    hub.ca.lock().unwrap().life_ms = DAY.as_millis() as i64;
    let (link, mut inputs) = hub.link(identity);
    link.connect();
    let Input::Certificate { rejoins, .. } = next(&mut inputs).await else {
        panic!("a new certificate comes first");
    };
    assert_eq!(rejoins, 1);
    assert!(matches!(next(&mut inputs).await, Input::LinkUp));
    assert_eq!(hub.asked(), ["join", "rejoin 1"]);
    let stored = Identity::load(hub.folder.path()).unwrap().expect("joined");
    assert_eq!((stored.generation(), stored.rejoins()), (2, 1));
    drop(link);
}

#[tokio::test]
async fn a_hub_that_says_no_to_a_rejoin_is_quoted() {
    let hub = hub(DAY);
    hub.ca.lock().unwrap().life_ms = -60_000;
    let identity = join(hub.options()).await.unwrap();
    hub.ca.lock().unwrap().refuse = Some((Refusal::TooOften, "rejoined 24 times today"));
    let (link, mut inputs) = hub.link(identity);
    link.connect();
    assert!(
        trouble(&mut inputs)
            .await
            .expect("told")
            .contains("rejoined 24 times today")
    );
    assert!(down(&mut inputs).await.contains("rejoined 24 times today"));
    // It stands until there is a session.
    hub.ca.lock().unwrap().refuse = None;
    hub.ca.lock().unwrap().life_ms = DAY.as_millis() as i64;
    link.connect();
    assert!(matches!(next(&mut inputs).await, Input::Certificate { .. }));
    assert_eq!(trouble(&mut inputs).await, None);
    assert!(matches!(next(&mut inputs).await, Input::LinkUp));
    drop(link);
}

#[tokio::test]
async fn a_certificate_that_has_ended_by_this_machines_clock_alone_is_shown_all_the_same() {
    let hub = hub(DAY);
    let identity = join(hub.options()).await.unwrap();
    // Ten years on: the hub's own certificate counts by the machine's clock.
    let ahead = Wall(identity.certificate_ends().0 + 315_360_000_000);
    let (link, mut inputs) = hub.link_by(identity, CertificateClock::new(ahead));
    link.connect();
    assert!(matches!(next(&mut inputs).await, Input::LinkUp));
    assert!(!hub.asked().contains(&"rejoin 1".to_owned()), "{:?}", hub.asked());
    drop(link);
}

#[tokio::test]
async fn a_certificate_is_renewed_over_the_session_before_it_ends() {
    let hub = hub(Duration::from_secs(3));
    let identity = join(hub.options()).await.unwrap();
    hub.ca.lock().unwrap().life_ms = DAY.as_millis() as i64;
    let ends = identity.certificate_ends();
    let (link, mut inputs) = hub.link(identity);
    link.connect();
    assert!(matches!(next(&mut inputs).await, Input::LinkUp));
    let Input::Certificate { ends: renewed, rejoins } = next(&mut inputs).await else {
        panic!("renewed");
    };
    assert!(renewed > ends && rejoins == 0);
    assert_eq!(hub.asked(), ["join", "renew 1"]);
    link.send(&ack(7));
    assert!(
        matches!(next(&mut inputs).await, Input::Frame(_)),
        "the session went on"
    );
    drop(link);
}

#[tokio::test]
async fn the_last_address_serves_when_the_name_does_not() {
    let hub = hub(DAY);
    let (link, mut inputs) = hub.link(join(hub.options()).await.unwrap());
    link.connect();
    assert!(matches!(next(&mut inputs).await, Input::LinkUp));
    link.stop().await;
    let identity = Identity::load(hub.folder.path()).unwrap().expect("joined");
    let (send, mut inputs) = mpsc::channel(16);
    let settings = LinkSettings {
        state_dir: hub.folder.path().to_owned(),
        hub: Some("no.such.host.invalid:7443".to_owned()),
        timing: Timing::default(),
        seed: 1,
        peers: None,
        renamed: mpsc::channel(1).0,
    };
    let link = Link::start(identity, clock(), settings, send, &crate::watch::Watch::new().0);
    link.connect();
    assert!(matches!(next(&mut inputs).await, Input::LinkUp));
    drop(link);
}

#[tokio::test]
async fn a_torn_identity_file_falls_back_to_its_predecessor_which_asks_with_the_same_key() {
    let hub = hub(DAY);
    let identity = join(hub.options()).await.unwrap();
    let prepared = identity.prepare().unwrap();
    let question = prepared.renew_request().unwrap();
    let answer = hub.ca.lock().unwrap().answer("renew 1".to_owned(), &question.csr);
    let renewed = take(prepared, answer).await.unwrap();
    assert_eq!(renewed.generation(), 2);
    let file = hub.folder.path().join("identity/identity.bin");
    let whole = fs::read(&file).unwrap();
    for length in [0, 10, 40, whole.len() - 1] {
        fs::write(&file, &whole[..length]).unwrap();
        let older = Identity::load(hub.folder.path()).unwrap().expect("the predecessor");
        assert_eq!(older.generation(), 1);
        let again = older.prepare().unwrap().renew_request().unwrap();
        assert_eq!(again.generation, question.generation);
        let key = |csr: &[u8]| {
            let csr = CertificateSigningRequestDer::from(csr);
            CertificateSigningRequestParams::from_der(&csr).unwrap().public_key
        };
        assert_eq!(key(&again.csr), key(&question.csr));
    }
    fs::write(hub.folder.path().join("identity/identity.previous"), "torn too").unwrap();
    let error = Identity::load(hub.folder.path()).unwrap_err().to_string();
    assert!(error.contains("join again with a new token"), "{error}");
}

#[test]
fn a_fleet_spreads_its_renewals_around_two_thirds() {
    let due: Vec<i64> = (0..1000).map(|salt| renewal_due(Wall(0), DAY, salt).0).collect();
    let day = DAY.as_millis() as i64;
    assert!(due.iter().all(|due| (day * 6 / 10..=day * 734 / 1000).contains(due)));
    let mean = due.iter().sum::<i64>() / 1000;
    assert!((mean - day * 2 / 3).abs() < day / 100, "{mean}");
}
