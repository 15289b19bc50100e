//! Asks a hub over TLS, or a node over its Unix socket: the same paths, the same code.
//!
//! One connection for each request: a command line asks a handful of things, and a broken connection then never needs repair.
//! The hub's certificate must come from the CA in the context and from no other.
//!
//! Read next: `session.rs` (whom a verb asks), `events.rs` (the stream).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use wire::api::{Context, Problem};

use crate::events::Events;
use crate::failure::{Exit, Failure};

/// Longest answer that is read: a page of a thousand decisions with their traces is a tenth of it.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Longest wait for a connection, in seconds; a hub that is there answers within one round trip.
const CONNECT_SECONDS: u64 = 5;
/// Between the first tries of two addresses of one name; RFC 8305 recommends 250 ms.
const BETWEEN_TRIES: Duration = Duration::from_millis(250);

/// One hub or node that can be asked.
#[derive(Debug, Clone)]
pub struct Client {
    /// What people call it: `hub https://…` or `node edge-03`.
    pub name: String,
    /// Which node it is; `None` for a hub, which knows all of them.
    pub node: Option<wire::AgentId>,
    place: Place,
    patience: Duration,
}

#[derive(Debug, Clone)]
enum Place {
    Hub {
        host: String,
        port: u16,
        server: ServerName<'static>,
        authorization: Option<String>,
        tls: Arc<rustls::ClientConfig>,
    },
    Node {
        socket: PathBuf,
    },
}

impl Client {
    /// The context's hub. Fails when the context cannot be used, and does not connect yet.
    pub fn hub(context: &Context, patience: Duration) -> Result<Self, Failure> {
        let unusable = |what: String| {
            Failure::new(Exit::Usage, format!("the context cannot be used: {what}"))
                .advise("take a fresh context file from the hub's state folder (admin.json)")
        };
        let uri: Uri = context
            .hub
            .parse()
            .map_err(|_| unusable(format!("hub `{}` is not an address", context.hub)))?;
        let host = uri.host().map(|host| host.trim_matches(['[', ']']).to_owned());
        let (Some("https"), Some(host), Some(port)) = (uri.scheme_str(), host, uri.port_u16()) else {
            return Err(unusable(format!("hub `{}` is not https://HOST:PORT", context.hub)));
        };
        let server = ServerName::try_from(host.clone())
            .map_err(|_| unusable(format!("`{host}` is not a host name or address")))?;
        Ok(Self {
            name: format!("hub {}", context.hub),
            node: None,
            place: Place::Hub {
                host,
                port,
                server,
                authorization: match context.token.as_str() {
                    "" => None,
                    token => Some(format!("Bearer {token}")),
                },
                tls: Arc::new(pinned(&context.ca_pem).map_err(unusable)?),
            },
            patience,
        })
    }

    /// A node's own socket.
    pub fn node(name: &wire::AgentId, socket: &Path, patience: Duration) -> Self {
        Self {
            name: format!("node {name}"),
            node: Some(name.clone()),
            place: Place::Node {
                socket: socket.to_owned(),
            },
            patience,
        }
    }

    /// A socket that no context names.
    pub fn socket(socket: &Path, patience: Duration) -> Self {
        Self {
            name: format!("the node at `{}`", socket.display()),
            node: None,
            place: Place::Node {
                socket: socket.to_owned(),
            },
            patience,
        }
    }

    /// The same, for an answer that takes longer than most.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Gets JSON from a path below `/api/v1`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.parse(path, &self.bytes(path).await?)
    }

    /// Gets the bytes as they are.
    pub async fn bytes(&self, path: &str) -> Result<Bytes, Failure> {
        self.ask(Method::GET, path, None, self.patience).await
    }

    /// Posts JSON. `patience` is how long the answer may take, for requests that wait for an outcome.
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        patience: Duration,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|cause| Failure::new(Exit::Failure, "cannot write the request as JSON").because(cause))?;
        let body = Some(("application/json", Bytes::from(body)));
        self.parse(path, &self.ask(Method::POST, path, body, patience).await?)
    }

    /// Changes what a path names.
    pub async fn patch<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|cause| Failure::new(Exit::Failure, "cannot write the request as JSON").because(cause))?;
        let body = Some(("application/json", Bytes::from(body)));
        self.parse(path, &self.ask(Method::PATCH, path, body, self.patience).await?)
    }

    /// Posts JSON whose answer has no body.
    pub async fn post_bare<B: Serialize>(&self, path: &str, body: &B) -> Result<(), Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|cause| Failure::new(Exit::Failure, "cannot write the request as JSON").because(cause))?;
        let body = Some(("application/json", Bytes::from(body)));
        self.ask(Method::POST, path, body, self.patience).await.map(drop)
    }

    /// Posts a text as it is.
    pub async fn post_text<T: DeserializeOwned>(&self, path: &str, text: Vec<u8>) -> Result<T, Failure> {
        let body = Some(("text/plain; charset=utf-8", Bytes::from(text)));
        let answer = self.ask(Method::POST, path, body, self.patience).await?;
        self.parse(path, &answer)
    }

    /// Posts bytes as they are.
    pub async fn post_bytes<T: DeserializeOwned>(&self, path: &str, bytes: Vec<u8>) -> Result<T, Failure> {
        let body = Some(("application/octet-stream", Bytes::from(bytes)));
        let answer = self.ask(Method::POST, path, body, self.patience).await?;
        self.parse(path, &answer)
    }

    /// Deletes what a path names; the answer has no body.
    pub async fn delete_bare(&self, path: &str) -> Result<(), Failure> {
        self.ask(Method::DELETE, path, None, self.patience).await.map(drop)
    }

    /// Deletes what a path names; what is told of it comes back.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.parse(path, &self.ask(Method::DELETE, path, None, self.patience).await?)
    }

    /// Opens the stream of events.
    pub async fn events(&self) -> Result<Events, Failure> {
        self.follow("/stream").await
    }

    /// Opens a stream of other events, at a path below `/api/v1`.
    pub async fn follow(&self, path: &str) -> Result<Events, Failure> {
        let answer = self.within(self.patience, self.send(Method::GET, path, None)).await?;
        match answer.response.status() {
            StatusCode::OK => Ok(Events::new(self.name.clone(), answer)),
            _ => Err(self.refused(answer).await),
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
        patience: Duration,
    ) -> Result<Bytes, Failure> {
        self.within(patience, async {
            let answer = self.send(method, path, body).await?;
            match answer.response.status().is_success() {
                true => self.whole(answer).await,
                false => Err(self.refused(answer).await),
            }
        })
        .await
    }

    async fn within<T>(
        &self,
        patience: Duration,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        match timeout(patience, work).await {
            Ok(result) => result,
            Err(_) => Err(Failure::new(
                Exit::TimedOut,
                format!(
                    "{} did not answer within {}",
                    self.name,
                    wire::view::span(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX))
                ),
            )
            .advise("wait longer with --timeout")),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<(&'static str, Bytes)>) -> Result<Answer, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(ACCEPT, "*/*");
        if let Some((kind, _)) = &body {
            request = request.header(CONTENT_TYPE, *kind);
        }
        let body = Full::new(body.map(|(_, bytes)| bytes).unwrap_or_default());
        match &self.place {
            Place::Node { socket } => {
                let stream = UnixStream::connect(socket)
                    .await
                    .map_err(|cause| self.node_away(socket, cause))?;
                self.over(stream, request.header(HOST, "node"), body).await
            }
            Place::Hub {
                host,
                port,
                server,
                authorization,
                tls,
            } => {
                let stream = self.connect_tls(host, *port, server, tls).await?;
                let mut request = request.header(HOST, format!("{host}:{port}"));
                if let Some(authorization) = authorization {
                    request = request.header(AUTHORIZATION, authorization);
                }
                self.over(stream, request, body).await
            }
        }
    }

    async fn connect_tls(
        &self,
        host: &str,
        port: u16,
        server: &ServerName<'static>,
        tls: &Arc<rustls::ClientConfig>,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>, Failure> {
        let connecting = timeout(Duration::from_secs(CONNECT_SECONDS), connect(host, port));
        let stream = match connecting.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(cause)) => return Err(self.away().because(cause)),
            Err(_) => {
                return Err(self.away().because(format!("no answer within {CONNECT_SECONDS} s")));
            }
        };
        tokio_rustls::TlsConnector::from(Arc::clone(tls))
            .connect(server.clone(), stream)
            .await
            .map_err(|cause| self.not_trusted(cause))
    }

    async fn over<S>(
        &self,
        stream: S,
        request: hyper::http::request::Builder,
        body: Full<Bytes>,
    ) -> Result<Answer, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let request = request
            .body(body)
            .map_err(|cause| Failure::new(Exit::Usage, "the request cannot be written").because(cause))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|cause| self.away().because(cause))?;
        let line = Line(tokio::spawn(async move {
            // What goes wrong on it is told by the answer, or by its absence.
            drop(connection.await);
        }));
        match sender.send_request(request).await {
            Ok(response) => Ok(Answer { response, line }),
            Err(cause) => Err(self.away().because(cause)),
        }
    }

    async fn whole(&self, answer: Answer) -> Result<Bytes, Failure> {
        Limited::new(answer.response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .map_err(|cause| {
                Failure::new(Exit::Unreachable, format!("the answer of {} broke off", self.name)).because(cause)
            })
    }

    /// An answer that is not a success: a problem document, or whatever stands in the way of one.
    async fn refused(&self, answer: Answer) -> Failure {
        let status = answer.response.status();
        let body = match self.whole(answer).await {
            Ok(body) => body,
            Err(failure) => return failure,
        };
        let problem = serde_json::from_slice(&body).unwrap_or_else(|_| Problem {
            kind: "about:blank".to_owned(),
            title: status
                .canonical_reason()
                .unwrap_or("an error without a name")
                .to_owned(),
            status: status.as_u16(),
            detail: String::from_utf8_lossy(&body[..body.len().min(500)]).trim().to_owned(),
            code: String::new(),
            errors: Vec::new(),
            decision_id: None,
            permission: None,
            retry_after: None,
        });
        Failure::from_problem(&self.name, &problem)
    }

    fn parse<T: DeserializeOwned>(&self, path: &str, body: &Bytes) -> Result<T, Failure> {
        serde_json::from_slice(body).map_err(|cause| {
            Failure::new(
                Exit::Failure,
                format!("{} answers {path} with something unexpected", self.name),
            )
            .because(cause)
            .advise("use the `sentinel` of the same version")
        })
    }

    fn away(&self) -> Failure {
        Failure::new(Exit::Unreachable, format!("{} cannot be reached", self.name))
    }

    fn node_away(&self, socket: &Path, cause: std::io::Error) -> Failure {
        let failure = Failure::new(
            Exit::Unreachable,
            format!("{} does not answer on its socket `{}`", self.name, socket.display()),
        );
        match cause.kind() {
            std::io::ErrorKind::PermissionDenied => {
                failure.advise("use the account that the agent runs under, or root: sudo -u sentinel-agent sentinel …")
            }
            _ if self.node.is_none() => failure
                .advise("see whether sentinel-agent runs on this machine")
                .advise("or name its socket, where its state folder is another: --socket PATH"),
            _ => failure.advise("see whether its sentinel-agent runs"),
        }
        .because(cause)
    }

    fn not_trusted(&self, cause: std::io::Error) -> Failure {
        let by_certificate = cause
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
            .is_some_and(|error| matches!(error, rustls::Error::InvalidCertificate(_)));
        match by_certificate {
            true => Failure::new(
                Exit::Unreachable,
                format!("{} does not prove that it is the hub of this context", self.name),
            )
            .because(cause)
            .advise("if the hub was set up anew, take a fresh context file from its state folder (admin.json)"),
            false => self.away().because(cause),
        }
    }
}

/// Connects to whichever address of a name answers first.
async fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let found = tokio::net::lookup_host((host, port)).await?;
    race(found.collect()).await
}

/// Tries addresses a little apart, in their order, without giving up on the first (RFC 8305): a dead IPv6 address then costs a
/// quarter of a second and no more. Fails with what the last one to answer said.
async fn race(addresses: Vec<SocketAddr>) -> std::io::Result<TcpStream> {
    let mut tries = tokio::task::JoinSet::new();
    let mut delay = Duration::ZERO;
    for address in addresses {
        tries.spawn(async move {
            tokio::time::sleep(delay).await;
            TcpStream::connect(address).await
        });
        delay += BETWEEN_TRIES;
    }
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    while let Some(tried) = tries.join_next().await {
        match tried.unwrap_or_else(|panicked| Err(std::io::Error::other(panicked))) {
            Ok(stream) => return Ok(stream),
            Err(cause) => last = cause,
        }
    }
    Err(last)
}

/// An answer's head, with the connection that its body still comes over.
#[derive(Debug)]
pub struct Answer {
    /// Status, headers, and the body to come.
    pub response: Response<Incoming>,
    /// Kept until the body is read.
    pub line: Line,
}

/// A connection, which ends when nobody needs it.
#[derive(Debug)]
pub struct Line(tokio::task::JoinHandle<()>);

impl Drop for Line {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// TLS 1.3 with the context's CA as the only root.
fn pinned(ca_pem: &str) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|_| "`ca_pem` is not a PEM certificate".to_owned())?;
        roots
            .add(certificate)
            .map_err(|error| format!("`ca_pem` holds no usable certificate ({error})"))?;
    }
    if roots.is_empty() {
        return Err("`ca_pem` holds no certificate".to_owned());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| format!("TLS 1.3 is not available ({error})"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Writes a value for a query: everything but the unreserved characters of RFC 3986 is escaped.
pub fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hub: &str, ca_pem: &str, expected: &str) {
        let context = Context {
            hub: hub.to_owned(),
            token: "t".to_owned(),
            refresh_token: None,
            token_ends: None,
            ca_pem: ca_pem.to_owned(),
            nodes: std::collections::BTreeMap::new(),
            demo_socket: None,
        };
        let failure = Client::hub(&context, Duration::ZERO).expect_err("unusable");
        assert!(failure.told().contains(expected), "{}", failure.told());
    }

    #[test]
    fn an_unusable_context_is_told_before_anything_is_sent() {
        check("http://127.0.0.1:1", "", "not https://HOST:PORT");
        check("https://127.0.0.1", "", "not https://HOST:PORT");
        check("https://127.0.0.1:1", "", "no certificate");
        check(
            "https://127.0.0.1:1",
            "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
            "no usable certificate",
        );
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(escaped("edge-03.1.4 &ü"), "edge-03.1.4%20%26%C3%BC");
    }
}
