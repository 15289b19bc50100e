//! What work usually comes: the shapes that make up nearly all of it, and which GPU models it insists on.
//!
//! Learned from work that was asked for, placed or not. It never says that something cannot run; it only says what should be kept.

use std::collections::BTreeMap;

use super::work::{Gpus, Work};

/// Shapes are kept, the most frequent first, until they make up so much of all work. Source: FGD.
const TYPICAL_PERCENT: u64 = 95;
/// Weights and pressures are in millionths.
pub(super) const PPM: u64 = 1_000_000;

/// The usual work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demand {
    pub(super) shapes: Vec<Shape>,
    /// CPU and GPU that work with GPUs asks for, all of it together: thousandths of a core, and of a device.
    pub(super) cpu_beside_gpus: u64,
    pub(super) gpu_milli: u64,
    /// For each model that some work insists on, how much of all demand that is, in millionths.
    insisted_ppm: BTreeMap<Vec<String>, u64>,
}

/// A shape of work with how often it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    pub cpu_milli: u64,
    pub gpus: Gpus,
    pub models: Vec<String>,
    /// Its part of all typical work, in millionths.
    pub weight_ppm: u64,
}

impl Demand {
    /// Learns from work that was asked for.
    pub fn of<'a>(asked: impl IntoIterator<Item = &'a Work>) -> Self {
        let mut counts: BTreeMap<(u64, Gpus, &[String]), u64> = BTreeMap::new();
        let mut insisted: BTreeMap<Vec<String>, u64> = BTreeMap::new();
        let mut demand = Self::default();
        let mut all = 0;
        for work in asked {
            all += 1;
            *counts.entry((work.cpu_milli, work.gpus, &work.models)).or_default() += 1;
            let milli = work.gpus.milli();
            if milli > 0 {
                demand.cpu_beside_gpus += work.cpu_milli;
                demand.gpu_milli += milli;
                if !work.models.is_empty() {
                    *insisted.entry(work.models.clone()).or_default() += milli;
                }
            }
        }
        let mut by_count: Vec<_> = counts.into_iter().collect();
        by_count.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let mut kept = 0;
        let typical: Vec<_> = by_count
            .into_iter()
            .take_while(|(_, count)| {
                let more = kept * 100 < all * TYPICAL_PERCENT;
                kept += if more { *count } else { 0 };
                more
            })
            .collect();
        demand.shapes = typical
            .into_iter()
            .map(|((cpu_milli, gpus, models), count)| Shape {
                cpu_milli,
                gpus,
                models: models.to_vec(),
                weight_ppm: count * PPM / kept.max(1),
            })
            .collect();
        let gpu_milli = demand.gpu_milli.max(1);
        demand.insisted_ppm = insisted
            .into_iter()
            .map(|(models, milli)| (models, milli * PPM / gpu_milli))
            .collect();
        demand
    }

    /// For each model of `supply` (devices of each): how sought after it is by work that insists on it, in millionths. One million
    /// means that its part of the demand is as large as its part of the devices.
    pub(super) fn pressures(&self, supply: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
        let all: u64 = supply.values().sum();
        let mut demand_ppm: BTreeMap<&str, u64> = BTreeMap::new();
        for (models, ppm) in &self.insisted_ppm {
            let there: u64 = models.iter().filter_map(|model| supply.get(model)).sum();
            for (model, devices) in models.iter().filter_map(|model| supply.get_key_value(model)) {
                // Work that takes several models is spread over them as the devices are.
                *demand_ppm.entry(model).or_default() += ppm * devices / there.max(1);
            }
        }
        let pressure = |(model, devices): (&String, &u64)| {
            let ppm = demand_ppm.get(model.as_str()).copied().unwrap_or(0);
            (model.clone(), ppm * all / (*devices).max(1))
        };
        supply.iter().map(pressure).collect()
    }
}
