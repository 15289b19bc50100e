//! Sends entries from the journal to a Collector, each once it is durable, and goes on where it was after a cut or a restart.
//!
//! How far it is stands in a small file in the state folder, one for each signal. A page counts as sent when the Collector took it; a crash
//! in between sends it again. Decides nothing about the journal: what that gave up before it was sent is told as dropped.
//!
//! Invariant: entries go in their order; at most one page of [`PAGE_BYTES`] is in memory.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prost::Message as _;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use wire::{Epoch, RawEntry, Seq};

use super::entries::Origin;
use super::{Failure, Kind, Signal, Told, send};
use crate::journal::{ReadError, Reader};

/// A Collector takes 4 MiB in one request; half a megabyte keeps the agent small.
const PAGE_BYTES: usize = 256 << 10;
/// Entries in one page.
const PAGE: usize = 512;
/// First and longest pause before a Collector that did not take a page is asked again.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Where the next page begins: the first entry that was not sent.
type Place = (Epoch, Seq);

/// One signal's way out of the journal.
pub struct Forward {
    kind: Kind,
    signal: Signal,
    origin: Origin,
    reader: Reader,
    file: PathBuf,
    next: Place,
    told: Told,
}

impl Forward {
    /// Goes on where the former one was; the first begins with the oldest entry that there is.
    pub fn new(kind: Kind, signal: Signal, origin: Origin, reader: Reader, state_dir: &Path) -> Self {
        let file = state_dir.join(format!("otlp-{}", kind.name()));
        let next = place(&fs::read_to_string(&file).unwrap_or_default()).unwrap_or_default();
        Self {
            kind,
            signal,
            origin,
            reader,
            file,
            next,
            told: Told::default(),
        }
    }

    /// Sends for as long as the agent runs. `durable` tells that there is something new.
    pub async fn work(mut self, mut durable: Receiver<(Epoch, RawEntry)>) {
        let mut pause = PAUSE.0;
        loop {
            match self.send_page().await {
                Ok(true) => pause = PAUSE.0,
                Ok(false) => {
                    pause = PAUSE.0;
                    match durable.recv().await {
                        // Which one it was does not matter: they are read in order.
                        Ok(_) | Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => return,
                    }
                }
                Err(()) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }

    /// Sends the next page; `false`: there is none.
    async fn send_page(&mut self) -> Result<bool, ()> {
        let (reader, next) = (self.reader.clone(), self.next);
        let read = tokio::task::spawn_blocking(move || page(&reader, next)).await;
        let (page, after) = match read {
            Ok(Ok(found)) => found,
            // The journal is being opened again, or the runtime ends.
            Ok(Err(error)) => return self.later(&error.to_string()),
            Err(_) => return Err(()),
        };
        let Some((epoch, first)) = page.first() else {
            return Ok(false);
        };
        if *epoch == next.0 && first.seq > next.1 {
            let lost = first.seq.0 - next.1.0;
            self.told.dropped += lost;
            tracing::warn!(
                signal = self.kind.name(),
                lost,
                "the journal gave entries up before OTLP could send them"
            );
        }
        let body = match self.kind {
            Kind::Traces => self.origin.traces(&page).map(|request| request.encode_to_vec()),
            Kind::Logs | Kind::Metrics => self.origin.logs(&page).map(|request| request.encode_to_vec()),
        };
        if let Some(body) = body {
            match send(&self.signal, body.into()).await {
                Ok(()) => self.told.works(self.kind, &self.signal),
                Err(Failure::Later(reason)) => return self.later(&reason),
                Err(Failure::Never(reason)) => {
                    self.told.dropped += page.len() as u64;
                    self.told.fails(self.kind, &self.signal, &reason);
                }
            }
        }
        self.next = after;
        if let Err(error) = self.remember() {
            tracing::warn!(%error, file = %self.file.display(), "how far OTLP is cannot be kept: a restart sends some again");
        }
        Ok(true)
    }

    fn later(&mut self, reason: &str) -> Result<bool, ()> {
        self.told.fails(self.kind, &self.signal, reason);
        Err(())
    }

    fn remember(&self) -> io::Result<()> {
        let fresh = self.file.with_extension("new");
        let (epoch, seq) = self.next;
        fs::write(&fresh, format!("{} {}\n", epoch.0, seq.0))?;
        fs::rename(&fresh, &self.file)
    }
}

fn place(text: &str) -> Option<Place> {
    let (epoch, seq) = text.trim().split_once(' ')?;
    Some((Epoch(epoch.parse().ok()?), Seq(seq.parse().ok()?)))
}

/// The entries from a place on, over the ends of epochs, and where the page after them begins.
fn page(reader: &Reader, next: Place) -> Result<(Vec<(Epoch, RawEntry)>, Place), ReadError> {
    let (mut found, mut bytes, mut after) = (Vec::new(), 0, next);
    for (epoch, first, _) in reader.epochs()? {
        if epoch < next.0 {
            continue;
        }
        let from = if epoch == next.0 { next.1.max(first) } else { first };
        reader.forward(epoch, from, |raw| {
            bytes += raw.bytes.len();
            after = (epoch, raw.seq.next());
            found.push((epoch, raw));
            match found.len() < PAGE && bytes < PAGE_BYTES {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        if found.len() >= PAGE || bytes >= PAGE_BYTES {
            break;
        }
    }
    Ok((found, after))
}
