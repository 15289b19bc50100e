//! Memory from `/proc/meminfo`, and paging from `/proc/vmstat`.
//!
//! Source: proc_meminfo(5) (KiB), `Documentation/admin-guide/mm` for vmstat (pages; `pgpgin` and `pgpgout` in KiB).

use wire::{DeviceId, Quantity};

use super::{How, Metric, PER_SECOND, ProcFile, Round, Sensor, lines, number, words};

const KIB: How = How::Gauge(1_024);

/// Lines `name value`, some of which are wanted.
struct Keyed {
    node: DeviceId,
    wanted: Vec<(&'static [u8], Metric)>,
}

impl Keyed {
    fn new(wanted: &[(&'static str, Quantity, How)]) -> Self {
        Self {
            node: DeviceId::node(),
            wanted: wanted
                .iter()
                .map(|(key, quantity, how)| (key.as_bytes(), Metric::new(*quantity, *how)))
                .collect(),
        }
    }

    fn parse(&mut self, bytes: &[u8], round: &mut Round, mut each: impl FnMut(&[u8], u64)) {
        for line in lines(bytes) {
            let mut found = words(line);
            let (Some(name), Some(value)) = (found.next(), found.next().and_then(number)) else {
                continue;
            };
            let name = name.strip_suffix(b":").unwrap_or(name);
            each(name, value);
            if let Some((_, metric)) = self.wanted.iter_mut().find(|(key, _)| *key == name) {
                metric.take(&self.node, value, round);
            }
        }
    }
}

/// `/proc/meminfo`.
pub struct Memory {
    file: ProcFile,
    keyed: Keyed,
}

impl Memory {
    /// Opens the file.
    pub fn open() -> Option<Self> {
        Some(Self {
            file: ProcFile::open("/proc/meminfo")?,
            keyed: meminfo(),
        })
    }
}

fn meminfo() -> Keyed {
    Keyed::new(&[
        ("MemTotal", Quantity::MemoryTotal, KIB),
        ("MemFree", Quantity::MemoryFree, KIB),
        ("MemAvailable", Quantity::MemoryAvailable, KIB),
        ("Buffers", Quantity::MemoryBuffers, KIB),
        ("Cached", Quantity::MemoryCached, KIB),
        ("SwapCached", Quantity::SwapCached, KIB),
        ("Active", Quantity::MemoryActive, KIB),
        ("Inactive", Quantity::MemoryInactive, KIB),
        ("Active(file)", Quantity::MemoryActiveFile, KIB),
        ("Inactive(file)", Quantity::MemoryInactiveFile, KIB),
        ("Unevictable", Quantity::MemoryUnevictable, KIB),
        ("Mlocked", Quantity::MemoryLocked, KIB),
        ("SwapTotal", Quantity::SwapTotal, KIB),
        ("Dirty", Quantity::MemoryDirty, KIB),
        ("Writeback", Quantity::MemoryWriteback, KIB),
        ("AnonPages", Quantity::MemoryAnonymous, KIB),
        ("Mapped", Quantity::MemoryMapped, KIB),
        ("Shmem", Quantity::MemoryShared, KIB),
        ("Slab", Quantity::MemorySlab, KIB),
        ("SReclaimable", Quantity::MemorySlabReclaimable, KIB),
        ("KernelStack", Quantity::MemoryKernelStack, KIB),
        ("PageTables", Quantity::MemoryPageTables, KIB),
        ("CommitLimit", Quantity::MemoryCommitLimit, KIB),
        ("Committed_AS", Quantity::MemoryCommitted, KIB),
        ("VmallocUsed", Quantity::MemoryVmallocUsed, KIB),
        ("Percpu", Quantity::MemoryPerCpu, KIB),
        ("HugePages_Total", Quantity::MemoryHugeTotal, How::Gauge(1)),
        ("HugePages_Free", Quantity::MemoryHugeFree, How::Gauge(1)),
    ])
}

fn memory(keyed: &mut Keyed, bytes: &[u8], round: &mut Round) {
    let (mut total, mut available, mut swap, mut swap_free) = (None, None, None, None);
    keyed.parse(bytes, round, |name, value| match name {
        b"MemTotal" => total = Some(value),
        b"MemAvailable" => available = Some(value),
        b"SwapTotal" => swap = Some(value),
        b"SwapFree" => swap_free = Some(value),
        _ => {}
    });
    let used = total.filter(|total| *total > 0).zip(available);
    let share = used.map(|(total, available)| {
        let used = u128::from(total.saturating_sub(available));
        (used * 10_000 / u128::from(total)) as i64
    });
    round.note(&keyed.node, Quantity::MemoryUsedShare, share);
    let swapped = swap
        .zip(swap_free)
        .and_then(|(all, free)| i64::try_from(all.saturating_sub(free).checked_mul(1_024)?).ok());
    round.note(&keyed.node, Quantity::SwapUsed, swapped);
}

impl Sensor for Memory {
    fn sample(&mut self, round: &mut Round) {
        let keyed = &mut self.keyed;
        round.read(&self.file, |round, bytes| memory(keyed, bytes, round));
    }
}

/// `/proc/vmstat`.
pub struct Paging {
    file: ProcFile,
    keyed: Keyed,
    sums: Sums,
}

impl Paging {
    /// Opens the file.
    pub fn open() -> Option<Self> {
        Some(Self {
            file: ProcFile::open("/proc/vmstat")?,
            keyed: vmstat(),
            sums: Sums::default(),
        })
    }
}

/// Quantities that are the sum of several lines.
struct Sums([(&'static [&'static [u8]], Metric); SUMS]);

const SUMS: usize = 6;

impl Default for Sums {
    fn default() -> Self {
        Self([
            (&[b"pswpin", b"pswpout"], Metric::new(Quantity::SwapPages, PER_SECOND)),
            (
                &[b"pgscan_kswapd", b"pgscan_direct"],
                Metric::new(Quantity::PagesScanned, PER_SECOND),
            ),
            (
                &[b"pgsteal_kswapd", b"pgsteal_direct"],
                Metric::new(Quantity::PagesReclaimed, PER_SECOND),
            ),
            (
                &[b"pgalloc_normal", b"pgalloc_dma32", b"pgalloc_movable"],
                Metric::new(Quantity::PagesAllocated, PER_SECOND),
            ),
            (
                &[b"workingset_refault_file", b"workingset_refault"],
                Metric::new(Quantity::PagesRefaulted, PER_SECOND),
            ),
            (
                &[b"allocstall_normal", b"allocstall_dma32", b"allocstall_movable"],
                Metric::new(Quantity::AllocationStalls, PER_SECOND),
            ),
        ])
    }
}

fn vmstat() -> Keyed {
    Keyed::new(&[
        ("pgpgin", Quantity::PagedIn, How::Rate(1_024)),
        ("pgpgout", Quantity::PagedOut, How::Rate(1_024)),
        ("pgfault", Quantity::PageFaults, PER_SECOND),
        ("pgmajfault", Quantity::MajorFaults, PER_SECOND),
        ("pgfree", Quantity::PagesFreed, PER_SECOND),
        ("pgactivate", Quantity::PagesActivated, PER_SECOND),
        ("pgdeactivate", Quantity::PagesDeactivated, PER_SECOND),
        ("compact_stall", Quantity::CompactStalls, PER_SECOND),
        ("oom_kill", Quantity::OomKills, How::Gauge(1)),
        ("thp_fault_alloc", Quantity::HugePageFaults, PER_SECOND),
        ("slabs_scanned", Quantity::SlabsScanned, PER_SECOND),
        ("pgmigrate_success", Quantity::PagesMigrated, PER_SECOND),
    ])
}

fn paging(keyed: &mut Keyed, sums: &mut Sums, bytes: &[u8], round: &mut Round) {
    let mut totals = [None::<u64>; SUMS];
    keyed.parse(bytes, round, |name, value| {
        for (total, (parts, _)) in totals.iter_mut().zip(&sums.0) {
            if parts.contains(&name) {
                *total = Some(total.unwrap_or(0).saturating_add(value));
            }
        }
    });
    for (total, (_, metric)) in totals.iter().zip(&mut sums.0) {
        if let Some(total) = total {
            metric.take(&keyed.node, *total, round);
        }
    }
}

impl Sensor for Paging {
    fn sample(&mut self, round: &mut Round) {
        let (keyed, sums) = (&mut self.keyed, &mut self.sums);
        round.read(&self.file, |round, bytes| paging(keyed, sums, bytes, round));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{second_round, told, value};
    use super::*;

    #[test]
    fn memory_is_counted_in_bytes_and_shares() {
        let bytes = b"MemTotal:       24684092 kB\nMemFree:        23153060 kB\nMemAvailable:   18513069 kB\nSwapTotal: 100 kB\nSwapFree: 40 kB\nActive(file):     528084 kB\nHugePages_Total:       3\n";
        let mut round = Round::default();
        memory(&mut meminfo(), bytes, &mut round);
        let told = told(&mut round);
        for (series, expected) in [
            ("node/memory.total", "25276510208"),
            ("node/memory.used", "2500"),
            ("node/swap.used", "61440"),
            ("node/memory.active_file", "540758016"),
            ("node/memory.huge_pages_total", "3"),
            ("node/memory.cached", "absent"),
        ] {
            assert_eq!(value(&told, series), expected, "{series}");
        }
    }

    #[test]
    fn a_number_that_no_machine_has_is_missing_and_the_rest_is_measured() {
        let bytes = b"MemTotal: 9223372036854775807 kB\nMemAvailable: 4611686018427387904 kB\nMemFree: 23153060 kB\nSwapTotal: 18446744073709551600 kB\nSwapFree: 0 kB\n";
        let mut round = Round::default();
        memory(&mut meminfo(), bytes, &mut round);
        let told = told(&mut round);
        for (series, expected) in [
            ("node/memory.total", "-"),
            ("node/memory.used", "4999"),
            ("node/swap.used", "-"),
            ("node/memory.free", "23708733440"),
        ] {
            assert_eq!(value(&told, series), expected, "{series}");
        }
    }

    #[test]
    fn paging_is_a_rate_and_sums_what_belongs_together() {
        let (mut keyed, mut sums) = (vmstat(), Sums::default());
        let first = b"pgpgin 100\npswpin 1\npswpout 2\npgscan_direct 5\npgscan_kswapd 5\noom_kill 2\n";
        let second = b"pgpgin 110\npswpin 2\npswpout 4\npgscan_direct 6\npgscan_kswapd 9\noom_kill 3\n";
        paging(&mut keyed, &mut sums, first, &mut Round::default());
        let mut round = second_round();
        paging(&mut keyed, &mut sums, second, &mut round);
        assert_eq!(
            told(&mut round),
            [
                "node/memory.paged_in 10240",
                "node/memory.oom_kills 3",
                "node/swap.pages 3000",
                "node/memory.pages_scanned 5000",
            ]
        );
    }
}
