//! The Mann-Whitney test: does one group tend to have larger values than the other?
//!
//! Says how likely such ranks are if both groups are alike; never how large a difference is (`shift.rs` does).
//!
//! Invariants: exchanging the groups exchanges the sides; the order within a group changes nothing. Exact when the smaller group
//! has at most 20 values, given the ties that there are: the distribution over all ways to split the pooled ranks, which is what
//! SciPy's exact method is without ties and its permutation method with them. Else normal, corrected for ties and continuity.

use serde::{Deserialize, Serialize};

use super::number::normal_tail;

/// Up to this size of the smaller group the exact distribution is used.
const EXACT_SMALLER: usize = 20;
/// And up to this size of the larger one: beyond it the work grows with the square, and the normal one is as good. Groups that
/// pass the data gate differ by a fifth at most, so that there it decides nothing.
const EXACT_LARGER: usize = 200;

/// Which alternative a test looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first group differs.
    Both,
    /// The first group is larger.
    Greater,
    /// The first group is smaller.
    Less,
}

/// How the probability was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// All ways to split the ranks were counted.
    Exact,
    /// Normal, corrected for ties and continuity.
    Normal,
}

/// What the test found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MannWhitney {
    /// Pairs in which the first group has the larger value; a tie counts as half.
    pub u: f64,
    /// Probability of ranks at least as uneven, if both groups are alike.
    pub p: f64,
    /// How it was found.
    pub method: Method,
}

/// Tests `first` against `second`; with an empty group, or nothing but ties, `p` is 1. Values are finite.
pub fn mann_whitney(first: &[f64], second: &[f64], side: Side) -> MannWhitney {
    let ranks = Ranks::of(first, second);
    let (n, m) = (first.len(), second.len());
    let exact = is_exact(n, m);
    let p = if n == 0 || m == 0 {
        1.0
    } else if exact {
        ranks.exact(side)
    } else {
        ranks.normal(side)
    };
    MannWhitney {
        u: ranks.u(),
        p,
        method: if exact { Method::Exact } else { Method::Normal },
    }
}

/// Whether groups of these sizes are compared exactly.
pub(super) fn is_exact(n: usize, m: usize) -> bool {
    n.min(m) <= EXACT_SMALLER && n.max(m) <= EXACT_LARGER
}

/// Pooled values in order: how many are equal, and how many of those are of the first group.
struct Ranks {
    n: usize,
    m: usize,
    ties: Vec<(usize, usize)>,
}

impl Ranks {
    fn of(first: &[f64], second: &[f64]) -> Self {
        let marked = first.iter().map(|value| (*value, 1));
        let mut pooled: Vec<(f64, usize)> = marked.chain(second.iter().map(|value| (*value, 0))).collect();
        pooled.sort_by(|a, b| a.0.total_cmp(&b.0));
        let equal = pooled.chunk_by(|a, b| a.0 == b.0);
        Self {
            n: first.len(),
            m: second.len(),
            ties: equal
                .map(|group| (group.len(), group.iter().map(|(_, mark)| mark).sum()))
                .collect(),
        }
    }

    /// Twice the midrank of each group of equal values.
    fn doubled_ranks(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let mut before = 0;
        self.ties.iter().map(move |(all, of_first)| {
            let doubled = 2 * before + all + 1;
            before += all;
            (*all, *of_first, doubled)
        })
    }

    /// Twice the rank sum of the first group.
    fn doubled_sum(&self) -> usize {
        self.doubled_ranks()
            .map(|(_, of_first, doubled)| of_first * doubled)
            .sum()
    }

    fn u(&self) -> f64 {
        (self.doubled_sum() - self.n * (self.n + 1)) as f64 / 2.0
    }

    /// Counts the ways to choose the smaller group from the pooled ranks, by their sum.
    fn exact(&self, side: Side) -> f64 {
        let all_ranks = (self.n + self.m) * (self.n + self.m + 1);
        let is_first_smaller = self.n <= self.m;
        let size = self.n.min(self.m);
        let observed = if is_first_smaller {
            self.doubled_sum()
        } else {
            all_ranks - self.doubled_sum()
        };
        let ways = ways(self.doubled_ranks().map(|(all, _, doubled)| (all, doubled)), size);
        let total: f64 = ways.iter().sum();
        let low: f64 = ways.iter().take(observed + 1).sum::<f64>() / total;
        let high: f64 = ways.iter().skip(observed).sum::<f64>() / total;
        let (less, greater) = if is_first_smaller { (low, high) } else { (high, low) };
        match side {
            Side::Both => (2.0 * less.min(greater)).min(1.0),
            Side::Greater => greater.min(1.0),
            Side::Less => less.min(1.0),
        }
    }

    fn normal(&self, side: Side) -> f64 {
        let (n, m) = (self.n as f64, self.m as f64);
        let all = n + m;
        let ties: f64 = self
            .ties
            .iter()
            .map(|(count, _)| {
                let count = *count as f64;
                count * count * count - count
            })
            .sum();
        let spread = libm::sqrt(n * m / 12.0 * (all + 1.0 - ties / (all * (all - 1.0))));
        if spread <= 0.0 || spread.is_nan() {
            return 1.0;
        }
        let u = match side {
            Side::Both => self.u().max(n * m - self.u()),
            Side::Greater => self.u(),
            Side::Less => n * m - self.u(),
        };
        let p = normal_tail((u - n * m / 2.0 - 0.5) / spread);
        if side == Side::Both { (2.0 * p).min(1.0) } else { p }
    }
}

/// How many ways there are to choose `size` ranks with each sum. Counts are floats, because they outgrow integers: 20 of 220 is 1e28.
fn ways(ranks: impl Iterator<Item = (usize, usize)>, size: usize) -> Vec<f64> {
    let ranks: Vec<usize> = ranks
        .flat_map(|(all, doubled)| std::iter::repeat_n(doubled, all))
        .collect();
    let most: usize = ranks.iter().rev().take(size).sum();
    let mut ways = vec![vec![0.0; most + 1]; size + 1];
    ways[0][0] = 1.0;
    for (taken, rank) in ranks.iter().enumerate() {
        for chosen in (1..=size.min(taken + 1)).rev() {
            let (fewer, more) = ways.split_at_mut(chosen);
            for (sum, count) in fewer[chosen - 1][..=most - rank.min(&most)].iter().enumerate() {
                if *count > 0.0 {
                    more[0][sum + rank] += count;
                }
            }
        }
    }
    ways.pop().unwrap_or_default()
}

/// The largest `k` for which at most `share` of all splits of untied ranks have a statistic below `k`.
pub(super) fn lower_count(n: usize, m: usize, share: f64) -> usize {
    let size = n.min(m);
    let ways = ways((1..=n + m).map(|rank| (1, rank)), size);
    let total: f64 = ways.iter().sum();
    let mut below = 0.0;
    for (u, count) in ways.iter().skip(size * (size + 1) / 2).enumerate() {
        below += count / total;
        if below > share {
            return u;
        }
    }
    n * m
}
