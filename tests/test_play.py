"""The interactive page: its arithmetic against the library, its weights, and the page itself."""

import functools
import importlib.util
import json
import re
import subprocess
from pathlib import Path

import browser_support
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
    import base64

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


@pytest.fixture(scope="module")
def browser():
    """One Chromium for all tests here."""
    with browser_support.chromium() as browser:
        yield browser


# --- the same cases for Python and JavaScript -----------------------------------------------


def world_cases() -> tuple[list[dict], list[dict]]:
    """Worlds and windows made by the library, and what the library answers."""
    cases, answers = [], []
    sizes = [(9, 4, 36, 20), (9, 4, 36, 1), (9, 4, 36, 50), (3, 2, 4, 7), (1, 1, 1, 2), (5, 3, 20, 9)]
    for number, (S, A, d, n) in enumerate(sizes):
        rng = np.random.default_rng(number)
        gamma, epsilon = ((0.5, 0.1), (0.95, 0.0), (0.0, 1.0))[number % 3]
        rule = icrl.Sarsa(d=d, epsilon=epsilon)
        family = icrl.RandomMDPs(n_states=S, n_actions=A, gamma=gamma)
        world_key, window_key = jax.random.split(jax.random.key(number))
        world = icrl.draw_world(world_key, rule, family, jnp.float64)
        mdp, features, w = world.mdp, world.features, world.u
        if number == 5:  # ties between two actions, everywhere
            features = features.at[:, 1].set(features[:, 0])
            w = w.at[:].set(rng.uniform(-1, 1, d))
        state = int(world.state)
        behaviour = rule.behaviour(features, w)
        window = icrl.rollout(window_key, mdp, behaviour, state, n)
        # The uniforms that `rollout` draws from this key.
        draws = jax.random.uniform(window_key, (n + 1, 2), jnp.float64)
        cases.append(
            {
                "S": S, "A": A, "n": n, "gamma": gamma, "epsilon": epsilon, "state": state,
                "initial": mdp.initial.tolist(),
                "transition": mdp.transition.ravel().tolist(),
                "reward": mdp.reward[0].ravel().tolist(),
                "features": features.ravel().tolist(),
                "w": w.tolist(),
                "draws": draws.ravel().tolist(),
            }
        )  # fmt: skip
        tokens = rule.tokens(features, w, window)
        values = features @ w
        at = values[window.states, window.actions]
        best = icrl.optimal_action_values(mdp, 1e-12)
        policies = [icrl.greedy(best), icrl.uniform(mdp), icrl.greedy(values), behaviour]
        answer = {
            "values": values, "policy": icrl.greedy(values), "behaviour": behaviour,
            "states": window.states, "actions": window.actions, "rewards": window.rewards,
            "tokens": tokens, "prompt": icrl.build_prompt(tokens, w),
            "errors": window.rewards + gamma * at[1:] - at[:-1],
            "teacher": rule.teacher(features, w, window), "best": best,
            "value": icrl.policy_value(mdp, behaviour),
            "returns": jnp.stack([icrl.expected_return(mdp, policy) for policy in policies]),
        }  # fmt: skip
        of = {"constructed": icrl.rescale(rule.optimum(jnp.float64), C)}
        if d == exported()["algorithm"]["d"]:
            of |= {name: block(name) for name in BLOCKS}
        for name, effective in of.items():
            effective = icrl.Effective(*(leaf.astype(jnp.float64) for leaf in effective))
            P, V = icrl.embed(effective)
            H_out = icrl.attention(P, V, icrl.build_prompt(tokens, w))
            answer |= {
                f"{name} P": P, f"{name} V": V,
                f"{name} scores": tokens @ (effective.P12 @ icrl.augment(w)),
                f"{name} answer": w + icrl.bilinear_term(effective, tokens, w),
                f"{name} H_out": H_out, f"{name} readout": icrl.readout(H_out, d),
            }  # fmt: skip
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
    longer = loops(n=60)
    calm, rough = (curves["trained"][:, -500:].std(1).mean() for curves in (longer, usual))
    assert calm < 0.8 * rough


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
    assert record["training"] == vars(config)
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
    reports = icrl.training_run(rule, icrl.TrainingConfig())
    report = next(r for r in reports if r.mdps == exported()["half"]["mdps"])
    again = icrl.split(report.P, report.V, rule.p).effective
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
