//! Load averages, tasks, uptime and file handles.
//!
//! Source: proc_loadavg(5) `0.37 0.48 0.39 1/95 22146`, proc_uptime(5), `/proc/sys/fs/file-nr` (allocated, unused, most).

use wire::{DeviceId, Quantity};

use super::{ProcFile, Round, Sensor, fraction, number, words};

macro_rules! file_sensor {
    ($(#[$doc:meta])* $name:ident, $path:literal, $parse:ident) => {
        $(#[$doc])*
        pub struct $name(ProcFile);

        impl $name {
            /// Opens the file.
            pub fn open() -> Option<Self> {
                ProcFile::open($path).map(Self)
            }
        }

        impl Sensor for $name {
            fn sample(&mut self, round: &mut Round) {
                round.read(&self.0, $parse);
            }
        }
    };
}

file_sensor! {
    /// `/proc/loadavg`.
    Load, "/proc/loadavg", load
}
file_sensor! {
    /// `/proc/uptime`.
    Uptime, "/proc/uptime", uptime
}
file_sensor! {
    /// `/proc/sys/fs/file-nr`.
    FileHandles, "/proc/sys/fs/file-nr", file_handles
}

fn load(round: &mut Round, bytes: &[u8]) {
    let node = DeviceId::node();
    let mut found = words(bytes);
    for quantity in [Quantity::Load1, Quantity::Load5, Quantity::Load15] {
        let value = found.next().and_then(|word| fraction(word, 3));
        round.note(&node, quantity, value);
    }
    let tasks = found
        .next()
        .and_then(|word| word.split(|byte| *byte == b'/').nth(1))
        .and_then(number);
    round.note(
        &node,
        Quantity::TasksTotal,
        tasks.and_then(|tasks| i64::try_from(tasks).ok()),
    );
}

fn uptime(round: &mut Round, bytes: &[u8]) {
    round.note(&DeviceId::node(), Quantity::Uptime, fraction(bytes, 3));
}

fn file_handles(round: &mut Round, bytes: &[u8]) {
    let node = DeviceId::node();
    let mut found = words(bytes).map(|word| number(word).and_then(|n| i64::try_from(n).ok()));
    round.note(&node, Quantity::FileHandles, found.next().flatten());
    // The present kernel's default is the largest number there is: no limit.
    let most = found.nth(1).flatten().filter(|most| *most != i64::MAX);
    round.note(&node, Quantity::FileHandlesMax, most);
}

#[cfg(test)]
mod tests {
    use super::super::testing::told;
    use super::*;

    #[test]
    fn small_files_are_read() {
        let mut round = Round::default();
        load(&mut round, b"0.37 0.48 12.39 1/95 22146\n");
        uptime(&mut round, b"2041.79 3327.38\n");
        file_handles(&mut round, b"592\t0\t9223372036854775807\n");
        assert_eq!(
            told(&mut round),
            [
                "node/load.1m 370",
                "node/load.5m 480",
                "node/load.15m 12390",
                "node/tasks.total 95",
                "node/uptime 2041790",
                "node/kernel.file_handles 592",
                "node/kernel.file_handles_max -",
            ]
        );
        load(&mut round, b"");
        assert_eq!(told(&mut round)[0], "node/load.1m -");
    }
}
