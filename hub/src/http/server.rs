//! TLS and HTTP connections: bounded in number, in time, and in what a silent peer can hold.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::certificate::Certificate;

/// Connections at once: 40 browsers with six each, beside agents that never come here.
const CONNECTIONS: usize = 256;
/// Time for a TLS handshake, and for a request's head: a slow link needs two or three round trips.
const PATIENCE: Duration = Duration::from_secs(10);
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
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let ended = CancellationToken::new();
        loop {
            // Beyond the bound, connections wait in the kernel's own short queue.
            let place = tokio::select! {
                () = stop.cancelled() => break,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection = serve(stream, self.tls.clone(), self.router.clone(), stop.clone());
                    let ended = ended.clone();
                    tasks.spawn(async move {
                        let _place = place;
                        tokio::select! {
                            () = ended.cancelled() => {}
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

async fn serve(stream: TcpStream, tls: TlsAcceptor, router: Router, stop: CancellationToken) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    // Events are small and each is waited for.
    stream.set_nodelay(true).map_err(|error| text(&error))?;
    let stream = tokio::time::timeout(PATIENCE, tls.accept(stream))
        .await
        .map_err(|_| "no TLS handshake in time".to_owned())?
        .map_err(|error| text(&error))?;
    let service = TowerToHyperService::new(router);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(64 * 1024);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return result.map_err(|error| text(&error)),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await.map_err(|error| text(&error))
}
