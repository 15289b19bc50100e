//! Disks from `/proc/diskstats`: throughput, requests, waits, how busy.
//!
//! Source: `Documentation/admin-guide/iostats.rst`; sectors are 512 bytes whatever the device. Partitions are left out: their disk
//! stands for them. So are RAM disks, and loop devices that nothing is attached to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use wire::{DeviceId, Quantity};

use super::{How, Metric, PER_SECOND, ProcFile, Round, Sensor, device, lines, number, rate, words};

const SECTORS: How = How::Rate(512);

/// `/proc/diskstats`.
pub struct Disks {
    file: ProcFile,
    parser: Parser,
}

impl Disks {
    /// Opens the file.
    pub fn open() -> Option<Self> {
        Some(Self {
            file: ProcFile::open("/proc/diskstats")?,
            parser: Parser::new(|name| Path::new("/sys/block").join(name.replace('/', "!")).is_dir()),
        })
    }
}

impl Sensor for Disks {
    fn sample(&mut self, round: &mut Round) {
        let parser = &mut self.parser;
        round.read(&self.file, |round, bytes| parser.parse(bytes, round));
    }
}

struct Disk {
    device: DeviceId,
    columns: [(usize, Metric); 8],
    queue: Option<u64>,
    busy: Option<u64>,
    /// Requests and milliseconds, of reads and of writes, at the round before.
    waits: Option<[u64; 4]>,
}

impl Disk {
    fn new(name: &[u8]) -> Self {
        Self {
            device: device("disk", name),
            columns: [
                (0, Metric::new(Quantity::DiskReads, PER_SECOND)),
                (1, Metric::new(Quantity::DiskReadsMerged, PER_SECOND)),
                (2, Metric::new(Quantity::DiskRead, SECTORS)),
                (4, Metric::new(Quantity::DiskWrites, PER_SECOND)),
                (5, Metric::new(Quantity::DiskWritesMerged, PER_SECOND)),
                (6, Metric::new(Quantity::DiskWrite, SECTORS)),
                (13, Metric::new(Quantity::DiskDiscard, SECTORS)),
                (15, Metric::new(Quantity::DiskFlushes, PER_SECOND)),
            ],
            queue: None,
            busy: None,
            waits: None,
        }
    }

    fn take(&mut self, columns: &[u64], round: &mut Round) {
        for (column, metric) in &mut self.columns {
            if let Some(raw) = columns.get(*column) {
                metric.take(&self.device, *raw, round);
            }
        }
        let Some(
            &[
                reads,
                _,
                _,
                read_ms,
                writes,
                _,
                _,
                write_ms,
                in_flight,
                busy_ms,
                queue_ms,
            ],
        ) = columns.first_chunk::<11>()
        else {
            return;
        };
        round.note(&self.device, Quantity::DiskInFlight, i64::try_from(in_flight).ok());
        // Milliseconds in a second, in ten-thousandths of it.
        let busy = rate(&mut self.busy, busy_ms, 10, round.elapsed_ms).map(|share| share.min(10_000));
        round.note(&self.device, Quantity::DiskBusy, busy);
        let queue = rate(&mut self.queue, queue_ms, 1, round.elapsed_ms);
        round.note(&self.device, Quantity::DiskQueue, queue);
        let now = [reads, read_ms, writes, write_ms];
        let before = self.waits.replace(now);
        for (quantity, place) in [(Quantity::DiskReadWait, 0), (Quantity::DiskWriteWait, 2)] {
            let mean = before.and_then(|before| {
                let requests = now[place].checked_sub(before[place]).filter(|count| *count > 0)?;
                i64::try_from(now[place + 1].checked_sub(before[place + 1])? / requests).ok()
            });
            round.note(&self.device, quantity, mean);
        }
    }
}

struct Parser {
    whole: fn(&str) -> bool,
    /// `None`: seen, and not wanted.
    disks: BTreeMap<Vec<u8>, Option<Disk>>,
}

impl Parser {
    fn new(whole: fn(&str) -> bool) -> Self {
        Self {
            whole,
            disks: BTreeMap::new(),
        }
    }

    fn parse(&mut self, bytes: &[u8], round: &mut Round) {
        let mut columns = Vec::with_capacity(20);
        let mut seen = 0;
        for line in lines(bytes) {
            let mut found = words(line).skip(2);
            let Some(name) = found.next() else { continue };
            seen += 1;
            if !self.disks.contains_key(name) {
                let wanted = std::str::from_utf8(name).is_ok_and(|name| !name.starts_with("ram") && (self.whole)(name));
                self.disks.insert(name.to_vec(), wanted.then(|| Disk::new(name)));
            }
            let Some(Some(disk)) = self.disks.get_mut(name) else {
                continue;
            };
            columns.clear();
            columns.extend(found.map(|word| number(word).unwrap_or(0)));
            let attached =
                !(name.starts_with(b"loop") || name.starts_with(b"zram")) || columns.iter().any(|column| *column > 0);
            if attached {
                disk.take(&columns, round);
            }
        }
        if self.disks.len() > seen {
            // Something is gone: forgotten, so that a name that comes again begins anew.
            let names: BTreeSet<&[u8]> = lines(bytes).filter_map(|line| words(line).nth(2)).collect();
            self.disks.retain(|name, _| names.contains(name.as_slice()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{second_round, told, value};
    use super::*;

    #[test]
    fn a_disk_is_read_by_growth_and_its_partitions_are_left_out() {
        let mut parser = Parser::new(|name| !name.ends_with('1') || name == "loop1");
        let first = b" 254 0 vda 100 10 2000 500 50 5 1000 100 0 400 600 0 0 0 0 2 1\n 254 1 vda1 1 1 1 1 1 1 1 1 1 1 1\n 1 0 ram0 1 1 1 1 1 1 1 1 1 1 1\n 7 1 loop1 0 0 0 0 0 0 0 0 0 0 0\n";
        let second = b" 254 0 vda 110 10 2200 600 50 5 1000 100 3 650 850 0 0 8 0 3 1\n 254 1 vda1 1 1 1 1 1 1 1 1 1 1 1\n 1 0 ram0 1 1 1 1 1 1 1 1 1 1 1\n 7 1 loop1 0 0 0 0 0 0 0 0 0 0 0\n";
        parser.parse(first, &mut Round::default());
        let mut round = second_round();
        parser.parse(second, &mut round);
        let told = told(&mut round);
        for (series, expected) in [
            ("disk:vda/disk.reads", "10000"),
            ("disk:vda/disk.read", "102400"),
            ("disk:vda/disk.writes", "0"),
            ("disk:vda/disk.read_wait", "10"),
            ("disk:vda/disk.write_wait", "-"),
            ("disk:vda/disk.busy", "2500"),
            ("disk:vda/disk.queue", "250"),
            ("disk:vda/disk.in_flight", "3"),
            ("disk:vda/disk.discard", "4096"),
            ("disk:vda/disk.flushes", "1000"),
        ] {
            assert_eq!(value(&told, series), expected, "{series}");
        }
        assert!(told.iter().all(|line| line.starts_with("disk:vda/")), "{told:?}");
    }
}
