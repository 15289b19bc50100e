//! `sessions`: memory of a real hub for each of a thousand connected agents, beside the least that a TLS connection takes.
//!
//! The limit is a server in a process of its own that holds a thousand idle TLS 1.3 connections over TCP with one task each.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::fleet::{client, enroll};
use crate::lab::{Lab, Place, Running};
use crate::machine::proportional_bytes;
use crate::report::{Figure, Goal};

const SESSIONS: usize = 1_000;

/// Runs it.
pub async fn run(place: &Place, bundle: &Path) -> Result<Vec<Figure>, String> {
    let lab = Lab::new(place, "sessions", bundle)?;
    let client = client(&lab)?;
    let mut fleet = Vec::new();
    for agent in 0..SESSIONS {
        fleet.push(enroll(&lab, &client, &format!("idle-{agent}")).await?);
    }
    // A new process knows all of them from its store and has nothing left of their enrolment that a session could use again: what
    // is measured is all that sessions cost besides. One that comes and goes pays for what the first one sets up for all.
    let lab = lab.restart_hub()?;
    drop(fleet[0].connect(&client, lab.address).await?);
    settle().await;
    let before = proportional_bytes(lab.hub.pid())?;
    let mut tasks = tokio::task::JoinSet::new();
    for bare in &fleet {
        let (mut session, _) = bare.connect(&client, lab.address).await?;
        tasks.spawn(async move {
            loop {
                if let wire_transport::Event::Ended(end) = session.recv().await {
                    return end;
                }
            }
        });
    }
    settle().await;
    if let Some(ended) = tasks.try_join_next() {
        return Err(format!("a session ended while it was measured: {ended:?}"));
    }
    let ours = (proportional_bytes(lab.hub.pid())?.saturating_sub(before)) as f64 / 1024.0 / SESSIONS as f64;
    let limit = tls_limit(place).await?;
    Ok(vec![
        Figure::new("sessions", "KiB each", ours, Goal::AtMost(40.0)).limit("idle TLS over TCP", limit),
    ])
}

/// Lets buffers of the handshakes drain: two of the hub's own housekeeping rounds.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

async fn tls_limit(place: &Place) -> Result<f64, String> {
    let this = std::env::current_exe().map_err(|cause| cause.to_string())?;
    let mut command = Command::new(this);
    command.args(["--serve-tls"]).stdin(Stdio::null());
    let server = Running::start(&mut command, &place.work.join("tls.log"))?;
    let address: SocketAddr = server
        .ready
        .trim_start_matches("ready ")
        .parse()
        .map_err(|_| format!("the TLS server's address `{}` is none", server.ready))?;
    let before = proportional_bytes(server.pid())?;
    let connector = TlsConnector::from(Arc::new(client_config()?));
    let mut held = Vec::new();
    for _ in 0..SESSIONS {
        let stream = TcpStream::connect(address).await.map_err(|cause| cause.to_string())?;
        let name = rustls_pki_types::ServerName::try_from("localhost").map_err(|cause| cause.to_string())?;
        let mut stream = connector
            .connect(name, stream)
            .await
            .map_err(|cause| cause.to_string())?;
        stream.write_all(&[1]).await.map_err(|cause| cause.to_string())?;
        held.push(stream);
    }
    settle().await;
    Ok((proportional_bytes(server.pid())?.saturating_sub(before)) as f64 / 1024.0 / SESSIONS as f64)
}

pub fn client_config() -> Result<rustls::ClientConfig, String> {
    // The certificate is made by the server process at start, so there is nothing to hold it against: memory is what counts here.
    #[derive(Debug)]
    struct Anyone(Arc<rustls::crypto::CryptoProvider>);
    impl rustls::client::danger::ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _: &rustls_pki_types::CertificateDer<'_>,
            _: &[rustls_pki_types::CertificateDer<'_>],
            _: &rustls_pki_types::ServerName<'_>,
            _: &[u8],
            _: rustls_pki_types::UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &rustls_pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Err(rustls::Error::General("only TLS 1.3 is spoken here".to_owned()))
        }
        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &rustls_pki_types::CertificateDer<'_>,
            signed: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            rustls::crypto::verify_tls13_signature(
                message,
                certificate,
                signed,
                &self.0.signature_verification_algorithms,
            )
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
    let provider = wire_transport::provider();
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|cause| cause.to_string())?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth())
}

/// The limit's server, in a process of its own: `sentinel-bench --serve-tls`.
pub async fn serve_tls() -> Result<(), String> {
    let key = rcgen::KeyPair::generate().map_err(|cause| cause.to_string())?;
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .and_then(|params| params.self_signed(&key))
        .map_err(|cause| cause.to_string())?;
    let key = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).map_err(str::to_owned)?;
    let config = rustls::ServerConfig::builder_with_provider(wire_transport::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
        })
        .map_err(|cause| cause.to_string())?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(|cause| cause.to_string())?;
    println!("ready {}", listener.local_addr().map_err(|cause| cause.to_string())?);
    loop {
        let (stream, _) = listener.accept().await.map_err(|cause| cause.to_string())?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let mut byte = [0];
                while stream.read(&mut byte).await.is_ok_and(|length| length > 0) {}
            }
        });
    }
}
