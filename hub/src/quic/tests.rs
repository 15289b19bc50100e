//! Real QUIC on loopback against this hub's desk.

#![allow(clippy::unwrap_used)]

use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use wire::enroll::{Credentials, EnrollAnswer, Refusal};
use wire::frame::{Ack, Goodbye, GoodbyeReason};
use wire::ids::{Epoch, Seq};
use wire_transport::{Client, ClientTls, ConnectError, End, Leaf, Trust};

use super::*;
use crate::enroll::tests::{Machine, Office, office};
use hub_core::Certificates;

const DEADLINE: Duration = Duration::from_secs(20);

struct Hub {
    office: Office,
    quic: Quic,
    sessions: Sessions,
    inputs: mpsc::Receiver<Input>,
}

fn hub(limits: Certificates) -> Hub {
    let office = office(limits);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (send, inputs) = mpsc::channel(64);
    let settings = QuicSettings::default();
    let sessions = Sessions::default();
    let desk = office.desk.clone();
    let quic = Quic::start(socket, office.ca.clone(), desk, send, sessions.clone(), settings).unwrap();
    Hub {
        office,
        quic,
        sessions,
        inputs,
    }
}

impl Hub {
    async fn next(&mut self) -> Input {
        timeout(DEADLINE, self.inputs.recv())
            .await
            .expect("comes in time")
            .expect("the hub runs")
    }

    fn client(&self) -> Client {
        Client::new(self.quic.local_addr(), Timing::default()).unwrap()
    }

    async fn join(&self, machine: &mut Machine, name: &str) -> EnrollAnswer {
        let token = self.office.token(name, false).await;
        let tls = ClientTls::join(self.office.ca.pin(), &clock()).unwrap();
        let visit = self.client().visit(self.quic.local_addr(), &tls).await.unwrap();
        let mut door = visit.open().await.unwrap();
        let request = machine.join(&token, &door.exporter());
        door.write(&request).await.unwrap();
        let answer = door.read().await.unwrap();
        visit.leave();
        answer
    }

    async fn rejoin(&self, machine: &Machine, name: &str) -> EnrollAnswer {
        let tls = ClientTls::rejoin(self.office.ca.trust(), &clock()).unwrap();
        let visit = self.client().visit(self.quic.local_addr(), &tls).await.unwrap();
        let mut door = visit.answer().await.unwrap();
        let mut challenge = [0; 32];
        door.read_raw(&mut challenge).await.unwrap();
        let name = AgentId::new(name).unwrap();
        door.write(&machine.rejoin(&name, &challenge, &door.exporter()))
            .await
            .unwrap();
        let answer = door.read().await.unwrap();
        visit.leave();
        answer
    }

    async fn session(&self, machine: &Machine, credentials: &Credentials) -> Result<Session, ConnectError> {
        let leaf = Leaf {
            chain: vec![CertificateDer::from(credentials.certificate.clone())],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(machine.leaf_key.serialize_der())),
        };
        let trust = Trust {
            ca: credentials
                .ca
                .iter()
                .map(|ca| CertificateDer::from(ca.clone()))
                .collect(),
            trust_domain: credentials.trust_domain.clone(),
        };
        let tls = ClientTls::session(leaf, trust, &clock()).unwrap();
        self.client().session(self.quic.local_addr(), &tls).await
    }
}

fn clock() -> CertificateClock {
    CertificateClock::new(Wall(0))
}

fn granted(answer: EnrollAnswer) -> Credentials {
    match answer {
        EnrollAnswer::Granted(credentials) => *credentials,
        EnrollAnswer::Refused { detail, .. } => panic!("{detail}"),
    }
}

fn ack(seq: u64) -> Frame {
    Frame::Ack(Ack {
        epoch: Epoch(1),
        entries: Some(Seq(seq)),
        telemetry: None,
    })
}

#[tokio::test]
async fn a_machine_joins_speaks_renews_and_hears_goodbye() {
    let mut hub = hub(Certificates::default());
    let mut machine = Machine::new(1);
    let credentials = granted(hub.join(&mut machine, "edge-1").await);
    let mut session = hub.session(&machine, &credentials).await.unwrap();
    let sender = session.sender();
    sender.send(&ack(1)).unwrap();
    let agent_end = tokio::spawn(async move {
        let mut frames = Vec::new();
        loop {
            match session.recv().await {
                Event::Frame(frame) => frames.push(frame),
                Event::Ended(end) => return (frames, end),
                Event::Asked { .. } => panic!("the hub asks nothing"),
            }
        }
    });
    let Input::SessionOpened { session: id, agent } = hub.next().await else {
        panic!("opened first");
    };
    assert_eq!(agent.as_str(), "edge-1");
    assert!(matches!(hub.next().await, Input::Frame { session, .. } if session == id));

    machine.generation = credentials.generation;
    machine.new_leaf_key();
    let answer: EnrollAnswer = sender.ask(RENEW_TAG, &machine.renew()).await.unwrap();
    assert_eq!(granted(answer).generation, 2);

    let goodbye = Frame::Goodbye(Goodbye {
        reason: GoodbyeReason::Stopping,
        retry_after_ms: 1000,
        detail: "restart".to_owned(),
    });
    let sessions = hub.sessions.clone();
    sessions.send(id, &goodbye);
    sessions.close(id, "restart");
    let (frames, end) = timeout(DEADLINE, agent_end).await.expect("ends").unwrap();
    assert_eq!(frames, vec![goodbye]);
    assert!(
        matches!(
            end,
            End::Closed {
                code: CloseCode::Done,
                ..
            }
        ),
        "{end:?}"
    );
    assert!(matches!(hub.next().await, Input::SessionClosed { session, .. } if session == id));
    assert_eq!(sessions.count(), 0);
    sessions.send(id, &ack(1));
}

#[tokio::test]
async fn an_expired_certificate_is_told_and_the_node_key_gets_a_new_one() {
    // Whole seconds: a certificate of no length has ended when the next second begins, at the latest while it is shown.
    let limits = Certificates {
        life: Duration::ZERO,
        ..Certificates::default()
    };
    let hub = hub(limits);
    let mut machine = Machine::new(1);
    let credentials = granted(hub.join(&mut machine, "edge-1").await);
    let deadline = Instant::now() + DEADLINE;
    let error = loop {
        match hub.session(&machine, &credentials).await {
            Err(error) => break error,
            // Still the same second.
            Ok(_) => assert!(Instant::now() < deadline, "it never expires"),
        }
    };
    assert!(matches!(error, ConnectError::Expired { .. }), "{error}");
    machine.generation = 1;
    machine.new_leaf_key();
    let renewed = granted(hub.rejoin(&machine, "edge-1").await);
    assert_eq!((renewed.generation, renewed.rejoins), (2, 1));
}

#[tokio::test]
async fn a_denied_agent_gets_no_certificate() {
    let hub = hub(Certificates::default());
    let mut machine = Machine::new(1);
    granted(hub.join(&mut machine, "edge-1").await);
    hub.office.deny("edge-1").await;
    machine.generation = 1;
    let answer = hub.rejoin(&machine, "edge-1").await;
    assert!(matches!(
        answer,
        EnrollAnswer::Refused {
            refusal: Refusal::Denied,
            ..
        }
    ));
}

#[tokio::test]
async fn a_stopping_hub_says_so_to_every_session() {
    let mut hub = hub(Certificates::default());
    let mut machine = Machine::new(1);
    let credentials = granted(hub.join(&mut machine, "edge-1").await);
    let mut session = hub.session(&machine, &credentials).await.unwrap();
    hub.next().await;
    let agent_end = tokio::spawn(async move { session.recv().await });
    let mut inputs = hub.inputs;
    timeout(DEADLINE, hub.quic.stop()).await.expect("stops in time");
    let event = timeout(DEADLINE, agent_end).await.expect("ends").unwrap();
    assert!(
        matches!(
            event,
            Event::Ended(End::Closed {
                code: CloseCode::Stopping,
                ..
            })
        ),
        "{event:?}"
    );
    assert!(matches!(inputs.recv().await, Some(Input::SessionClosed { .. })));
    assert!(inputs.recv().await.is_none());
}

#[tokio::test]
async fn an_agent_that_stops_is_told_to_the_core_in_its_own_word() {
    let mut hub = hub(Certificates::default());
    let mut machine = Machine::new(1);
    let credentials = granted(hub.join(&mut machine, "edge-1").await);
    let mut session = hub.session(&machine, &credentials).await.unwrap();
    assert!(matches!(hub.next().await, Input::SessionOpened { .. }));
    session.sender().close(CloseCode::Done, hub_core::STOPPED);
    let agent_end = tokio::spawn(async move { session.recv().await });
    let Input::SessionClosed { reason, .. } = hub.next().await else {
        panic!("closed next");
    };
    assert_eq!(reason, hub_core::STOPPED);
    let event = timeout(DEADLINE, agent_end).await.expect("ends").unwrap();
    assert!(matches!(event, Event::Ended(_)), "{event:?}");
}

#[tokio::test]
async fn an_agent_that_does_not_read_is_ended_and_the_turn_loop_never_waits() {
    let mut hub = hub(Certificates::default());
    let mut machine = Machine::new(1);
    let credentials = granted(hub.join(&mut machine, "edge-1").await);
    // Held and never driven: it reads nothing.
    let session = hub.session(&machine, &credentials).await.unwrap();
    let Input::SessionOpened { session: id, .. } = hub.next().await else {
        panic!("opened first");
    };
    let sessions = hub.sessions.clone();
    for seq in 0..100_000 {
        sessions.send(id, &ack(seq));
    }
    assert!(matches!(hub.next().await, Input::SessionClosed { session, .. } if session == id));
    drop(session);
}

#[tokio::test]
async fn strangers_that_say_nothing_keep_no_agent_out_and_surplus_is_closed_at_once() {
    let hub = hub(Certificates::default());
    let mut machine = Machine::new(1);
    let credentials = granted(hub.join(&mut machine, "edge-1").await);
    let tls = ClientTls::join(hub.office.ca.pin(), &clock()).unwrap();
    let client = hub.client();
    let mut silent = Vec::new();
    for _ in 0..GUESTS_EACH + 8 {
        silent.push(client.visit(hub.quic.local_addr(), &tls).await.unwrap());
    }
    // The hub opens a stream for nobody; whoever was sent away hears it as the end.
    let mut closed = 0;
    for visit in &silent[GUESTS_EACH..] {
        let ended = timeout(DEADLINE, visit.answer())
            .await
            .expect("at once, not at a deadline");
        closed += usize::from(ended.is_err());
    }
    assert!(closed >= 8, "{closed} of the surplus were closed");
    let _session = hub
        .session(&machine, &credentials)
        .await
        .expect("an agent's place is its own");
    hub.quic.stop().await;
}

#[tokio::test]
async fn an_address_with_bad_tokens_waits_and_agents_there_do_not() {
    let hub = hub(Certificates::default());
    let mut machine = Machine::new(1);
    let credentials = granted(hub.join(&mut machine, "edge-1").await);
    let tls = ClientTls::join(hub.office.ca.pin(), &clock()).unwrap();
    let client = hub.client();
    let mut answers = Vec::new();
    for _ in 0..12 {
        let visit = client.visit(hub.quic.local_addr(), &tls).await.unwrap();
        let request = machine.join(&wire::enroll::JoinToken([9; 16]), &[0; 32]);
        let answer = async {
            let mut door = visit.open().await?;
            door.write(&request).await?;
            door.read::<EnrollAnswer>().await
        };
        answers.push(timeout(DEADLINE, answer).await.unwrap().is_ok());
    }
    assert_eq!(answers, [vec![true; 10], vec![false; 2]].concat());
    let _session = hub
        .session(&machine, &credentials)
        .await
        .expect("sessions are another door");
    hub.quic.stop().await;
}
