//! CPU time of the node and of each core from `/proc/stat`, kernel counters beside it, and core clocks from cpufreq.
//!
//! Source: proc_pid_stat(5), `proc_stat(5)`: user nice system idle iowait irq softirq steal guest, in ticks; guest is part of user.

use wire::{DeviceId, Quantity};

use super::{How, Metric, PER_SECOND, ProcFile, Round, Sensor, device, lines, number, words};

/// Columns that make up all of a core's time.
const COLUMNS: usize = 8;
/// The classes in the order of the `softirq` line (kernel `include/linux/interrupt.h`).
const SOFTIRQS: [Quantity; 10] = [
    Quantity::SoftIrqHi,
    Quantity::SoftIrqTimer,
    Quantity::SoftIrqNetTx,
    Quantity::SoftIrqNetRx,
    Quantity::SoftIrqBlock,
    Quantity::SoftIrqIrqPoll,
    Quantity::SoftIrqTasklet,
    Quantity::SoftIrqSched,
    Quantity::SoftIrqHrTimer,
    Quantity::SoftIrqRcu,
];
const SHARES: [(Quantity, usize); 6] = [
    (Quantity::CpuUser, 0),
    (Quantity::CpuNice, 1),
    (Quantity::CpuSystem, 2),
    (Quantity::CpuIoWait, 4),
    (Quantity::CpuIrq, 5),
    (Quantity::CpuSoftIrq, 6),
];

/// `/proc/stat`.
pub struct Cpu {
    file: ProcFile,
    parser: Parser,
}

impl Cpu {
    /// Opens the file.
    pub fn open() -> Option<Self> {
        Some(Self {
            file: ProcFile::open("/proc/stat")?,
            parser: Parser::default(),
        })
    }
}

impl Sensor for Cpu {
    fn sample(&mut self, round: &mut Round) {
        let parser = &mut self.parser;
        round.read(&self.file, |round, bytes| parser.parse(bytes, round));
    }
}

struct Core {
    name: Vec<u8>,
    device: DeviceId,
    last: Option<[u64; COLUMNS + 1]>,
}

struct Parser {
    node: DeviceId,
    cores: Vec<Core>,
    counters: [(&'static [u8], Metric); 6],
    softirqs: [Metric; 10],
}

impl Default for Parser {
    fn default() -> Self {
        Self {
            node: DeviceId::node(),
            cores: Vec::new(),
            softirqs: SOFTIRQS.map(|quantity| Metric::new(quantity, PER_SECOND)),
            counters: [
                (b"ctxt", Metric::new(Quantity::ContextSwitches, PER_SECOND)),
                (b"intr", Metric::new(Quantity::Interrupts, PER_SECOND)),
                (b"softirq", Metric::new(Quantity::SoftIrqs, PER_SECOND)),
                (b"processes", Metric::new(Quantity::Forks, PER_SECOND)),
                (b"procs_running", Metric::new(Quantity::TasksRunnable, How::Gauge(1))),
                (b"procs_blocked", Metric::new(Quantity::TasksBlocked, How::Gauge(1))),
            ],
        }
    }
}

impl Parser {
    fn parse(&mut self, bytes: &[u8], round: &mut Round) {
        let mut index = 0;
        for line in lines(bytes) {
            if line.starts_with(b"cpu") {
                self.core(index, line, round);
                index += 1;
                continue;
            }
            // `intr` goes on for pages: only its first number counts.
            let mut found = words(line);
            let (Some(name), Some(value)) = (found.next(), found.next()) else {
                continue;
            };
            if let Some((_, metric)) = self.counters.iter_mut().find(|(key, _)| *key == name)
                && let Some(value) = number(value)
            {
                metric.take(&self.node, value, round);
            }
            if name == b"softirq" {
                for (metric, word) in self.softirqs.iter_mut().zip(found) {
                    metric.take(&self.node, super::number(word).unwrap_or(0), round);
                }
            }
        }
    }

    fn core(&mut self, index: usize, line: &[u8], round: &mut Round) {
        let mut found = words(line);
        let name = found.next().unwrap_or_default();
        // A core that is taken offline has no line: those behind it move up.
        if self.cores.get(index).is_none_or(|core| core.name != name) {
            let device = match std::str::from_utf8(name) {
                Ok("cpu") => DeviceId::node(),
                Ok(core) => DeviceId::new(core).unwrap_or_else(|_| device("cpu", name)),
                Err(_) => device("cpu", name),
            };
            self.cores.truncate(index);
            self.cores.push(Core {
                name: name.to_vec(),
                device,
                last: None,
            });
        }
        let mut now = [0; COLUMNS + 1];
        for (place, word) in now.iter_mut().zip(found) {
            *place = number(word).unwrap_or(0);
        }
        let core = &mut self.cores[index];
        let before = core.last.replace(now);
        let grown = |column: usize| before.map(|before| now[column].saturating_sub(before[column]));
        // A column that jumps beyond all time makes no share, and none of the others.
        let total: u64 = (0..COLUMNS)
            .filter_map(grown)
            .try_fold(0, u64::checked_add)
            .unwrap_or(0);
        let share = |ticks: Option<u64>| {
            ticks
                .filter(|_| total > 0)
                .map(|ticks| (u128::from(ticks) * 10_000 / u128::from(total)).min(10_000) as i64)
        };
        let idle = grown(3)
            .zip(grown(4))
            .map(|(idle, waiting)| idle.saturating_add(waiting));
        let used = idle.map(|idle| total.saturating_sub(idle));
        round.note(&core.device, Quantity::CpuUsed, share(used));
        for (quantity, column) in SHARES {
            round.note(&core.device, quantity, share(grown(column)));
        }
        round.note(&core.device, Quantity::CpuSteal, share(grown(7)));
        round.note(&core.device, Quantity::CpuGuest, share(grown(8)));
    }
}

/// Core clocks, where cpufreq shows them.
pub struct Clocks {
    cores: Vec<(DeviceId, ProcFile)>,
}

impl Clocks {
    /// Opens one file for each core that has one.
    pub fn open() -> Option<Self> {
        let cores: Vec<_> = (0..4096u32)
            .map_while(|core| {
                let path = format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq");
                let device = DeviceId::new(format!("cpu{core}")).ok()?;
                Some((device, ProcFile::open(&path)?))
            })
            .collect();
        (!cores.is_empty()).then_some(Self { cores })
    }
}

impl Sensor for Clocks {
    fn sample(&mut self, round: &mut Round) {
        for (device, file) in &self.cores {
            round.read(file, |round, bytes| {
                let megahertz = number(bytes).and_then(|kilohertz| i64::try_from(kilohertz / 1_000).ok());
                round.note(device, Quantity::CpuClock, megahertz);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{second_round, told, value};
    use super::*;

    const FIRST: &[u8] = b"cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 100 0 50 800 50 0 0 0 0 0\nintr 1000 0 5 6\nctxt 5000\nbtime 1\nprocesses 10\nprocs_running 2\nprocs_blocked 1\nsoftirq 40 1 2\n";
    const SECOND: &[u8] = b"cpu  130 0 60 850 60 0 0 0 5 0\ncpu0 130 0 60 850 60 0 0 0 5 0\nintr 1500 0 5 6\nctxt 7000\nbtime 1\nprocesses 12\nprocs_running 3\nprocs_blocked 0\nsoftirq 60 1 2\n";

    #[test]
    fn shares_come_from_the_growth_between_two_rounds() {
        let mut parser = Parser::default();
        let mut round = Round::default();
        parser.parse(FIRST, &mut round);
        let first = told(&mut round);
        assert_eq!(value(&first, "node/cpu.used"), "-");
        assert_eq!(value(&first, "node/tasks.runnable"), "2");
        let mut round = second_round();
        parser.parse(SECOND, &mut round);
        let second = told(&mut round);
        for (series, expected) in [
            ("node/cpu.used", "4000"),
            ("node/cpu.user", "3000"),
            ("cpu0/cpu.system", "1000"),
            ("cpu0/cpu.iowait", "1000"),
            ("cpu0/cpu.guest", "500"),
            ("node/kernel.context_switches", "2000000"),
            ("node/kernel.interrupts", "500000"),
            ("node/kernel.forks", "2000"),
            ("node/kernel.softirqs", "20000"),
            ("node/tasks.blocked", "0"),
            ("node/softirq.timer", "0"),
        ] {
            assert_eq!(value(&second, series), expected, "{series}");
        }
    }

    #[test]
    fn a_number_beyond_all_time_leaves_the_other_cores_and_rounds_alone() {
        let odd =
            "cpu  18446744073709551600 18446744073709551600 60 850 60 0 0 0 5 0\ncpu0 130 0 60 850 60 0 0 0 5 0\n";
        let mut parser = Parser::default();
        parser.parse(FIRST, &mut Round::default());
        let mut round = second_round();
        parser.parse(odd.as_bytes(), &mut round);
        let told = told(&mut round);
        assert_eq!(value(&told, "node/cpu.used"), "-");
        assert_eq!(value(&told, "cpu0/cpu.used"), "4000");
    }

    #[test]
    fn a_core_that_goes_offline_gives_its_name_to_no_other() {
        let mut parser = Parser::default();
        parser.parse(b"cpu 0\ncpu0 0\ncpu1 0\ncpu2 0\n", &mut Round::default());
        let mut round = second_round();
        parser.parse(b"cpu 10\ncpu0 0\ncpu2 10\n", &mut round);
        let told = told(&mut round);
        assert_eq!(value(&told, "cpu1/cpu.used"), "absent");
        assert_eq!(value(&told, "cpu2/cpu.used"), "-", "it begins anew");
    }

    #[test]
    fn torn_bytes_do_no_harm() {
        for length in 0..FIRST.len() {
            Parser::default().parse(&FIRST[..length], &mut second_round());
        }
    }
}
