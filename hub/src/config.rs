//! Reads the command line once, into settings with units.
//!
//! Every default has its reason beside it. Unknown flags and values that cannot be meant are refused before anything is touched.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::http::certificate::CertificateFiles;
use crate::secrets::Sources;
use crate::store::{Place, PostgresAddress};

/// Less room for entries than this holds no history worth the name.
const LEAST_ENTRY_BYTES: u64 = 1024 * 1024;

/// `sentinel-hub`: takes in what agents send, keeps it, and gives them policy.
#[derive(Debug, Parser)]
#[command(name = "sentinel-hub", version, about, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the hub until it is told to stop (SIGTERM or Ctrl-C).
    Run(Box<RunArgs>),
    /// Look after a store.
    #[command(subcommand)]
    Store(StoreCommand),
}

/// Settings of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Folder for everything that the hub keeps: store, CA, keys, administrator's token.
    #[arg(long, value_name = "DIR", env = "SENTINEL_HUB_STATE")]
    pub state: PathBuf,

    /// Address for agents (UDP) and people (TCP), the same number for both; port 0 picks a free one.
    // Loopback: nothing is offered to a network before somebody asks for it.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7443")]
    pub listen: SocketAddr,

    /// How agents and people reach this hub from elsewhere; port 0 stands for the port that was picked.
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_public)]
    pub public: Option<Public>,

    /// Time between two proofs that a policy is still the newest.
    // Much shorter than the first step of the authority ladder (hours); each is a packet of 210 bytes and its answer.
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = parse_span)]
    pub beacon_every: Duration,

    /// Time between two signed checkpoints of the hub's own journal, which agents keep and give back.
    // What came after the last one can be cut off unseen; each is a packet of 200 bytes for every agent.
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = parse_span)]
    pub checkpoint_every: Duration,

    /// How long an agent's certificate lives; agents renew at two thirds of it.
    // A day: a stolen key is worth little, and an agent may be away for a working day without rejoining.
    #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = parse_span)]
    pub certificate_life: Duration,

    /// Bundle to publish if the store has none yet.
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,

    /// File that names the forges whose failed checks become tasks: address, token file and webhook secret of each.
    #[arg(long, value_name = "FILE")]
    pub forges: Option<PathBuf>,

    /// Where the store is, if not in the state folder.
    #[command(flatten)]
    pub store: StoreArgs,

    /// A Vault that secrets come from.
    #[command(flatten)]
    pub vault: VaultArgs,

    /// Folder of `sentinel policy init`: its `roles.parcel` and `beacon.key` are taken over at the first start, so that this hub signs
    /// beacons and no policy. The folder can be taken away afterwards.
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,

    /// Name of the trust domain, part of every identity. It cannot change after the first start; without it the state folder's own,
    /// else that of the role documents, else sentinel.internal.
    #[arg(long, value_name = "NAME", value_parser = parse_domain)]
    pub trust_domain: Option<String>,

    /// Certificate for HTTPS with its issuers (PEM), instead of one of the hub's own CA; a renewed file counts within a minute.
    /// Agents pin the hub's own CA whatever this is.
    #[arg(long, value_name = "FILE", requires = "https_key")]
    pub https_certificate: Option<PathBuf>,

    /// Key of that certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "https_certificate")]
    pub https_key: Option<PathBuf>,

    /// CA of that certificate (PEM), for the administrator's context; the issuers in the chain if it is left out.
    #[arg(long, value_name = "FILE", requires = "https_certificate")]
    pub https_ca: Option<PathBuf>,

    /// Which brain foresees and plans: the embedded one, or none.
    // Embedded: the loop is closed on a fresh machine, and policy decides what a plan may do.
    #[arg(long, value_name = "BRAIN", value_enum, default_value = "embedded")]
    pub brain: Brains,

    /// An InfraMind elsewhere that is told telemetry and outcomes and sends plans, for example `https://brain.example:50051`.
    #[arg(long, value_name = "URL")]
    pub inframind: Option<String>,

    /// What it is called here; its plans and the trust in it stand under this name.
    #[arg(long, value_name = "NAME", default_value = "inframind")]
    pub inframind_name: String,

    /// Folder with `ca.pem`, `certificate.pem` and `key.pem` for mutual TLS with it; needed for https.
    #[arg(long, value_name = "DIR", requires = "inframind")]
    pub inframind_tls: Option<PathBuf>,

    /// An InfraMind 2.1 that sizes builds, for example `http://inframind.example:8081`; nobody does if absent.
    #[arg(long, value_name = "URL", requires = "sizing_token")]
    pub sizing: Option<String>,

    /// Where its API key is: `file:/PATH`, `env:NAME` or `systemd:NAME`.
    #[arg(long, value_name = "SECRET", requires = "sizing")]
    pub sizing_token: Option<String>,

    /// Requests that one identity may make in a second, on average; ten seconds' worth may come at once. 0: as many as it likes.
    // A console asks for a dozen things, a script for hundreds; far more is a loop that somebody forgot.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub requests_per_second: u32,

    /// Let outgoing webhooks reach this machine, its own link, and addresses without TLS.
    // Off: whoever may add a webhook could otherwise ask what only this machine may ask, a cloud's metadata for example.
    #[arg(long)]
    pub webhooks_to_local: bool,

    /// Topic that gets every event, as CloudEvents: `HOST:PORT[,HOST:PORT…]/TOPIC`, for example `broker-1:9092/sentinel.events`.
    #[arg(long, value_name = "BROKERS/TOPIC", env = "SENTINEL_HUB_KAFKA")]
    pub kafka: Option<hub_kafka::Target>,

    /// Folder with `ca.pem`, `certificate.pem` and `key.pem` for mutual TLS with the brokers; without it they are spoken to in plain text.
    #[arg(long, value_name = "DIR", requires = "kafka")]
    pub kafka_tls: Option<PathBuf>,

    /// Where brains dial in, with certificates of the authority in `--brain-tls`; nobody can if absent.
    #[arg(long, value_name = "ADDRESS", requires = "brain_tls")]
    pub brain_listen: Option<SocketAddr>,

    /// Folder with `ca.pem`, which signs the certificates of brains (their common name is the brain's name), and the hub's
    /// `certificate.pem` and `key.pem` towards them.
    #[arg(long, value_name = "DIR", requires = "brain_listen")]
    pub brain_tls: Option<PathBuf>,

    /// Most bytes of telemetry that are kept; the oldest is dropped first.
    #[arg(long, value_name = "BYTES", default_value_t = 256 * 1024 * 1024)]
    pub telemetry_bytes: u64,

    /// Most bytes that entries of nodes take on the disk; beyond it the oldest of whoever has more than its share go first.
    // Four million entries: 50 nodes that each decide something every minute, for two months.
    #[arg(long, value_name = "BYTES", default_value_t = 1024 * 1024 * 1024, value_parser = clap::value_parser!(u64).range(LEAST_ENTRY_BYTES..))]
    pub entry_bytes: u64,

    /// How long entries of nodes stay at most, by the hub's own time line.
    // A year, and a month to look back at it.
    #[arg(long, value_name = "SPAN", default_value = "400d", value_parser = parse_span)]
    pub entry_age: Duration,
}

/// Where the store is.
#[derive(Debug, Clone, Default, Args)]
pub struct StoreArgs {
    /// Keep the store in a PostgreSQL instead of the state folder: `postgres://USER@HOST[:PORT]/DATABASE[?sslmode=…&schema=…]`.
    /// Keys and the CA stay in the state folder. Across a network the server's certificate is verified unless `sslmode` says otherwise.
    #[arg(long, value_name = "URL", env = "SENTINEL_HUB_STORE")]
    pub store: Option<PostgresAddress>,

    /// Where the password for it comes from: `file:/PATH`, `env:NAME`, `systemd:NAME` or `vault:MOUNT/PATH#KEY`; read again for each
    /// connection.
    #[arg(long, value_name = "SECRET", env = "SENTINEL_HUB_STORE_PASSWORD", requires = "store", value_parser = parse_store_reference)]
    pub store_password: Option<String>,
}

impl StoreArgs {
    /// The place that they name, or a folder below the state folder.
    pub fn place(&self, state: &Path, sources: &Sources) -> Place {
        let Some(address) = self.store.clone() else {
            return Place::Folder(state.join("store"));
        };
        let Some(reference) = self.store_password.clone() else {
            return Place::Postgres(Box::new(address));
        };
        let sources = sources.clone();
        let read = move || sources.read(&reference).map_err(|error| crate::secrets::chain(&error));
        Place::Postgres(Box::new(address.with_password(Arc::new(read))))
    }
}

/// A Vault that secrets come from.
#[derive(Debug, Clone, Default, Args)]
pub struct VaultArgs {
    /// A Vault, or an OpenBao, that `vault:MOUNT/PATH#KEY` of the configuration is read from: `https://vault.example:8200`.
    #[arg(long, value_name = "URL", env = "VAULT_ADDR")]
    pub vault: Option<String>,

    /// Where the token for it comes from: `file:/PATH`, `env:NAME` or `systemd:NAME`.
    #[arg(long, value_name = "SECRET", requires = "vault", value_parser = parse_reference, conflicts_with = "vault_role")]
    pub vault_token: Option<String>,

    /// Log in to it as this AppRole, by its role id.
    #[arg(long, value_name = "ID", requires_all = ["vault", "vault_secret_id"])]
    pub vault_role: Option<String>,

    /// Where the secret id of that role comes from, as for the token.
    #[arg(long, value_name = "SECRET", requires = "vault_role", value_parser = parse_reference)]
    pub vault_secret_id: Option<String>,

    /// Namespace of it that all paths are in.
    #[arg(long, value_name = "NAME", requires = "vault")]
    pub vault_namespace: Option<String>,

    /// Folder with `ca.pem`, and `certificate.pem` and `key.pem` for mutual TLS, for it.
    #[arg(long, value_name = "DIR", requires = "vault")]
    pub vault_tls: Option<PathBuf>,
}

/// Settings of `store check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// The hub's folder; its store is checked unless `--store` names another.
    #[arg(long, value_name = "DIR", env = "SENTINEL_HUB_STATE")]
    pub state: PathBuf,

    /// Where the store is, if not in the state folder.
    #[command(flatten)]
    pub store: StoreArgs,

    /// A Vault that secrets come from.
    #[command(flatten)]
    pub vault: VaultArgs,

    /// How to print what was found.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub output: CheckOutput,
}

/// How to print what a check has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CheckOutput {
    /// Lines for people.
    Text,
    /// One JSON document.
    Json,
}

/// What to do with a store.
#[derive(Debug, Clone, Subcommand)]
pub enum StoreCommand {
    /// Read every row of a store that no hub uses, and say what is damaged or does not fit together. Changes no row; a store of an older
    /// format is brought to the present one first. Exit code 0: whole; 1: it is not, or cannot be read; 5: a hub uses it.
    Check(Box<CheckArgs>),
}

/// A secret that is named, also in a Vault.
fn parse_store_reference(text: &str) -> Result<String, String> {
    match text.starts_with("vault:") {
        true => Ok(text.to_owned()),
        false => parse_reference(text),
    }
}

/// A secret that is named, so that none stands in a list of processes.
fn parse_reference(text: &str) -> Result<String, String> {
    let is_named = ["file:", "env:", "systemd:"].iter().any(|kind| text.starts_with(kind));
    match is_named {
        true => Ok(text.to_owned()),
        false => Err(
            "it names where the secret is, file:/PATH, env:NAME or systemd:NAME: everybody can read a command line"
                .to_owned(),
        ),
    }
}

impl RunArgs {
    /// The files of the certificate for HTTPS, if they are named.
    pub fn https_files(&self) -> Option<CertificateFiles> {
        Some(CertificateFiles {
            certificate: self.https_certificate.clone()?,
            key: self.https_key.clone()?,
            ca: self.https_ca.clone(),
        })
    }
}

/// Which brains run inside the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Brains {
    /// The one that is built in.
    Embedded,
    /// None: nothing is foreseen.
    None,
}

/// A host and a port as others use them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    /// Name or address; IPv6 without brackets.
    pub host: String,
    /// Port; 0 stands for the one that was picked.
    pub port: u16,
}

impl Public {
    /// The same with another port.
    pub fn with_port(&self, port: u16) -> Self {
        Self {
            host: self.host.clone(),
            port,
        }
    }
}

impl std::fmt::Display for Public {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn parse_public(text: &str) -> Result<Public, String> {
    let rule = "expected HOST:PORT, for example hub.example.org:7443";
    let (host, port) = text.rsplit_once(':').ok_or(rule)?;
    let port = port.parse().map_err(|_| format!("`{port}` is not a port: {rule}"))?;
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let valid = !inner.is_empty()
        && inner
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':'))
        && (inner == host) != inner.contains(':');
    if valid {
        Ok(Public {
            host: inner.to_owned(),
            port,
        })
    } else {
        Err(format!("`{host}` is not a host: {rule}"))
    }
}

fn parse_domain(text: &str) -> Result<String, String> {
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if text.len() <= 253 && text.split('.').all(label) {
        Ok(text.to_owned())
    } else {
        Err("expected lower-case letters, digits, - and dots, for example edge.example.org".to_owned())
    }
}

/// A span as people write it: `500ms`, `15s`, `10m`, `24h`, `7d`. Zero is refused.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let rule = "expected a number and a unit, for example 500ms, 15s, 10m, 24h or 7d";
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or(rule)?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| rule)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(rule.to_owned()),
    };
    match number.checked_mul(unit_ms) {
        Some(0) | None => Err(format!("`{text}` is out of range: {rule}")),
        Some(milliseconds) => Ok(Duration::from_millis(milliseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flags: &str, expected: Result<&str, &str>) {
        let line = format!("sentinel-hub run {flags}");
        match (Cli::try_parse_from(line.split_whitespace()), expected) {
            (
                Ok(Cli {
                    command: Command::Run(args),
                }),
                Ok(part),
            ) => {
                let shown = format!("{args:?}");
                assert!(shown.contains(part), "{shown}");
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (result, expected) => panic!("{result:?} is not {expected:?}"),
        }
    }

    #[test]
    fn flags_are_checked_before_anything_is_touched() {
        check("--state d", Ok("beacon_every: 60s"));
        check("--state d --beacon-every 500ms", Ok("beacon_every: 500ms"));
        check("--state d --listen 0.0.0.0:0", Ok("listen: 0.0.0.0:0"));
        check(
            "--state d --public hub.example.org:0",
            Ok("host: \"hub.example.org\", port: 0"),
        );
        check("--state d --public [::1]:7", Ok("host: \"::1\", port: 7"));
        check("", Err("--state"));
        check("--state d --lisen x", Err("--listen"));
        check("--state d --listen here", Err("here"));
        check("--state d --public hub", Err("HOST:PORT"));
        check("--state d --public ::1:7", Err("HOST:PORT"));
        check(
            "--state d --https-certificate c --https-key k",
            Ok("https_key: Some(\"k\")"),
        );
        check("--state d --https-certificate c", Err("--https-key"));
        check("--state d --beacon-every 0s", Err("out of range"));
        check("--state d --beacon-every 15", Err("unit"));
        check("--state d --trust-domain A_B", Err("lower-case"));
        check(
            "--state d --entry-bytes 2000000 --entry-age 7d",
            Ok("entry_bytes: 2000000"),
        );
        check("--state d --entry-bytes 1000", Err("1048576"));
        check(
            "--state d --vault http://v --vault-token s.abc",
            Err("everybody can read"),
        );
        check("--state d --vault http://v --vault-role r", Err("--vault-secret-id"));
        check("--state d --vault-role r --vault-secret-id file:/s", Err("--vault"));
        check(
            "--state d --store postgres://hub@db/x",
            Ok("postgres://db:5432/x?schema=sentinel"),
        );
        check("--state d --store postgres://hub:pw@db/x", Err("--store-password"));
        check(
            "--state d --store postgres://hub@db/x --store-password pw",
            Err("everybody can read"),
        );
        check(
            "--state d --store postgres://hub@db/x --store-password vault:kv/db#pw",
            Ok("vault:kv/db#pw"),
        );
        check("--state d --store-password file:/pw", Err("--store"));
        check("--state d --keys k", Ok("keys: Some(\"k\"), trust_domain: None"));
    }

    #[test]
    fn a_public_address_reads_as_it_is_typed() {
        for text in ["hub.example.org:7443", "10.0.0.1:1", "[fd00::1]:7443"] {
            assert_eq!(parse_public(text).expect("valid").to_string(), text);
        }
    }
}
