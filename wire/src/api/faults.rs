//! Faults of a node as people see them: what each means, what shows it, and what comes next.
//!
//! Everything stands in the node's journal; here the entries of the recent past become one line for each fault of a device.
//! Read next: `edge-agent/core/src/faults.rs` (who writes these entries).

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::entry::{EntryBody, Event, RawEntry};
use crate::fault::{NextStep, Severity};
use crate::ids::{Epoch, Seq};
use crate::reading::DeviceId;
use crate::time::Wall;

/// Faults that are listed; open ones before those that are over, the graver first.
const MAX_FAULTS: usize = 32;
/// Entries that are looked through: some hours of a busy node, days of a quiet one.
const LOOK_BACK: usize = 2_000;

/// A fault of a device, once for as long as it lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FaultView {
    /// Which device: `gpu0`, `node`, `pci:0000:17:00`.
    pub device: DeviceId,
    /// Its short name: `xid 79`, `oom`, `fs error`.
    pub code: String,
    /// How bad.
    pub severity: Severity,
    /// What it means.
    pub meaning: String,
    /// What should be done, as a word.
    pub next: NextStep,
    /// The same as a sentence's end.
    pub advice: String,
    /// The line or value that shows it, as seen last.
    pub evidence: String,
    /// How often it was seen.
    pub count: u64,
    /// When it was seen first, as far as the entries go that were looked through.
    pub since: Wall,
    /// When it was seen last.
    pub at: Wall,
    /// The entry that says so: its epoch.
    pub epoch: Epoch,
    /// Its place.
    pub seq: Seq,
    /// When the device was well again; `None`: it is not, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_at: Option<Wall>,
}

/// Gathers them from a node's entries, the newest first.
#[derive(Debug, Default)]
pub struct Faults {
    looked: usize,
    /// When each device was well, of what came after the entry that is looked at.
    well: BTreeMap<DeviceId, Wall>,
    found: BTreeMap<(DeviceId, String), FaultView>,
}

impl Faults {
    /// Most entries that are of use.
    pub const LOOK_BACK: usize = LOOK_BACK;

    /// Looks at the next older entry; breaks when it has seen enough. One that cannot be read is passed over.
    pub fn look(&mut self, epoch: Epoch, raw: &RawEntry) -> ControlFlow<()> {
        self.looked += 1;
        if let Ok(entry) = raw.decode()
            && let EntryBody::Event(event) = entry.body
        {
            self.take(event, entry.at.wall, epoch, raw.seq);
        }
        match self.looked < LOOK_BACK {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }

    fn take(&mut self, event: Event, at: Wall, epoch: Epoch, seq: Seq) {
        match event {
            Event::FaultOver { device } => drop(self.well.insert(device, at)),
            Event::Fault {
                device,
                code,
                severity,
                meaning,
                next,
                evidence,
                count,
            } => {
                let over_at = self.well.get(&device).copied();
                let key = (device.clone(), code.clone());
                if let Some(known) = self.found.get_mut(&key) {
                    // An earlier time that was over already is another one.
                    if known.over_at == over_at {
                        known.count = known.count.saturating_add(count);
                        known.since = at;
                    }
                    return;
                }
                let fault = FaultView {
                    device,
                    code,
                    severity,
                    meaning,
                    next,
                    advice: next.advice().to_owned(),
                    evidence,
                    count,
                    since: at,
                    at,
                    epoch,
                    seq,
                    over_at,
                };
                self.found.insert(key, fault);
            }
            _ => {}
        }
    }

    /// What was found: open ones first, the graver before the others, then the newest.
    pub fn list(self) -> Vec<FaultView> {
        let mut all: Vec<FaultView> = self.found.into_values().collect();
        all.sort_by(|a, b| {
            let rank = |one: &FaultView| (one.over_at.is_none(), one.severity, one.epoch, one.seq);
            rank(b).cmp(&rank(a))
        });
        all.truncate(MAX_FAULTS);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{ChainHead, Entry};
    use crate::time::{Mono, Now};

    fn fault(device: &DeviceId, code: &str, severity: Severity) -> Event {
        Event::Fault {
            device: device.clone(),
            code: code.to_owned(),
            severity,
            meaning: "a meaning".to_owned(),
            next: NextStep::DrainAndReset,
            evidence: format!("line of {code}"),
            count: 2,
        }
    }

    /// Of events a second apart, the oldest first.
    fn list(events: Vec<Event>) -> Vec<FaultView> {
        let mut head = ChainHead::empty(Epoch(1));
        let mut chain = Vec::new();
        for (second, event) in (1..).zip(events) {
            let entry = Entry {
                seq: Seq(second),
                at: Now {
                    mono: Mono(0),
                    wall: Wall(i64::try_from(second).expect("small") * 1_000),
                },
                prev: head.digest,
                body: EntryBody::Event(event),
            };
            let raw = entry.encode();
            head = head.link(&raw).expect("in order");
            chain.push(raw);
        }
        let mut faults = Faults::default();
        for raw in chain.iter().rev() {
            assert_eq!(faults.look(Epoch(1), raw), ControlFlow::Continue(()));
        }
        faults.list()
    }

    #[test]
    fn a_fault_is_one_line_while_it_lasts_and_open_ones_stand_first() {
        let (first, second) = (DeviceId::gpu(0), DeviceId::gpu(1));
        let found = list(vec![
            fault(&first, "xid 79", Severity::Critical),
            Event::FaultOver { device: first.clone() },
            fault(&first, "xid 79", Severity::Critical),
            fault(&first, "xid 79", Severity::Critical),
            fault(&second, "xid 48", Severity::High),
            Event::FaultOver { device: first.clone() },
            fault(&first, "xid 63", Severity::Info),
        ]);
        let line = |one: &FaultView| {
            let over = one.over_at.map(|at| at.0);
            (
                one.device.to_string(),
                one.code.clone(),
                one.count,
                one.since.0,
                one.at.0,
                over,
            )
        };
        let lines: Vec<_> = found.iter().map(line).collect();
        let expected = |device: &str, code: &str, count, since, at, over| {
            (device.to_owned(), code.to_owned(), count, since, at, over)
        };
        assert_eq!(
            lines,
            [
                expected("gpu1", "xid 48", 2, 5_000, 5_000, None),
                expected("gpu0", "xid 63", 2, 7_000, 7_000, None),
                // The first time it was over before the second began.
                expected("gpu0", "xid 79", 4, 3_000, 4_000, Some(6_000)),
            ]
        );
        assert_eq!(found[0].advice, "move its work away, then reset the GPU");
        assert_eq!(found[0].evidence, "line of xid 48");
    }

    #[test]
    fn no_more_is_looked_through_than_the_bound() {
        let mut faults = Faults::default();
        let raw = Entry {
            seq: Seq(1),
            at: Now {
                mono: Mono(0),
                wall: Wall(0),
            },
            prev: ChainHead::empty(Epoch(1)).digest,
            body: EntryBody::Event(Event::FaultOver {
                device: DeviceId::node(),
            }),
        }
        .encode();
        let looked = (1..).find(|_| faults.look(Epoch(1), &raw).is_break());
        assert_eq!(looked, Some(LOOK_BACK));
    }
}
