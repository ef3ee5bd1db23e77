"""The interactive figures: their arithmetic against the library, and the figures in a browser."""

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import browser_support
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import icrl_flax as icrl
from icrl_flax import theory

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "book" / "_static" / "figures"
HARNESS = Path(__file__).parent / "figures_harness.js"
KINDS = ("now", "next", "reward", "out")
WHOLE = dict.fromkeys(KINDS, 1)
ALPHA = 0.2


def ask(engine: str, *calls: tuple) -> list[Any]:
    """Call functions of a figure's arithmetic in Node."""
    asked = {"file": str(FIGURES / engine), "calls": calls}
    done = subprocess.run(
        [browser_support.node_path(), str(HARNESS)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- the theorem by hand ------------------------------------------------------------------------


def banded(d: int, bands: dict[str, int], c: float, divisor: float) -> icrl.Effective:
    """The block that the reader has made, from the library's optimum."""
    P12, V21 = icrl.Sarsa(d=d, alpha=ALPHA).optimum(jnp.float64)
    rows = [bands["now"]] * d + [bands["next"]] * d + [bands["reward"]]
    return icrl.Effective(c * jnp.asarray(rows)[:, None] * P12, bands["out"] / divisor * V21)


def window_of(d: int, seed: int):
    """Features, parameters and a window of a random case."""
    rule = icrl.Sarsa(d=d, alpha=ALPHA)
    with jax.enable_x64(True):
        stacked = icrl.random_case(np.random.default_rng(seed), rule, 5)
        case = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), stacked)
    return rule, case


CASES = [
    (dict(zip(KINDS, f, strict=True)), 1.0, 1.0) for f in itertools.product((1, -1, 0), repeat=4)
]
CASES += [(WHOLE, c, divisor) for c in (-3.0, 0.5, 2.0) for divisor in (c, 1.0)]


@pytest.mark.parametrize("d", [3, 5])
def test_bands_are_the_librarys_matrices(d):
    """Weights equal, and a token's three parts add up to the library's score."""
    rule, case = window_of(d, seed=d)
    with jax.enable_x64(True):
        tokens = np.asarray(rule.tokens(case.features, case.u, case.window))
        w = np.asarray(case.u)
        calls = [("block", d, ALPHA, bands, c, divisor) for bands, c, divisor in CASES]
        blocks = ask("bands.js", *calls)
        told = tokens[0].tolist(), w.tolist()
        parts = ask("bands.js", *(("parts", block, *told) for block in blocks))
        for (bands, c, divisor), got, part in zip(CASES, blocks, parts, strict=True):
            wanted = banded(d, bands, c, divisor)
            np.testing.assert_allclose(got["P12"], wanted.P12.ravel(), rtol=1e-15, atol=0)
            np.testing.assert_allclose(got["V21"], wanted.V21.ravel(), rtol=1e-15, atol=0)
            score = tokens[0] @ np.asarray(wanted.P12) @ np.asarray(icrl.augment(case.u))
            assert sum(part.values()) == pytest.approx(score, abs=1e-12)


def test_the_rule_is_what_the_block_does():
    """w + step · mean of (R r + γ N q⁺ − W q) φ, and SARSA's where the sentence says so."""
    d = 4
    rule, case = window_of(d, seed=1)
    with jax.enable_x64(True):
        x = rule.tokens(case.features, case.u, case.window)
        now, then, reward = x[:, :d], x[:, d : 2 * d], x[:, 2 * d]
        teacher = rule.teacher(case.features, case.u, case.window)
        rules = ask("bands.js", *(("rule", bands, ALPHA, c, div) for bands, c, div in CASES))
        said = ask("bands.js", *(("verdict", bands, ALPHA, c, div) for bands, c, div in CASES))
        exact = 0
        for (bands, c, divisor), found, sentence in zip(CASES, rules, said, strict=True):
            effective = banded(d, bands, c, divisor)
            answer = case.u + icrl.attention.bilinear_term(effective, x, case.u)
            error = found["reward"] * reward + found["next"] * then @ case.u
            error = error - found["now"] * now @ case.u
            np.testing.assert_allclose(
                answer, case.u + found["step"] * (error @ now) / len(x), atol=1e-12
            )
            same = bool(jnp.abs(answer - teacher).max() < 1e-12)
            assert same == ("answer is SARSA's" in sentence), sentence
            exact += same
            unmoved = bool(jnp.abs(answer - case.u).max() == 0)
            assert unmoved == ("stays as it is" in sentence), sentence
            assert sentence.strip()
    assert exact == 2 + 3, "the theorem, all signs turned, and three scales that V undoes"


def test_what_breaks_breaks():
    """What the sentences foretell, at the paper's size, over five MDPs."""
    changes = [
        {},
        {"now": -1},
        {"now": 0},
        {"next": 0},
        {"reward": 0},
        {"reward": -1},
        {"out": -1},
    ]
    changes += [{"out": 0}, dict.fromkeys(KINDS, -1)]
    whole, added, unsubtracted, near, unread, bad, opposite, frozen, turned = ask(
        "bands.js", *(("outcome", WHOLE | change, ALPHA, 1) for change in changes)
    )
    assert whole["share"] > 0.6
    assert turned["share"] == pytest.approx(whole["share"], abs=1e-9)
    assert added["diverged"]
    assert opposite["diverged"]
    assert unsubtracted["diverged"] or unsubtracted["largest"] > 10 * whole["largest"]
    assert near["share"] > 0.4, "values of the next reward alone are good ones at γ = 0.5"
    assert bad["share"] < -0.4
    assert abs(unread["share"]) < 0.5
    assert frozen["largest"] < 1, "w is what it was: uniform on (−1, 1)"


def test_numbers_can_be_followed_by_hand():
    """Features, rewards and w have one decimal, and the TD errors are the library's formula."""
    for small in ask("bands.js", *(("smallWindow", seed) for seed in range(1, 20))):
        for key in ("features", "w"):
            np.testing.assert_allclose(np.round(small[key], 1), small[key], atol=1e-12)
        x = np.reshape(small["x"], (small["n"], 7))
        np.testing.assert_allclose(
            x[:, 6] + x[:, 3:6] @ small["w"] - x[:, :3] @ small["w"], small["errors"], atol=1e-12
        )


# --- which point? -------------------------------------------------------------------------------

D = 36


def in_plane(a, b, d: int = D) -> icrl.Effective:
    """Entries ±a on P's bands, b on V̄21's diagonal."""
    P12, V21 = icrl.Sarsa(d=d, alpha=ALPHA).optimum(jnp.float64)
    return icrl.Effective(a * P12, b / ALPHA * V21)


def plane_loss(x):
    """The scalar model with κ = 1, as the figure has it."""
    return 0.5 * (x[0] * x[1] - ALPHA) ** 2


STARTS = [(0.9, -0.25), (-0.5, 0.8), (0.1, 0.02), (-0.7, -0.1), (0.05, 1.0), (1.1, 1.1)]


def test_the_plane_is_the_librarys_loss():
    """Restricted to the pattern the loss of windows is K (ab − α)², gradients as the figure's."""
    d = 6
    rule = icrl.Sarsa(d=d, alpha=ALPHA)
    with jax.enable_x64(True):
        population = theory.draw_population(
            jax.random.key(0), rule, icrl.RandomMDPs(3, 2), 50, n=5
        )

        def loss(x):
            delta = theory.offset(in_plane(x[0], x[1], d), population.optimum, 1.0)
            return population.loss(1.0, delta)

        slope = jax.jit(jax.value_and_grad(loss))
        kappa = 2 * slope(jnp.zeros(2))[0] / ALPHA**2
        calls = [("gradient", start, ALPHA, d, float(kappa)) for start in STARTS]
        for start, (da, db) in zip(STARTS, ask("plane.js", *calls), strict=True):
            value, wanted = slope(jnp.asarray(start))
            assert float(value) == pytest.approx(float(kappa * plane_loss(start)), rel=1e-12)
            # The figure's are those of one entry, of which there are 2d + 1 and d.
            np.testing.assert_allclose(((2 * d + 1) * da, d * db), wanted, rtol=1e-11)


def test_the_law_is_the_librarys():
    """G and the predicted |c|, and where the flow of the figure ends."""
    with jax.enable_x64(True):
        wanted = [float(theory.conserved(in_plane(*start))) for start in STARTS]
        got = ask("plane.js", *(("invariant", start, D) for start in STARTS))
        np.testing.assert_allclose(got, wanted, rtol=1e-12)
        optimum = icrl.Sarsa(alpha=ALPHA).optimum(jnp.float64)
        scales = [float(theory.predicted_scale(optimum, G)) for G in wanted]
        got = ask("plane.js", *(("predictedScale", G, ALPHA, D) for G in wanted))
        np.testing.assert_allclose(got, scales, rtol=1e-12)
        sides = ask("plane.js", *(("side", start, D) for start in STARTS))
        flows = ask("plane.js", *(("flow", start, ALPHA, D) for start in STARTS))
        for path, scale, side, G in zip(flows, scales, sides, wanted, strict=True):
            assert path[-1][0] == pytest.approx(side * scale, rel=1e-6)
            assert np.prod(path[-1]) == pytest.approx(ALPHA, rel=1e-8)
            law = [float(theory.conserved(in_plane(*point))) for point in path[:: len(path) // 5]]
            np.testing.assert_allclose(law, G, atol=1e-6)
    saddle = (-0.6, 0.6 * np.sqrt((2 * D + 1) / D))
    side, path = ask("plane.js", ("side", saddle, D), ("flow", saddle, ALPHA, D, {"most": 300}))
    assert side == 0
    assert np.hypot(*path[-1]) < 0.1 * np.hypot(*saddle), "it goes to the saddle first"


@pytest.mark.parametrize("method", ["descent", "adam"])
def test_optimisers_are_optaxs(method):
    """The figure's steps on a and b are Optax's on all entries of the pattern."""
    rate, steps = 0.01, 60
    eta, (largest,) = 5.0, ask("plane.js", ("largestStep", ALPHA, D))
    assert eta < largest
    schedule = lambda count: rate * 1e-3 ** (count.astype(float) / steps)  # noqa: E731
    optimizer = optax.adam(schedule) if method == "adam" else optax.sgd(eta)
    with jax.enable_x64(True):

        def loss(theta):  # of entries, so that the optimiser sees what a block's sees
            a = jnp.mean(theta["P"])
            return plane_loss((a, jnp.mean(theta["V"])))

        for start in STARTS[:4]:
            theta = {"P": jnp.full(2 * D + 1, start[0]), "V": jnp.full(D, start[1])}
            state, path = optimizer.init(theta), [start]
            update = jax.jit(optimizer.update)
            for _ in range(steps):
                step, state = update(jax.grad(loss)(theta), state)
                theta = optax.apply_updates(theta, step)
                path.append((float(theta["P"][0]), float(theta["V"][0])))
            call = (
                ("adam", start, ALPHA, D, rate, steps)
                if method == "adam"
                else ("descend", start, ALPHA, D, eta, [1.0] * steps)
            )
            (got,) = ask("plane.js", call)
            np.testing.assert_allclose(got, path[: len(got)], rtol=0, atol=1e-9)


def test_the_largest_step_is_the_largest():
    """Below it descent at the balanced optimum returns, above it does not."""
    (largest,), (c,) = (
        ask("plane.js", ("largestStep", ALPHA, D)),
        ask("plane.js", ("predictedScale", 0, ALPHA, D)),
    )
    start = [c + 1e-4, ALPHA / c + 1e-4]
    below, above = ask(
        "plane.js",
        *(("descend", start, ALPHA, D, share * largest, [1.0] * 200) for share in (0.95, 1.05)),
    )
    error = lambda x: abs(x[0] * x[1] - ALPHA)  # noqa: E731
    assert error(below[-1]) < 1e-3 * error(start)
    assert error(above[-1]) > 10 * error(start)
