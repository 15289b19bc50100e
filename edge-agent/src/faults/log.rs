//! Reads the kernel's log on a thread of its own, record by record, and misses nothing in silence.
//!
//! Records are numbered: a number that is skipped is a gap, which is a fault too, because what was in it is not known. A record that a
//! former process of this boot has told of is not told again; a reboot begins anew. Where the log cannot be opened (a container
//! without `/dev/kmsg`), the agent runs without it and says so once.
//!
//! Invariant: every fault in the log is reported, or lies in a gap that is reported; the place is kept after the report, never before.
//! Source: `Documentation/ABI/testing/dev-kmsg` (one record for each read, `EPIPE` when records were overwritten).

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use edge_agent_core::faults::kernel::Record;
use edge_agent_core::faults::storm::LOG_GAP;
use edge_agent_core::faults::{Place, Sighting, evidence};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use wire::fault::{NextStep, Severity};

use super::Faults;
use crate::clock;
use crate::watch::Watch;

/// Longest record that the kernel makes (`CONSOLE_EXT_LOG_MAX` is 8 KiB), and room for several of a recording.
const BUFFER_BYTES: usize = 16 * 1024;
/// How long one wait takes: as often the place is kept and summaries are told.
const WAIT: Duration = Duration::from_secs(1);

/// The thread, until it is stopped.
#[derive(Debug)]
pub struct KernelLog {
    stop: Arc<AtomicBool>,
}

impl KernelLog {
    /// Starts reading `path`, which is `/dev/kmsg` or a recording of it; keeps its place in `place`.
    pub fn start(path: PathBuf, place: PathBuf, faults: Faults, watch: &Watch) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        watch.thread("kernel-log", move || match Device::open(&path) {
            Ok(source) => work(source, &place, &clock::boot_id(), &faults, &stopped),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "kernel log cannot be read: faults that only it tells of stay unknown");
                while !stopped.load(Ordering::Relaxed) {
                    std::thread::park_timeout(WAIT);
                    faults.look();
                }
            }
        })?;
        Ok(Self { stop })
    }

    /// Asks the thread to end; it does so within a second.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Every fault that the log has now. Reads to its end and does not wait for more.
pub fn past(path: &Path) -> io::Result<Vec<Sighting>> {
    let mut source = Device::open(path)?;
    let (mut log, mut found) = (Log::default(), Vec::new());
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match source.next(&mut buffer, Duration::ZERO)? {
            Got::Bytes(length) => log.read(&buffer[..length], |sighting| found.push(sighting)),
            Got::Overwritten => {}
            Got::Nothing => return Ok(found),
        }
    }
}

/// What a read of the log gives.
#[derive(Debug)]
enum Got {
    /// So many bytes: whole records.
    Bytes(usize),
    /// Records were overwritten before they were read.
    Overwritten,
    /// Nothing new came in time.
    Nothing,
}

/// Where records come from.
trait Source {
    /// Waits for the next record, for `patience` at most.
    fn next(&mut self, buffer: &mut [u8], patience: Duration) -> io::Result<Got>;
}

/// `/dev/kmsg`.
struct Device(File);

impl Device {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(Self(File::from(rustix::fs::open(path, flags, Mode::empty())?)))
    }
}

impl Source for Device {
    fn next(&mut self, buffer: &mut [u8], patience: Duration) -> io::Result<Got> {
        for waited in [false, true] {
            match self.0.read(buffer) {
                // A recording is at its end; somebody may write more.
                Ok(0) if waited => std::thread::sleep(patience),
                Ok(0) => {}
                Ok(length) => return Ok(Got::Bytes(length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {
                    return Ok(Got::Overwritten);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if !waited {
                wait(self.0.as_fd(), patience)?;
            }
        }
        Ok(Got::Nothing)
    }
}

fn wait(file: BorrowedFd<'_>, patience: Duration) -> io::Result<()> {
    let timeout = Timespec {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(1),
        tv_nsec: patience.subsec_nanos().into(),
    };
    match poll(&mut [PollFd::new(&file, PollFlags::IN)], Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn work(mut source: impl Source, place: &Path, boot: &str, faults: &Faults, stop: &AtomicBool) {
    let mut log = Log::resume(place, boot);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut looked = Instant::now();
    let mut kept = log.told;
    while !stop.load(Ordering::Relaxed) {
        match source.next(&mut buffer, WAIT) {
            Ok(Got::Bytes(length)) => log.read(&buffer[..length], |sighting| faults.saw(sighting)),
            // The number of the next record says how many.
            Ok(Got::Overwritten | Got::Nothing) => {}
            Err(error) => {
                tracing::warn!(%error, "kernel log cannot be read any further");
                faults.saw(lost("the kernel log cannot be read any further", error.to_string()));
                return;
            }
        }
        if looked.elapsed() >= WAIT {
            looked = Instant::now();
            faults.look();
            if log.told != kept {
                kept = log.told;
                log.keep(place, boot);
            }
        }
    }
    log.keep(place, boot);
}

/// How far the log was read.
#[derive(Debug, Default)]
struct Log {
    /// The last record that was seen.
    seen: Option<u64>,
    /// The last record that told of a fault.
    told: Option<u64>,
}

impl Log {
    /// Goes on after what a former process of this boot told of.
    fn resume(place: &Path, boot: &str) -> Self {
        let text = fs::read_to_string(place).unwrap_or_default();
        let told = text
            .trim()
            .split_once(' ')
            .filter(|(known, _)| *known == boot && !boot.is_empty())
            .and_then(|(_, seq)| seq.parse().ok());
        Self { seen: None, told }
    }

    /// Keeps the place. Losing it in a crash makes the last second's faults be told twice, and none be missed.
    fn keep(&self, place: &Path, boot: &str) {
        let Some(told) = self.told else { return };
        if let Err(error) = wire_files::replace(place, format!("{boot} {told}\n").as_bytes()) {
            tracing::debug!(place = %place.display(), %error, "place in the kernel log not kept");
        }
    }

    /// Takes whole records.
    fn read(&mut self, bytes: &[u8], mut tell: impl FnMut(Sighting)) {
        for record in records(bytes) {
            let Some(record) = Record::parse(record) else { continue };
            if self.seen.is_some_and(|seen| record.seq <= seen) {
                continue;
            }
            let expected = self.seen.map_or(record.seq, |seen| seen + 1);
            if record.seq > expected {
                let missing = record.seq - expected;
                tell(lost(
                    "records of the kernel log were overwritten before they could be read",
                    format!("{missing} records from number {expected} on"),
                ));
            }
            self.seen = Some(record.seq);
            if self.told.is_some_and(|told| record.seq <= told) {
                continue;
            }
            if let Some(mut sighting) = record.fault() {
                let (seconds, rest) = (record.at_us / 1_000_000, record.at_us % 1_000_000);
                sighting.evidence = evidence(&format!("[{seconds}.{rest:06}] {}", sighting.evidence));
                tell(sighting);
                self.told = Some(record.seq);
            }
        }
    }
}

fn lost(meaning: &'static str, evidence: String) -> Sighting {
    Sighting {
        place: Place::Node,
        code: LOG_GAP.to_owned(),
        severity: Severity::Medium,
        meaning,
        next: NextStep::AskPerson,
        evidence,
    }
}

/// The records in some bytes: each begins a line, and lines that begin with a space belong to the one before.
fn records(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty() && line[0] != b' ')
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use edge_agent_core::Input;
    use tokio::sync::mpsc;

    use super::*;

    /// A log that keeps `room` records, as the kernel's ring does: who reads too late gets `EPIPE` once, then the oldest that is left.
    struct Ring {
        records: VecDeque<(u64, String)>,
        next: u64,
        room: usize,
        reader: u64,
        /// What is logged between two reads.
        coming: VecDeque<Vec<String>>,
        stop: Arc<AtomicBool>,
    }

    impl Ring {
        fn new(room: usize, coming: &[&[&str]]) -> Self {
            Self {
                records: VecDeque::new(),
                next: 100,
                room,
                reader: 100,
                coming: coming
                    .iter()
                    .map(|lines| lines.iter().map(|line| (*line).to_owned()).collect())
                    .collect(),
                stop: Arc::default(),
            }
        }

        fn log(&mut self, line: &str) {
            let seq = self.next;
            let text = format!("3,{seq},{},-;{line}\n SUBSYSTEM=pci\n", seq * 1_000);
            self.records.push_back((seq, text));
            self.next += 1;
            if self.records.len() > self.room {
                self.records.pop_front();
            }
        }
    }

    impl Source for Ring {
        fn next(&mut self, buffer: &mut [u8], _patience: Duration) -> io::Result<Got> {
            for line in self.coming.pop_front().unwrap_or_default() {
                self.log(&line);
            }
            let oldest = self.records.front().map_or(self.next, |(seq, _)| *seq);
            if self.reader < oldest {
                self.reader = oldest;
                return Ok(Got::Overwritten);
            }
            let found = self.records.iter().find(|(seq, _)| *seq == self.reader);
            match found {
                Some((seq, text)) => {
                    self.reader = seq + 1;
                    buffer[..text.len()].copy_from_slice(text.as_bytes());
                    Ok(Got::Bytes(text.len()))
                }
                None if self.coming.is_empty() => {
                    self.stop.store(true, Ordering::Relaxed);
                    Ok(Got::Nothing)
                }
                None => Ok(Got::Nothing),
            }
        }
    }

    const XID: &str = "NVRM: Xid (PCI:0000:17:00): 79, GPU has fallen off the bus.";
    const OOM: &str = "Out of memory: Killed process 7 (train)";

    fn told(ring: Ring, place: &Path, boot: &str) -> Vec<String> {
        let (sender, mut inputs) = mpsc::channel(64);
        let faults = Faults::new(sender);
        let stop = ring.stop.clone();
        work(ring, place, boot, &faults, &stop);
        drop(faults);
        let mut told = Vec::new();
        while let Some(input) = inputs.blocking_recv() {
            match input {
                Input::Fault(fault) => told.push(format!(
                    "{} {}: {}",
                    fault.device, fault.sighting.code, fault.sighting.evidence
                )),
                other => panic!("{other:?}"),
            }
        }
        told
    }

    #[test]
    fn a_line_becomes_a_fault_with_the_time_that_the_kernel_gave_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let ring = Ring::new(9, &[&["usb 1-1: new device", XID], &[OOM]]);
        assert_eq!(
            told(ring, &folder.path().join("log"), "boot-a"),
            [
                format!("pci:0000:17:00 xid 79: [0.101000] {XID}"),
                format!("node oom: [0.102000] {OOM}"),
            ]
        );
    }

    #[test]
    fn records_that_were_overwritten_are_a_fault_with_their_number() {
        let folder = tempfile::tempdir().expect("a folder");
        let burst = ["noise"; 20];
        let ring = Ring::new(4, &[&["first"], &burst, &[]]);
        let said = told(ring, &folder.path().join("log"), "boot-a");
        assert_eq!(said, ["node log gap: 16 records from number 101 on"]);
    }

    /// A million lines of two hundred kinds, twenty at a time, with a gap now and then.
    struct Flood {
        next: u64,
        left: u32,
        stop: Arc<AtomicBool>,
    }

    impl Source for Flood {
        fn next(&mut self, buffer: &mut [u8], _patience: Duration) -> io::Result<Got> {
            if self.left == 0 {
                self.stop.store(true, Ordering::Relaxed);
                return Ok(Got::Nothing);
            }
            if self.left.is_multiple_of(20_000) {
                self.next += 50;
            }
            let mut length = 0;
            for _ in 0..20 {
                let (seq, gpu) = (self.next, self.left % 200);
                let line = format!("3,{seq},{seq},-;NVRM: Xid (PCI:{gpu:04x}:17:00): 95, uncontained\n");
                buffer[length..length + line.len()].copy_from_slice(line.as_bytes());
                length += line.len();
                self.next += 1;
                self.left -= 1;
            }
            Ok(Got::Bytes(length))
        }
    }

    #[test]
    fn of_a_million_lines_few_are_told_all_are_counted_and_the_gaps_are_not_hidden() {
        const LINES: u32 = 1_000_000;
        let folder = tempfile::tempdir().expect("a folder");
        let (sender, mut inputs) = mpsc::channel(256);
        let faults = Faults::new(sender);
        let stop: Arc<AtomicBool> = Arc::default();
        let flood = Flood {
            next: 7,
            left: LINES,
            stop: stop.clone(),
        };
        work(flood, &folder.path().join("log"), "boot-a", &faults, &stop);
        let counts = faults.names().faults;
        let of = |gap: bool| {
            counts
                .iter()
                .filter(move |(_, code, _)| (code == LOG_GAP) == gap)
                .map(|(.., count)| count)
                .sum::<u64>()
        };
        assert_eq!(of(false), u64::from(LINES));
        assert_eq!(of(true), 49, "the first twenty lines come after no gap");
        drop(faults);
        let mut told = Vec::new();
        while let Some(Input::Fault(fault)) = inputs.blocking_recv() {
            told.push(fault.sighting.code);
        }
        assert!(told.contains(&LOG_GAP.to_owned()), "{told:?}");
        // A machine so slow that this takes a minute tells its first summaries too.
        assert!(
            told.len() <= 2 * edge_agent_core::faults::storm::MOST_KINDS,
            "{} are told",
            told.len()
        );
    }

    #[test]
    fn what_was_told_in_this_boot_is_not_told_again_and_another_boot_begins_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("log");
        let again = || Ring::new(9, &[&[XID, "noise"]]);
        assert_eq!(told(again(), &place, "boot-a").len(), 1);
        assert_eq!(told(again(), &place, "boot-a").len(), 0);
        let more = Ring::new(9, &[&[XID, "noise", OOM]]);
        assert_eq!(told(more, &place, "boot-a").len(), 1, "what came since");
        assert_eq!(told(again(), &place, "boot-b").len(), 1);
    }

    #[test]
    fn a_recording_is_read_as_the_device_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kmsg");
        let text =
            format!("6,1,10,-;noise\n3,2,20,-;{XID}\n DEVICE=+pci:0000:17:00.0\n14,3,30,-;{XID}\n3,5,40,-;{OOM}\n");
        fs::write(&path, text).expect("written");
        let mut device = Device::open(&path).expect("opened");
        let mut buffer = vec![0; BUFFER_BYTES];
        let Ok(Got::Bytes(length)) = device.next(&mut buffer, WAIT) else {
            panic!("no bytes");
        };
        let mut codes = Vec::new();
        Log::default().read(&buffer[..length], |sighting| codes.push(sighting.code));
        assert_eq!(codes, ["xid 79", "log gap", "oom"], "a program's own line is none");
    }
}
