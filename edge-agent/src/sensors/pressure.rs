//! Pressure stall information: the share of time in which tasks waited for CPU, memory or I/O.
//!
//! Source: `Documentation/accounting/psi.rst`: `some avg10=0.12 avg60=1.83 avg300=2.76 total=36238100`, averages in percent.

use wire::{DeviceId, Quantity};

use super::{How, Metric, ProcFile, Round, Sensor, fraction, lines, number, words};

/// One line of one file: the quantities of the averages over 10, 60 and 300 s, and what the total grew by since the last round.
struct Line {
    name: &'static [u8],
    averages: [Quantity; 3],
    total: Metric,
}

impl Line {
    fn new(name: &'static str, averages: [Quantity; 3], now: Quantity) -> Self {
        Self {
            name: name.as_bytes(),
            averages,
            // Microseconds in a second, in ten-thousandths of it: a hundredth.
            total: Metric::new(now, How::Share(100)),
        }
    }
}

fn cpu() -> Vec<Line> {
    vec![Line::new(
        "some",
        [
            Quantity::PressureCpuSome,
            Quantity::PressureCpuSome60,
            Quantity::PressureCpuSome300,
        ],
        Quantity::PressureCpuSomeNow,
    )]
}

fn memory() -> Vec<Line> {
    vec![
        Line::new(
            "some",
            [
                Quantity::PressureMemorySome,
                Quantity::PressureMemorySome60,
                Quantity::PressureMemorySome300,
            ],
            Quantity::PressureMemorySomeNow,
        ),
        Line::new(
            "full",
            [
                Quantity::PressureMemoryFull,
                Quantity::PressureMemoryFull60,
                Quantity::PressureMemoryFull300,
            ],
            Quantity::PressureMemoryFullNow,
        ),
    ]
}

fn io() -> Vec<Line> {
    vec![
        Line::new(
            "some",
            [
                Quantity::PressureIoSome,
                Quantity::PressureIoSome60,
                Quantity::PressureIoSome300,
            ],
            Quantity::PressureIoSomeNow,
        ),
        Line::new(
            "full",
            [
                Quantity::PressureIoFull,
                Quantity::PressureIoFull60,
                Quantity::PressureIoFull300,
            ],
            Quantity::PressureIoFullNow,
        ),
    ]
}

/// The three files of `/proc/pressure`.
pub struct Pressure {
    node: DeviceId,
    files: Vec<(ProcFile, Vec<Line>)>,
}

impl Pressure {
    /// Opens what this kernel has.
    pub fn open() -> Option<Self> {
        let files: Vec<_> = [("cpu", cpu()), ("memory", memory()), ("io", io())]
            .into_iter()
            .filter_map(|(name, known)| Some((ProcFile::open(&format!("/proc/pressure/{name}"))?, known)))
            .collect();
        (!files.is_empty()).then(|| Self {
            node: DeviceId::node(),
            files,
        })
    }
}

impl Sensor for Pressure {
    fn sample(&mut self, round: &mut Round) {
        for (file, known) in &mut self.files {
            let node = &self.node;
            round.read(file, |round, bytes| parse(node, known, bytes, round));
        }
    }
}

fn parse(node: &DeviceId, known: &mut [Line], bytes: &[u8], round: &mut Round) {
    for line in lines(bytes) {
        let mut found = words(line);
        let name = found.next().unwrap_or_default();
        let Some(line) = known.iter_mut().find(|line| line.name == name) else {
            continue;
        };
        let mut values = found.map(|word| word.split(|byte| *byte == b'=').nth(1));
        for quantity in line.averages {
            let value = values.next().flatten();
            round.note(node, quantity, value.and_then(|value| fraction(value, 2)));
        }
        if let Some(total) = values.next().flatten().and_then(number) {
            line.total.take(node, total, round);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{second_round, told, value};
    use super::*;

    #[test]
    fn averages_are_hundredths_of_a_percent() {
        let bytes = b"some avg10=0.12 avg60=1.83 avg300=2.76 total=36238100\nfull avg10=100.00 avg60=0.00 avg300=0.01 total=0\n";
        let mut round = Round::default();
        let mut known = memory();
        parse(&DeviceId::node(), &mut known, bytes, &mut round);
        assert_eq!(
            told(&mut round),
            [
                "node/pressure.memory.some 12",
                "node/pressure.memory.some_60s 183",
                "node/pressure.memory.some_300s 276",
                "node/pressure.memory.some_now -",
                "node/pressure.memory.full 10000",
                "node/pressure.memory.full_60s 0",
                "node/pressure.memory.full_300s 1",
                "node/pressure.memory.full_now -",
            ]
        );
        let later = b"some avg10=0.12 avg60=1.83 avg300=2.76 total=36488100\n";
        let mut round = second_round();
        parse(&DeviceId::node(), &mut known, later, &mut round);
        assert_eq!(value(&told(&mut round), "node/pressure.memory.some_now"), "2500");
    }
}
