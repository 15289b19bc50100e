//! Tails of distributions, medians and quantiles.
//!
//! Never panics: what has no value is not a number. Accurate to 1e-9 of SciPy's, which `tests/canary.rs` holds it to.

/// Probability that a standard normal value exceeds `z`.
pub fn normal_tail(z: f64) -> f64 {
    0.5 * libm::erfc(z / std::f64::consts::SQRT_2)
}

/// The value that a standard normal one falls short of with probability `p`; infinite at 0 and 1.
///
/// Source: Acklam's rational approximation (relative error 1.2e-9), then two steps of Halley's method.
pub fn normal_quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    // The far side has the same digits and loses none to 1 - p.
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    let mut x = acklam(p);
    for _ in 0..2 {
        let error = normal_tail(-x) - p;
        let step = error * libm::sqrt(2.0 * std::f64::consts::PI) * libm::exp(x * x / 2.0);
        x -= step / (1.0 + x * step / 2.0);
    }
    x
}

fn acklam(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.38357751867269e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 6] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 5] = [
        7.784695709041462e-3,
        3.224671290700398e-1,
        2.445134137142996,
        3.754408661907416,
        1.0,
    ];
    let polynomial = |terms: &[f64], x: f64| terms.iter().fold(0.0, |sum, term| sum * x + term);
    if p < 0.02425 {
        let q = libm::sqrt(-2.0 * libm::log(p));
        polynomial(&C, q) / polynomial(&D, q)
    } else {
        let q = p - 0.5;
        polynomial(&A, q * q) * q / polynomial(&B, q * q)
    }
}

fn ln_choose(n: u64, k: u64) -> f64 {
    let ln_factorial = |n: u64| libm::lgamma(n as f64 + 1.0);
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// Probability of at least `hits` marked ones among `drawn` that are drawn from `all`, of which `marked` are marked.
pub fn hypergeometric_tail(hits: u64, all: u64, marked: u64, drawn: u64) -> f64 {
    if marked > all || drawn > all {
        return f64::NAN;
    }
    let least = (marked + drawn).saturating_sub(all);
    let most = marked.min(drawn);
    if hits <= least {
        return 1.0;
    }
    if hits > most {
        return 0.0;
    }
    let first = ln_choose(marked, hits) + ln_choose(all - marked, drawn - hits) - ln_choose(all, drawn);
    let mut term = libm::exp(first);
    let mut sum = term;
    for k in hits..most {
        let up = (marked - k) as f64 * (drawn - k) as f64;
        let down = (k + 1) as f64 * (all + k + 1 - marked - drawn) as f64;
        term *= up / down;
        sum += term;
    }
    sum.min(1.0)
}

/// From this many tries on a binomial tail is taken as normal: the exact one would add up ever more terms.
const MANY: u64 = 1_000_000;

/// Probability of at least `hits` successes in `n` tries that succeed with probability `p` each; of more than a million, nearly.
pub fn binomial_tail(hits: u64, n: u64, p: f64) -> f64 {
    if hits == 0 || p >= 1.0 {
        return if hits <= n { 1.0 } else { 0.0 };
    }
    if hits > n || p <= 0.0 {
        return 0.0;
    }
    if n > MANY {
        let (n, hits) = (n as f64, hits as f64);
        return normal_tail((hits - n * p - 0.5) / libm::sqrt(n * p * (1.0 - p)));
    }
    let odds = p / (1.0 - p);
    let at = |k: u64| libm::exp(ln_choose(n, k) + k as f64 * libm::log(p) + (n - k) as f64 * libm::log1p(-p));
    // Terms fall away from the mean, so the shorter way is summed, and a term that no longer counts ends it.
    if hits as f64 > n as f64 * p {
        let step = |k: u64, term: f64| term * odds * (n - k) as f64 / (k + 1) as f64;
        fold(hits, |k| k < n, |k| k + 1, at(hits), step)
    } else {
        let step = |k: u64, term: f64| term * k as f64 / (odds * (n - k + 1) as f64);
        1.0 - fold(hits - 1, |k| k > 0, |k| k - 1, at(hits - 1), step)
    }
}

fn fold(
    from: u64,
    goes_on: impl Fn(u64) -> bool,
    next: impl Fn(u64) -> u64,
    first: f64,
    step: impl Fn(u64, f64) -> f64,
) -> f64 {
    let (mut k, mut term, mut sum) = (from, first, first);
    while goes_on(k) && term > sum * 1e-18 {
        term = step(k, term);
        k = next(k);
        sum += term;
    }
    sum.min(1.0)
}

/// The middle of some values, or the mean of the two in the middle; not a number if there are none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[half],
        _ => (sorted[half - 1] + sorted[half]) / 2.0,
    }
}
