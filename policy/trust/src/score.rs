//! Scores of a brain's claims, held against what came true.
//!
//! Each outcome weighs half as much after 14 days. Claims are sorted into at most ten bins of equal count.
//! Never decides anything: `tier.rs` does.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::beta;

/// How many outcomes are kept of one brain and verb: enough for the highest tier, and little to store.
pub const KEPT: usize = 400;
/// After this time an outcome weighs half as much.
const HALF_LIFE_MS: f64 = 14.0 * 86_400_000.0;
/// What the fitted curve weighs in a calibrated chance, in outcomes.
const PRIOR: f64 = 10.0;
/// Below so many outcomes the curve is the claim itself.
const FITTED_FROM: f64 = 50.0;

/// A claim and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The claimed chance in hundredths of a percent.
    pub claim_bp: u16,
    /// Whether it came true.
    pub came_true: bool,
    /// Whether the action did harm: undone, or a new high fault after it.
    pub harmful: bool,
    /// When that was seen, in the hub's own milliseconds.
    pub at_ms: u64,
    /// What it counts for at most, in hundredths: less when an older model made it.
    pub share: u8,
}

/// One bin of the reliability plot.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// The least and the greatest claim in it.
    pub claims: (f64, f64),
    /// The weighted mean claim.
    pub claimed: f64,
    /// The weighted share that came true.
    pub came_true: f64,
    /// Weight of its outcomes.
    pub weight: f64,
}

/// How good the claims are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Outcomes that are kept.
    pub count: usize,
    /// As many equally weighted outcomes would say as much.
    pub effective: f64,
    /// The share that came true.
    pub base_rate: f64,
    /// Mean squared distance between claim and outcome.
    pub brier: f64,
    /// Of that, how far the bins' claims lie from what came true.
    pub reliability: f64,
    /// How far the bins differ from each other in what came true.
    pub resolution: f64,
    /// What no claim could know: the variance of the outcomes.
    pub uncertainty: f64,
    /// How much better than always claiming the base rate; `None` where all outcomes are alike.
    pub skill: Option<f64>,
    /// How many standard errors it is worse than always claiming the base rate, negative if better.
    pub worse_than_base_rate: f64,
    /// Mean distance between claim and share that came true, over the bins.
    pub calibration_error: f64,
    /// Mean log-loss, claims kept within 1 % and 99 %.
    pub log_loss: f64,
    /// The reliability plot.
    pub bins: Vec<Bin>,
}

/// A claim as the past lets it be believed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Calibrated {
    /// The chance.
    pub chance: f64,
    /// The chance is at least this, with a probability of nine in ten.
    pub at_least: f64,
    /// Outcomes that this rests on, weighted.
    pub weight: f64,
}

#[derive(Debug, Clone, Copy)]
struct Weighed {
    claim: f64,
    seen: f64,
    weight: f64,
}

/// The scores of these outcomes at `now_ms`; `None` if there are none.
pub fn scores(joined: &VecDeque<Joined>, now_ms: u64) -> Option<Scores> {
    let sorted = weigh(joined, now_ms);
    let total: f64 = sorted.iter().map(|one| one.weight).sum();
    if total <= 0.0 {
        return None;
    }
    let mean = |of: &dyn Fn(&Weighed) -> f64| sorted.iter().map(|one| one.weight * of(one)).sum::<f64>() / total;
    let base_rate = mean(&|one| one.seen);
    let brier = mean(&|one| square(one.claim - one.seen));
    let uncertainty = base_rate * (1.0 - base_rate);
    let bins = bins(&sorted);
    let over_bins = |of: &dyn Fn(&Bin) -> f64| bins.iter().map(|bin| bin.weight * of(bin)).sum::<f64>() / total;
    let squares: f64 = sorted.iter().map(|one| square(one.weight)).sum();
    let effective = total * total / squares;
    let lag = |one: &Weighed| square(one.claim - one.seen) - square(base_rate - one.seen);
    let mean_lag = mean(&lag);
    // Some outcomes that are nearly all alike vary less than the claims say they would: that alone is no proof.
    let as_claimed = |one: &Weighed| 4.0 * square(one.claim - base_rate) * one.claim * (1.0 - one.claim);
    let varies = mean(&|one| square(lag(one) - mean_lag)).max(mean(&as_claimed));
    let spread = libm::sqrt(varies / effective);
    Some(Scores {
        count: sorted.len(),
        effective,
        base_rate,
        brier,
        reliability: over_bins(&|bin| square(bin.claimed - bin.came_true)),
        resolution: over_bins(&|bin| square(bin.came_true - base_rate)),
        uncertainty,
        skill: (uncertainty > 1e-9).then(|| 1.0 - brier / uncertainty),
        worse_than_base_rate: if spread > 1e-12 { mean_lag / spread } else { 0.0 },
        calibration_error: over_bins(&|bin| (bin.claimed - bin.came_true).abs()),
        log_loss: mean(&|one| -libm::log(1.0 - (one.claim.clamp(0.01, 0.99) - one.seen).abs())),
        bins,
    })
}

/// What a claim is worth after these outcomes.
pub fn calibrate(joined: &VecDeque<Joined>, claim: f64, now_ms: u64) -> Calibrated {
    let sorted = weigh(joined, now_ms);
    let bins = bins(&sorted);
    let total: f64 = sorted.iter().map(|one| one.weight).sum();
    let curve = if total >= FITTED_FROM {
        rising(&bins, claim)
    } else {
        claim
    };
    let nearest = bins
        .iter()
        .min_by(|a, b| distance(a, claim).total_cmp(&distance(b, claim)));
    let (weight, came_true) = nearest.map_or((0.0, 0.0), |bin| (bin.weight, bin.weight * bin.came_true));
    let chance = (came_true + PRIOR * curve) / (weight + PRIOR);
    let at_least = beta::lower_bound(came_true, weight - came_true, 0.1).min(chance);
    Calibrated {
        chance,
        at_least,
        weight,
    }
}

/// How far a claim lies outside a bin, and beyond that from its mean.
fn distance(bin: &Bin, claim: f64) -> f64 {
    let (least, greatest) = bin.claims;
    (least - claim).max(claim - greatest).max(0.0) + 1e-6 * (bin.claimed - claim).abs()
}

/// Outcomes by claim, each with its weight.
fn weigh(joined: &VecDeque<Joined>, now_ms: u64) -> Vec<Weighed> {
    let weigh = |one: &Joined| {
        let age = now_ms.saturating_sub(one.at_ms) as f64;
        Weighed {
            claim: f64::from(one.claim_bp) / 10_000.0,
            seen: f64::from(u8::from(one.came_true)),
            weight: libm::exp2(-age / HALF_LIFE_MS) * f64::from(one.share) / 100.0,
        }
    };
    let mut all: Vec<Weighed> = joined.iter().map(weigh).collect();
    all.sort_by(|a, b| a.claim.total_cmp(&b.claim));
    all
}

/// At most ten bins of equal count, and of ten outcomes at least; equal claims stay together.
fn bins(sorted: &[Weighed]) -> Vec<Bin> {
    let many = (sorted.len() / 10).clamp(1, 10);
    let mut bins = Vec::with_capacity(many);
    let mut from = 0;
    for index in 1..=many {
        let mut to = sorted.len() * index / many;
        while to < sorted.len() && to > 0 && sorted[to].claim == sorted[to - 1].claim {
            to += 1;
        }
        if let Some(bin) = bin(&sorted[from.min(to)..to]) {
            bins.push(bin);
            from = to;
        }
    }
    bins
}

fn bin(sorted: &[Weighed]) -> Option<Bin> {
    let (first, last) = (sorted.first()?, sorted.last()?);
    let weight: f64 = sorted.iter().map(|one| one.weight).sum();
    if weight <= 0.0 {
        return None;
    }
    let mean = |of: fn(&Weighed) -> f64| sorted.iter().map(|one| one.weight * of(one)).sum::<f64>() / weight;
    Some(Bin {
        claims: (first.claim, last.claim),
        claimed: mean(|one| one.claim),
        came_true: mean(|one| one.seen),
        weight,
    })
}

/// What came true as a rising curve of the claim (pool adjacent violators), read at this claim.
fn rising(bins: &[Bin], claim: f64) -> f64 {
    let mut pools: Vec<(f64, f64, f64)> = Vec::new();
    for bin in bins {
        pools.push((bin.claims.1, bin.came_true, bin.weight));
        while let [.., (_, lower, before), (greatest, upper, weight)] = pools[..] {
            if lower <= upper {
                break;
            }
            let pooled = (lower * before + upper * weight) / (before + weight);
            pools.truncate(pools.len() - 2);
            pools.push((greatest, pooled, before + weight));
        }
    }
    let place = pools.partition_point(|(greatest, _, _)| *greatest < claim);
    pools.get(place).or(pools.last()).map_or(claim, |(_, share, _)| *share)
}

fn square(value: f64) -> f64 {
    value * value
}
