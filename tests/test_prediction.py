"""Rules that predict: how far their values are from the exact ones."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icrl_flax import EvaluationConfig, RandomMDPs, Sarsa, cli
from icrl_flax.attention.block import EffectiveBlock
from icrl_flax.control import draw_tasks, errors_by_context, evaluate_prediction
from icrl_flax.control.closed_loop import interact
from icrl_flax.mdps import RepresentableMDPs, policy_value, stationary_distribution
from icrl_flax.rules import PredictionRule, discover

RULES = {name: kind for name, kind in discover().items() if issubclass(kind, PredictionRule)}
FAMILY = RandomMDPs(4, 2, 0.6)
BRIEF = EvaluationConfig(n_mdps=3, steps=20, every=5, window_length=6)


def exact(rule):
    return EffectiveBlock(rule.optimum(jnp.float32))


def test_the_numbers_are_those_of_the_closed_loop():
    """Teacher's errors and least squares, recomputed from the windows in NumPy."""
    rule = RULES["td"](d=2)
    found = evaluate_prediction(rule, exact(rule), FAMILY, BRIEF)
    assert set(found.errors) == {"block", "teacher", "difference", "lstd", "features", "zero"}
    np.testing.assert_array_equal(found.points, [0, 5, 10, 15, 20])
    with jax.enable_x64(False):
        tasks, keys = draw_tasks(rule, FAMILY, BRIEF)
    for k in range(3):
        with jax.enable_x64(False):
            task = jax.tree.map(lambda x, k=k: x[k], tasks)
            before, windows, after = interact(keys[k], task, rule, rule.teacher, 20, 6)
        phi = np.asarray(task.features.phi, np.float64)
        policy = jax.nn.softmax(task.features.logits)
        value = np.asarray(policy_value(task.mdp, policy))
        share = np.asarray(stationary_distribution(task.mdp, policy))
        u = np.concatenate([before[:1], after])
        for point, step in enumerate(found.points):
            error = share @ (phi @ u[step] - value) ** 2
            assert found.errors["teacher"][point, k] == pytest.approx(error, rel=1e-3)
            matrix, vector = np.zeros((2, 2)), np.zeros(2)
            for window in range(step):
                for i in range(6):
                    now, then = (phi[windows.states[window, i + j]] for j in (0, 1))
                    matrix += np.outer(now, now - 0.6 * then)
                    vector += float(windows.rewards[window, i]) * now
            w = np.linalg.pinv(matrix) @ vector
            error = share @ (phi @ w - value) ** 2
            assert found.errors["lstd"][point, k] == pytest.approx(error, rel=1e-2, abs=1e-6)
        root = np.sqrt(share)
        w = np.linalg.lstsq(root[:, None] * phi, root * value)[0]
        best = share @ (phi @ w - value) ** 2
        assert found.errors["features"][0, k] == pytest.approx(best, rel=1e-3, abs=1e-7)
        assert found.errors["zero"][0, k] == pytest.approx(share @ value**2, rel=1e-4)


@pytest.mark.parametrize("name", RULES)
def test_the_exact_block_predicts_as_its_teacher_does(name):
    rule = RULES[name](d=3)
    found = evaluate_prediction(rule, exact(rule), FAMILY, BRIEF)
    assert found.errors["difference"].max() < 1e-9
    np.testing.assert_allclose(found.errors["block"], found.errors["teacher"], rtol=1e-3)
    floor = found.errors["features"]
    for agent in ("block", "lstd"):
        assert (found.errors[agent] > floor * (1 - 1e-3) - 1e-6).all()
    rounded = {name: errors.shape for name, errors in found.errors.items()}
    assert rounded["block"] == rounded["lstd"] == rounded["difference"] == (5, 3)
    assert rounded["features"] == rounded["zero"] == (1, 3)


@pytest.mark.parametrize("name", ["td", "off-policy-td", "differential-td", "gtd2"])
def test_least_squares_finds_what_the_features_hold(name):
    """On and off policy, with and without a discount: a long life leaves little error."""
    rule = RULES[name](d=2) if name == "differential-td" else RULES[name](d=4)
    family = RandomMDPs(3, 2, 0.6) if name == "differential-td" else RepresentableMDPs(4, 2, 0.6)
    long = EvaluationConfig(n_mdps=8, steps=400, every=200, window_length=50)
    found = evaluate_prediction(rule, exact(rule), family, long)
    scaled = found.errors["lstd"].mean(axis=1) / found.errors["zero"].mean()
    assert scaled[0] == pytest.approx(1)
    assert scaled[-1] < 0.02


def test_error_against_length_and_depth():
    rule = RULES["td"](d=4, alpha=1.0)
    config = EvaluationConfig(n_mdps=20)
    found = errors_by_context(rule, exact(rule), [8, 64, 512], 40, RepresentableMDPs(4, 2), config)
    shapes = {name: errors.shape for name, errors in found.errors.items()}
    assert shapes["block"] == shapes["teacher"] == shapes["difference"] == (3, 41, 20)
    assert shapes["lstd"] == (3, 20)
    np.testing.assert_allclose(found.errors["block"], found.errors["teacher"], rtol=1e-3)
    # Nothing has been seen at depth 0; a deep block on a long window is near least squares.
    np.testing.assert_allclose(found.errors["block"][0, 0], found.errors["block"][2, 0])
    mean = found.errors["block"].mean(axis=-1)
    assert mean[2, -1] < 0.2 * mean[2, 0]
    lstd = found.errors["lstd"].mean(axis=-1)
    assert lstd[2] < 0.3 * lstd[0]


@pytest.mark.usefixtures("unchecked")
def test_what_predicts_nothing():
    rule = Sarsa(d=2)
    for call in (
        lambda: evaluate_prediction(rule, exact(rule), FAMILY, BRIEF),
        lambda: errors_by_context(rule, exact(rule), [3], 1, FAMILY, BRIEF),
    ):
        with pytest.raises(ValueError, match=r"^rule must be one that predicts, got 'sarsa'$"):
            call()
    td = RULES["td"](d=2)
    with pytest.raises(ValueError, match=r"^every must be at most steps = 2, got 5$"):
        evaluate_prediction(td, exact(td), FAMILY, EvaluationConfig(n_mdps=2, steps=2, every=5))
    with pytest.raises(ValueError, match=r"^layers must be an integer of at least 1, got 0$"):
        errors_by_context(td, exact(td), [3], 0)
    with pytest.raises(ValueError, match=r"^lengths must be an integer of at least 1, got 0$"):
        errors_by_context(td, exact(td), [0], 1)


def test_evaluate_on_the_command_line(tmp_path, capsys):
    """The table once held the fixed policy's return, alike for block and teacher."""
    out = tmp_path / "run"
    small = ["--mdps", "2", "--windows", "2", "--window-length", "3", "--d", "2"]
    assert cli.main(["train", "td", "--out", str(out), "--n-states", "3", *small]) == 0
    brief = ["--n-mdps", "3", "--steps", "4", "--every", "2"]
    assert cli.main(["evaluate", f"{out}.safetensors", *brief]) == 0
    lines = capsys.readouterr().out.splitlines()
    (at,) = (i for i, line in enumerate(lines) if line.startswith("values of"))
    assert [line.split("  ")[0] for line in lines[at + 1 : at + 7]] == [
        "block",
        "teacher",
        "block less teacher",
        "least squares (LSTD), same data",
        "the best that the features allow",
        "values 0",
    ]
    with (tmp_path / "run.evaluation.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 3 * (4 * 3 + 2)
    errors = [
        float(row["mean_squared_value_error"])
        for row in table
        if row["agent"] == "teacher" and row["step"] == "4"
    ]
    assert f"{np.mean(errors):.3e}" in lines[at + 2]
