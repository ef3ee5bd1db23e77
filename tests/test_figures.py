"""The interactive figures: their arithmetic against the library, and the figures in a browser."""

import base64
import functools
import importlib.util
import itertools
import json
import re
import subprocess
import sys
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
    return browser_support.ask_node(HARNESS, asked)


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


# --- watch it learn -----------------------------------------------------------------------------

SMALL = {"S": 4, "A": 3, "d": 12}


def plain(theta: icrl.Effective, d: int) -> dict:
    """Weights as JavaScript takes them."""
    P12, V21 = (np.asarray(leaf, float).ravel().tolist() for leaf in theta)
    return {"d": d, "P12": P12, "V21": V21}


@functools.cache
def small_run():
    """A rule of the figure's size, a start, and 150 updates' examples in float64."""
    rule, family = icrl.Sarsa(d=12), icrl.RandomMDPs(4, 3)
    config = icrl.TrainingConfig(dtype="float64")
    with jax.enable_x64(True):
        start = icrl.training.initial_block(jax.random.key(0), rule, config)
        examples = icrl.stream(jax.random.key(1), jnp.arange(3), rule, family, 50, 20, jnp.float64)
        return rule, start, icrl.training.in_order(examples, mdps_per_update=1)


def test_gradients_are_the_librarys():
    """Of one window's loss, at the start, at random weights and at the optimum."""
    rule, start, examples = small_run()
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        optimum = rule.optimum(jnp.float64)
        wild = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), optimum)

        def loss(theta, x, u, target):
            return 0.5 * jnp.sum((start.with_theta(theta).update(x, u) - target) ** 2)

        slope = jax.jit(jax.value_and_grad(loss))
        for theta in (start.theta, icrl.Effective(*wild), icrl.Effective(*optimum)):
            calls, answers = [], []
            for k in (0, 70, 149):
                x, u, target = examples.tokens[k], examples.u[k], examples.target[k]
                given = [np.asarray(leaf).ravel().tolist() for leaf in (x, u, target)]
                calls.append(("gradient", plain(theta, 12), *given))
                answers.append(slope(theta, x, u, target))
            for got, (value, wanted) in zip(ask("learning.js", *calls), answers, strict=True):
                assert got["loss"] == pytest.approx(float(value), rel=1e-9, abs=1e-25)
                scale = max(float(jnp.abs(leaf).max()) for leaf in wanted)
                for name in ("P12", "V21"):
                    leaf = np.asarray(getattr(wanted, name)).ravel()
                    np.testing.assert_allclose(
                        got[name], leaf, rtol=0, atol=1e-12 * max(scale, 1e-3)
                    )


def test_updates_are_the_librarys():
    """150 steps of Adam from one start on the same windows: weights and losses."""
    rule, start, examples = small_run()
    with jax.enable_x64(True):
        fitted = icrl.fit(start, optax.adam(1e-3), examples)
        wanted = fitted.block.theta
    told = [
        {"x": np.ravel(x).tolist(), "w": np.ravel(u).tolist(), "target": np.ravel(t).tolist()}
        for x, u, t in zip(
            *map(np.asarray, (examples.tokens, examples.u, examples.target)), strict=True
        )
    ]
    (got,) = ask("learning.js", ("fit", plain(start.theta, rule.d), told, 1e-3))
    np.testing.assert_allclose(got["losses"], fitted.losses, rtol=1e-6)
    for name in ("P12", "V21"):
        np.testing.assert_allclose(got[name], np.ravel(getattr(wanted, name)), rtol=0, atol=1e-8)


def test_alignment_is_the_librarys():
    rule, start, _ = small_run()
    optimum = rule.optimum(jnp.float64)
    near = jax.tree.map(lambda a, b: a * 0.3 + b, start.theta, icrl.rescale(optimum, -0.6))
    for theta in (start.theta, icrl.Effective(*near)):
        wanted = icrl.align(theta, optimum)
        (got,) = ask("learning.js", ("align", plain(theta, rule.d), rule.alpha))
        assert got["c"] == pytest.approx(float(wanted.c), rel=1e-9)
        assert got["cosine"] == pytest.approx(float(wanted.cosine), rel=1e-9)


def test_the_settings_are_the_papers():
    """The figure's defaults, field by field."""
    program = "const L = require(process.argv[1]); console.log(JSON.stringify(L.PAPER));"
    file = str(FIGURES / "learning.js")
    done = subprocess.run(
        [browser_support.node_path(), "-e", program, file],
        capture_output=True,
        text=True,
        check=True,
    )
    said, config, rule, family = (
        json.loads(done.stdout),
        icrl.TrainingConfig(),
        icrl.Sarsa(),
        icrl.RandomMDPs(),
    )
    assert said == {
        "S": family.n_states, "A": family.n_actions, "d": rule.d, "gamma": family.gamma,
        "n": config.window_length, "windows": config.windows, "epsilon": rule.epsilon,
        "alpha": rule.alpha, "mdps": config.mdps, "rate": config.learning_rate,
        "decay": config.decay, "decayEvery": config.decay_every, "gain": config.gain,
        "seed": config.seed,
    }  # fmt: skip


def test_the_small_block_learns():
    """Two starts: cosine at least 0.999."""
    runs = ask(
        "learning.js", *(("run", SMALL | {"seed": k, "mdps": 3000}, 60_000) for k in range(2))
    )
    for run in runs:
        assert run["cosine"] >= 0.999
        assert 0.3 < abs(run["c"]) < 0.8


# --- the recorded run ---------------------------------------------------------------------------


def recorded() -> dict:
    """What recorded.js assigns."""
    text = (FIGURES / "recorded.js").read_text("utf-8")
    return json.loads(re.search(r"= (\{.*\});\s*$", text, re.DOTALL).group(1))


def decoded(moment: dict, d: int) -> icrl.Effective:
    """A moment's weights, without the figure's code."""
    shapes = {"P12": (2 * d + 1, d + 1), "V21": (d, 2 * d + 1)}
    return icrl.Effective(
        *(
            jnp.asarray(
                np.frombuffer(base64.b64decode(moment[name]["levels"]), np.int8).reshape(shape)
                * moment[name]["scale"]
            )
            for name, shape in shapes.items()
        )
    )


def test_the_recorded_moments_are_what_they_say():
    """Cosine and scale after rounding, and losses that fall by nine orders of magnitude."""
    record, rule = recorded(), icrl.Sarsa()
    assert (record["d"], record["alpha"]) == (rule.d, rule.alpha)
    assert [m["updates"] for m in record["moments"]][-1] == record["mdps"] * record["windows"]
    for moment in record["moments"]:
        theta = decoded(moment, record["d"])
        found = icrl.align(theta, rule.optimum(jnp.float64))
        assert float(found.cosine) == pytest.approx(moment["cosine"], abs=2e-3)
        assert abs(float(found.c)) == pytest.approx(abs(moment["c"]), rel=0.05)
    assert record["moments"][0]["cosine"] < 0.1
    assert record["moments"][-1]["cosine"] > 0.999999
    updates, losses = zip(*record["losses"], strict=True)
    assert updates[-1] == 500_000
    assert losses[0] / losses[-1] > 1e9
    (levels,) = ask(
        "learning.js", ("decodeBytes", base64.b64encode(bytes([1, 255, 129])).decode(), 2)
    )
    assert levels == [2, -2, -254]


def test_training_again_gives_the_recorded_weights():
    """The first hundred MDPs, within half a step of the rounding."""
    moment = next(m for m in recorded()["moments"] if m["updates"] == 5000)
    config = icrl.TrainingConfig(mdps=100)
    again = icrl.train(icrl.Sarsa(), config=config).effective
    for name, wanted in decoded(moment, 36)._asdict().items():
        apart = np.abs(np.asarray(getattr(again, name)) - wanted).max()
        assert apart <= 0.51 * moment[name]["scale"]


# --- the figures in a browser -------------------------------------------------------------------


def extension():
    """book/_ext/interactive.py, which Sphinx loads."""
    path = ROOT / "book" / "_ext" / "interactive.py"
    spec = importlib.util.spec_from_file_location("interactive", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


NAMES = tuple(extension().SCRIPTS)
COLOURS = {
    "light": "--pst-color-text-base:#222832;--pst-color-text-muted:#48566b;"
    "--pst-color-background:#fff;--pst-color-border:#d1d5da",
    "dark": "--pst-color-text-base:#ced6dd;--pst-color-text-muted:#9ca4af;"
    "--pst-color-background:#14181e;--pst-color-border:#48566b",
}
SENTENCE = "A sentence that stands in."


@pytest.fixture(scope="module")
def browser():
    with browser_support.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """Each figure on a page of its own, as the directive writes it, in the theme's colours."""
    folder = tmp_path_factory.mktemp("figures")
    (folder / "_static").symlink_to(FIGURES.parent)
    style = "*{box-sizing:border-box}" + "".join(
        f"html[data-theme={mode}]{{{rules};background:var(--pst-color-background)}}"
        for mode, rules in COLOURS.items()
    )
    found = {}
    for name in NAMES:
        before, after = extension().parts(name, "page")
        found[name] = folder / f"{name}.html"
        found[name].write_text(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Figure</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>{style}</style><script>document.documentElement.dataset.theme="
            "matchMedia('(prefers-color-scheme: dark)').matches?'dark':'light'</script>"
            f"</head><body><main><h1>Figure</h1>{before}<p>{SENTENCE}</p>{after}</main></body></html>",
            "utf-8",
        )
    return found


def now(page) -> str:
    """The sentence below a figure."""
    return page.inner_text(".lab-now").replace("\xa0", " ").replace("−", "-")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", NAMES)
def test_every_width_and_mode(browser, pages, name, width, scheme):
    """No horizontal scroll, nothing serious for axe, text of 8 px and more, pictures described."""
    with browser_support.visit(browser, pages[name], width=width, scheme=scheme) as visit:
        page = visit.page
        page.wait_for_selector(".lab-body")
        assert not page.locator(".lab-without").is_visible()
        assert browser_support.overflow(page) == 0
        assert browser_support.violations(page, ".lab") == []
        sizes = page.locator(".lab svg text").evaluate_all(
            "texts => texts.map(t => parseFloat(getComputedStyle(t).fontSize) *"
            " t.getScreenCTM().a / Math.cos(Math.atan2(t.getScreenCTM().b, t.getScreenCTM().a)))"
        )
        assert all(size >= 8 for size in sizes if size > 0)
        for picture in page.locator(".lab [role=img]").all():
            assert len(picture.get_attribute("aria-label")) > 20
        for scroll in page.locator(".lab-scroll").all():
            assert scroll.evaluate("e => e.scrollWidth <= e.clientWidth"), "all of it is in sight"
        assert len(now(page)) > 60
        assert not visit.complaints


@pytest.mark.parametrize("name", NAMES)
def test_keyboard_reaches_everything(browser, pages, name):
    """Tab comes to every control, and each shows that it has the focus."""
    with browser_support.visit(browser, pages[name], reduced_motion="reduce") as visit:
        page = visit.page
        wanted = page.evaluate(
            """() => {
              const controls = '.lab :is(button, input, select, [tabindex])';
              const all = [...document.querySelectorAll(controls)].filter(
                e => e.checkVisibility() && !e.disabled && (e.type !== 'radio' || e.checked));
              all.forEach((e, k) => { e.dataset.order = k; });
              return all.length;
            }"""
        )
        reached = []
        for _ in range(wanted):
            page.keyboard.press("Tab")
            reached.append(
                page.evaluate(
                    "[document.activeElement.dataset.order,"
                    " getComputedStyle(document.activeElement).outlineStyle]"
                )
            )
        assert [order for order, _ in reached] == [str(k) for k in range(wanted)]
        assert all(outline != "none" for _, outline in reached)
        assert not visit.complaints


@pytest.mark.parametrize("name", NAMES)
def test_without_scripts(browser, pages, name):
    with browser_support.visit(browser, pages[name], java_script=False) as visit:
        assert visit.page.get_by_text(SENTENCE).is_visible()


@pytest.mark.parametrize("name", NAMES)
def test_small_and_local(name):
    """At most 150 kB with data, style and engine; nothing fetched, no module imported."""
    tool = extension()
    files = [FIGURES.parent / file for file in (*tool.SCRIPTS[name], *tool.STYLES)]
    assert sum(file.stat().st_size for file in files) <= 150_000
    for file in files:
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|\bfetch\(|\bimport\b|XMLHttpRequest|eval\(", text), file


def test_chapters_have_the_figures():
    """Each figure stands in one chapter, with a sentence in its place."""
    chapters = "".join(path.read_text("utf-8") for path in (ROOT / "notebooks").glob("*.md"))
    for name in NAMES:
        assert (
            len(re.findall(rf"^:::\{{interactive\}} {name}\n\w.{{60,}}", chapters, re.MULTILINE))
            == 1
        )


def test_a_broken_band_is_named(browser, pages):
    """By keyboard: a sign turned in P, and back; a reload keeps it."""
    with browser_support.visit(browser, pages["theorem_by_hand"]) as visit:
        page = visit.page
        assert "the answer is SARSA's" in now(page)
        page.get_by_label("−I (value of now)").focus()
        page.keyboard.press("ArrowDown")
        assert "added instead of subtracted" in now(page)
        assert "diverged" in now(page)
        page.reload()
        page.wait_for_selector(".lab-body")
        assert "added instead of subtracted" in now(page)
        page.get_by_role("button", name="As in the theorem").press("Enter")
        page.get_by_label("scale c of P").press("ArrowRight")
        assert "for every c" in now(page)
        page.get_by_label("V̄₂₁ divides by c").uncheck()
        assert "step size is 0.4" in now(page)
        page.get_by_role("button", name="Step by step").press("Enter")
        assert "Step 1 of 5" in page.inner_text(".lab-story")
        assert page.locator(".lab-matrix td", has_text="?").count() > 0
        for _ in range(4):
            page.get_by_role("button", name="Next step").press("Enter")
        assert page.locator(".lab-matrix td", has_text="?").count() == 0
        assert not visit.complaints


def test_the_start_is_moved(browser, pages):
    """By arrow keys on the plane and by dragging; a mirrored start ends mirrored."""
    with browser_support.visit(browser, pages["which_point"], reduced_motion="reduce") as visit:
        page = visit.page
        handle = page.locator(".lab-handle")
        before = now(page)
        handle.focus()
        page.keyboard.press("ArrowRight")
        assert handle.get_attribute("aria-valuetext") == "a = 0.12, b = 0.02"
        assert page.evaluate("document.activeElement.classList.contains('lab-handle')")
        assert now(page) != before
        assert "c is positive" in now(page)
        page.get_by_role("button", name="mirrored").press("Enter")
        assert "c is negative" in now(page)
        page.get_by_role("button", name="on the saddle's line").press("Enter")
        assert "saddle" in now(page)
        box = handle.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + 100, box["y"] + 30, steps=4)
        page.mouse.up()
        assert "Gradient flow keeps G" in now(page)
        assert not page.get_by_role("button", name="Watch it go").is_visible()
        kept = handle.get_attribute("aria-valuetext")
        page.reload()
        assert handle.get_attribute("aria-valuetext") == kept
        assert not visit.complaints


def test_other_states_fit_a_telephone(browser, pages):
    """All optimisers, one of which diverges; a step of the theorem; the recorded run."""
    with browser_support.visit(browser, pages["which_point"], width=390) as visit:
        page = visit.page
        page.get_by_label("gradient descent").check()
        page.get_by_label("step size").fill("0.9")
        page.get_by_role("button", name="on the saddle's line").click()
        assert "diverged" in now(page)
        assert browser_support.overflow(page) == 0
        assert browser_support.violations(page, ".lab") == []
    with browser_support.visit(browser, pages["theorem_by_hand"], width=390) as visit:
        page = visit.page
        page.get_by_label("scale c of P").press("Home")
        page.get_by_role("button", name="Step by step").click()
        for scroll in page.locator(".lab-scroll").all():
            assert scroll.evaluate("e => e.scrollWidth <= e.clientWidth")
        assert browser_support.overflow(page) == 0
        assert browser_support.violations(page, ".lab") == []
    with browser_support.visit(browser, pages["watch_it_learn"], width=390) as visit:
        page = visit.page
        page.get_by_label("recorded, the paper's size (d = 36)").check()
        page.get_by_label("moment").press("End")
        assert browser_support.overflow(page) == 0
        assert browser_support.violations(page, ".lab") == []


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_the_page_trains_a_block(browser, pages, motion):
    """In a worker: cosine 0.999; scrubbed back; kept on a reload."""
    with browser_support.visit(browser, pages["watch_it_learn"], reduced_motion=motion) as visit:
        page = visit.page
        workers = []
        page.on("worker", lambda worker: workers.append(worker.url))
        page.get_by_role("button", name="Train").press("Enter")
        page.wait_for_function(
            "text => Number(/weights ([-0-9.]+)/.exec("
            "document.querySelector('.lab-now').textContent)?.[1]) >= 0.999",
            timeout=300_000,
        )
        assert len(workers) == 1
        page.get_by_role("button", name="Train again").wait_for(timeout=300_000)
        end = now(page)
        assert "150,000 of 150,000" in end
        moment = page.get_by_label("moment")
        moment.press("Home")
        assert "After 0 of 150,000" in now(page)
        moment.press("End")
        assert now(page) == end
        page.reload()
        page.wait_for_selector(".lab-body")
        assert now(page).split("cosine")[0] == end.split("cosine")[0]
        page.get_by_label("recorded, the paper's size (d = 36)").check()
        moment.press("End")
        assert "500,000 of 500,000" in now(page)
        assert "1.000000" in now(page)
        assert not visit.complaints


def test_the_directive_finds_the_files_from_any_folder():
    """Relative addresses, so that the book opens from a disk; every file is there."""
    tool = extension()
    for docname, start in (
        ("notebooks/a", "../_static/"),
        ("a", "_static/"),
        ("a/b/c", "../../_static/"),
    ):
        for name in NAMES:
            text = "".join(tool.parts(name, docname))
            found = re.findall(r'(?:src|href)="([^"]*)"', text)
            assert len(found) == len(tool.SCRIPTS[name]) + len(tool.STYLES)
            assert all(address.startswith(start) for address in found)
            assert all((FIGURES.parent / a.removeprefix(start)).is_file() for a in found)
