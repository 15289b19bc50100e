//! `sync`: durable entries a second at a real hub, from eight agents over QUIC, against append + fdatasync of the same bytes.
//!
//! Each agent sends frames of a hundred entries as fast as acknowledgements come back. The limit of `sync` writes the same frames, one
//! after the other, to a plain file on the same disk with one fdatasync each. A hub that commits many frames at once can beat that, so
//! `sync grouped` has the limit that it cannot beat: one fdatasync for as many frames as all agents together have under way.
//! The rounds alternate, and the middle round of each counts.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use wire::entry::{ChainHead, Entry, EntryBody, Event as Happened};
use wire::frame::{Entries, Frame};
use wire::{Epoch, Mono, Now, Seq, Wall};
use wire_transport::{Client, Event};

use crate::fleet::{Bare, client, enroll};
use crate::lab::{Lab, Place};
use crate::report::{Figure, Goal, quantile};

const AGENTS: usize = 8;
/// Entries in one frame.
const BATCH: u64 = 100;
/// Frames of one agent in one round.
const FRAMES: u64 = 150;
const ROUNDS: usize = 5;
/// Frames of one agent that may be under way.
const WINDOW: u64 = 16;

/// Runs it.
pub async fn run(place: &Place, bundle: &Path) -> Result<Vec<Figure>, String> {
    let lab = Lab::new(place, "sync", bundle)?;
    let client = client(&lab)?;
    let (mut ours, mut limit, mut grouped) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut fleet = Vec::new();
        for agent in 0..AGENTS {
            fleet.push(enroll(&lab, &client, &format!("sync-{round}-{agent}")).await?);
        }
        let frames = frames();
        limit.push(append(&lab.folder().join("append"), &frames, 1)?);
        grouped.push(append(&lab.folder().join("append"), &frames, AGENTS as u64 * WINDOW)?);
        ours.push(ingest(&lab, &client, &fleet, &frames).await?);
    }
    let ours = quantile(&mut ours, 0.5);
    let figure = |name, limit_name, limit: &mut Vec<f64>, goal| {
        Figure::new(name, "entries/s", ours, goal)
            .limit(limit_name, quantile(limit, 0.5))
            .against(goal)
    };
    Ok(vec![
        figure("sync", "append + fdatasync", &mut limit, Goal::OfLimit(0.5)),
        figure(
            "sync grouped",
            "append + fdatasync of all under way",
            &mut grouped,
            Goal::Known,
        ),
    ])
}

/// One agent's chain, cut into frames.
pub fn frames() -> Vec<Entries> {
    let mut head = ChainHead::empty(Epoch(1));
    (0..FRAMES)
        .map(|frame| {
            let first = Seq(frame * BATCH + 1);
            let raw = (0..BATCH)
                .map(|n| {
                    let seq = Seq(first.0 + n);
                    let entry = Entry {
                        seq,
                        at: Now {
                            mono: Mono(seq.0),
                            wall: Wall(1_795_000_000_000),
                        },
                        prev: head.digest,
                        // 200 bytes in all, as other stores were measured with.
                        body: EntryBody::Event(Happened::Notified {
                            message: format!("{:0>145}", seq.0),
                        }),
                    };
                    let raw = entry.encode();
                    head = head.link(&raw).expect("made in order");
                    raw.bytes
                })
                .collect();
            Entries {
                epoch: Epoch(1),
                first,
                raw,
            }
        })
        .collect()
}

/// Entries a second of an append with one fdatasync for each `group` frames.
fn append(path: &Path, frames: &[Entries], group: u64) -> Result<f64, String> {
    let failed = |cause: std::io::Error| format!("cannot append to `{}`: {cause}", path.display());
    let mut file = File::create(path).map_err(failed)?;
    let started = Instant::now();
    let (mut entries, mut unsynced) = (0, 0);
    for frame in (0..AGENTS).flat_map(|_| frames) {
        file.write_all(&frame.raw.concat()).map_err(failed)?;
        entries += frame.raw.len();
        unsynced += 1;
        if unsynced == group {
            file.sync_data().map_err(failed)?;
            unsynced = 0;
        }
    }
    file.sync_data().map_err(failed)?;
    Ok(entries as f64 / started.elapsed().as_secs_f64())
}

async fn ingest(lab: &Lab, client: &Client, fleet: &[Bare], frames: &[Entries]) -> Result<f64, String> {
    let mut sessions = Vec::new();
    for bare in fleet {
        sessions.push(bare.connect(client, lab.address).await?.0);
    }
    let started = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for mut session in sessions {
        let frames = frames.to_vec();
        running.spawn(async move {
            let sender = session.sender();
            let (mut sent, mut acked) = (0, 0);
            while acked < FRAMES * BATCH {
                while sent < FRAMES && sent * BATCH < acked + WINDOW * BATCH {
                    let frame = Frame::Entries(frames[sent as usize].clone());
                    sender.send(&frame).map_err(|cause| cause.to_string())?;
                    sent += 1;
                }
                match tokio::time::timeout(Duration::from_secs(30), session.recv()).await {
                    Ok(Event::Frame(Frame::Ack(ack))) => acked = ack.entries.map_or(acked, |seq| seq.0),
                    Ok(Event::Frame(_) | Event::Asked { .. }) => {}
                    Ok(Event::Ended(end)) => return Err(format!("the session ended: {end:?}")),
                    Err(_) => return Err(format!("no acknowledgement for 30 s after {acked}")),
                }
            }
            Ok(())
        });
    }
    while let Some(done) = running.join_next().await {
        done.map_err(|cause| cause.to_string())??;
    }
    Ok((fleet.len() as u64 * FRAMES * BATCH) as f64 / started.elapsed().as_secs_f64())
}
