//! Where a PostgreSQL is and how it is spoken to, as people write it: `postgres://USER@HOST[:PORT]/DATABASE?sslmode=verify-full`.
//!
//! Never holds a password that stood in the address: everybody on the machine can read a command line.
//!
//! Source: PostgreSQL's manual, "Connection URIs" and "SSL Support" (the meaning of `sslmode`).

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use tokio_postgres::config::{Host, SslMode};

/// The schema that holds the tables, if none is named.
const SCHEMA: &str = "sentinel";
/// PostgreSQL cuts longer names.
const LONGEST_SCHEMA: usize = 63;

/// How sure of the server one wants to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Plain text.
    Disable,
    /// Encrypted, whoever the server is.
    Require,
    /// Encrypted, and its certificate is of an authority that is trusted.
    Authority,
    /// Encrypted, its certificate is of such an authority and is good for the host's name.
    Full,
}

/// Where a PostgreSQL is, without a password.
#[derive(Clone)]
pub struct PostgresAddress {
    pub(super) config: tokio_postgres::Config,
    pub(super) trust: Trust,
    /// PEM file of the authorities that are trusted; those of the system if it is absent.
    pub(super) root_certificate: Option<PathBuf>,
    /// PEM files of the client's certificate and key.
    pub(super) client: Option<(PathBuf, PathBuf)>,
    /// Where the tables are.
    pub(super) schema: String,
    /// Reads the password.
    pub(super) password: Option<Password>,
}

/// Reads a password, or says why it cannot be had; asked for each connection, because passwords change.
pub type Password = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

impl PostgresAddress {
    /// As people may see it.
    pub fn place(&self) -> String {
        let config = &self.config;
        let host = match config.get_hosts().first() {
            Some(Host::Tcp(host)) if host.contains(':') => format!("[{host}]"),
            Some(Host::Tcp(host)) => host.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "localhost".to_owned(),
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
        let more = config.get_hosts().len().saturating_sub(1);
        let more = if more > 0 {
            format!(" (and {more} more)")
        } else {
            String::new()
        };
        format!("postgres://{host}:{port}/{database}?schema={}{more}", self.schema)
    }

    /// Logs in with this password.
    #[must_use]
    pub fn with_password(mut self, password: Password) -> Self {
        self.password = Some(password);
        self
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}

impl FromStr for PostgresAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rule = "expected postgres://USER@HOST[:PORT]/DATABASE, for example postgres://sentinel@db.example/sentinel?sslmode=verify-full";
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(format!("`{text}` is no address of a PostgreSQL: {rule}"));
        }
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        let mut ours = Ours::default();
        let mut theirs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !ours.take(name, &decoded(pair, value)?)? {
                theirs.push(pair);
            }
        }
        let base = match theirs.is_empty() {
            true => base.to_owned(),
            false => format!("{base}?{}", theirs.join("&")),
        };
        // What the library says may hold the whole text, and that may hold a password.
        let mut config = tokio_postgres::Config::from_str(&base)
            .map_err(|_| format!("this is no address that PostgreSQL's clients understand: {rule}"))?;
        if config.get_password().is_some() {
            let advice = "put it into a file and name that with --store-password file:/PATH";
            return Err(format!(
                "the address holds a password, and everybody can read a command line: {advice}"
            ));
        }
        if config.get_user().is_none() {
            return Err(format!("the address names no user: {rule}"));
        }
        let trust = ours.trust.unwrap_or_else(|| usual_trust(&config));
        config.ssl_mode(match trust {
            Trust::Disable => SslMode::Disable,
            _ => SslMode::Require,
        });
        if config.get_application_name().is_none() {
            config.application_name("sentinel-hub");
        }
        let client = match (ours.certificate, ours.key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err("sslcert and sslkey go together".to_owned()),
        };
        Ok(Self {
            config,
            trust,
            root_certificate: ours.root_certificate,
            client,
            schema: ours.schema.unwrap_or_else(|| SCHEMA.to_owned()),
            password: None,
        })
    }
}

/// Words of the query that the library does not know, or knows too little of.
#[derive(Default)]
struct Ours {
    trust: Option<Trust>,
    root_certificate: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    schema: Option<String>,
}

impl Ours {
    /// Takes one word. Returns whether it is one of these.
    fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "sslmode" => {
                self.trust = Some(match value {
                    "disable" => Trust::Disable,
                    "require" => Trust::Require,
                    "verify-ca" => Trust::Authority,
                    "verify-full" => Trust::Full,
                    _ => {
                        let rule = "expected disable, require, verify-ca or verify-full; the others promise nothing";
                        return Err(format!("sslmode `{value}`: {rule}"));
                    }
                });
            }
            "sslrootcert" if value == "system" => self.root_certificate = None,
            "sslrootcert" => self.root_certificate = Some(value.into()),
            "sslcert" => self.certificate = Some(value.into()),
            "sslkey" => self.key = Some(value.into()),
            "schema" => {
                let is_name = !value.is_empty()
                    && value.len() <= LONGEST_SCHEMA
                    && !value.starts_with(|c: char| c.is_ascii_digit())
                    && value
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
                if !is_name {
                    return Err(format!("schema `{value}`: expected lower-case letters, digits and _"));
                }
                self.schema = Some(value.to_owned());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Verified wherever a network is between; plain text on this machine.
fn usual_trust(config: &tokio_postgres::Config) -> Trust {
    let is_here = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
    };
    match config.get_hosts().iter().all(is_here) {
        true => Trust::Disable,
        false => Trust::Full,
    }
}

/// A value of the query, which may be escaped.
fn decoded(pair: &str, value: &str) -> Result<String, String> {
    let text = percent_encoding::percent_decode_str(value).decode_utf8();
    text.map(|text| text.into_owned())
        .map_err(|_| format!("`{pair}` is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> PostgresAddress {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn an_address_is_verified_across_a_network_and_shows_no_password() {
        let far = read("postgres://hub@db.example/fleet");
        assert_eq!(
            (far.trust, far.place().as_str()),
            (Trust::Full, "postgres://db.example:5432/fleet?schema=sentinel")
        );
        assert_eq!(read("postgres://hub@127.0.0.1:6000/x").trust, Trust::Disable);
        assert_eq!(read("postgres://hub@%2Frun%2Fpostgresql/x").trust, Trust::Disable);
        assert_eq!(read("postgresql://hub@db/x?sslmode=require").trust, Trust::Require);
        let full =
            read("postgres://hub@db/x?connect_timeout=3&sslmode=verify-ca&sslrootcert=/etc/my%20ca.pem&schema=site_2");
        assert_eq!((full.trust, full.schema.as_str()), (Trust::Authority, "site_2"));
        assert_eq!(
            full.root_certificate.as_deref(),
            Some(std::path::Path::new("/etc/my ca.pem"))
        );
        assert_eq!(
            full.config.get_connect_timeout(),
            Some(&std::time::Duration::from_secs(3))
        );
        let shown = format!("{:?}", full.with_password(Arc::new(|| Ok("s3cret".to_owned()))));
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_without_repeating_a_password() {
        for (text, part) in [
            ("mysql://hub@db/x", "no address of a PostgreSQL"),
            ("postgres://db/x", "no user"),
            ("postgres://hub:s3cret@db/x", "--store-password"),
            ("postgres://hub:s3cret@db:port/x", "no address that"),
            ("postgres://hub@db/x?sslmode=prefer", "verify-full"),
            ("postgres://hub@db/x?sslcert=/c", "go together"),
            ("postgres://hub@db/x?schema=a;drop", "lower-case"),
            ("postgres://hub@db/x?lisen=1", "no address that"),
        ] {
            let error = text.parse::<PostgresAddress>().expect_err(text);
            assert!(error.contains(part) && !error.contains("s3cret"), "{text}: {error}");
        }
    }
}
