"""Writes vectors.json: what SciPy says, for tests/canary.rs to be held against. Tests need neither Python nor SciPy.

    pip install scipy==1.17.1 && python policy/tests/golden-scipy/make.py > policy/tests/golden-scipy/vectors.json
"""
import json
import numpy as np
import scipy
from scipy import stats

random = np.random.default_rng(20_26)


def groups(n, m, ties, shift=0.0, spread=1.0):
    x, y = random.normal(shift, spread, n), random.normal(0, 1, m)
    digits = 0 if ties else 6
    return np.round(x * (2 if ties else 1), digits) + 0.0, np.round(y * (2 if ties else 1), digits) + 0.0


def mann_whitney(x, y, method):
    p = {}
    for side in ("two-sided", "greater", "less"):
        if method == "permutation":
            how = stats.PermutationMethod(n_resamples=np.inf)
            found = stats.mannwhitneyu(x, y, alternative=side, method=how)
        else:
            found = stats.mannwhitneyu(x, y, alternative=side, method=method)
        p[side] = float(found.pvalue)
    u = float(stats.mannwhitneyu(x, y).statistic)
    return {"x": x.tolist(), "y": y.tolist(), "method": "normal" if method == "asymptotic" else "exact", "u": u, "p": p}


def shift(x, y, alpha, method):
    """The interval by inverting SciPy's own test: the shifts that it does not reject at alpha."""
    ends = np.sort((x[:, None] - y[None, :]).ravel())
    inside = [
        (low, high)
        for low, high in zip(ends[:-1], ends[1:])
        if high > low and stats.mannwhitneyu(x - (low + high) / 2, y, method=method).pvalue > alpha
    ]
    return {
        "x": x.tolist(), "y": y.tolist(), "alpha": alpha,
        "estimate": float(np.median(ends)), "low": float(inside[0][0]), "high": float(inside[-1][1]),
    }


ranks = []
for n, m in [(1, 1), (4, 4), (5, 5), (7, 3), (8, 12), (20, 20), (20, 25), (12, 60), (3, 150)]:
    ranks.append(mann_whitney(*groups(n, m, False, 0.5), "exact"))
for n, m in [(3, 4), (5, 5), (6, 7), (8, 7), (2, 12)]:
    ranks.append(mann_whitney(*groups(n, m, True, 0.5), "permutation"))
for n, m in [(21, 21), (30, 36), (50, 50), (120, 100), (21, 300)]:
    ranks.append(mann_whitney(*groups(n, m, False, 0.3), "asymptotic"))
    ranks.append(mann_whitney(*groups(n, m, True, 0.3), "asymptotic"))

shifts = [shift(*groups(n, m, False, 1.0), 0.02, "exact") for n, m in [(5, 5), (6, 9), (12, 12), (20, 20)]]
shifts += [shift(*groups(n, m, False, 0.4), 0.02, "asymptotic") for n, m in [(25, 30), (40, 40)]]
shifts += [shift(*groups(9, 9, False, 0.0, 3.0), alpha, "exact") for alpha in (0.05, 0.2)]

draws = [(3, 20, 5, 10), (9, 100, 10, 50), (10, 100, 10, 50), (5, 100, 10, 50), (8, 200, 10, 100), (0, 9, 3, 3),
         (1, 9, 3, 3), (4, 9, 3, 3), (3, 9, 9, 3), (40, 2000, 100, 1000), (75, 2000, 100, 1000), (6, 10, 8, 8)]
hypergeometric = [
    {"hits": k, "all": a, "marked": g, "drawn": d, "p": float(stats.hypergeom.sf(k - 1, a, g, d))}
    for k, a, g, d in draws
]
tries = [(0, 10, 0.5), (1, 10, 0.5), (10, 10, 0.5), (11, 10, 0.5), (7, 12, 0.5), (3, 500, 0.001), (60, 100, 0.5),
         (2, 100, 0.5), (31, 1000, 0.02), (5200, 10000, 0.5), (90, 90, 0.99), (3, 4, 0.0), (3, 4, 1.0)]
binomial = [{"hits": k, "n": n, "q": q, "p": float(stats.binom.sf(k - 1, n, q))} for k, n, q in tries]

tails = []
for n, m, spread in [(50, 50, 1.0), (50, 50, 3.0), (60, 50, 2.0), (100, 100, 1.7)]:
    for share in (0.9, 0.95):
        canary, baseline = groups(n, m, False, 0.0, spread)
        limit = float(np.quantile(np.concatenate([canary, baseline]), share, method="inverted_cdf"))
        c, b = int((canary > limit).sum()), int((baseline > limit).sum())
        table = [[c, n - c], [b, m - b]]
        tails.append({
            "baseline": baseline.tolist(), "canary": canary.tolist(), "share": share, "threshold": limit,
            "beyond": [c, b], "p": float(stats.fisher_exact(table, alternative="greater").pvalue),
        })

points = [-30.0, -8.0, -3.0, -1.0, -0.1, 0.0, 0.5, 1.0, 2.3263, 5.0, 12.0, 37.0]
chances = [1e-300, 1e-12, 0.0005, 0.01, 0.02425, 0.3, 0.5, 0.7, 0.99, 0.9999999]
json.dump({
    "scipy": scipy.__version__,
    "ranks": ranks, "shifts": shifts, "hypergeometric": hypergeometric, "binomial": binomial, "tails": tails,
    "normal_tail": [[z, float(stats.norm.sf(z))] for z in points],
    "normal_quantile": [[p, float(stats.norm.ppf(p))] for p in chances],
}, __import__("sys").stdout, indent=None, separators=(",", ":"))
print()
