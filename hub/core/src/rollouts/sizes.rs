//! How large each part is at a share of the start.

use super::spec::Traffic;

/// Replicas of each part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    pub stable: u32,
    pub canary: u32,
    pub baseline: u32,
}

impl Sizes {
    /// Only the workload itself.
    pub fn alone(start: u32) -> Self {
        Self {
            stable: start,
            canary: 0,
            baseline: 0,
        }
    }

    /// A canary of `percent` of the start: rounded down, at least one. Together they are never fewer than at the start.
    pub fn at(start: u32, percent: u8, traffic: Traffic, fresh_baseline: bool) -> Self {
        let share = u64::from(start) * u64::from(percent.min(100)) / 100;
        let canary = u32::try_from(share).unwrap_or(u32::MAX).max(1);
        // Beyond half of the start there is not room for as many old replicas as there are new ones.
        let baseline = if fresh_baseline {
            canary.min(start.saturating_sub(canary)).max(u32::from(percent < 100))
        } else {
            0
        };
        let stable = match traffic {
            Traffic::Replicas => start.saturating_sub(canary).saturating_sub(baseline),
            Traffic::Weights | Traffic::Selector => start,
        };
        Self {
            stable,
            canary,
            baseline,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_of_ten_walks_without_losing_any() {
        let canaries: Vec<u32> = (1..=10)
            .map(|step| Sizes::at(10, step * 10, Traffic::Replicas, false).canary)
            .collect();
        assert_eq!(canaries, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(
            Sizes::at(10, 30, Traffic::Replicas, true),
            Sizes {
                stable: 4,
                canary: 3,
                baseline: 3
            }
        );
        assert_eq!(Sizes::at(10, 30, Traffic::Weights, true).stable, 10);
    }

    #[test]
    fn no_size_is_below_the_start() {
        for start in 0..50 {
            for percent in 1..=100 {
                for fresh in [true, false] {
                    let sizes = Sizes::at(start, percent, Traffic::Replicas, fresh);
                    assert!(
                        sizes.stable + sizes.canary + sizes.baseline >= start,
                        "{start} {percent} {sizes:?}"
                    );
                    assert!(sizes.canary >= 1);
                }
            }
        }
    }
}
