//! One HTTPS connection to a hub, with its token and its CA as the only root.

use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The parts of a context file that a connection needs.
#[derive(Debug, Clone, Deserialize)]
pub struct Context {
    hub: String,
    token: String,
    ca_pem: String,
}

/// A connection.
pub struct Line {
    sender: SendRequest<Empty<Bytes>>,
    host: String,
    authorization: String,
}

impl Line {
    /// Connects.
    pub async fn open(context: &Context) -> Result<Self, String> {
        let address = context.hub.trim_start_matches("https://").to_owned();
        let mut roots = rustls::RootCertStore::empty();
        for found in CertificateDer::pem_slice_iter(context.ca_pem.as_bytes()) {
            let found = found.map_err(|cause| format!("ca_pem: {cause}"))?;
            roots.add(found).map_err(|cause| format!("ca_pem: {cause}"))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|cause| cause.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let name = ServerName::try_from(name.to_owned()).map_err(|cause| format!("`{name}`: {cause}"))?;
        let unreachable = |cause: std::io::Error| format!("{address}: {cause}");
        let stream = TcpStream::connect(&address).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let stream = TlsConnector::from(Arc::new(tls))
            .connect(name, stream)
            .await
            .map_err(unreachable)?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|cause| format!("{address}: {cause}"))?;
        // It ends with its sender, or with the hub; either shows in the next answer.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self {
            sender,
            authorization: format!("Bearer {}", context.token),
            host: address,
        })
    }

    /// Gets a path and reads the whole answer; returns its status.
    pub async fn get(&mut self, path: &str) -> Result<u16, String> {
        let request = Request::get(path)
            .header("host", &self.host)
            .header("authorization", &self.authorization)
            .body(Empty::new())
            .map_err(|cause| cause.to_string())?;
        self.sender.ready().await.map_err(|cause| cause.to_string())?;
        let answer = self
            .sender
            .send_request(request)
            .await
            .map_err(|cause| cause.to_string())?;
        let status = answer.status().as_u16();
        answer.into_body().collect().await.map_err(|cause| cause.to_string())?;
        Ok(status)
    }
}
