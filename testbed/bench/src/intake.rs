//! `intake`: signed deliveries of a forge, 500 a second for a minute, a third of them duplicates, at a hub that stores each before it
//! answers.
//!
//! The mix is what a forge sends: of three deliveries one tells of a red check, one is the same delivery once more, and one tells of a
//! check that has only begun. A delivery's time begins when it was due, not when a connection was free, so that a hub that stalls
//! is not excused from what piled up. The limit is the same hub answering the liveness probe on as many connections at the same rate, for
//! the half minute that a stranger's connection may stay.
//!
//! There is no peer: what the system before this one answered was written down by nobody, so a count of its answers a second would set a
//! lost event beside a kept one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::lab::{Lab, Place};
use crate::report::{Figure, Goal};

/// Deliveries a second.
const RATE: u64 = 500;
/// For how long, unless `--seconds` says otherwise.
pub const SECONDS: u64 = 60;
/// For how long the limit is measured at most: connections on which nobody said who they are end after a minute.
const LIMIT_SECONDS: u64 = 30;
/// Connections that they come on. Forges keep a few open.
const CONNECTIONS: u64 = 16;
/// Secret of the webhooks.
const SECRET: &[u8] = b"a-secret-of-this-benchmark";

/// What one connection saw.
#[derive(Default)]
struct Seen {
    took: Vec<Duration>,
    tasks: u64,
    duplicates: u64,
    ignored: u64,
}

/// Runs it for so many seconds.
pub async fn run(place: &Place, bundle: &Path, seconds: u64) -> Result<Vec<Figure>, String> {
    let forges = forges(place, "intake")?;
    let lab = Lab::with(place, "intake", bundle, &["--forges", &forges.display().to_string()])?;
    let limit = all(&lab, RATE * seconds.min(LIMIT_SECONDS), |_| probe()).await?;
    // A third each.
    let sent = (RATE * seconds).next_multiple_of(3);
    let seen = all(&lab, sent, delivery).await?;
    if (seen.tasks, seen.duplicates, seen.ignored) != (sent / 3, sent / 3, sent / 3) {
        return Err(format!(
            "of {sent} deliveries {} became tasks, {} were duplicates and {} nothing, and each should be a third",
            seen.tasks, seen.duplicates, seen.ignored
        ));
    }
    let ms = |took: Duration| took.as_secs_f64() * 1_000.0;
    let figure = |name: &str, share: f64, goal: Goal| {
        Figure::new(name, "ms", ms(quantile(&seen.took, share)), goal)
            .limit("a liveness probe", ms(quantile(&limit.took, share)))
    };
    Ok(vec![
        figure("intake p50", 0.5, Goal::Known),
        figure("intake p99", 0.99, Goal::AtMost(50.0)),
        figure("intake worst", 1.0, Goal::AtMost(10_000.0)),
    ])
}

/// Settings of a hub that takes [`delivery`]s. Nobody leases, so the forge itself is never asked.
pub fn forges(place: &Place, name: &str) -> Result<PathBuf, String> {
    let path = place.work.join(format!("{name}-forges.toml"));
    std::fs::create_dir_all(&place.work).map_err(|cause| format!("cannot make the folder of work: {cause}"))?;
    let text = format!(
        "[[source]]\nid = \"forge\"\nprovider = \"gitea\"\nurl = \"http://127.0.0.1:9\"\ntoken = \"none\"\nsecret = \"{}\"\nrepositories = []\n",
        String::from_utf8_lossy(SECRET)
    );
    std::fs::write(&path, text).map_err(|cause| format!("cannot write `{}`: {cause}", path.display()))?;
    Ok(path)
}

fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((last as f64 * share).round() as usize)
        .copied()
        .unwrap_or_default()
}

/// Sends so many requests on all connections; gives what they saw, with times in order.
async fn all(lab: &Lab, requests: u64, request: fn(u64) -> Vec<u8>) -> Result<Seen, String> {
    let connector = TlsConnector::from(Arc::new(crate::sessions::client_config()?));
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(connect(lab, &connector).await?);
    }
    let begun = Instant::now() + Duration::from_millis(100);
    let mut running = tokio::task::JoinSet::new();
    for (first, stream) in (0..).zip(connections) {
        running.spawn(one(stream, first..requests, begun, request));
    }
    let mut seen = Seen::default();
    while let Some(joined) = running.join_next().await {
        let part = joined.map_err(|cause| cause.to_string())??;
        seen.took.extend(part.took);
        seen.tasks += part.tasks;
        seen.duplicates += part.duplicates;
        seen.ignored += part.ignored;
    }
    seen.took.sort_unstable();
    Ok(seen)
}

/// A connection of a forge.
pub async fn connect(lab: &Lab, connector: &TlsConnector) -> Result<TlsStream<TcpStream>, String> {
    let stream = TcpStream::connect(lab.address)
        .await
        .map_err(|cause| cause.to_string())?;
    stream.set_nodelay(true).map_err(|cause| cause.to_string())?;
    let name = rustls_pki_types::ServerName::try_from("localhost").map_err(|cause| cause.to_string())?;
    connector.connect(name, stream).await.map_err(|cause| cause.to_string())
}

/// Every sixteenth request, each when it is due.
async fn one(
    mut stream: TlsStream<TcpStream>,
    numbers: std::ops::Range<u64>,
    begun: Instant,
    request: fn(u64) -> Vec<u8>,
) -> Result<Seen, String> {
    let mut seen = Seen::default();
    let mut answer = Vec::new();
    for number in numbers.step_by(CONNECTIONS as usize) {
        let bytes = request(number);
        let due = begun + Duration::from_micros(number * 1_000_000 / RATE);
        tokio::time::sleep_until(due.into()).await;
        stream
            .write_all(&bytes)
            .await
            .map_err(|cause| format!("request {number}: {cause}"))?;
        read(&mut stream, &mut answer).await?;
        seen.took.push(due.elapsed());
        let text = String::from_utf8_lossy(&answer);
        for (word, count) in [
            ("task_created", &mut seen.tasks),
            ("duplicate", &mut seen.duplicates),
            ("ignored", &mut seen.ignored),
        ] {
            *count += u64::from(text.contains(word));
        }
        if !text.starts_with("HTTP/1.1 200") {
            return Err(format!("request {number} was answered: {text}"));
        }
    }
    Ok(seen)
}

/// One answer with its body.
pub async fn read(stream: &mut TlsStream<TcpStream>, answer: &mut Vec<u8>) -> Result<(), String> {
    answer.clear();
    loop {
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if answer.len() >= head + 4 + length.unwrap_or(0) {
                return Ok(());
            }
        }
        if stream.read_buf(answer).await.map_err(|cause| cause.to_string())? == 0 {
            return Err("the hub closed the connection".to_owned());
        }
    }
}

fn probe() -> Vec<u8> {
    b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()
}

/// A third each: a red check, the delivery before once more, and a check that has begun.
pub fn delivery(number: u64) -> Vec<u8> {
    let (id, state) = match number % 3 {
        // What is repeated is long answered: it came on another connection.
        1 => (number.saturating_sub(1), "failure"),
        0 => (number, "failure"),
        _ => (number, "pending"),
    };
    let repository = id % 200;
    let body = format!(
        r#"{{"sha": "{id:040x}", "state": "{state}", "context": "lint", "target_url": "http://127.0.0.1:9/{id}.log",
        "repository": {{"full_name": "org/repo-{repository}", "default_branch": "main"}}}}"#
    );
    let mut hmac = Hmac::<Sha256>::new_from_slice(SECRET).expect("HMAC takes keys of any length");
    hmac.update(body.as_bytes());
    let signature: String = hmac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "POST /hooks/v1/forge HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nx-gitea-event: status\r\n\
         x-gitea-delivery: {id:032x}\r\nx-gitea-signature: {signature}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
