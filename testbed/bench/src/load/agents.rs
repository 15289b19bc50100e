//! Bare agents that send entries at a steady rate, and wait for each to be durable at the hub.

use std::time::{Duration, Instant};

use wire::entry::{ChainHead, Entry, EntryBody, Event as Happened};
use wire::frame::{Entries, Frame};
use wire::{Epoch, Mono, Now, Seq, Wall};
use wire_transport::{Client, Event, Session};

use super::{Options, Told};
use crate::fleet::{Bare, client, enroll};
use crate::lab::Lab;

/// For how long an acknowledgement is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Agents that the hub knows.
pub struct Fleet {
    client: Option<Client>,
    bare: Vec<Bare>,
}

impl Fleet {
    /// Enrols so many.
    pub async fn enrol(lab: &Lab, agents: usize) -> Result<Self, String> {
        if agents == 0 {
            return Ok(Self {
                client: None,
                bare: Vec::new(),
            });
        }
        let client = client(lab)?;
        let mut bare = Vec::with_capacity(agents);
        for agent in 0..agents {
            bare.push(enroll(lab, &client, &format!("load-{agent}")).await?);
        }
        Ok(Self {
            client: Some(client),
            bare,
        })
    }

    /// Sends for the span, and returns how long each entry took to be durable.
    pub async fn send(&self, lab: &Lab, options: &Options) -> Result<Told, String> {
        let Some(client) = &self.client else {
            return Ok(Told::default());
        };
        let mut running = tokio::task::JoinSet::new();
        let every = Duration::from_secs(1) / options.rate;
        for (number, bare) in self.bare.iter().enumerate() {
            let (session, _) = bare.connect(client, lab.address).await?;
            // Agents do not beat in time with each other.
            let begin = Instant::now() + every.mul_f64(number as f64 / self.bare.len() as f64);
            running.spawn(one(session, begin, every, options.span));
        }
        let mut told = Told::default();
        while let Some(done) = running.join_next().await {
            let mut one = done.map_err(|cause| cause.to_string())?;
            told.took_ms.append(&mut one.took_ms);
            told.failed.append(&mut one.failed);
        }
        Ok(told)
    }
}

/// One agent's entries: each is sent when it is due, whether or not the ones before are durable.
async fn one(mut session: Session, begin: Instant, every: Duration, span: Duration) -> Told {
    let mut told = Told::default();
    let mut head = ChainHead::empty(Epoch(1));
    let (mut due, end) = (begin, begin + span);
    // When each entry that is not durable yet was due; a stall of the hub counts for all that had to wait.
    let mut under_way: std::collections::VecDeque<(u64, Instant)> = std::collections::VecDeque::new();
    let mut next = 1;
    loop {
        let sending = due < end;
        let pause_until = if sending { due } else { Instant::now() + PATIENCE };
        if !sending && under_way.is_empty() {
            return told;
        }
        tokio::select! {
            event = session.recv() => match event {
                Event::Frame(Frame::Ack(ack)) => {
                    let durable = ack.entries.map_or(0, |seq| seq.0);
                    while let Some((_, since)) = under_way.pop_front_if(|(seq, _)| *seq <= durable) {
                        told.took_ms.push(since.elapsed().as_secs_f64() * 1e3);
                    }
                }
                Event::Frame(_) | Event::Asked { .. } => {}
                Event::Ended(end) => {
                    told.failed.push(format!("a session ended: {end:?}"));
                    return told;
                }
            },
            () = tokio::time::sleep_until(pause_until.into()) => {
                if !sending {
                    told.failed.push(format!("{} entries were not durable after {} s", under_way.len(), PATIENCE.as_secs()));
                    return told;
                }
                let entry = Entry {
                    seq: Seq(next),
                    at: Now { mono: Mono(next), wall: Wall(1_795_000_000_000) },
                    prev: head.digest,
                    body: EntryBody::Event(Happened::Notified { message: format!("{next:0>145}") }),
                };
                let raw = entry.encode();
                head = head.link(&raw).expect("made in order");
                let frame = Frame::Entries(Entries { epoch: Epoch(1), first: Seq(next), raw: vec![raw.bytes] });
                if let Err(cause) = session.sender().send(&frame) {
                    told.failed.push(format!("an entry could not be sent: {cause}"));
                    return told;
                }
                under_way.push_back((next, due));
                next += 1;
                due += every;
            }
        }
    }
}
