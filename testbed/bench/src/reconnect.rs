//! `reconnect`: from the moment a cut path works again to an agent that is in session, after a cut of ten seconds.
//!
//! The times come from the hub: when it first heard a whole frame from the agent again. The peer is the same QUIC client with
//! gRPC's connection backoff (1 s, x 1.6, jitter 20 %, at most 120 s; source: grpc/doc/connection-backoff.md); the limit is a bare
//! handshake on the healed path.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::fleet::{client, enroll};
use crate::lab::{Lab, Place};
use crate::machine::pause;
use crate::report::{Figure, Goal, quantile};
use crate::tap::Tap;

const AGENTS: usize = 6;
const ROUNDS: usize = 6;
const CUT: Duration = Duration::from_secs(10);

/// Runs it.
pub async fn run(place: &Place, bundle: &Path) -> Result<Vec<Figure>, String> {
    let lab = Lab::new(place, "reconnect", bundle)?;
    let tap = Tap::new(lab.address).map_err(|cause| cause.to_string())?;
    let names: Vec<String> = (0..AGENTS).map(|n| format!("back-{n}")).collect();
    let mut nodes = Vec::new();
    for name in &names {
        nodes.push(lab.agent(name, tap.address())?);
    }
    all_connected(&lab)?;
    let mut ours = Vec::new();
    for _ in 0..ROUNDS {
        tap.cut(true);
        pause(CUT);
        let healed = now_ms();
        tap.cut(false);
        all_back(&lab, &names, healed, &mut ours)?;
    }
    drop(nodes);
    let (mut peer, limit) = peers(&lab).await?;
    let (p50, p99) = (quantile(&mut ours, 0.5), quantile(&mut ours, 0.99));
    let (peer50, peer99) = (quantile(&mut peer, 0.5), quantile(&mut peer, 0.99));
    Ok(vec![
        Figure::new("reconnect p50", "s", p50, Goal::AtMost(0.5))
            .peer("gRPC backoff", peer50)
            .limit("bare handshake", limit),
        Figure::new("reconnect p99", "s", p99, Goal::AtMost(3.0))
            .peer("gRPC backoff", peer99)
            .limit("bare handshake", limit),
    ])
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn all_connected(lab: &Lab) -> Result<(), String> {
    let started = Instant::now();
    loop {
        let rows = lab.items(&["get", "nodes"])?;
        if rows.len() == AGENTS && rows.iter().all(|row| row["state"] == "connected") {
            return Ok(());
        }
        if started.elapsed() > Duration::from_secs(60) {
            return Err("not all agents are connected within 60 s".to_owned());
        }
        pause(Duration::from_millis(100));
    }
}

/// Waits until the hub has heard a whole frame from each node after `healed`, and notes how long that took.
///
/// A node sends one as soon as it can: each had a telemetry block to send while the path was cut. A session that outlived the cut and one
/// that was made anew count alike. The time is the hub's own for the newest frame that the first look found, so it is late, never early.
fn all_back(lab: &Lab, names: &[String], healed: i64, times: &mut Vec<f64>) -> Result<(), String> {
    let started = Instant::now();
    let mut waiting: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    while !waiting.is_empty() {
        if started.elapsed() > Duration::from_secs(120) {
            return Err(format!("not back within 120 s: {waiting:?}"));
        }
        for row in lab.items(&["get", "nodes"])? {
            let seen = row["last_seen"].as_str().and_then(|at| at.parse::<wire::Wall>().ok());
            let name = row["name"].as_str().unwrap_or_default();
            if let Some(at) = seen
                && at.0 >= healed
                && row["state"] == "connected"
                && waiting.remove(name)
            {
                times.push((at.0 - healed) as f64 / 1_000.0);
            }
        }
        pause(Duration::from_millis(20));
    }
    Ok(())
}

/// The same cut for a client with gRPC's backoff, and the time of a bare handshake, both in seconds.
async fn peers(lab: &Lab) -> Result<(Vec<f64>, f64), String> {
    let direct = client(lab)?;
    let bare = enroll(lab, &direct, "peer").await?;
    let mut handshakes = Vec::new();
    for _ in 0..10 {
        let started = Instant::now();
        drop(bare.connect(&direct, lab.address).await?);
        handshakes.push(started.elapsed().as_secs_f64());
    }
    let mut times = Vec::new();
    let mut dice = 7_u64;
    for _ in 0..ROUNDS {
        let tap = Tap::new(lab.address).map_err(|cause| cause.to_string())?;
        tap.cut(true);
        let healer = tap.clone();
        let heals = Instant::now() + CUT;
        let heal = tokio::spawn(async move {
            tokio::time::sleep_until(heals.into()).await;
            healer.cut(false);
        });
        // gRPC's times: an attempt may take 20 s at least, but never ends before its own backoff; attempts here end with the path.
        let mut backoff = 1.0_f64;
        loop {
            let attempt = Instant::now();
            let timing = wire_transport::Timing {
                connect: Duration::from_secs(1),
                ..wire_transport::Timing::default()
            };
            let client = wire_transport::Client::new(tap.address(), timing).map_err(|cause| cause.to_string())?;
            if bare.connect(&client, tap.address()).await.is_ok() {
                times.push(heals.elapsed().as_secs_f64());
                break;
            }
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let jitter = 0.8 + 0.4 * ((dice >> 33) as f64 / f64::from(1_u32 << 31));
            tokio::time::sleep_until((attempt + Duration::from_secs_f64(backoff * jitter)).into()).await;
            backoff = (backoff * 1.6).min(120.0);
        }
        heal.await.map_err(|cause| cause.to_string())?;
    }
    Ok((times, quantile(&mut handshakes, 0.5)))
}
