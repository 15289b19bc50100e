//! Quantiles of the beta distribution: how low a chance may be, given what was seen.
//!
//! Source: the continued fraction of the regularised incomplete beta function, Lentz's method (Numerical Recipes 6.4).

/// The value below which a chance lies with probability `share`, after so many successes and failures on a flat prior.
pub fn lower_bound(successes: f64, failures: f64, share: f64) -> f64 {
    let (a, b) = (1.0 + successes.max(0.0), 1.0 + failures.max(0.0));
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if below(a, b, middle) < share {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

/// The regularised incomplete beta function.
fn below(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    let log = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * libm::log(x) + b * libm::log1p(-x);
    let front = libm::exp(log);
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(a, b, x) / a
    } else {
        1.0 - front * fraction(b, a, 1.0 - x) / b
    }
}

fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let (mut c, mut d) = (1.0, 1.0 / away(1.0 - (a + b) * x / (a + 1.0)));
    let mut product = d;
    for round in 1..300 {
        let m = f64::from(round);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            change = c * d;
            product *= change;
        }
        if (change - 1.0).abs() < 1e-14 {
            break;
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Closed forms: Beta(1, 1) is uniform, Beta(n + 1, 1) has the distribution x^(n + 1), and Beta(2, 2) has 3x² - 2x³.
    #[test]
    fn bounds_agree_with_closed_forms() {
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
        near(lower_bound(0.0, 0.0, 0.1), 0.1);
        near(lower_bound(9.0, 0.0, 0.1), libm::pow(0.1, 0.1));
        near(lower_bound(0.0, 9.0, 0.1), 1.0 - libm::pow(0.9, 0.1));
        let x = lower_bound(1.0, 1.0, 0.1);
        near(3.0 * x * x - 2.0 * x * x * x, 0.1);
        near(lower_bound(399.0, 399.0, 0.5), 0.5);
    }
}
