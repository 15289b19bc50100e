//! A hub and nodes that answer what a test tells them to, over real TLS and real Unix sockets; and the real `sentinel`.
//!
//! They follow `wire::api` to the letter and decide nothing. Every row comes from the types of the contract, so that a change of
//! it breaks these tests.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::Response;
use axum::serve::Listener;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use wire::api::{Context, NodeContext};

pub const TOKEN: &str = "sat_secret";

/// One answer.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    kind: &'static str,
    body: String,
}

/// 200 with JSON.
pub fn ok(body: impl Serialize) -> Reply {
    Reply {
        status: 200,
        kind: "application/json",
        body: serde_json::to_string(&body).expect("plain data"),
    }
}

/// 200 with a list.
pub fn items(rows: impl Serialize) -> Reply {
    ok(json!({ "items": rows }))
}

/// 200 with plain text.
pub fn text(body: &str) -> Reply {
    Reply {
        status: 200,
        kind: "text/plain; charset=utf-8",
        body: body.to_owned(),
    }
}

/// A stream with these events, which then ends.
pub fn events(events: &[Value]) -> Reply {
    Reply {
        status: 200,
        kind: "text/event-stream",
        body: events
            .iter()
            .map(|event| format!("event: x\ndata: {event}\n\n"))
            .collect(),
    }
}

/// An error as RFC 9457 writes it.
pub fn problem(status: u16, code: &str, detail: &str) -> Reply {
    Reply {
        kind: "application/problem+json",
        ..ok(json!({
            "type": "about:blank", "title": code, "status": status, "detail": detail, "code": code,
        }))
    }
    .with_status(status)
}

impl Reply {
    fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}

/// Answers by `METHOD /path?query` below `/api/v1`; the last answer of a route is given again and again.
type Routes = Arc<Mutex<BTreeMap<String, VecDeque<Reply>>>>;
/// Requests with their bodies, in order.
type Asked = Arc<Mutex<Vec<String>>>;

/// A hub, nodes, and a context file that names them.
pub struct Fake {
    folder: tempfile::TempDir,
    context: Context,
    asked: Asked,
    runtime: tokio::runtime::Runtime,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Fake {
    /// Nobody answers yet.
    pub fn nobody() -> Self {
        let certified = Certified::new();
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            context: Context {
                // Port 1 on loopback: nothing listens there.
                hub: "https://127.0.0.1:1".to_owned(),
                token: TOKEN.to_owned(),
                refresh_token: None,
                token_ends: None,
                ca_pem: certified.ca_pem,
                nodes: BTreeMap::new(),
                demo_socket: None,
            },
            asked: Asked::default(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime"),
        }
    }

    /// A hub that answers these routes over TLS, to the context's token alone.
    pub fn hub(routes: &[(&str, Reply)]) -> Self {
        let mut fake = Self::nobody();
        let certified = Certified::new();
        fake.context.ca_pem = certified.ca_pem;
        let app = app(routes, "hub", true, &fake.asked);
        let listener = fake.runtime.block_on(async {
            Tls {
                listener: TcpListener::bind("127.0.0.1:0").await.expect("a port"),
                acceptor: certified.acceptor,
            }
        });
        let address = listener.local_addr().expect("bound");
        fake.context.hub = format!("https://{address}");
        fake.runtime.spawn(async move { axum::serve(listener, app).await });
        fake
    }

    /// A node that answers these routes on its socket.
    pub fn with_node(self, name: &str, routes: &[(&str, Reply)]) -> Self {
        let app = app(routes, name, false, &self.asked);
        let socket = self.folder.path().join(format!("{name}.sock"));
        let listener = self
            .runtime
            .block_on(async { UnixListener::bind(&socket).expect("a socket") });
        self.runtime.spawn(async move { axum::serve(listener, app).await });
        self.name_socket(name, socket)
    }

    /// A node whose socket nobody listens on.
    pub fn with_dead_node(self, name: &str) -> Self {
        let socket = self.folder.path().join(format!("{name}.sock"));
        self.name_socket(name, socket)
    }

    fn name_socket(mut self, name: &str, socket: PathBuf) -> Self {
        self.context.nodes.insert(
            name.parse().expect("a name"),
            NodeContext {
                socket: socket.display().to_string(),
                page: None,
            },
        );
        self
    }

    /// A demo that answers every order with this line.
    pub fn with_demo(mut self, answer: &'static str) -> Self {
        let socket = self.folder.path().join("demo.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let asked = Arc::clone(&self.asked);
        std::thread::spawn(move || {
            use std::io::{BufRead as _, Write as _};
            for mut stream in listener.incoming().flatten() {
                let mut line = String::new();
                let mut reader = io::BufReader::new(stream.try_clone().expect("a stream"));
                reader.read_line(&mut line).expect("a line");
                asked.lock().expect("whole").push(line.trim().to_owned());
                stream.write_all(answer.as_bytes()).expect("written");
            }
        });
        self.context.demo_socket = Some(socket.display().to_string());
        self
    }

    /// Changes the context before it is written.
    pub fn with_context(mut self, change: impl FnOnce(&mut Context)) -> Self {
        change(&mut self.context);
        self
    }

    /// Path of a file with this text.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    /// Writes the context with this mode and returns its path.
    pub fn context_file(&self, mode: u32) -> PathBuf {
        let path = self.folder.path().join("context.json");
        std::fs::write(&path, serde_json::to_vec(&self.context).expect("plain data")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("our own");
        path
    }

    /// Runs `sentinel` with these words.
    pub fn sentinel(&self, words: &[&str]) -> Said {
        let context = self.context_file(0o600);
        run(Command::new(env!("CARGO_BIN_EXE_sentinel"))
            .args(words)
            .env("SENTINEL_CONTEXT", context))
    }

    /// The same, for a line that is split at spaces.
    pub fn line(&self, line: &str) -> Said {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.sentinel(&words)
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("whole").clone()
    }

    /// The temporary folder's path, which tests replace in what they compare.
    pub fn folder(&self) -> String {
        self.folder.path().display().to_string()
    }
}

/// Runs a command to its end, without a terminal and with an environment of its own.
pub fn run(command: &mut Command) -> Said {
    let output = command
        .env("HOME", "/nonexistent")
        .env("XDG_RUNTIME_DIR", "/nonexistent")
        .env_remove("XDG_CONFIG_HOME")
        .stdin(Stdio::null())
        .output()
        .expect("`sentinel` starts");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

fn app(routes: &[(&str, Reply)], who: &str, needs_token: bool, asked: &Asked) -> axum::Router {
    let mut table: BTreeMap<String, VecDeque<Reply>> = BTreeMap::new();
    for (route, reply) in routes {
        table.entry((*route).to_owned()).or_default().push_back(reply.clone());
    }
    let routes: Routes = Arc::new(Mutex::new(table));
    let (asked, who) = (Arc::clone(asked), who.to_owned());
    axum::Router::new().fallback(
        move |method: Method, uri: Uri, headers: axum::http::HeaderMap, body: Bytes| async move {
            let path = uri.path_and_query().map_or("", |path| path.as_str());
            let path = path.strip_prefix("/api/v1").unwrap_or("not below /api/v1");
            let route = format!("{method} {path}");
            let body = String::from_utf8_lossy(&body).into_owned();
            asked
                .lock()
                .expect("whole")
                .push(format!("{who} {route} {body}").trim().to_owned());
            let token = headers.get(header::AUTHORIZATION);
            let known = token.is_some_and(|token| token == &format!("Bearer {TOKEN}"));
            let reply = match needs_token && !known {
                true => problem(401, "unauthorized", "this token is not known here"),
                false => next(&routes, &route),
            };
            Response::builder()
                .status(StatusCode::from_u16(reply.status).expect("a status"))
                .header(header::CONTENT_TYPE, reply.kind)
                .body(Body::from(reply.body))
                .expect("a response")
        },
    )
}

fn next(routes: &Routes, route: &str) -> Reply {
    let mut routes = routes.lock().expect("whole");
    match routes.get_mut(route) {
        Some(replies) if replies.len() > 1 => replies.pop_front().expect("more than one"),
        Some(replies) => replies.front().expect("at least one").clone(),
        None => problem(404, "not_found", &format!("no `{route}` here")),
    }
}

/// A listener that speaks TLS; a handshake that fails is the client's business.
struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            if let Ok((stream, from)) = self.listener.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A CA, and a server certificate of it for 127.0.0.1.
struct Certified {
    ca_pem: String,
    acceptor: TlsAcceptor,
}

impl Certified {
    fn new() -> Self {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().expect("a key");
        let ca = params.self_signed(&ca_key).expect("a CA");
        let issuer = Issuer::new(params, ca_key);
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()])
            .expect("an address")
            .signed_by(&key, &issuer)
            .expect("a certificate");
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .expect("they fit");
        Self {
            ca_pem: ca.pem(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }
}
