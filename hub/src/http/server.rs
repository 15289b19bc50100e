//! TLS and HTTP connections: bounded in number, in time, and in what a silent or a slow peer can hold.
//!
//! Surplus is closed at once and never waits before the port. Read next: `places.rs` (who stays).

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use wire_transport::Paced;

use super::certificate::Certificate;
use super::places::{Place, Places};

/// Time for a TLS handshake, and for a request's head: a slow link needs two or three round trips.
const PATIENCE: Duration = Duration::from_secs(10);
/// A stranger that has not shown who it is within this is not loading a page over a bad line.
const STRANGERS_STAY: Duration = Duration::from_secs(60);
/// Silence of both ends: a stream of events says something every ten seconds, and a request may wait for a node's answer.
const QUIET: Duration = Duration::from_secs(660);
/// Time for open requests to end when the hub stops.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// The listening side.
pub struct Server {
    listener: tokio::net::TcpListener,
    tls: TlsAcceptor,
    router: Router,
}

/// Why HTTPS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// TLS cannot be served.
    #[error("cannot serve TLS 1.3")]
    Certificate {
        /// Why.
        #[source]
        cause: rustls::Error,
    },
    /// The socket does not fit.
    #[error("cannot listen for HTTPS")]
    Socket {
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

impl Server {
    /// A server on a bound socket that does not block.
    pub fn new(listener: TcpListener, certificate: Arc<Certificate>, router: Router) -> Result<Self, ServerError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|cause| ServerError::Certificate { cause })?
            .with_no_client_auth()
            .with_cert_resolver(certificate);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = tokio::net::TcpListener::from_std(listener).map_err(|cause| ServerError::Socket { cause })?;
        Ok(Self {
            listener,
            tls: TlsAcceptor::from(Arc::new(tls)),
            router,
        })
    }

    /// Serves until it is told to stop, then lets open requests end for a moment.
    pub async fn run(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let places = Places::default();
        let ended = CancellationToken::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let place = places.enter(peer.ip());
                    let router = Known {
                        inner: TowerToHyperService::new(self.router.clone()),
                        place: place.clone(),
                    };
                    let connection = serve(stream, self.tls.clone(), router, stop.clone());
                    let ended = ended.clone();
                    tasks.spawn(async move {
                        tokio::select! {
                            () = ended.cancelled() => {}
                            () = place.given_away() => tracing::debug!(%peer, "connection gave way to a newer one"),
                            () = overstayed(&place) => tracing::debug!(%peer, "stranger stayed too long"),
                            result = connection => if let Err(error) = result {
                                tracing::debug!(%peer, error, "connection ended");
                            },
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // Out of descriptors: they come back when others close.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        tasks.close();
        if tokio::time::timeout(LAST_REQUESTS, tasks.wait()).await.is_err() {
            ended.cancel();
            tasks.wait().await;
        }
    }
}

/// Until a stranger must go. Whoever became known meanwhile may stay.
async fn overstayed(place: &Place) {
    tokio::time::sleep(STRANGERS_STAY).await;
    if !place.is_strangers() {
        std::future::pending::<()>().await;
    }
}

/// The router, and the place of the connection on which its requests come.
#[derive(Clone)]
struct Known {
    inner: TowerToHyperService<Router>,
    place: Place,
}

impl Service<Request<Incoming>> for Known {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.place.clone());
        self.inner.call(request)
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, router: Known, stop: CancellationToken) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    // Events are small and each is waited for.
    stream.set_nodelay(true).map_err(|error| text(&error))?;
    let stream = Paced::new(stream, PATIENCE, QUIET);
    let stream = tokio::time::timeout(PATIENCE, tls.accept(stream))
        .await
        .map_err(|_| "no TLS handshake in time".to_owned())?
        .map_err(|error| text(&error))?;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(64 * 1024);
    let connection = http.serve_connection(TokioIo::new(stream), router);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return result.map_err(|error| text(&error)),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await.map_err(|error| text(&error))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use rustls_pki_types::ServerName;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::enroll::tests::{Office, office};
    use crate::http::certificate::Source;
    use hub_core::Certificates;

    /// The answer of a health check, by a client that trusts the office's CA.
    async fn health(office: &Office, address: SocketAddr) -> String {
        let mut roots = rustls::RootCertStore::empty();
        for ca in office.ca.trust().ca {
            roots.add(ca).expect("a certificate");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await.expect("listens");
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, stream).await.expect("a handshake");
        let request = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    #[tokio::test]
    async fn strangers_that_hold_the_port_open_keep_no_health_check_out() {
        let office = office(Certificates::default());
        let source = Source::Own {
            ca: Arc::clone(&office.ca),
            names: vec!["localhost".to_owned()],
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificate = Certificate::new(source, provider).expect("a certificate");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("bound");
        let router = Router::new().route("/livez", get(super::super::health::live));
        let server = Server::new(listener, certificate, router).expect("a server");
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.run(stop.clone()));
        let mut silent = Vec::new();
        for _ in 0..300 {
            let mut stream = TcpStream::connect(address).await.expect("listens");
            stream.write_all(&[22, 3, 1]).await.expect("the start of a hello");
            silent.push(stream);
        }
        let answer = tokio::time::timeout(Duration::from_secs(20), health(&office, address)).await;
        assert!(answer.expect("in time").ends_with("ok\n"));
        let closed = silent[0].read(&mut [0; 1]).await;
        assert!(matches!(closed, Ok(0) | Err(_)), "the oldest have given way");
        stop.cancel();
        serving.await.expect("it stops");
    }
}
