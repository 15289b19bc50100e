//! Temperatures of hwmon chips, and of thermal zones where there are none.
//!
//! Source: `Documentation/hwmon/sysfs-interface.rst`: `tempN_input` in thousandths of a degree, `tempN_label`, `name`, and `device`, the
//! link to what the chip belongs to. Some chips answer slowly (an embedded controller takes milliseconds, a hung bus never), so they are
//! asked in the background every tenth round.
//!
//! Invariants: a sensor is named by its chip and label, and where several have the same by their device too, whatever the order in which
//! the kernel numbers them; chips that come and go are followed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use wire::{DeviceId, Quantity};

use super::background::Background;
use super::{Round, Sensor, device};

const ASK_EVERY: u64 = 10;
/// Chips beyond this are not asked: a large server has two dozen.
const MOST_CHIPS: usize = 128;

/// One temperature of a chip: what it is called, and its value.
type Found = Vec<(String, Option<i64>)>;

/// All chips that have a temperature.
pub struct Temperatures {
    class: PathBuf,
    chips: Background<PathBuf, Found>,
    listed: Vec<PathBuf>,
    cut: bool,
}

impl Temperatures {
    /// Chips are looked for each time: one may come later.
    pub fn open() -> Option<Self> {
        Some(Self::under(Path::new("/sys/class")))
    }

    fn under(class: &Path) -> Self {
        Self {
            class: class.to_owned(),
            chips: Background::new("temperatures", Arc::new(|folder: &PathBuf| read_chip(folder))),
            listed: Vec::new(),
            cut: false,
        }
    }

    fn list(&mut self) {
        let chips = folders(&self.class.join("hwmon"), "hwmon");
        self.listed = match chips.is_empty() {
            true => folders(&self.class.join("thermal"), "thermal_zone"),
            false => chips,
        };
        self.cut = self.listed.len() > MOST_CHIPS;
        self.listed.truncate(MOST_CHIPS);
    }
}

impl Sensor for Temperatures {
    fn sample(&mut self, round: &mut Round) {
        if round.number.is_multiple_of(ASK_EVERY) {
            self.list();
            self.chips.begin(self.listed.iter().cloned());
        }
        self.chips.look(Instant::now());
        let mut found = Vec::new();
        for folder in &self.listed {
            if self.chips.stuck_for(folder).is_some() {
                round.limit(format!("temperatures of {} do not answer", folder.display()));
            }
            let values = self.chips.value(folder).unwrap_or_default();
            found.extend(values.into_iter().map(|(label, value)| (folder, label, value)));
        }
        for (device, value) in named(&found) {
            round.note(&device, Quantity::Temperature, value);
        }
        if self.cut {
            round.limit(format!(
                "more than {MOST_CHIPS} chips with temperatures: the rest is not looked at"
            ));
        }
    }
}

/// Names by chip and label; by its device too where that does not tell two apart.
fn named(found: &[(&PathBuf, String, Option<i64>)]) -> Vec<(DeviceId, Option<i64>)> {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, label, _) in found {
        *count.entry(label).or_default() += 1;
    }
    let name = |folder: &Path, label: &str| match count.get(label) {
        Some(2..) => format!("{label}@{}", place(folder)),
        _ => label.to_owned(),
    };
    let all = found.iter().map(|(folder, label, value)| {
        let name = name(folder, label).replace(' ', "_");
        (device("sensor", name.as_bytes()), *value)
    });
    all.collect()
}

/// What a chip belongs to: `coretemp.1`, `0000:41:00.0`; its own number where it belongs to nothing.
fn place(folder: &Path) -> String {
    let target = fs::read_link(folder.join("device")).ok();
    let last = target.as_deref().unwrap_or(folder).file_name();
    last.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn read_chip(folder: &Path) -> Found {
    let text = |name: &str| {
        fs::read_to_string(folder.join(name))
            .ok()
            .map(|text| text.trim().to_owned())
    };
    if let Some(zone) = text("type") {
        return vec![(zone, text("temp").and_then(|text| millicelsius(&text)))];
    }
    let chip = text("name").unwrap_or_default();
    let model = text("device/model").filter(|model| !model.is_empty());
    let mut numbers: Vec<u32> = entries(folder)
        .filter_map(|name| name.strip_prefix("temp")?.strip_suffix("_input")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let read = numbers.into_iter().map(|number| {
        let label = text(&format!("temp{number}_label")).filter(|label| !label.is_empty());
        let label = match (label, &model) {
            (Some(label), Some(model)) => format!("{chip} {label} {model}"),
            (Some(label), None) => format!("{chip} {label}"),
            (None, Some(model)) => format!("{chip} {model} temp{number}"),
            (None, None) => format!("{chip} temp{number}"),
        };
        let value = text(&format!("temp{number}_input"));
        (label, value.and_then(|text| millicelsius(&text)))
    });
    read.collect()
}

/// Colder than liquid nitrogen or hotter than lava is a broken sensor.
fn millicelsius(text: &str) -> Option<i64> {
    let value = text.parse().ok()?;
    (-200_000..1_000_000).contains(&value).then_some(value)
}

fn folders(class: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = entries(class)
        .filter(|name| name.starts_with(prefix))
        .map(|name| class.join(name))
        .collect();
    found.sort();
    found
}

fn entries(folder: &Path) -> impl Iterator<Item = String> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    found.filter_map(|entry| entry.file_name().into_string().ok())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::super::testing::told;
    use super::*;

    fn chip(class: &Path, number: u32, device: &str, celsius: i64) {
        let folder = class.join(format!("hwmon/hwmon{number}"));
        fs::create_dir_all(&folder).expect("a folder");
        symlink(format!("../../../{device}"), folder.join("device")).expect("a link");
        for (name, text) in [("name", "coretemp"), ("temp2_label", "Core 0")] {
            fs::write(folder.join(name), format!("{text}\n")).expect("a file");
        }
        fs::write(folder.join("temp2_input"), format!("{}\n", celsius * 1_000)).expect("a file");
    }

    /// What is told once every chip has answered.
    fn sampled(sensor: &mut Temperatures) -> Vec<String> {
        let mut round = Round::default();
        let end = Instant::now() + Duration::from_secs(20);
        sensor.sample(&mut round);
        while !sensor.listed.iter().all(|chip| sensor.chips.value(chip).is_some()) {
            assert!(Instant::now() < end, "no answer");
            std::thread::yield_now();
        }
        round = Round {
            number: 1,
            ..Round::default()
        };
        sensor.sample(&mut round);
        told(&mut round)
    }

    #[test]
    fn two_chips_of_one_name_are_two_sensors_and_one_that_comes_later_is_seen() {
        let class = tempfile::tempdir().expect("a folder");
        let mut sensor = Temperatures::under(class.path());
        assert_eq!(sampled(&mut sensor), [""; 0]);
        chip(class.path(), 0, "coretemp.0", 45);
        assert_eq!(sampled(&mut sensor), ["sensor:coretemp_Core_0/temperature 45000"]);
        chip(class.path(), 1, "coretemp.1", 95);
        let mut both = sampled(&mut sensor);
        both.sort();
        assert_eq!(
            both,
            [
                "sensor:coretemp_Core_0@coretemp.0/temperature 45000",
                "sensor:coretemp_Core_0@coretemp.1/temperature 95000"
            ]
        );
    }

    #[test]
    fn impossible_temperatures_are_missing() {
        assert_eq!(millicelsius("45500"), Some(45_500));
        assert_eq!(millicelsius("-274000"), None);
        assert_eq!(millicelsius("9223372036854775807"), None);
        assert_eq!(millicelsius("x"), None);
    }
}
