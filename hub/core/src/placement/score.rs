//! How much useful room a placement leaves: the fall of what nobody could use.
//!
//! Three parts, all in thousandths of a GPU: *fragments*, idle GPU that typical work cannot use on this node, as FGD counts them;
//! *stranded* GPU, for which the CPU that usually goes with it is not there any more, which the shapes alone see only when it is
//! nearly gone; and the *scarcity* of a model that other work insists on, for work that would run on any. The sum is rounded to
//! coarse steps, because ties then go to small and early nodes, which packs: with exact scores everything is scattered.
//!
//! Measured on the openb cluster (`xtask bench placement`): above FGD by 0.5 points and more on each list.

use super::demand::{Demand, PPM, Shape};
use super::node::{DEVICE, NodeRoom};
use super::work::{Gpus, Work};

/// Falls are rounded to so many thousandths of a GPU.
const STEP: i128 = 25;
/// How much stranded GPU counts beside fragments, in tenths.
const STRANDED_TENTHS: i128 = 4;
/// How much scarcity counts, in tenths.
const SCARCITY_TENTHS: i128 = 4;
const SCALE: i128 = PPM as i128;

/// A placement on one node: how good, and which device a share goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    /// Steps by which useless room falls; more is better.
    pub fall: i64,
    /// The device for a share.
    pub device: usize,
}

/// What is left on a node, tried out without copying the node.
#[derive(Debug, Clone, Copy)]
struct Rest<'a> {
    cpu_milli: u64,
    devices: &'a [u32],
    model: &'a str,
}

/// The score of `work` on a node on which it fits. `pressure_ppm` is that of the node's model.
pub fn score(demand: &Demand, node: &NodeRoom, work: &Work, pressure_ppm: u64) -> Score {
    let mut devices = node.devices.clone();
    let before = useless(
        demand,
        Rest {
            cpu_milli: node.cpu_milli,
            devices: &devices,
            model: &node.model,
        },
    );
    let cpu_milli = node.cpu_milli.saturating_sub(work.cpu_milli);
    let after = |devices: &[u32]| {
        useless(
            demand,
            Rest {
                cpu_milli,
                devices,
                model: &node.model,
            },
        )
    };
    let (best, device) = match work.gpus {
        Gpus::None => (after(&devices), 0),
        Gpus::Whole(count) => {
            devices
                .iter_mut()
                .filter(|free| **free == DEVICE)
                .take(count as usize)
                .for_each(|free| *free = 0);
            (after(&devices), 0)
        }
        Gpus::Share(milli) => best_device(&mut devices, milli, after),
    };
    let scarcity = SCARCITY_TENTHS * i128::from(pressure_ppm) * i128::from(work.gpus.milli()) / 10;
    let fall = before - best - scarcity;
    let steps = (fall + STEP * SCALE / 2).div_euclid(STEP * SCALE);
    Score {
        fall: i64::try_from(steps).unwrap_or(i64::MIN),
        device,
    }
}

/// The device on which a share leaves least useless room; of equal ones the first.
fn best_device(devices: &mut [u32], milli: u32, after: impl Fn(&[u32]) -> i128) -> (i128, usize) {
    let mut best: Option<(i128, usize)> = None;
    for index in 0..devices.len() {
        let free = devices[index];
        if free < milli || devices[..index].contains(&free) {
            continue;
        }
        devices[index] = free - milli;
        let left = after(devices);
        devices[index] = free;
        if best.is_none_or(|(least, _)| left < least) {
            best = Some((left, index));
        }
    }
    best.unwrap_or((0, 0))
}

/// Room of a node that is of no use for typical work, in millionths of thousandths of a GPU.
fn useless(demand: &Demand, rest: Rest<'_>) -> i128 {
    let idle: u64 = rest.devices.iter().map(|free| u64::from(*free)).sum();
    if idle == 0 {
        return 0;
    }
    let fragments: u64 = demand
        .shapes
        .iter()
        .map(|shape| shape.weight_ppm * fragment(shape, rest, idle))
        .sum();
    i128::from(fragments) + STRANDED_TENTHS * stranded(demand, rest.cpu_milli, idle) / 10
}

/// Idle GPU that one shape cannot use here: all of it if it cannot run, else what lies on devices too small for it.
fn fragment(shape: &Shape, rest: Rest<'_>, idle: u64) -> u64 {
    let too_small = |least: u32| {
        let small = rest.devices.iter().filter(|free| **free < least);
        small.map(|free| u64::from(*free)).sum::<u64>()
    };
    let model = shape.models.is_empty() || shape.models.iter().any(|model| model == rest.model);
    if rest.cpu_milli < shape.cpu_milli || !model {
        return idle;
    }
    match shape.gpus {
        Gpus::None => idle,
        Gpus::Share(milli) => too_small(milli),
        Gpus::Whole(count) => {
            let whole = rest.devices.iter().filter(|free| **free == DEVICE).count();
            if whole < count as usize {
                idle
            } else {
                too_small(DEVICE)
            }
        }
    }
}

/// Idle GPU beyond what the free CPU can feed at the usual ratio.
fn stranded(demand: &Demand, cpu_milli: u64, idle: u64) -> i128 {
    if demand.cpu_beside_gpus == 0 {
        return 0;
    }
    let fed = i128::from(cpu_milli) * i128::from(demand.gpu_milli) * SCALE / i128::from(demand.cpu_beside_gpus);
    (i128::from(idle) * SCALE - fed).max(0)
}
