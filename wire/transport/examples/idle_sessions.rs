//! Measures what an idle session costs a hub: `cargo run --release -p wire-transport --example idle_sessions -- 1000`.
//!
//! The agents live in a child process, so that the growth of this process is the hub's end alone. Prints KiB of resident memory
//! for each session, 5 s after the last one came up.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::task::JoinSet;
use wire::frame::{Ack, Frame};
use wire::ids::{Epoch, Seq};
use wire::time::Wall;
use wire_transport::{Arrival, CertificateClock, Client, ClientTls, Event, Leaf, Server, ServerTls, Timing, Trust};

const DOMAIN: &str = "idle";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [role, address, count] if role == "agents" => {
            agents(address.parse().unwrap(), count.parse().unwrap()).await;
        }
        [] => hub(1000).await,
        [count, ..] => hub(count.parse().unwrap()).await,
    }
}

async fn hub(count: usize) {
    let ca = Ca::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let leaf = ca.leaf("hub", ExtendedKeyUsagePurpose::ServerAuth);
    let tls = ServerTls::new(leaf, ca.trust(), &clock()).unwrap();
    let mut server = Server::new(socket, &tls, Timing::default()).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["agents", &address.to_string(), &count.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let secret = format!("{}\n{}\n", hex(&ca.der), hex(&ca.key.serialize_der()));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(secret.as_bytes()).unwrap();

    let before = resident_kib();
    let mut sessions = JoinSet::new();
    while sessions.len() < count {
        if let Some(Arrival::Session(pending)) = server.accept().await {
            sessions.spawn(async move {
                let mut session = pending.admit().await.unwrap();
                let sender = session.sender();
                // Each frame is answered, as a hub acknowledges; then nothing is said any more.
                while let Event::Frame(frame) = session.recv().await {
                    sender.send(&frame).unwrap();
                }
            });
        }
    }
    let up = tokio::time::Instant::now();
    let quiet = tokio::time::sleep_until(up + Duration::from_secs(5));
    tokio::pin!(quiet);
    loop {
        tokio::select! {
            () = &mut quiet => break,
            _ = server.accept() => {}
        }
    }
    let grown = resident_kib() - before;
    println!(
        "{count} sessions, {grown} KiB, {:.1} KiB each",
        grown as f64 / count as f64
    );
    drop(stdin);
    child.kill().unwrap();
    child.wait().unwrap();
}

async fn agents(hub: SocketAddr, count: usize) {
    let mut lines = BufReader::new(std::io::stdin()).lines();
    let der = CertificateDer::from(unhex(&lines.next().unwrap().unwrap()));
    let key = PrivatePkcs8KeyDer::from(unhex(&lines.next().unwrap().unwrap()));
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let ca = Ca { der, key };
    let leaf = ca.leaf("agent/edge-1", ExtendedKeyUsagePurpose::ClientAuth);
    let tls = ClientTls::session(leaf, ca.trust(), &clock()).unwrap();
    // One socket for all: this end is not measured.
    let client = Client::new(hub, Timing::default()).unwrap();
    let mut sessions = JoinSet::new();
    for _ in 0..count {
        let mut session = client.session(hub, &tls).await.unwrap();
        let ack = Frame::Ack(Ack {
            epoch: Epoch(1),
            entries: Some(Seq(1)),
            telemetry: None,
        });
        session.sender().send(&ack).unwrap();
        sessions.spawn(async move { while let Event::Frame(_) = session.recv().await {} });
    }
    sessions.join_all().await;
}

struct Ca {
    der: CertificateDer<'static>,
    key: KeyPair,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let der = Self::params().self_signed(&key).unwrap().der().clone();
        Self { der, key }
    }

    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params
    }

    fn trust(&self) -> Trust {
        Trust {
            ca: vec![self.der.clone()],
            trust_domain: DOMAIN.to_owned(),
        }
    }

    fn leaf(&self, path: &str, usage: ExtendedKeyUsagePurpose) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let uri = format!("spiffe://{DOMAIN}/{path}");
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
        params.extended_key_usages = vec![usage];
        let issuer = Issuer::new(Self::params(), &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Leaf {
            chain: vec![certificate.der().clone(), self.der.clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        }
    }
}

fn clock() -> CertificateClock {
    CertificateClock::new(Wall(0))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
