"""What runs on a CUDA card can be compiled for one, as far as that shows without a card."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

import icrl_flax as icrl
from benchmarks import gpu
from icrl_flax.control.agents import BlockAgent
from icrl_flax.control.closed_loop import closed_loop
from icrl_flax.control.evaluation import draw_tasks

SMALL = {
    "sarsa": icrl.Sarsa(d=3),
    "actor-critic": icrl.ActorCritic(m=3, d=3),
}


@pytest.fixture(params=SMALL)
def rule(request):
    return SMALL[request.param]


def lowers(function, *arguments):
    """Lower a function for CUDA: an operation that it does not know is an error here."""
    arrays, rest = eqx.partition(arguments, eqx.is_array)
    whole = jax.jit(lambda arrays: eqx.filter(function(*eqx.combine(arrays, rest)), eqx.is_array))
    exported = jax.export.export(whole, platforms=["cuda"])(arrays)
    assert exported.platforms == ("cuda",)


def test_data_and_updates_of_several_runs_lower_for_cuda(rule):
    config = icrl.TrainingConfig(mdps=2, windows=3)
    start = icrl.training.initial_block(jax.random.key(0), rule, config)
    keys = jax.random.split(jax.random.key(1), 4)

    def one(key):
        examples = icrl.stream(
            key, jnp.arange(2), rule, icrl.RandomMDPs(), config.windows, 5, jnp.float32
        )
        examples = icrl.training.in_order(examples, 1)
        done = icrl.fit(start, config.make_optimizer(), examples)
        return done.block.theta, done.losses

    lowers(jax.vmap(one), keys)


def test_control_and_its_returns_lower_for_cuda(rule):
    block = icrl.EffectiveBlock(rule.optimum(jnp.float32))
    tasks, keys = draw_tasks(rule, config=icrl.EvaluationConfig(n_mdps=3, steps=4))

    def controlled(keys, tasks):
        return closed_loop(keys, tasks, rule, BlockAgent(rule, block), 4, 5)

    lowers(controlled, keys, tasks)
    mdp = icrl.RandomMDPs().sample(jax.random.key(0), jnp.float32)
    policy = jnp.full((mdp.n_states, mdp.n_actions), 1 / mdp.n_actions)
    lowers(icrl.expected_return, mdp, policy)
    lowers(icrl.optimal_action_values, mdp)


def test_without_a_card_it_says_so(capsys):
    if jax.default_backend() != "cpu":
        pytest.skip("there is a card")
    assert gpu.main([]) == 2
    assert "no CUDA card" in capsys.readouterr().err


def test_the_table_is_whole(tmp_path, capsys):
    """On the processor, small: a row for each device, rule and number of runs."""
    assert gpu.main(["--quick", "--cpu", "--out", str(tmp_path / "gpu.json")]) == 0
    record = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    rows = record["rows"]
    assert [(row["rule"], row["what"], row["runs"]) for row in rows] == [
        ("sarsa", "training", 1),
        ("sarsa", "closed loop", 2),
    ]
    assert all(row["share_done"] == 1 and row["whole_run_seconds"] > 0 for row in rows)
    assert record["environment"]
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(rows)
