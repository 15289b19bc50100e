//! Who works on which device, now and a little while ago.
//!
//! Told the whole picture whenever it changes. Who has gone is remembered for `REMEMBERED`, because a fault often ends the work that met
//! it before anybody looks. Decides nothing.
//!
//! Invariant: at most `MOST_GONE` are remembered that have gone; the oldest are forgotten first.
//!
//! Source: ten minutes before the fault is the window in which Meta counts a job as affected by it (arXiv 2410.21680).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use wire::DeviceId;
use wire::time::Mono;

/// For how long it is remembered who has gone.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);
/// Sixteen GPUs, and a job that comes and goes on all of them each minute.
const MOST_GONE: usize = 160;

/// Of each device, the workloads that use it.
pub type Picture = BTreeMap<DeviceId, BTreeSet<DeviceId>>;

/// Who uses what.
#[derive(Debug, Default)]
pub(crate) struct Users {
    present: Picture,
    /// Device, workload, and when it was not seen there any more.
    gone: VecDeque<(DeviceId, DeviceId, Mono)>,
}

impl Users {
    /// From here on it is like this.
    pub(crate) fn set(&mut self, present: Picture, now: Mono) {
        let before = std::mem::replace(&mut self.present, present);
        for (device, workloads) in before {
            for workload in workloads {
                let is_there = self.present.get(&device).is_some_and(|all| all.contains(&workload));
                if !is_there {
                    self.gone.push_back((device.clone(), workload, now));
                }
            }
        }
        let surplus = self.gone.len().saturating_sub(MOST_GONE);
        self.gone.drain(..surplus);
    }

    /// As it is now.
    pub(crate) const fn present(&self) -> &Picture {
        &self.present
    }

    /// The workloads that use the device, or did until a little while ago.
    pub(crate) fn of(&self, device: &DeviceId, now: Mono) -> BTreeSet<DeviceId> {
        let gone = self
            .gone
            .iter()
            .filter(|(of, _, at)| of == device && now.since(*at) < REMEMBERED);
        let present = self.present.get(device).into_iter().flatten();
        present.chain(gone.map(|(_, workload, _)| workload)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(name: &str) -> DeviceId {
        DeviceId::workload(name).expect("a name")
    }

    fn picture(names: &[&str]) -> Picture {
        Picture::from([(DeviceId::gpu(0), names.iter().map(|name| workload(name)).collect())])
    }

    fn of(users: &Users, seconds: u64) -> String {
        let found = users.of(&DeviceId::gpu(0), Mono(seconds * 1_000));
        found.iter().map(DeviceId::name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn who_has_just_gone_still_counts_and_is_forgotten_later() {
        let mut users = Users::default();
        users.set(picture(&["train", "watch"]), Mono(0));
        users.set(picture(&["watch"]), Mono(100_000));
        assert_eq!(of(&users, 100), "train watch");
        assert_eq!(of(&users, 699), "train watch");
        assert_eq!(of(&users, 700), "watch");
        assert!(users.of(&DeviceId::gpu(1), Mono(100_000)).is_empty());
    }

    #[test]
    fn those_that_come_and_go_for_ever_take_no_more_room() {
        let mut users = Users::default();
        for round in 0..1_000 {
            users.set(picture(&[&format!("job-{round}")]), Mono(round));
        }
        assert_eq!(users.gone.len(), MOST_GONE);
        assert!(of(&users, 1).contains("job-998"));
    }
}
