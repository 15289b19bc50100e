//! How large each part is at a share of the start.

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

    /// A canary of `percent` of the start: rounded down, at least one.
    ///
    /// The stable side stays whole, however traffic is divided: a canary that dies takes no capacity with it.
    pub fn at(start: u32, percent: u8, fresh_baseline: bool) -> Self {
        let share = u64::from(start) * u64::from(percent.min(100)) / 100;
        let canary = u32::try_from(share).unwrap_or(u32::MAX).max(1);
        // Beyond half of the start more old replicas tell nothing new and only cost.
        let baseline = if fresh_baseline {
            canary.min((start / 2).max(1))
        } else {
            0
        };
        Self {
            stable: start,
            canary,
            baseline,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_of_ten_walks_beside_a_whole_stable_side() {
        let at = |percent| Sizes::at(10, percent, false);
        let canaries: Vec<u32> = (1..=10).map(|step| at(step * 10).canary).collect();
        assert_eq!(canaries, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert!((1..=100).all(|percent| at(percent).stable == 10));
    }

    #[test]
    fn a_baseline_is_as_large_as_the_canary_up_to_half_of_the_start() {
        let baseline = |start, percent| Sizes::at(start, percent, true).baseline;
        assert_eq!((baseline(10, 30), baseline(10, 100), baseline(1, 10)), (3, 5, 1));
    }
}
