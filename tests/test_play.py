"""The interactive page: its arithmetic against the library, its weights, and the page itself."""

import base64
import functools
import importlib.util
import json
import re
from pathlib import Path

import browser_support
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import icrl_flax as icrl

ROOT = Path(__file__).parent.parent
PLAY = ROOT / "book" / "_static" / "play"
HARNESS = Path(__file__).parent / "play_harness.js"
C = -0.66  # of the constructed block in shared cases; any number but 0


def exporter():
    """tools/export_play.py, which is no package."""
    spec = importlib.util.spec_from_file_location("export_play", ROOT / "tools" / "export_play.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def exported() -> dict:
    """What weights.js assigns."""
    text = (PLAY / "weights.js").read_text("utf-8")
    return json.loads(re.search(r"= (\{.*\});\s*$", text, re.DOTALL).group(1))


def block(name: str) -> icrl.Effective:
    """P12 and V̄21 of an exported block, decoded without the page's code."""
    d = exported()["algorithm"]["d"]
    shapes = {"P12": (2 * d + 1, d + 1), "V21": (d, 2 * d + 1)}
    return icrl.Effective(
        *(
            jnp.asarray(
                np.frombuffer(base64.b64decode(exported()[name][key]), "<f4").reshape(shape)
            )
            for key, shape in shapes.items()
        )
    )


BLOCKS = ("trained", "half")


def in_node(question: str, given: dict):
    """Ask the page's arithmetic in Node."""
    asked = {"arithmetic": str(PLAY / "icrl.js"), "question": question, "given": given}
    return browser_support.ask_node(HARNESS, asked)


@pytest.fixture(scope="module")
def browser():
    """One Chromium for all tests here."""
    with browser_support.chromium() as browser:
        yield browser


# --- the same cases for Python and JavaScript -----------------------------------------------


@eqx.filter_jit  # one program for each size, where eager operations compile one by one
def by_the_library(key, rule, family, n, ties, blocks):
    """A world with its first window as JavaScript is told of it, and the library's answers."""
    world_key, window_key = jax.random.split(key)
    world = icrl.draw_task(world_key, rule, family, jnp.float64)
    mdp, features, w = world.mdp, world.features, world.u
    if ties:
        features = features.at[:, 1].set(features[:, 0])
    values, behaviour = features @ w, rule.behaviour(features, w)
    window = icrl.rollout(window_key, mdp, behaviour, world.state, n)
    at = values[window.states, window.actions]
    tokens, best = rule.tokens(features, w, window), icrl.optimal_action_values(mdp, 1e-12)
    policies = (
        icrl.experience.greedy(best),
        icrl.control.uniform_policy(mdp),
        icrl.experience.greedy(values),
        behaviour,
    )
    given = {
        "state": world.state, "initial": mdp.initial, "transition": mdp.transition,
        "reward": mdp.reward[0], "features": features, "w": w,
        # The uniforms that `rollout` draws from this key.
        "draws": jax.random.uniform(window_key, (n + 1, 2), jnp.float64),
    }  # fmt: skip
    answers = {
        "values": values, "policy": icrl.experience.greedy(values), "behaviour": behaviour,
        "states": window.states, "actions": window.actions, "rewards": window.rewards,
        "tokens": tokens, "prompt": icrl.build_prompt(tokens, w),
        "errors": window.rewards + family.gamma * at[1:] - at[:-1],
        "teacher": rule.teacher(features, w, window), "best": best,
        "value": icrl.mdps.policy_value(mdp, behaviour),
        "returns": jnp.stack([icrl.expected_return(mdp, policy) for policy in policies]),
    }  # fmt: skip
    for name, effective in blocks.items():
        P, V = icrl.embed(effective)
        H_out = icrl.linear_attention(P, V, icrl.build_prompt(tokens, w))
        answers |= {
            f"{name} P": P, f"{name} V": V, f"{name} H_out": H_out,
            f"{name} scores": tokens @ (effective.P12 @ icrl.augment(w)),
            f"{name} answer": w + icrl.attention.bilinear_term(effective, tokens, w),
            f"{name} readout": icrl.readout(H_out, rule.d),
        }  # fmt: skip
    return given, answers


# States, actions, features, transitions, γ, ε, and whether two actions tie everywhere.
SIZES = [
    (9, 4, 36, 20, 0.5, 0.1, False),
    (9, 4, 36, 3, 0.95, 0.0, True),
    (3, 2, 4, 1, 0.0, 1.0, False),
]


def world_cases() -> tuple[list[dict], list[dict]]:
    """Worlds and windows made by the library, and what the library answers."""
    cases, answers = [], []
    for number, (S, A, d, n, gamma, epsilon, ties) in enumerate(SIZES):
        rule = icrl.Sarsa(d=d, epsilon=epsilon)
        family = icrl.RandomMDPs(n_states=S, n_actions=A, gamma=gamma)
        blocks = {"constructed": icrl.rescale(rule.optimum(jnp.float64), C)}
        if d == exported()["algorithm"]["d"]:
            blocks |= {
                name: icrl.Effective(*(leaf.astype(jnp.float64) for leaf in block(name)))
                for name in BLOCKS
            }
        given, answer = by_the_library(jax.random.key(number), rule, family, n, ties, blocks)
        flat = {name: np.asarray(value).ravel().tolist() for name, value in given.items()}
        flat["state"] = flat["state"][0]
        sizes = {"S": S, "A": A, "n": n, "gamma": gamma, "epsilon": epsilon}
        cases.append(flat | sizes)
        answers.append({key: np.asarray(value) for key, value in answer.items()})
    return cases, answers


@pytest.fixture(scope="module")
def shared():
    """The question for JavaScript, and Python's answers to it."""
    cases, answers = world_cases()
    blocks = {name: {key: exported()[name][key] for key in ("P12", "V21")} for name in BLOCKS}
    return {"worlds": cases, "blocks": blocks, "alpha": 0.2, "c": C}, answers


EXACT = ("states", "actions", "policy", "constructed P", "constructed V")
EXACT += tuple(f"{name} {matrix}" for name in BLOCKS for matrix in "PV")


def compare(got: list[dict], wanted: list[dict]) -> None:
    """Discrete things and decoded weights equal; everything else within 1e-12."""
    assert len(got) == len(wanted)
    for number, (js, python) in enumerate(zip(got, wanted, strict=True)):
        assert js.keys() == python.keys()
        for key, value in python.items():
            flat = np.asarray(value, float).ravel()
            assert len(js[key]) == flat.size, (number, key)
            if key in EXACT:
                np.testing.assert_array_equal(js[key], flat, err_msg=f"case {number}: {key}")
            else:
                np.testing.assert_allclose(
                    js[key], flat, rtol=0, atol=1e-12, err_msg=f"case {number}: {key}"
                )


def test_arithmetic_in_node(shared):
    question, answers = shared
    compare(in_node("answerCases", question), answers)


def test_arithmetic_in_a_browser(shared, browser, tmp_path):
    question, answers = shared
    page = tmp_path / "page.html"
    scripts = (PLAY / "icrl.js", HARNESS)
    page.write_text("".join(f'<script src="{script.as_uri()}"></script>' for script in scripts))
    with browser_support.visit(browser, page) as visit:
        got = visit.page.evaluate("question => harness.answerCases(Icrl, question)", question)
        assert not visit.complaints
    compare(got, answers)


def test_the_comparison_notices(shared):
    """A transposed block, or a mean over n + 1 columns, would not pass."""
    question, answers = shared
    got = in_node("answerCases", question | {"c": C * 1.0001})
    with pytest.raises(AssertionError):
        compare(got, answers)
    wrong = [dict(answer) for answer in answers]
    wrong[0]["trained answer"] = wrong[0]["trained answer"] + 1e-11
    with pytest.raises(AssertionError):
        compare(in_node("answerCases", question), wrong)


def test_the_blocks_answers_are_the_teachers(shared):
    """Theorem 3.1 on the page: constructed to rounding, trained to 1e-5, half-trained far off."""
    question, _ = shared
    distances = {"constructed": [], "trained": [], "half": []}
    for js in in_node("answerCases", question):
        for name, found in distances.items():
            if f"{name} answer" in js:
                found.append(np.abs(np.subtract(js[f"{name} answer"], js["teacher"])).max())
    assert max(distances["constructed"]) <= 1e-12
    assert max(distances["trained"]) <= 1e-5
    assert min(distances["half"]) >= 1e-2


def test_the_family_has_its_laws():
    """Flat Dirichlet rows, rewards uniform for each (a, s′), features and w uniform."""
    worlds = in_node("drawnWorlds", {"seeds": list(range(300))})
    S, A, d = 9, 4, 36
    for world in worlds:
        assert (world["S"], world["A"], world["gamma"]) == (S, A, 0.5)
        rows = np.array([world["initial"], *np.reshape(world["transition"], (S * A, S))])
        np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-12)
        assert (rows > 0).all()
        assert len(world["reward"]) == A * S, "one reward for each (a, s′), whatever s"
        assert len(world["features"]) == S * A * d
        assert len(world["w"]) == d
        assert 0 <= world["state"] < S
    # Each entry of a flat Dirichlet row is Beta(1, S − 1). Entries of one row depend on each
    # other, so one entry of each is tested. Seeds are fixed: so is the outcome.
    entries = np.array([world["transition"][::S] for world in worlds]).ravel()
    starts = np.array([world["initial"][3] for world in worlds])
    law = scipy.stats.beta(1, S - 1).cdf
    assert scipy.stats.kstest(entries, law).pvalue > 0.01
    assert scipy.stats.kstest(starts, law).pvalue > 0.01
    for name in ("reward", "features", "w"):
        values = np.concatenate([world[name] for world in worlds])
        assert np.abs(values).max() < 1
        assert scipy.stats.kstest(values, scipy.stats.uniform(-1, 2).cdf).pvalue > 0.01, name
    # Neighbouring seeds are unrelated.
    first = np.array([world["reward"] for world in worlds])
    assert abs(np.corrcoef(first[:-1].ravel(), first[1:].ravel())[0, 1]) < 0.03


# --- what the page says about closed loops -----------------------------------------------------


def loops(seeds: int = 12, **changes) -> dict[str, np.ndarray]:
    """Shares of the way from uniform to oracle: arrays (seeds, windows + 1)."""
    blocks = {name: {key: exported()[name][key] for key in ("P12", "V21")} for name in BLOCKS}
    given = {
        "seeds": list(range(1, seeds + 1)), "blocks": blocks, "alpha": 0.2, "c": 1.0,
        "windows": 1500, "n": 20, "gamma": 0.5, "epsilon": 0.1,
    }  # fmt: skip
    return {k: np.array(v) for k, v in in_node("closedLoops", given | changes).items()}


@pytest.fixture(scope="module")
def usual():
    """The page's first settings, on twelve MDPs."""
    return loops()


def test_the_trained_block_improves_its_policy(usual):
    """Over MDPs, most of the way to the oracle; the page's first MDP among them."""
    start, end = usual["trained"][:, 0], usual["trained"][:, -200:].mean(1)
    gain = end - start
    half_width = scipy.stats.t.ppf(0.995, len(gain) - 1) * scipy.stats.sem(gain)
    assert gain.mean() - half_width > 0.4
    assert end.mean() > 0.75
    assert start[0] < 0, "the first MDP starts below the uniform policy"
    assert end[0] > 0.75


def test_the_blocks_keep_to_the_teacher(usual):
    """The same curve for as long as the two act alike, and as good a one after that."""
    for name, least in (("constructed", 1000), ("trained", 200)):
        differs = np.abs(usual[name] - usual["teacher"]) > 1e-9
        together = np.where(differs.any(1), differs.argmax(1), usual[name].shape[1])
        assert np.median(together) >= least, (name, together)
        late = usual[name][:, -500:].mean(1) - usual["teacher"][:, -500:].mean(1)
        assert np.abs(late).mean() < 0.05


def test_the_half_trained_block_falls_behind(usual):
    """In most MDPs it ends far below the teacher, because one diagonal is missing."""
    behind = usual["teacher"][:, -500:].mean(1) - usual["half"][:, -500:].mean(1)
    assert (behind > 0.25).mean() > 0.75
    d = exported()["algorithm"]["d"]
    diagonals = {
        name: [float(jnp.diagonal(part[:, 1:]).mean()) for part in (P12[:d], P12[d : 2 * d])]
        for name, P12 in ((name, block(name).P12) for name in BLOCKS)
    }
    present, following = diagonals["half"]
    assert abs(following) < 0.1 * abs(present)
    present, following = diagonals["trained"]
    assert following == pytest.approx(-present, rel=1e-4)


def test_a_longer_window_gives_a_calmer_curve(usual):
    longer = loops(n=60, only=["trained"])
    calm, rough = (curves["trained"][:, -500:].std(1).mean() for curves in (longer, usual))
    assert calm < 0.8 * rough


def test_exploring_always_evaluates_the_uniform_policy():
    given = {
        "seeds": [1, 2, 3],
        "alpha": 0.2,
        "windows": 6000,
        "n": 20,
        "gamma": 0.5,
        "epsilon": 1,
    }
    for learned, truth in in_node("lateValues", given):
        assert np.corrcoef(learned, truth)[0, 1] > 0.9


def test_too_short_windows_diverge_and_the_slider_has_none():
    """One transition at every corner of (γ, ε), two at one of them, those offered at none."""
    source = (ROOT / "book" / "play.md").read_text("utf-8")
    shortest = int(re.search(r'id="play-n" min="(\d+)"', source).group(1))
    given = {"seeds": [1, 2, 3, 4], "alpha": 0.2, "windows": 1500, "lengths": [1, 2, shortest]}
    corners = [
        np.max(in_node("largestParameter", given | {"gamma": gamma, "epsilon": epsilon}), axis=1)
        for gamma in (0.0, 0.95)
        for epsilon in (0.0, 0.1, 1.0)
    ]
    one, two, offered = np.array(corners).T
    assert one.min() > 1e3
    assert two.max() > 1e3
    assert offered.max() < 10


def test_the_scale_changes_no_answer(shared):
    question, _ = shared
    question = question | {"worlds": question["worlds"][:1]}
    wanted = in_node("answerCases", question)[0]
    for c in (-3.0, 0.1, 2.0):
        got = in_node("answerCases", question | {"c": c})[0]
        for key in ("constructed answer", "constructed readout"):
            np.testing.assert_allclose(got[key], wanted[key], rtol=0, atol=1e-12)
        largest = [np.abs(got[f"constructed {matrix}"]).max() for matrix in "PV"]
        assert largest == pytest.approx([abs(c), 0.2 / abs(c)])


# --- the weights file ----------------------------------------------------------------------------


def test_the_weights_are_what_the_file_says():
    """Settings are the paper's; shapes, scale, cosine and loss are recomputed."""
    rule, config, tool = icrl.Sarsa(), icrl.TrainingConfig(), exporter()
    record = exported()
    assert vars(icrl.TrainingConfig(**record["training"])) == vars(config)
    assert record["family"] == vars(icrl.RandomMDPs())
    assert (record["algorithm"]["d"], record["algorithm"]["alpha"]) == (rule.d, rule.alpha)
    assert record["trained"]["mdps"] == config.mdps
    assert record["trained"]["updates"] == config.updates
    assert 0.01 <= record["half"]["mdps"] / config.mdps <= 0.03
    for name in BLOCKS:
        said, effective = record[name], block(name)
        assert said["updates"] == said["mdps"] * config.windows
        found = icrl.align(effective, rule.optimum(jnp.float32))
        assert float(found.c) == pytest.approx(said["c"], rel=1e-4)
        assert float(found.cosine) == pytest.approx(said["cosine"], abs=2e-6)
        # Windows that neither training nor the export has drawn.
        losses = tool.losses(rule, config, effective, seed=tool.FRESH_SEED + 1, mdps=100)
        error = np.hypot(losses.std(ddof=1) / len(losses) ** 0.5, said["loss_standard_error"])
        assert abs(losses.mean() - said["loss"]) < 4 * error
    assert record["trained"]["cosine"] > 0.999999
    assert record["trained"]["loss"] < 1e-10 < 1e-3 < record["half"]["loss"]


def test_training_again_gives_the_half_trained_weights():
    """The first 2 % of the paper's training, from its seed."""
    rule = icrl.Sarsa()
    reports = icrl.train_iter(rule, config=icrl.TrainingConfig())
    report = next(r for r in reports if r.mdps == exported()["half"]["mdps"])
    again = report.effective
    for got, wanted in zip(again, block("half"), strict=True):
        # Another processor may round otherwise; 10 000 updates amplify that a little.
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


def test_the_files_are_small_and_local():
    """Under 300 kB with the data; nothing is fetched, no module is imported."""
    files = [*PLAY.iterdir(), ROOT / "book" / "play.md"]
    assert sum(file.stat().st_size for file in files) < 300_000
    for file in files:
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|\bfetch\(|\bimport\b|XMLHttpRequest|eval\(", text), file
    assert "/" not in json.dumps({k: v for k, v in exported().items() if k not in BLOCKS})


# --- the page ------------------------------------------------------------------------------------

# The colours that the theme gives the page in each mode.
NAMES = ("text-base", "text-muted", "background", "border")
THEME = {
    "light": ("#222832", "#48566b", "#ffffff", "#d1d5da"),
    "dark": ("#ced6dd", "#9ca4af", "#14181e", "#48566b"),
}


@pytest.fixture(scope="module", params=["alone", "in the book"])
def page_path(request, tmp_path_factory) -> Path:
    """The page by itself, without theme; and as the book has it, if the book is built."""
    if request.param == "in the book":
        built = ROOT / "_build" / "html" / "book" / "play.html"
        copies = [
            (file, built.parent.parent / "_static" / "play" / file.name) for file in PLAY.iterdir()
        ]
        if not built.exists():
            pytest.skip("the book is not built")
        if any(not b.exists() or a.read_bytes() != b.read_bytes() for a, b in copies):
            pytest.skip("the book was built from an older page")
        return built
    source = (ROOT / "book" / "play.md").read_text("utf-8")
    html = re.search(r"```\{raw\} html\n(.*?)\n```", source, re.DOTALL).group(1)
    html = html.replace("../_static", PLAY.parent.as_uri())
    rules = "".join(
        f"html[data-theme={mode}]{{"
        + "".join(
            f"--pst-color-{name}:{value};" for name, value in zip(NAMES, colours, strict=True)
        )
        + "background:var(--pst-color-background);color:var(--pst-color-text-base)}"
        for mode, colours in THEME.items()
    )
    path = tmp_path_factory.mktemp("play") / "play.html"
    path.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Play</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>*{{box-sizing:border-box}}{rules}</style><script>document.documentElement"
        ".dataset.theme=matchMedia('(prefers-color-scheme: dark)').matches?'dark':'light'</script>"
        f"</head><body><main><h1>Policy improvement</h1>{html}</main></body></html>",
        "utf-8",
    )
    return path


def status(page) -> dict[str, float]:
    """The numbers of the sentence that is read out."""
    text = page.inner_text("#play-status").replace("−", "-")
    found = re.search(
        r"Window (\d+)\. .* block (\S+), teacher (\S+); uniform policy (\S+), oracle (\S+)\. "
        r"The block has come (\S+) % of the way",
        text,
    )
    assert found, text
    names = ("window", "block", "teacher", "uniform", "oracle", "percent")
    return dict(zip(names, map(float, found.groups()), strict=True))


def run_until(page, windows: int) -> None:
    """Press Run, as fast as it goes, and Pause after so many windows."""
    page.select_option("#play-speed", "fast")
    page.get_by_role("button", name="Run").click()
    page.wait_for_function(
        "n => n <= /Window (\\d+)/.exec(document.getElementById('play-now').textContent)[1]",
        arg=windows,
        timeout=60_000,
    )
    if page.inner_text("#play-run") == "Pause":  # it may have come to its end by itself
        page.click("#play-run")


def test_pressing_run_improves_the_policy(browser, page_path):
    """On average over MDPs: from about the uniform policy most of the way to the oracle."""
    starts, ends = [], []
    with browser_support.visit(browser, page_path) as visit:
        page = visit.page
        for seed in (1, 2, 3, 5, 7):
            page.fill("#play-seed", str(seed))
            page.press("#play-seed", "Enter")
            starts.append(status(page)["percent"])
            assert status(page)["window"] == 1
            run_until(page, 800)
            ends.append(status(page)["percent"])
            assert status(page)["uniform"] < status(page)["oracle"]
        assert not visit.complaints
    gains = np.subtract(ends, starts)
    assert gains.mean() > 40, (starts, ends)
    assert np.mean(ends) > 60, (starts, ends)
    assert (gains > 0).sum() >= 4, (starts, ends)


def test_steps_are_the_arithmetics(browser, page_path):
    """What ten steps on the page show is what Node computes; Reset begins anew."""
    expected = loops(seeds=1, windows=11, only=list(BLOCKS))
    with browser_support.visit(browser, page_path, reduced_motion="reduce") as visit:
        page = visit.page
        for kind in BLOCKS:
            page.check(f"input[value={kind}]")
            for _ in range(10):
                page.click("#play-step")
            assert status(page)["window"] == 11
            assert status(page)["percent"] == pytest.approx(100 * expected[kind][0, 11], abs=0.51)
        assert "earlier" not in page.inner_text("#play-legend")
        assert "before: trained" in page.inner_text("#play-legend")
        page.click("#play-reset")
        assert status(page)["window"] == 1
        assert "before" not in page.inner_text("#play-legend")


def test_it_opens_window_by_window(browser, page_path):
    """Slow enough to be followed, with the attention of the window beside the curve."""
    with browser_support.visit(browser, page_path) as visit:
        page = visit.page
        assert page.input_value("#play-speed") == "brisk"
        curve, scores = (
            page.locator(f"#play-{name}").bounding_box() for name in ("chart", "scores")
        )
        assert scores["x"] > curve["x"] + curve["width"]
        assert abs(scores["y"] - curve["y"]) < 20
        first, began = status(page)["window"], page.evaluate("performance.now()")
        page.click("#play-run")
        page.wait_for_function("/Window ([5-9]|\\d\\d)/.test(document.body.innerText)")
        page.click("#play-run")
        # However slow the machine is, a window takes its time.
        took = page.evaluate("performance.now()") - began
        assert 4 <= status(page)["window"] - first <= took / 100 + 1
        assert page.locator("#play-scores rect").count() == 20


def test_the_address_keeps_the_state(browser, page_path):
    """Settings and windows, on a reload and for others; what is usual is left out."""
    with browser_support.visit(browser, page_path, reduced_motion="reduce") as visit:
        page = visit.page
        assert "#" not in page.url
        page.fill("#play-seed", "7")
        page.press("#play-seed", "Enter")
        page.check("input[value=half]")
        page.fill("#play-n", "30")
        page.click("#play-reset")
        for _ in range(5):
            page.click("#play-step")
        said = page.inner_text("#play-now")
        assert page.url.endswith("#kind=half&n=30&seed=7&windows=6")
        address = page.url
        page.reload()
        assert page.inner_text("#play-now") == said
        assert page.inner_text("output[for=play-n]") == "30"
        page.fill("#play-n", "20")
        page.check("input[value=trained]")
        page.fill("#play-seed", "1")
        page.press("#play-seed", "Enter")
        assert "#" not in page.url
        page.goto(address)
        assert page.inner_text("#play-now") == said
        page.goto(address.replace("n=30", "n=nonsense").replace("seed=7", "seed=-2"))
        assert "Window 6." in page.inner_text("#play-now")
        assert not visit.complaints


def test_a_diverged_run_says_so(browser, page_path):
    """Half-trained, with another γ: the run stops, and no axis has seven digits."""
    with browser_support.visit(browser, page_path) as visit:
        page = visit.page
        page.goto(page.url + "#kind=half&gamma=0.95&speed=fast&seed=6&windows=3000")
        page.wait_for_function(
            "document.getElementById('play-now').textContent.includes('has diverged')"
        )
        assert "diverged" in str(page.text_content("#play-scores"))
        assert "diverged" in page.inner_text("#play-values")
        texts = page.locator("#play svg text").all_text_contents()
        assert max(len(re.sub(r"\D", "", text)) for text in texts) <= 4
        page.click("#play-step")
        assert "has diverged" in page.inner_text("#play-now")
        assert not visit.complaints


def test_a_step_shows_every_transition(browser, page_path):
    """The window enters column by column, and a second press ends the show."""
    with browser_support.visit(browser, page_path) as visit:
        page = visit.page
        page.click("#play-step")
        shown = "document.querySelectorAll('#play-scores rect').length"
        page.wait_for_function(f"{shown} > 0 && {shown} < 20")
        assert status(page)["window"] == 1, "the window is not over"
        page.click("#play-step")
        assert page.locator("#play-scores rect").count() == 20
        assert status(page)["window"] == 2
        assert not visit.complaints


def test_keyboard_alone(browser, page_path):
    """Every control is reached with Tab, shows that it is, and does what it should."""
    with browser_support.visit(browser, page_path, reduced_motion="reduce") as visit:
        page = visit.page
        wanted = ["play-run", "play-step", "play-reset", "play-speed", "play-seed", "play-another",
                  "trained", "play-gamma", "play-epsilon", "play-n"]  # fmt: skip
        describe = (
            "(e => [e.id || e.value, getComputedStyle(e).outlineStyle])(document.activeElement)"
        )
        for _ in range(200):  # the theme has controls of its own before these
            page.keyboard.press("Tab")
            if page.evaluate(describe)[0] == wanted[0]:
                break
        reached = [page.evaluate(describe)]
        for _ in wanted[1:]:
            page.keyboard.press("Tab")
            reached.append(page.evaluate(describe))
        assert [name for name, _ in reached] == wanted
        assert all(outline not in ("none", "") for _, outline in reached), reached

        page.keyboard.press("ArrowRight")  # on n
        assert page.inner_text("output[for=play-n]") == "21"
        for _ in range(3):
            page.keyboard.press("Shift+Tab")
        page.keyboard.press("ArrowDown")
        assert page.is_checked("input[value=half]")
        page.keyboard.press("ArrowDown")
        assert page.is_checked("input[value=constructed]")
        page.keyboard.press("Tab")
        before = page.inner_text("output[for=play-c]")
        page.keyboard.press("ArrowLeft")
        assert page.inner_text("output[for=play-c]") != before
        page.focus("#play-step")
        page.keyboard.press("Enter")
        assert status(page)["window"] == 2
        page.focus("#play-run")
        before = page.inner_text("#play-now")
        page.keyboard.press("Space")
        assert page.inner_text("#play-run") == "Pause"
        # The status is for pauses; on a busy machine the first frame may take a while.
        page.wait_for_function(
            "before => document.querySelector('#play-now').innerText !== before", arg=before
        )
        page.keyboard.press("Space")
        assert page.inner_text("#play-run") == "Run"
        assert status(page)["window"] > 2
        assert not visit.complaints


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_width_and_mode(browser, page_path, width, scheme):
    """No horizontal scroll, nothing that axe calls serious, pictures drawn and described."""
    with browser_support.visit(browser, page_path, width=width, scheme=scheme) as visit:
        page = visit.page
        run_until(page, 30)
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        assert browser_support.overflow(page) == 0
        assert browser_support.violations(page, "#play") == []
        for picture in page.locator("#play canvas[role=img], #play svg[role=img]").all():
            assert len(picture.get_attribute("aria-label")) > 20
            box = picture.bounding_box()
            assert box["width"] > 100
            assert box["height"] > 20
            assert box["x"] + box["width"] <= width
        assert not visit.complaints


def test_another_mode_repaints(browser, page_path):
    """The heat maps follow the theme's switch."""
    pixel = (
        "[...document.getElementById('play-q').getContext('2d').getImageData(120, 20, 1, 1).data]"
    )
    with browser_support.visit(browser, page_path) as visit:
        before = visit.page.evaluate(pixel)
        visit.page.evaluate("document.documentElement.dataset.theme = 'dark'")
        visit.page.wait_for_function(f"{pixel}.join() !== '{','.join(map(str, before))}'")


def test_the_page_says_where_the_weights_come_from(browser, page_path):
    """From the file's own record."""
    with browser_support.visit(browser, page_path) as visit:
        page = visit.page
        assert "10,000 MDPs, 500,000 updates" in page.inner_text("#play-provenance")
        assert "c = −0.66" in page.inner_text("#play-provenance")
        page.check("input[value=half]")
        said, record = page.inner_text("#play-provenance"), exported()["half"]
        assert f"{record['mdps']} MDPs" in said
        assert (
            f"{100 * record['mdps'] / exported()['training']['mdps']:.0f} % of the paper's" in said
        )
        assert f"{record['cosine']:.2f}" in said


def test_without_scripts(browser, page_path):
    """A sentence says so, and no dead controls show."""
    with browser_support.visit(browser, page_path, java_script=False) as visit:
        assert visit.page.locator(".play-noscript").is_visible()
        assert not visit.page.locator("#play-run").is_visible()
