//! What the agent itself may take of its machine: memory and open files. The disk has its own bound, `journal_limit`.
//!
//! Looks at the agent's own readings. Close to a ceiling is a finding; memory that stays beyond it ends the agent in an orderly way, so that
//! whoever started it starts a small one: the journal is closed, workloads live on, and nothing that was decided is lost. Open files are
//! bounded where they are opened, so that too many are a finding and no reason to end.
//!
//! Invariant: nothing is ended for a peak that is shorter than [`BEYOND_FOR`].

use std::time::{Duration, Instant};

use wire::Quantity;
use wire::reading::{Reading, Unit, human};

use crate::config::Ceilings as Settings;

/// A finding is told under this name.
pub const PART: &str = "ceilings";
/// From this share of a ceiling on people are told, in hundredths.
const CLOSE: i64 = 80;
/// Memory must be beyond its ceiling for this long: a backlog that drains or a large bundle takes seconds.
const BEYOND_FOR: Duration = Duration::from_secs(60);

/// What was seen of the agent itself.
#[derive(Debug)]
pub struct Ceilings {
    settings: Settings,
    beyond_since: Option<Instant>,
    told: Option<String>,
}

/// What follows.
#[derive(Debug)]
pub enum Look {
    /// Nothing that was not told.
    Same,
    /// What people are to be told; `None`: nothing any more.
    Tell(Option<String>),
    /// The agent has to end; why.
    End(String),
}

impl Ceilings {
    /// Nothing was seen yet.
    pub const fn new(settings: Settings) -> Self {
        Self {
            settings,
            beyond_since: None,
            told: None,
        }
    }

    /// Looks at one round of readings.
    pub fn look(&mut self, readings: &[Reading], now: Instant) -> Look {
        let value = |quantity| {
            let found = readings.iter().find(|reading| reading.series.quantity == quantity);
            found.and_then(|reading| reading.value)
        };
        let (memory, files) = (value(Quantity::AgentMemory), value(Quantity::AgentFiles));
        let most = i64::try_from(self.settings.memory).unwrap_or(i64::MAX);
        let is_beyond = memory.is_some_and(|memory| memory > most);
        let since = *self.beyond_since.get_or_insert(now);
        if !is_beyond {
            self.beyond_since = None;
        } else if now.saturating_duration_since(since) >= BEYOND_FOR {
            let has = human(memory.unwrap_or_default(), Unit::Bytes);
            let may = human(most, Unit::Bytes);
            return Look::End(format!("it has had {has} of memory for a minute, and may have {may}"));
        }
        let close = |what: &str, has: Option<i64>, most: i64, unit| {
            let is_close = has.is_some_and(|has| has.saturating_mul(100) >= most.saturating_mul(CLOSE));
            is_close.then(|| format!("its {what} are close to their ceiling of {}", human(most, unit)))
        };
        let found: Vec<String> = [
            close("memory pages", memory, most, Unit::Bytes),
            close("open files", files, i64::from(self.settings.descriptors), Unit::Count),
        ]
        .into_iter()
        .flatten()
        .collect();
        let why = (!found.is_empty()).then(|| format!("the agent itself: {}", found.join("; ")));
        if why == self.told {
            return Look::Same;
        }
        self.told.clone_from(&why);
        Look::Tell(why)
    }
}

#[cfg(test)]
mod tests {
    use wire::{DeviceId, Series};

    use super::*;

    fn round(memory_mib: i64, files: i64) -> Vec<Reading> {
        let one = |quantity, value| Reading {
            series: Series::new(DeviceId::node(), quantity),
            value: Some(value),
        };
        vec![
            one(Quantity::AgentMemory, memory_mib << 20),
            one(Quantity::AgentFiles, files),
        ]
    }

    /// Plays rounds of (second, MiB, files), and returns what was said.
    fn play(rounds: &[(u64, i64, i64)]) -> Vec<String> {
        let mut ceilings = Ceilings::new(Settings {
            memory: 64 << 20,
            descriptors: 100,
        });
        let start = Instant::now();
        let said = rounds.iter().filter_map(|(second, memory, files)| {
            match ceilings.look(&round(*memory, *files), start + Duration::from_secs(*second)) {
                Look::Same => None,
                Look::Tell(why) => Some(why.unwrap_or("over".to_owned())),
                Look::End(why) => Some(format!("ends: {why}")),
            }
        });
        said.collect()
    }

    #[test]
    fn what_is_close_to_a_ceiling_is_told_until_it_is_over() {
        assert_eq!(play(&[(0, 10, 20), (1, 10, 20)]), [""; 0]);
        assert_eq!(
            play(&[(0, 60, 20), (1, 61, 20), (2, 10, 90), (3, 10, 20)]),
            [
                "the agent itself: its memory pages are close to their ceiling of 64 MiB",
                "the agent itself: its open files are close to their ceiling of 100",
                "over"
            ]
        );
    }

    #[test]
    fn memory_that_stays_beyond_its_ceiling_ends_the_agent_and_a_peak_does_not() {
        let peak = play(&[(0, 70, 1), (59, 70, 1), (60, 10, 1), (61, 70, 1), (120, 70, 1)]);
        assert!(!peak.iter().any(|said| said.starts_with("ends")), "{peak:?}");
        let stays = play(&[(0, 70, 1), (30, 71, 1), (60, 72, 1)]);
        assert_eq!(
            stays.last().map(String::as_str),
            Some("ends: it has had 72 MiB of memory for a minute, and may have 64 MiB")
        );
    }
}
