//! The list of sensors, and what they share: files held open, one buffer, counters turned into rates.
//!
//! A sensor only measures; what a value means is for the rules. To add one: a file here, one line in [`host`], a test on recorded bytes.
//!
//! Invariants: a value that could not be taken is reported as missing, never as 0; two things never share a name; numbers of others are
//! computed with checks; what is left out because of a bound is said ([`Round::limit`]).
//! Read next: `sampler.rs` (who calls them).

pub mod background;
pub mod cpu;
pub mod disk;
pub mod filesystem;
pub mod kernel;
pub mod memory;
pub mod network;
pub mod pressure;
pub mod process;
pub mod temperature;

use std::fs::File;
use std::os::unix::fs::FileExt;

use wire::{DeviceId, Quantity, Reading, Series};

/// A file of procfs or sysfs is read in one piece up to here, and no line beyond: a mount table of tens of thousands of containers fits.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// Measures some quantities.
pub trait Sensor: Send {
    /// Takes one round of readings. Reads files of the kernel's memory only: what may wait for a device goes through [`background`].
    fn sample(&mut self, round: &mut Round);

    /// What it is called when it fails, for people.
    fn name(&self) -> &'static str {
        let path = std::any::type_name::<Self>();
        path.rsplit("::").next().unwrap_or(path)
    }
}

/// All sensors of the machine itself. One that has nothing to read here is left out.
pub fn host() -> Vec<Box<dyn Sensor>> {
    let all: [Option<Box<dyn Sensor>>; 13] = [
        boxed(cpu::Cpu::open()),
        boxed(cpu::Clocks::open()),
        boxed(kernel::Load::open()),
        boxed(kernel::Uptime::open()),
        boxed(kernel::FileHandles::open()),
        boxed(memory::Memory::open()),
        boxed(memory::Paging::open()),
        boxed(pressure::Pressure::open()),
        boxed(disk::Disks::open()),
        boxed(filesystem::FileSystems::open()),
        boxed(network::Interfaces::open()),
        boxed(network::Protocols::open()),
        boxed(temperature::Temperatures::open()),
    ];
    all.into_iter().flatten().collect()
}

fn boxed<S: Sensor + 'static>(sensor: Option<S>) -> Option<Box<dyn Sensor>> {
    sensor.map(|sensor| Box::new(sensor) as Box<dyn Sensor>)
}

/// One round: where readings go, how long ago the last one was, and the buffer that files are read into.
#[derive(Debug, Default)]
pub struct Round {
    /// What was measured.
    pub readings: Vec<Reading>,
    /// Milliseconds since the round before; `None` in the first one.
    pub elapsed_ms: Option<u64>,
    /// Counts rounds, for what is measured less often.
    pub number: u64,
    /// Bounds that were hit in this round, and what does not answer, for people.
    pub limits: Vec<String>,
    buffer: Vec<u8>,
}

impl Round {
    /// Notes a value, or that there is none.
    pub fn note(&mut self, device: &DeviceId, quantity: Quantity, value: Option<i64>) {
        self.readings.push(Reading {
            series: Series::new(device.clone(), quantity),
            value,
        });
    }

    /// Notes that something is not looked at, and why. Said again each round for as long as it is so.
    pub fn limit(&mut self, what: String) {
        self.limits.push(what);
    }

    /// Reads a whole file into the round's buffer and gives it to `parse` together with the round.
    pub fn read(&mut self, file: &ProcFile, parse: impl FnOnce(&mut Round, &[u8])) {
        let mut buffer = std::mem::take(&mut self.buffer);
        if let Some(length) = file.read(&mut buffer) {
            let is_whole = length < MOST_BYTES;
            if !is_whole {
                self.limit(format!(
                    "a file of the kernel is longer than {MOST_BYTES} bytes: its end is not looked at"
                ));
            }
            // A line that is cut in two would be another number.
            let end = buffer[..length].iter().rposition(|byte| !is_whole && *byte == b'\n');
            parse(self, &buffer[..end.unwrap_or(length)]);
        }
        self.buffer = buffer;
    }
}

/// A file that the kernel makes anew at each reading: opened once, read from its start each time.
#[derive(Debug)]
pub struct ProcFile(File);

impl ProcFile {
    /// Opens it; `None` where this kernel has no such file.
    pub fn open(path: &str) -> Option<Self> {
        File::open(path).ok().map(Self)
    }

    fn read(&self, buffer: &mut Vec<u8>) -> Option<usize> {
        let mut length = 0;
        loop {
            if buffer.len() == length || buffer.len() < MOST_BYTES && buffer.len() - length < 4096 {
                if buffer.len() >= MOST_BYTES {
                    return Some(length);
                }
                buffer.resize((buffer.len() * 2).clamp(8 * 1024, MOST_BYTES), 0);
            }
            match self.0.read_at(&mut buffer[length..], length as u64) {
                Ok(0) => return Some(length),
                Ok(read) => length += read,
                Err(_) => return None,
            }
        }
    }
}

/// How a raw number becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The number times this.
    Gauge(i64),
    /// Its growth in a second, times this.
    Rate(i64),
    /// Its growth in a second, divided by this, at most all of it: 10,000.
    Share(i64),
}

/// Things in a second, in thousandths.
pub const PER_SECOND: How = How::Rate(1_000);

/// One series with what is needed to turn raw numbers into its values.
#[derive(Debug, Clone)]
pub struct Metric {
    quantity: Quantity,
    how: How,
    last: Option<u64>,
}

impl Metric {
    /// A metric that has seen nothing yet.
    pub const fn new(quantity: Quantity, how: How) -> Self {
        Self {
            quantity,
            how,
            last: None,
        }
    }

    /// Turns a raw number into a value and notes it.
    pub fn take(&mut self, device: &DeviceId, raw: u64, round: &mut Round) {
        let value = match self.how {
            How::Gauge(factor) => i64::try_from(raw).ok().and_then(|raw| raw.checked_mul(factor)),
            How::Rate(factor) => rate(&mut self.last, raw, factor, round.elapsed_ms),
            How::Share(divisor) => {
                rate(&mut self.last, raw, 1, round.elapsed_ms).map(|growth| (growth / divisor).min(10_000))
            }
        };
        round.note(device, self.quantity, value);
    }
}

/// The growth of a counter in a second, times `factor`. Missing in the first round, and when the counter went back.
pub fn rate(last: &mut Option<u64>, raw: u64, factor: i64, elapsed_ms: Option<u64>) -> Option<i64> {
    let before = last.replace(raw)?;
    let elapsed = i128::from(elapsed_ms.filter(|elapsed| *elapsed > 0)?);
    let growth = i128::from(raw.checked_sub(before)?);
    i64::try_from(growth * i128::from(factor) * 1_000 / elapsed).ok()
}

/// The decimal number that `bytes` starts with.
pub fn number(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    bytes[..digits].iter().try_fold(0u64, |value, byte| {
        value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))
    })
}

/// A decimal fraction in units of `10^-places`: `fraction(b"0.37", 3)` is 370.
pub fn fraction(bytes: &[u8], places: u32) -> Option<i64> {
    let whole = number(bytes)?;
    let rest = &bytes[bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()..];
    let mut value = i64::try_from(whole).ok()?.checked_mul(10i64.checked_pow(places)?)?;
    if let Some(digits) = rest.strip_prefix(b".") {
        let mut unit = 10i64.checked_pow(places)?;
        for byte in digits.iter().take_while(|byte| byte.is_ascii_digit()) {
            unit /= 10;
            value = value.checked_add(i64::from(byte - b'0') * unit)?;
        }
    }
    Some(value)
}

/// The words of a line.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
}

/// The lines of a file.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// The longest device id.
const LONGEST_ID: usize = 128;

/// A device id of a class and a name that the kernel gave. Bytes that an id cannot hold are written as `%` and two hexadecimal digits; of a
/// name that is too long for an id, the end gives way to a digest of all of it.
pub fn device(class: &str, name: &[u8]) -> DeviceId {
    let mut text = format!("{class}:");
    for byte in name {
        match byte.is_ascii_graphic() && !matches!(byte, b',' | b'"' | b'\'' | b'%') {
            true => text.push(char::from(*byte)),
            false => text.push_str(&format!("%{byte:02X}")),
        }
    }
    if text.len() > LONGEST_ID {
        text.truncate(LONGEST_ID - 17);
        text.push('~');
        text.extend(
            wire::Digest::of(name)
                .to_string()
                .chars()
                .filter(char::is_ascii_hexdigit)
                .take(16),
        );
    }
    DeviceId::new(text).unwrap_or_else(|_| DeviceId::node())
}

#[cfg(test)]
pub mod testing {
    //! Recorded bytes in, values out.

    use super::*;

    /// The readings of a round as `device/quantity value` lines, missing values as `-`.
    pub fn told(round: &mut Round) -> Vec<String> {
        round
            .readings
            .drain(..)
            .map(|reading| match reading.value {
                Some(value) => format!("{} {value}", reading.series),
                None => format!("{} -", reading.series),
            })
            .collect()
    }

    /// The value of one series among such lines.
    pub fn value<'a>(told: &'a [String], series: &str) -> &'a str {
        told.iter()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
            .unwrap_or("absent")
    }

    /// A round that comes a second after another.
    pub fn second_round() -> Round {
        Round {
            elapsed_ms: Some(1_000),
            ..Round::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_kernel_writes_them() {
        assert_eq!(number(b"42 kB"), Some(42));
        assert_eq!(number(b"-1"), None);
        assert_eq!(number(b"99999999999999999999999"), None);
        assert_eq!(fraction(b"0.37", 3), Some(370));
        assert_eq!(fraction(b"12.5678", 2), Some(1_256));
        assert_eq!(fraction(b"7", 2), Some(700));
        assert_eq!(fraction(b"x", 2), None);
    }

    #[test]
    fn a_rate_needs_two_rounds_and_a_counter_that_grows() {
        let mut last = None;
        assert_eq!(rate(&mut last, 100, 1_000, Some(1_000)), None);
        assert_eq!(rate(&mut last, 150, 1_000, Some(500)), Some(100_000));
        assert_eq!(rate(&mut last, 10, 1_000, Some(1_000)), None);
        assert_eq!(rate(&mut last, 30, 1, Some(1_000)), Some(20));
        assert_eq!(rate(&mut last, 30, 1, Some(0)), None);
    }

    #[test]
    fn kernel_names_become_ids() {
        assert_eq!(device("fs", b"/var/my disk").as_str(), "fs:/var/my%20disk");
        assert_eq!(device("net", &[b'x'; 300]).as_str().len(), 128);
    }

    #[test]
    fn two_names_never_become_one_id() {
        let long = |end: u8| [vec![b'x'; 300], vec![end]].concat();
        let pairs = [
            (b"e\"0".to_vec(), b"e,0".to_vec()),
            (b"e_0".to_vec(), b"e 0".to_vec()),
            (b"e%200".to_vec(), b"e 0".to_vec()),
            (long(1), long(2)),
        ];
        for (one, other) in pairs {
            assert_ne!(device("net", &one), device("net", &other));
        }
    }

    #[test]
    fn a_long_file_is_read_and_one_beyond_the_bound_is_read_to_a_whole_line_and_said_to_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mounts");
        for (count, whole) in [(40_000, true), (1_200_000, false)] {
            std::fs::write(&path, "12345678\n".repeat(count)).expect("a file");
            let file = ProcFile::open(path.to_str().expect("text")).expect("it is there");
            let (mut round, mut read) = (Round::default(), 0);
            round.read(&file, |_, bytes| {
                assert!(lines(bytes).all(|line| line == b"12345678"));
                read = lines(bytes).count();
            });
            assert_eq!((read == count, round.limits.is_empty()), (whole, whole), "{read} lines");
        }
    }

    #[test]
    fn this_machine_can_be_read() {
        let mut sensors = host();
        let mut round = Round::default();
        for number in 0..2 {
            round.readings.clear();
            round.number = number;
            round.elapsed_ms = (number > 0).then_some(1_000);
            sensors.iter_mut().for_each(|sensor| sensor.sample(&mut round));
        }
        let mut series: Vec<_> = round.readings.iter().map(|reading| &reading.series).collect();
        let count = series.len();
        assert!(count > 100, "{count} series");
        series.sort();
        series.dedup();
        assert_eq!(series.len(), count, "no series twice");
    }
}
