"""The committed weights: what they are, that training gives them, and reading them without JAX."""

import re
import subprocess
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from own_process import COMMAND, optimised

import icrl_flax as icrl

FOLDER = Path(__file__).parents[1] / "weights"
RULES = {"sarsa": icrl.Sarsa(), "actor-critic": icrl.ActorCritic()}
EACH = [f"{name}-{seed}" for name in RULES for seed in range(10)]


def written(containing: str) -> dict[str, Any]:
    """Run the example of the README that contains a text."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    (example,) = [
        code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if containing in code
    ]
    namespace: dict[str, Any] = {}
    exec(example, namespace)
    return namespace


@pytest.mark.parametrize("name", EACH)
def test_they_are_the_papers_run(name):
    run = icrl.load(FOLDER / name)
    rule, seed = name.rsplit("-", 1)
    assert run.runs[0] == (
        RULES[rule],
        icrl.RandomMDPs(),
        icrl.TrainingConfig(seed=int(seed)),
    )
    assert run.mdps == 10_000
    assert run.alignment().cosine > 1 - 1e-7
    assert run.record is not None
    assert 0 < run.record["final_loss"] < 1e-10
    assert re.fullmatch("[0-9a-f]{40}", run.record["commit"])
    assert (FOLDER / f"{name}.safetensors").stat().st_size < 30_000


def examples(rule, count=5):
    """Windows of the family, with the teacher's answers."""
    made = icrl.stream(
        jax.random.key(7), jnp.arange(count), rule, icrl.RandomMDPs(), 1, 20, jnp.float64
    )
    return [np.asarray(leaf)[:, 0] for leaf in (made.tokens, made.u, made.target)]


def test_sizes_are_as_the_readme_says():
    sizes = {name: (rule.p, rule.q) for name, rule in RULES.items()}
    (p, q), (actor_p, actor_q) = sizes.values()
    text = " ".join((FOLDER / "README.md").read_text(encoding="utf-8").split())
    assert (
        f"for SARSA p = {p} and q = {q}, for actor-critic p = {actor_p} and q = {actor_q}" in text
    )


@pytest.mark.parametrize("name", ["sarsa-0", "actor-critic-3"])
def test_numpy_reads_them(name):
    rule = RULES[name.rsplit("-", 1)[0]]
    reader = written("import numpy")
    theta, record = reader["read"](FOLDER / f"{name}.safetensors")
    run = icrl.load(FOLDER / name)
    np.testing.assert_array_equal(theta["theta/P12"], run.effective.P12)
    np.testing.assert_array_equal(theta["theta/V21"], run.effective.V21)
    assert record == run.record
    assert theta["theta/V21"].shape == (rule.q, rule.p)
    for x, u, target in zip(*examples(rule), strict=True):
        answer = reader["block"](theta, x, u)
        np.testing.assert_allclose(
            answer, run.block.update(jnp.asarray(x), jnp.asarray(u)), atol=1e-12
        )
        np.testing.assert_allclose(answer, target, atol=2e-5)


def test_pytorch_reads_them():
    torch = pytest.importorskip("torch", reason="PyTorch is no dependency")
    model = written("import torch")["Block"](FOLDER / "sarsa-0.safetensors")
    for x, u, target in zip(*examples(RULES["sarsa"]), strict=True):
        x, u = (torch.tensor(each, dtype=torch.float32) for each in (x, u))
        np.testing.assert_allclose(model(x, u).detach().numpy(), target, atol=2e-5)


def test_training_gives_them(tmp_path):
    """One whole run, which takes a quarter of a minute: the weights of seed 0, to rounding."""
    command = [*COMMAND, "train", "sarsa", "--out", str(tmp_path / "run")]
    subprocess.run(command, env=optimised(), check=True, capture_output=True)
    here, committed = icrl.load(tmp_path / "run"), icrl.load(FOLDER / "sarsa-0")
    assert here.runs == committed.runs
    for ours, theirs in zip(here.effective, committed.effective, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
