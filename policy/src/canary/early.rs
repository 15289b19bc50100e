//! Ends a bad canary early, without the error of looking again and again.
//!
//! A gambler bets against "both groups are alike" on the randomised rank of each new value among all earlier ones. If both are
//! alike the ranks are fair and the gambler's wealth exceeds `1 / alpha` at any time with probability `alpha` at most (Ville's
//! inequality), so that one may look after every interval. Values must be independent in time: thin them first (`gate.rs`).
//!
//! Invariant: the same seed and the same pairs give the same wealth, whatever is asked between them. Ranks alone count, so that
//! units do not matter.

use super::input::Direction;

/// Shares of the wealth that are bet on the canary's values lying higher.
const LOCATION_BETS: [f64; 4] = [0.25, 0.5, 0.75, 1.0];
/// Shares that are bet on the canary's values lying in the highest tenth.
const TAIL_BETS: [f64; 4] = [0.05, 0.1, 0.2, 0.4];
/// Wealth is not counted beyond this: it decides nothing any more, and the product stays finite.
const MOST: f64 = 1e200;
/// Straight worse intervals that mean a bad canary on a device too small for ranks.
pub const STRAIGHT_WORSE: usize = 8;

/// What the bets have made of 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wealth {
    /// The mean of both: what is held against `1 / alpha`.
    pub mean: f64,
    /// Mean of the bets on the middle.
    pub location: f64,
    /// Mean of the bets on the tail.
    pub tail: f64,
}

/// The bets on one metric, fed one pair of values after the other.
#[derive(Debug, Clone)]
pub struct EarlyAbort {
    /// One game for each way that is worse, with its sign.
    games: Vec<(f64, Game)>,
    random: Random,
    floor: f64,
    pairs: usize,
}

impl EarlyAbort {
    /// No value seen yet. A canary that is worse by up to `floor` is taken as alike.
    pub fn new(direction: Direction, floor: f64, seed: u64) -> Self {
        let signs: &[f64] = match direction {
            Direction::Up => &[1.0],
            Direction::Down => &[-1.0],
            Direction::Both => &[1.0, -1.0],
        };
        Self {
            games: signs.iter().map(|sign| (*sign, Game::default())).collect(),
            random: Random(seed),
            floor,
            pairs: 0,
        }
    }

    /// Bets on one interval: the baseline's value first, then the canary's. Both are finite.
    pub fn push(&mut self, baseline: f64, canary: f64) {
        self.pairs += 1;
        let ties = (self.random.next(), self.random.next());
        for (sign, game) in &mut self.games {
            // The mirrored game sees the mirrored tie.
            let tie = |tie: f64| if *sign > 0.0 { tie } else { 1.0 - tie };
            game.push(*sign * baseline, tie(ties.0), false);
            game.push(*sign * canary - self.floor, tie(ties.1), true);
        }
    }

    /// The wealth so far; the mean of both ways if both are worse.
    pub fn wealth(&self) -> Wealth {
        let mean =
            |of: fn(&Game) -> f64| self.games.iter().map(|(_, game)| of(game)).sum::<f64>() / self.games.len() as f64;
        let location = mean(|game| average(&game.location));
        let tail = mean(|game| average(&game.tail));
        Wealth {
            mean: (location + tail) / 2.0,
            location,
            tail,
        }
    }

    /// Pairs so far.
    pub fn pairs(&self) -> usize {
        self.pairs
    }
}

fn average(wealth: &[f64]) -> f64 {
    wealth.iter().sum::<f64>() / wealth.len() as f64
}

#[derive(Debug, Clone)]
struct Game {
    seen: Vec<f64>,
    location: [f64; 4],
    tail: [f64; 4],
}

impl Default for Game {
    fn default() -> Self {
        Self {
            seen: Vec::new(),
            location: [1.0; 4],
            tail: [1.0; 4],
        }
    }
}

impl Game {
    fn push(&mut self, value: f64, tie: f64, is_canary: bool) {
        let below = self.seen.partition_point(|seen| *seen < value);
        let not_above = self.seen.partition_point(|seen| *seen <= value);
        let equal = (not_above - below) as f64 + 1.0;
        let rank = (below as f64 + tie * equal) / (self.seen.len() as f64 + 1.0);
        self.seen.insert(not_above, value);
        let lean = if is_canary { 2.0 * rank - 1.0 } else { 1.0 - 2.0 * rank };
        for (wealth, bet) in self.location.iter_mut().zip(LOCATION_BETS) {
            *wealth = (*wealth * (1.0 + bet * lean)).min(MOST);
        }
        if is_canary {
            let win = if rank > 0.9 { 9.0 } else { -1.0 };
            for (wealth, bet) in self.tail.iter_mut().zip(TAIL_BETS) {
                *wealth = (*wealth * (1.0 + bet * win)).min(MOST);
            }
        }
    }
}

/// The most intervals in a row, up to now, in which the canary was worse: for devices that cannot keep all values.
///
/// It needs no memory of values, and has no guarantee: with both groups alike one run of 8 is seen in about 500 intervals.
pub fn straight_worse(direction: Direction, pairs: &[(f64, f64)]) -> usize {
    let is_worse = |(baseline, canary): &&(f64, f64)| match direction {
        Direction::Up => canary > baseline,
        Direction::Down => canary < baseline,
        Direction::Both => canary != baseline,
    };
    pairs.iter().rev().take_while(is_worse).count()
}

/// SplitMix64. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014).
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    /// Uniform, above 0 and below 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }
}
