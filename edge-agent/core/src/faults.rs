//! Faults of the machine: what was seen, what it means, and what comes next.
//!
//! The shell brings what the kernel log, the driver and the GPU probe say; here it becomes a [`Fault`] of a known class with a
//! severity, a meaning and a next step, and a storm becomes a first report and one summary a minute. Only `faults/remedy.rs` acts, where the settings say so.
//!
//! Invariant: a code that nobody knows is a fault too, and its next step never touches the device.
//! Read next: `faults/kernel.rs` (lines of the log), `faults/xid.rs` (NVIDIA's codes), `faults/storm.rs` (how many become few),
//! `faults/ladder.rs` (what is done about them, and how often).

pub mod gpu;
pub mod kernel;
pub mod ladder;
mod remedy;
pub mod storm;
pub mod users;
pub mod xid;

use wire::DeviceId;
use wire::entry::Event;
use wire::fault::{NextStep, Severity};
use wire::time::Now;

use crate::agent::Agent;
pub(crate) use remedy::Remedies;

/// What a sighting is about, before it is known which device of the node that is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A function on the PCI bus, as `0000:17:00`.
    Pci(String),
    /// A device by its id: a disk, a file system, a GPU that the probe named.
    Device(DeviceId),
    /// The node.
    Node,
}

/// One thing that was seen, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Where.
    pub place: Place,
    /// Short name of what: `xid 79`, `oom`, `fs error`. With the place it is what a storm is counted by.
    pub code: String,
    /// How bad.
    pub severity: Severity,
    /// What it means, for people.
    pub meaning: &'static str,
    /// What should be done.
    pub next: NextStep,
    /// The line or the value that shows it, at most [`MAX_EVIDENCE_BYTES`].
    pub evidence: String,
}

/// Bytes of evidence that are kept: a line of the kernel log is rarely longer.
pub const MAX_EVIDENCE_BYTES: usize = 240;

/// A sighting, or many alike, ready for the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What was seen; of many, the last.
    pub sighting: Sighting,
    /// On which device.
    pub device: DeviceId,
    /// How often since the last report.
    pub count: u64,
}

/// Cuts evidence to its bound, at a character.
pub fn evidence(text: &str) -> String {
    let mut end = text.len().min(MAX_EVIDENCE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// The id of a place that no known device has: `pci:0000:17:00`.
pub fn device_of(place: &Place) -> DeviceId {
    match place {
        Place::Pci(address) => DeviceId::new(format!("pci:{address}")).unwrap_or_else(|_| DeviceId::node()),
        Place::Device(device) => device.clone(),
        Place::Node => DeviceId::node(),
    }
}

impl Agent {
    /// Notes a fault in the journal. What takes work from the device makes the node unhealthy until the device is well again.
    pub(crate) fn on_fault(&mut self, fault: Fault, now: Now) {
        self.climb(&fault, now);
        let Fault {
            sighting,
            device,
            count,
        } = fault;
        if sighting.severity >= Severity::High {
            let (code, meaning, next) = (&sighting.code, sighting.meaning, sighting.next.advice());
            let why = format!("{code} on {device}: {meaning}; next: {next}");
            self.note_trouble(&trouble(&device), Some(why));
        }
        let event = Event::Fault {
            device,
            code: sighting.code,
            severity: sighting.severity,
            meaning: sighting.meaning.to_owned(),
            next: sighting.next,
            evidence: sighting.evidence,
            count,
        };
        self.push_event(event, now);
    }

    /// A device answers and its driver wants nothing done: whatever was wrong with it is over.
    pub(crate) fn on_device_well(&mut self, device: DeviceId, now: Now) {
        self.climb_down(&device, now);
        if self.trouble_of(&trouble(&device)).is_some() {
            self.note_trouble(&trouble(&device), None);
            self.push_event(Event::FaultOver { device }, now);
        }
    }
}

fn trouble(device: &DeviceId) -> String {
    format!("fault {device}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Input;
    use crate::testing::Rig;

    fn fault(code: u32) -> Input {
        let known = xid::xid(code);
        Input::Fault(Fault {
            sighting: Sighting {
                place: Place::Node,
                code: format!("xid {code}"),
                severity: known.severity,
                meaning: known.meaning,
                next: known.next,
                evidence: String::new(),
            },
            device: DeviceId::gpu(0),
            count: 1,
        })
    }

    #[test]
    fn a_fault_is_an_entry_and_a_grave_one_makes_the_node_unhealthy_until_the_device_is_well() {
        let mut rig = Rig::new();
        rig.handle(fault(13));
        assert_eq!(rig.agent.unhealthy(), None, "an application's own error");
        rig.handle(fault(79));
        assert_eq!(
            rig.agent.unhealthy(),
            Some(
                "xid 79 on gpu0: the GPU has fallen off the bus; next: move the node's work away, then restart the machine"
            )
        );
        rig.handle(Input::DeviceWell(DeviceId::gpu(1)));
        assert!(rig.agent.unhealthy().is_some(), "another device");
        rig.handle(Input::DeviceWell(DeviceId::gpu(0)));
        assert_eq!(rig.agent.unhealthy(), None);
        rig.handle(Input::DeviceWell(DeviceId::gpu(0)));
        rig.pass(60_000);
        rig.handle(Input::Tick);
        assert_eq!(rig.log, ["fault gpu0 xid 13", "fault gpu0 xid 79", "fault over gpu0"]);
    }

    #[test]
    fn evidence_is_cut_at_a_character() {
        let long = "ä".repeat(MAX_EVIDENCE_BYTES);
        assert_eq!(evidence(&long).len(), MAX_EVIDENCE_BYTES);
        assert_eq!(evidence("short"), "short");
    }
}
