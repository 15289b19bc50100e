//! Records of the kernel's log: what a line is about, and which lines are faults.
//!
//! A pattern is matched on what a line starts with, then parsed; nothing depends on how a line ends. Only records of the kernel's
//! own facility count: anybody may write to the log under another.
//!
//! Invariant: no bytes make this panic; a line that is no fault costs a few comparisons.
//! Source: `Documentation/ABI/testing/dev-kmsg` of Linux for the record, the drivers' own `printk`s for the lines.

use wire::DeviceId;
use wire::fault::NextStep as N;
use wire::fault::Severity as S;

use super::{Place, Sighting, evidence, xid};

/// One record, as `/dev/kmsg` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// 0 is the kernel; others are programs that wrote to the log.
    pub facility: u32,
    /// Its number, one higher each.
    pub seq: u64,
    /// Microseconds since the machine started.
    pub at_us: u64,
    /// The line.
    pub text: &'a str,
}

impl<'a> Record<'a> {
    /// Reads `priority,sequence,microseconds,flags[,…];text`. What follows the first line are values for programs.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        let line = std::str::from_utf8(&bytes[..end]).ok()?;
        let (header, text) = line.split_once(';')?;
        let mut fields = header.split(',');
        let priority: u32 = fields.next()?.parse().ok()?;
        Some(Self {
            facility: priority >> 3,
            seq: fields.next()?.parse().ok()?,
            at_us: fields.next()?.parse().ok()?,
            text,
        })
    }

    /// What fault it tells of, if it tells of one.
    pub fn fault(&self) -> Option<Sighting> {
        if self.facility != 0 {
            return None;
        }
        let found = find(self.text)?;
        Some(Sighting {
            place: found.place,
            code: found.code,
            severity: found.severity,
            meaning: found.meaning,
            next: found.next,
            evidence: evidence(self.text),
        })
    }
}

struct Found {
    place: Place,
    code: String,
    severity: S,
    meaning: &'static str,
    next: N,
}

impl Found {
    fn new(place: Place, code: &str, severity: S, meaning: &'static str, next: N) -> Self {
        Self {
            place,
            code: code.to_owned(),
            severity,
            meaning,
            next,
        }
    }
}

fn find(text: &str) -> Option<Found> {
    nvidia(text)
        .or_else(|| switch(text))
        .or_else(|| bus(text))
        .or_else(|| memory(text))
        .or_else(|| hardware(text))
        .or_else(|| storage(text))
        .or_else(|| stalls(text))
}

/// `NVRM: Xid (PCI:0000:17:00): 79, …` and `NVRM: GPU 0000:17:00.0: GPU has fallen off the bus.`
fn nvidia(text: &str) -> Option<Found> {
    let rest = text.strip_prefix("NVRM: ")?;
    if let Some(rest) = rest.strip_prefix("Xid (") {
        let (address, rest) = rest.split_once("): ")?;
        let code: u32 = leading_number(rest)?;
        let known = xid::xid(code);
        return Some(Found::new(
            pci(address.strip_prefix("PCI:").unwrap_or(address)),
            &format!("xid {code}"),
            known.severity,
            known.meaning,
            known.next,
        ));
    }
    if rest.contains("has fallen off the bus") {
        // The same as XID 79, under the same name, so that both lines are one fault.
        let known = xid::xid(79);
        let address = rest
            .split_whitespace()
            .map(|word| word.strip_prefix("PCI:").unwrap_or(word));
        let place = address
            .map(pci)
            .find(|place| *place != Place::Node)
            .unwrap_or(Place::Node);
        return Some(Found::new(place, "xid 79", known.severity, known.meaning, known.next));
    }
    if rest.starts_with("API mismatch") {
        return Some(Found::new(
            Place::Node,
            "driver mismatch",
            S::High,
            "the GPU driver's kernel module and its libraries are of different versions",
            N::DrainAndReboot,
        ));
    }
    None
}

/// `nvidia-nvswitch0: SXid (PCI:0000:c1:00.0): 12028, Non-fatal, …`
fn switch(text: &str) -> Option<Found> {
    let rest = text.strip_prefix("nvidia-nvswitch")?;
    let (_, rest) = rest.split_once("SXid (")?;
    let (address, rest) = rest.split_once("): ")?;
    let code: u32 = leading_number(rest)?;
    let fatal = rest.contains(", Fatal");
    let (severity, meaning, next) = match fatal {
        true => (
            S::Critical,
            "a fatal error of an NVSwitch: every GPU on its board is concerned",
            N::DrainAndReset,
        ),
        false => (S::Low, "an error of an NVSwitch that is not fatal", N::Record),
    };
    let place = pci(address.strip_prefix("PCI:").unwrap_or(address));
    Some(Found::new(place, &format!("sxid {code}"), severity, meaning, next))
}

/// `pcieport 0000:00:01.0: AER: …`, `nvidia 0000:17:00.0: PCIe Bus Error: severity=…`
fn bus(text: &str) -> Option<Found> {
    let (_driver, rest) = text.split_once(' ')?;
    let (address, rest) = rest.split_once(": ")?;
    let place = pci(address);
    if place == Place::Node {
        return None;
    }
    if let Some(severity) = rest.strip_prefix("PCIe Bus Error: severity=") {
        let (severity, meaning, next) = if severity.starts_with("Corrected") {
            (S::Low, "a PCIe error that was corrected", N::Record)
        } else if severity.contains("Non-Fatal") {
            (S::Medium, "a PCIe error that was not corrected", N::Inspect)
        } else {
            (S::Critical, "a fatal PCIe error", N::DrainAndReboot)
        };
        return Some(Found::new(place, "pcie", severity, meaning, next));
    }
    if rest.contains("insufficient power") {
        let meaning = "the slot gives the card less power than it needs";
        return Some(Found::new(place, "slot power", S::High, meaning, N::Inspect));
    }
    if rest.contains("High Temperature") {
        let meaning = "the card says that it is too hot";
        return Some(Found::new(place, "card hot", S::High, meaning, N::Inspect));
    }
    None
}

/// `Out of memory: Killed process 7 (train) …`, also of a memory cgroup.
fn memory(text: &str) -> Option<Found> {
    let killed = text
        .strip_prefix("Out of memory: ")
        .or_else(|| text.strip_prefix("Memory cgroup out of memory: "))?;
    killed.starts_with("Kill").then(|| {
        let meaning = "memory ran out and the kernel killed a process";
        Found::new(Place::Node, "oom", S::Medium, meaning, N::RestartWork)
    })
}

/// Machine checks, memory controllers, hot processors.
fn hardware(text: &str) -> Option<Found> {
    if let Some(start) = text.find("[Hardware Error]: ").filter(|start| *start < 8) {
        let rest = &text[start + "[Hardware Error]: ".len()..];
        let severity = rest.strip_prefix("event severity: ")?;
        let (severity, meaning, next) = match severity.trim() {
            "corrected" | "info" => (S::Low, "the firmware reports a corrected hardware error", N::Record),
            "recoverable" => (S::High, "the firmware reports a recoverable hardware error", N::Inspect),
            _ => (S::Critical, "the firmware reports a fatal hardware error", N::Inspect),
        };
        return Some(Found::new(Place::Node, "hardware error", severity, meaning, next));
    }
    if let Some(rest) = text.strip_prefix("EDAC ") {
        let (_, rest) = rest.split_once(": ")?;
        let kind = rest.split_whitespace().nth(1)?;
        return match kind {
            "CE" => Some(Found::new(
                Place::Node,
                "memory ce",
                S::Low,
                "a memory error that was corrected",
                N::Record,
            )),
            "UE" => Some(Found::new(
                Place::Node,
                "memory ue",
                S::Critical,
                "a memory error that was not corrected",
                N::Inspect,
            )),
            _ => None,
        };
    }
    let processor = text.strip_prefix("mce: ").unwrap_or(text).strip_prefix("CPU")?;
    let (_, rest) = processor.split_once(": ")?;
    let hot = rest.starts_with("Core temperature above") || rest.starts_with("Package temperature above");
    hot.then(|| {
        let meaning = "the processor is too hot and slows itself down";
        Found::new(Place::Node, "cpu hot", S::Medium, meaning, N::Inspect)
    })
}

/// File systems and disks.
fn storage(text: &str) -> Option<Found> {
    let broken = |device: &str, meaning| Some(Found::new(disk(device), "fs error", S::High, meaning, N::Inspect));
    if let Some(rest) = text.strip_prefix("EXT4-fs error (device ") {
        return broken(until(rest, ")"), "a file system found an error in itself");
    }
    if let Some(rest) = text.strip_prefix("EXT4-fs (") {
        let (device, rest) = rest.split_once("): ")?;
        return rest.starts_with("Remounting filesystem read-only").then(|| {
            let meaning = "a file system refuses writes after an error";
            Found::new(disk(device), "fs read-only", S::High, meaning, N::Inspect)
        });
    }
    if let Some(rest) = text.strip_prefix("XFS (") {
        let (device, rest) = rest.split_once("): ")?;
        let bad = [
            "Corruption",
            "Metadata corruption",
            "Metadata CRC error",
            "log I/O error",
            "metadata I/O error",
        ]
        .iter()
        .any(|start| rest.starts_with(start));
        return if bad {
            broken(device, "a file system found an error in itself")
        } else {
            None
        };
    }
    if let Some(rest) = text
        .strip_prefix("BTRFS error (device ")
        .or_else(|| text.strip_prefix("BTRFS critical (device "))
    {
        return broken(until(rest, ")"), "a file system found an error in itself");
    }
    if let Some(rest) = text.strip_prefix("nvme ") {
        let (device, rest) = rest.split_once(": ")?;
        let bad = (rest.starts_with("I/O ") && rest.contains("timeout")) || rest.starts_with("controller is down");
        return bad.then(|| {
            let meaning = "a disk does not answer in time";
            Found::new(disk(device), "disk timeout", S::High, meaning, N::Inspect)
        });
    }
    let rest = text.strip_prefix("blk_update_request: ").unwrap_or(text);
    let rest = [
        "I/O error, dev ",
        "critical medium error, dev ",
        "Buffer I/O error on dev ",
    ]
    .iter()
    .find_map(|start| rest.strip_prefix(start))?;
    let meaning = "a disk could not read or write";
    Some(Found::new(
        disk(until(rest, ",")),
        "disk error",
        S::High,
        meaning,
        N::Inspect,
    ))
}

/// A kernel that does not get on.
fn stalls(text: &str) -> Option<Found> {
    let stalled = |code: &str, severity, meaning| Some(Found::new(Place::Node, code, severity, meaning, N::AskPerson));
    if let Some(rest) = text.strip_prefix("INFO: task ") {
        return if rest.contains(" blocked for more than ") {
            stalled(
                "task blocked",
                S::Medium,
                "a task waits for a device that does not answer",
            )
        } else {
            None
        };
    }
    if text
        .strip_prefix("watchdog: ")
        .unwrap_or(text)
        .starts_with("BUG: soft lockup")
    {
        return stalled("soft lockup", S::High, "a processor does not get out of the kernel");
    }
    if text.starts_with("rcu: INFO: rcu_") && text.contains("stall") {
        return stalled("rcu stall", S::High, "a processor does not get out of the kernel");
    }
    if text.starts_with("BUG: unable to handle") || text.starts_with("Oops: ") {
        return stalled(
            "kernel bug",
            S::Critical,
            "the kernel made an error and may not be trusted any more",
        );
    }
    None
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().ok()
}

fn until<'a>(text: &'a str, end: &str) -> &'a str {
    text.split(end).next().unwrap_or(text).trim()
}

fn disk(name: &str) -> Place {
    let name = until(name, " ").trim_end_matches(')');
    DeviceId::new(format!("disk:{name}")).map_or(Place::Node, Place::Device)
}

/// `0000:17:00`, of any of `0000:17:00.0`, `0000:17:00` and `00000000:17:00.0`; the node for what is no address.
fn pci(text: &str) -> Place {
    let text = text.trim_end_matches([':', ',', ')']);
    let text = text.split('.').next().unwrap_or(text);
    let parts: Vec<u32> = text
        .split(':')
        .map_while(|part| u32::from_str_radix(part, 16).ok())
        .collect();
    match (parts.as_slice(), text.matches(':').count()) {
        ([domain, bus, device], 2) => Place::Pci(format!("{domain:04x}:{bus:02x}:{device:02x}")),
        _ => Place::Node,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::faults::device_of;

    fn record(text: &str) -> String {
        format!("3,812,9120031,-;{text}\n SUBSYSTEM=pci\n DEVICE=+pci:0000:17:00.0\n")
    }

    fn check(text: &str, expected: &str) {
        let bytes = record(text);
        let found = Record::parse(bytes.as_bytes()).expect("a record").fault().map_or_else(
            || "nothing".to_owned(),
            |found| {
                format!(
                    "{} {} {} -> {}",
                    device_of(&found.place),
                    found.code,
                    found.severity.name(),
                    found.next.name()
                )
            },
        );
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn nvidia_lines() {
        for line in [
            "NVRM: Xid (PCI:0000:17:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
            "NVRM: Xid (PCI:0000:17:00): 79, GPU has fallen off the bus.",
            "NVRM: GPU 0000:17:00.0: GPU has fallen off the bus.",
            "NVRM: The NVIDIA GPU 0000:17:00.0 (PCI ID: 10de:26b9) has fallen off the bus and is not responding to commands.",
            "NVRM: GPU at PCI:0000:17:00: has fallen off the bus",
        ] {
            check(line, "pci:0000:17:00 xid 79 critical -> drain_and_reboot");
        }
        check(
            "NVRM: Xid (PCI:0000:65:00): 13, pid=1734, name=python, Graphics Exception: ESR 0x404490=0x80000001",
            "pci:0000:65:00 xid 13 low -> restart_work",
        );
        check(
            "NVRM: Xid (PCI:0000:65:00): 149, NETIR_LINK_EVT Fatal XC0 i0 Link 08 (0x004505c6 0x00000000)",
            "pci:0000:65:00 xid 149 high -> check_link",
        );
        check(
            "NVRM: Xid (PCI:0000:65:00): 4711, something new",
            "pci:0000:65:00 xid 4711 medium -> ask_person",
        );
        check(
            "nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 24007, Fatal, Link 44 sourcetrack timeout error",
            "pci:0000:c1:00 sxid 24007 critical -> drain_and_reset",
        );
        check(
            "nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 12028, Non-fatal, Link 32 egress non-posted PRIV error",
            "pci:0000:c1:00 sxid 12028 low -> record",
        );
        check("NVRM: loading NVIDIA UNIX x86_64 Kernel Module  570.86.15", "nothing");
    }

    #[test]
    fn lines_of_the_machine() {
        for (line, expected) in [
            (
                "nvidia 0000:17:00.0: PCIe Bus Error: severity=Uncorrected (Fatal), type=Transaction Layer",
                "pci:0000:17:00 pcie critical -> drain_and_reboot",
            ),
            (
                "nvidia 0000:17:00.0: PCIe Bus Error: severity=Corrected, type=Physical Layer, (Receiver ID)",
                "pci:0000:17:00 pcie low -> record",
            ),
            (
                "mlx5_core 0000:5e:00.0: Detected insufficient power on the PCIe slot (27W).",
                "pci:0000:5e:00 slot power high -> inspect",
            ),
            (
                "Out of memory: Killed process 1734 (python) total-vm:9, anon-rss:8",
                "node oom medium -> restart_work",
            ),
            (
                "Memory cgroup out of memory: Killed process 7 (train) total-vm:1kB",
                "node oom medium -> restart_work",
            ),
            (
                "EXT4-fs error (device nvme0n1p1): ext4_find_entry:1455: inode #2: comm ls: reading directory lblock 0",
                "disk:nvme0n1p1 fs error high -> inspect",
            ),
            (
                "EXT4-fs (sda1): Remounting filesystem read-only",
                "disk:sda1 fs read-only high -> inspect",
            ),
            (
                "XFS (dm-0): Metadata corruption detected at xfs_agf_read_verify",
                "disk:dm-0 fs error high -> inspect",
            ),
            (
                "BTRFS error (device sdb1): bdev /dev/sdb1 errs: wr 1",
                "disk:sdb1 fs error high -> inspect",
            ),
            (
                "blk_update_request: I/O error, dev sda, sector 2048 op 0x0:(READ)",
                "disk:sda disk error high -> inspect",
            ),
            (
                "I/O error, dev sdc, sector 9 op 0x1:(WRITE) flags 0x800",
                "disk:sdc disk error high -> inspect",
            ),
            (
                "nvme nvme1: I/O 12 QID 4 timeout, aborting",
                "disk:nvme1 disk timeout high -> inspect",
            ),
            (
                "{1}[Hardware Error]: event severity: fatal",
                "node hardware error critical -> inspect",
            ),
            (
                "{1}[Hardware Error]: event severity: corrected",
                "node hardware error low -> record",
            ),
            (
                "EDAC MC0: 1 UE memory read error on CPU_SrcID#0",
                "node memory ue critical -> inspect",
            ),
            ("EDAC MC1: 3 CE memory scrubbing error", "node memory ce low -> record"),
            (
                "mce: CPU3: Package temperature above threshold, cpu clock throttled (total events = 9)",
                "node cpu hot medium -> inspect",
            ),
            (
                "INFO: task nvidia-smi:981 blocked for more than 120 seconds.",
                "node task blocked medium -> ask_person",
            ),
            (
                "watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [python:1734]",
                "node soft lockup high -> ask_person",
            ),
            ("usb 1-1: new high-speed USB device number 2 using xhci_hcd", "nothing"),
            ("EXT4-fs (sda1): mounted filesystem with ordered data mode", "nothing"),
            ("pci 0000:17:00.0: [10de:26b9] type 00 class 0x030200", "nothing"),
            ("", "nothing"),
        ] {
            check(line, expected);
        }
    }

    #[test]
    fn what_a_program_writes_to_the_log_is_no_fault() {
        let line = "14,813,9120031,-;NVRM: Xid (PCI:0000:17:00): 79, GPU has fallen off the bus.";
        let record = Record::parse(line.as_bytes()).expect("a record");
        assert_eq!((record.facility, record.seq, record.at_us), (1, 813, 9_120_031));
        assert_eq!(record.fault(), None);
    }

    proptest! {
        #[test]
        fn no_line_panics(text in "\\PC{0,300}", start in 0usize..12) {
            let starts = [
                "", "NVRM: ", "NVRM: Xid (PCI:", "nvidia-nvswitch0: SXid (", "EXT4-fs (", "XFS (", "EDAC ", "nvme ",
                "{1}[Hardware Error]: ", "nvidia 0000:17:00.0: ", "INFO: task ", "CPU",
            ];
            let bytes = record(&format!("{}{text}", starts[start]));
            if let Some(found) = Record::parse(bytes.as_bytes()).and_then(|record| record.fault()) {
                prop_assert!(found.evidence.len() <= crate::faults::MAX_EVIDENCE_BYTES);
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(record) = Record::parse(&bytes) {
                let _ = record.fault();
            }
        }
    }
}
