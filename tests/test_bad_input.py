"""Every wrong call of the library: one message with name and value.

It raises a ValueError before tracing, and is silent under jit. What belongs to one place
is tabulated there: specifications in test_sweep.py, damaged checkpoints in
test_checkpoint.py, the command line in test_bad_commands.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from icrl_flax import (
    ActorCritic,
    Effective,
    LinearAttentionBlock,
    RandomMDPs,
    Sarsa,
    TabularMDP,
    TrainingConfig,
    _checks,
    align,
    construct,
    embed,
    optimal_action_values,
    rescale,
    rollout,
    split,
    verify,
)
from icrl_flax.control import interact
from icrl_flax.experience import epsilon_mix
from icrl_flax.mdps import ChainMDPs, DeterministicMDPs, SparseMDPs, policy_value
from icrl_flax.rules import discover
from icrl_flax.training import checkpoint as checkpoint

HALF = jnp.full((3, 2), 0.5)


def mdp(**changes):
    """Three states, two actions, every successor equally likely."""
    parts = {
        "transition": np.full((3, 2, 3), 1 / 3),
        "reward": np.zeros((3, 2, 3)),
        "initial": np.array([0.2, 0.3, 0.5]),
        "gamma": 0.5,
    }
    return TabularMDP(**(parts | changes))


def with_entry(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


def roll(policy=HALF, state=0, n=2):
    return rollout(jax.random.key(0), mdp(), policy, state, n)


def one_hot(d):
    return Sarsa(d=d, features="one-hot").sample_features(jax.random.key(0), 3, 2, jnp.float32)


def block(**changes):
    return LinearAttentionBlock(**({"p": 5, "q": 2, "rngs": nnx.Rngs(0)} | changes))


def rule(name, **numbers):
    return discover()[name](**numbers)


SKEWED = with_entry(np.full((3, 2, 3), 1 / 3), (1, 0, 2), 0.5)
NEGATIVE = with_entry(np.full((3, 2, 3), 1 / 3), (1, 0), [1.5, -0.5, 0])
OPTIMUM = Sarsa(d=2).optimum(jnp.float32)
D = Sarsa(d=2).D

# The call, and what its message must hold: first the argument's name, then the value.
WRONG = [
    (lambda: RandomMDPs(gamma=1), "gamma", "1.0"),
    (lambda: RandomMDPs(gamma=-0.1), "gamma", "-0.1"),
    (lambda: RandomMDPs(gamma=float("nan")), "gamma", "nan"),
    (lambda: RandomMDPs(gamma=None), "gamma", "None"),
    (lambda: RandomMDPs(n_states=0), "n_states", "0"),
    (lambda: RandomMDPs(n_actions=-2), "n_actions", "-2"),
    (lambda: RandomMDPs(n_states=2.5), "n_states", "2.5"),
    (lambda: RandomMDPs(n_actions=True), "n_actions", "True"),
    (lambda: mdp(gamma=1.0), "gamma", "1.0"),
    (lambda: mdp(gamma=np.ones(3)), "gamma", "1."),
    (lambda: mdp(transition=SKEWED), "transition", "1.16667"),
    (lambda: mdp(transition=SKEWED), "transition", "(1, 0)"),
    (lambda: mdp(transition=NEGATIVE), "transition", "-0.5"),
    (lambda: mdp(transition=NEGATIVE), "transition", "(1, 0, 1)"),
    (lambda: mdp(transition=np.full((3, 2, 2), 0.5)), "transition", "(3, 2, 2)"),
    (lambda: mdp(transition=np.full((3, 3), 1 / 3)), "transition", "(3, 3)"),
    (lambda: mdp(transition=np.zeros((3, 0, 3))), "transition", "(3, 0, 3)"),
    (lambda: mdp(transition=np.full((3, 2, 3), np.nan)), "transition", "nan"),
    (lambda: mdp(reward=with_entry(np.zeros((3, 2, 3)), (2, 1, 0), np.nan)), "reward", "nan"),
    (
        lambda: mdp(reward=with_entry(np.zeros((3, 2, 3)), (2, 1, 0), np.inf)),
        "reward",
        "(2, 1, 0)",
    ),
    (lambda: mdp(reward=np.zeros((2, 3))), "reward", "(2, 3)"),
    (lambda: mdp(initial=np.array([0.5, 0.2, 0.2])), "initial", "0.9"),
    (lambda: mdp(initial=np.array([0.5, 0.5])), "initial", "(2,)"),
    (lambda: mdp(initial=np.array([1.5, -0.5, 0.0])), "initial", "-0.5"),
    (lambda: Sarsa(d=0), "d", "0"),
    (lambda: Sarsa(d=2.0), "d", "2.0"),
    (lambda: Sarsa(alpha=0), "alpha", "0.0"),
    (lambda: Sarsa(alpha=-1.0), "alpha", "-1.0"),
    (lambda: Sarsa(alpha=float("inf")), "alpha", "inf"),
    (lambda: Sarsa(alpha="0.1"), "alpha", "'0.1'"),
    (lambda: Sarsa(epsilon=2), "epsilon", "2.0"),
    (lambda: Sarsa(epsilon=-0.1), "epsilon", "-0.1"),
    (lambda: ActorCritic(m=0), "m", "0"),
    (lambda: ActorCritic(d=-1), "d", "-1"),
    (lambda: ActorCritic(alpha=float("nan")), "alpha", "nan"),
    (lambda: ActorCritic(beta=0.0), "beta", "0.0"),
    (lambda: ActorCritic(epsilon=1.1), "epsilon", "1.1"),
    (lambda: epsilon_mix(HALF, 1.5), "epsilon", "1.5"),
    (lambda: epsilon_mix(2 * HALF, 0.1), "policy", "2"),
    (lambda: roll(n=0), "n", "0"),
    (lambda: roll(n=2.0), "n", "2.0"),
    (lambda: roll(state=3), "state", "3"),
    (lambda: roll(state=-1), "state", "-1"),
    (lambda: roll(state=0.5), "state", "float"),
    (lambda: roll(policy=jnp.full((2, 3), 1 / 3)), "policy", "(2, 3)"),
    (lambda: roll(policy=1.5 * HALF), "policy", "1.5"),
    (lambda: policy_value(mdp(), HALF[:2]), "policy", "(2, 2)"),
    (lambda: policy_value(mdp(), -HALF), "policy", "-0.5"),
    (lambda: optimal_action_values(mdp(), 0.0), "tolerance", "0.0"),
    (lambda: rescale(OPTIMUM, 0), "c", "0.0"),
    (lambda: rescale(OPTIMUM, float("nan")), "c", "nan"),
    (lambda: construct(Sarsa(d=2), c=0.0), "c", "0.0"),
    (lambda: construct(Sarsa(d=2), c=float("inf")), "c", "inf"),
    (
        lambda: construct(Sarsa(d=2), free=(jnp.zeros((D, D)), jnp.zeros((D, 3)))),
        "free",
        f"({D}, 3)",
    ),
    (lambda: embed(OPTIMUM, (jnp.zeros((2, 2)),) * 2), "free", "(2, 2)"),
    (lambda: split(jnp.zeros((5, 4)), jnp.zeros((5, 5)), 2), "P", "(5, 4)"),
    (lambda: split(jnp.zeros((5, 5)), jnp.zeros((4, 4)), 2), "V", "(4, 4)"),
    (lambda: split(jnp.zeros((5, 5)), jnp.zeros((5, 5)), 4), "p", "4"),
    (lambda: split(jnp.zeros((5, 5)), jnp.zeros((5, 5)), 0), "p", "0"),
    (lambda: align(OPTIMUM, Sarsa(d=3).optimum(jnp.float32)), "trained", "(5, 3)"),
    (lambda: block(p=0), "p", "0"),
    (lambda: block(q=1.5), "q", "1.5"),
    (lambda: block(gain=-0.1), "gain", "-0.1"),
    (lambda: block()(jnp.zeros((7, 3))), "H", "(7, 3)"),
    (lambda: block().update(jnp.zeros((4, 6)), jnp.zeros(2)), "tokens", "(4, 6)"),
    (lambda: block().update(jnp.zeros((0, 5)), jnp.zeros(2)), "tokens", "(0, 5)"),
    (lambda: block().update(jnp.zeros((4, 5)), jnp.zeros(3)), "u", "(3,)"),
    (
        lambda: LinearAttentionBlock.from_matrices(jnp.zeros((8, 7)), jnp.zeros((8, 8)), 5),
        "P",
        "(8, 7)",
    ),
    (
        lambda: LinearAttentionBlock.from_matrices(jnp.zeros((8, 8)), jnp.zeros((7, 7)), 5),
        "V",
        "(7, 7)",
    ),
    (lambda: TrainingConfig(seed=-1), "seed", "-1"),
    (lambda: TrainingConfig(seed=0.5), "seed", "0.5"),
    (lambda: TrainingConfig(seed=2**63), "seed", "9223372036854775808"),
    (lambda: TrainingConfig(mdps=0), "mdps", "0"),
    (lambda: TrainingConfig(mdps=1e4), "mdps", "10000.0"),
    (lambda: TrainingConfig(windows=-1), "windows", "-1"),
    (lambda: TrainingConfig(window_length=0), "window_length", "0"),
    (lambda: TrainingConfig(decay_every=0), "decay_every", "0"),
    (lambda: TrainingConfig(learning_rate=0.0), "learning_rate", "0.0"),
    (lambda: TrainingConfig(decay=float("nan")), "decay", "nan"),
    (lambda: TrainingConfig(gain=-1.0), "gain", "-1.0"),
    (lambda: TrainingConfig(parameters="half"), "parameters", "'half'"),
    (lambda: TrainingConfig(optimizer="momentum"), "optimizer", "'momentum'"),
    (lambda: TrainingConfig(schedule="linear"), "schedule", "'linear'"),
    (lambda: TrainingConfig(attention="cosine"), "attention", "'cosine'"),
    (lambda: TrainingConfig(floor=1.5), "floor", "1.5"),
    (lambda: TrainingConfig(inverse_temperature=0.0), "inverse_temperature", "0.0"),
    (lambda: TrainingConfig(mdps_per_update=0), "mdps_per_update", "0"),
    (lambda: TrainingConfig(mdps=10, mdps_per_update=4), "mdps", "10"),
    (lambda: RandomMDPs(concentration=0.0), "concentration", "0.0"),
    (lambda: RandomMDPs(reward="cauchy"), "reward", "'cauchy'"),
    (lambda: SparseMDPs(successors=0), "successors", "0"),
    (lambda: SparseMDPs(n_states=3, successors=4), "successors", "4"),
    (lambda: ChainMDPs(n_states=0), "n_states", "0"),
    (lambda: DeterministicMDPs(gamma=1.0), "gamma", "1.0"),
    (lambda: Sarsa(features="tiles"), "features", "'tiles'"),
    (lambda: one_hot(d=5), "d", "5"),
    (lambda: TrainingConfig(dtype="float16"), "dtype", "'float16'"),
    (lambda: next(verify(Sarsa, sizes=0)), "sizes", "0"),
    (lambda: next(verify(Sarsa, largest=2.5)), "largest", "2.5"),
    (lambda: next(verify(Sarsa, seed=-1)), "seed", "-1"),
    (lambda: interact(jax.random.key(0), None, Sarsa(), Sarsa().teacher, 0, 2), "windows", "0"),
    (lambda: rule("differential-sarsa", beta=0.0), "beta", "0.0"),
    (lambda: rule("differential-td", beta=float("inf")), "beta", "inf"),
    (lambda: rule("expected-sarsa", alpha=-1.0), "alpha", "-1.0"),
    (lambda: rule("gtd2", beta=-2.0), "beta", "-2.0"),
    (lambda: rule("n-step-sarsa", k=0), "k", "0"),
    (lambda: rule("off-policy-td", epsilon=2.0), "epsilon", "2.0"),
    (lambda: rule("reinforce", m=0), "m", "0"),
    (lambda: rule("residual-gradient", d=0), "d", "0"),
    (lambda: rule("sarsa-lambda", lam=2.0), "lam", "2.0"),
    (lambda: rule("td-lambda", lam=-0.5), "lam", "-0.5"),
    (lambda: rule("tdc", beta=float("nan")), "beta", "nan"),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "name", "value"), WRONG, ids=[f"{name}={value}" for _, name, value in WRONG]
)
def test_wrong_argument(call, name, value):
    with pytest.raises(ValueError, match=rf"^(P and )?{name}\b") as error:
        call()
    message = str(error.value)
    assert value in message
    assert "\n" not in message


RIGHT = [
    lambda: RandomMDPs(n_states=1, n_actions=1, gamma=0),
    lambda: mdp(transition=np.full((3, 2, 3), 1 / 3, np.float32)),
    lambda: mdp(gamma=0.0),
    lambda: Sarsa(d=1, alpha=1e-9, epsilon=0),
    lambda: Sarsa(epsilon=1),
    lambda: roll(state=2, n=1),
    lambda: roll(state=jnp.asarray(2)),
    lambda: rescale(OPTIMUM, -1e-3),
    lambda: block(gain=0.0),
    lambda: TrainingConfig(seed=0, mdps=1, windows=1, window_length=1, decay_every=1, gain=0.0),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("call", RIGHT)
def test_limits_are_allowed(call):
    call()


TRACED = {
    "gamma": (lambda x: mdp(gamma=x).gamma, 1.5),
    "transition": (lambda x: mdp(transition=x).transition, SKEWED),
    "reward": (lambda x: mdp(reward=x).reward, np.full((3, 2, 3), np.nan)),
    "family's gamma": (lambda x: RandomMDPs(2, 2, x).sample(jax.random.key(0)).gamma, 2.0),
    "alpha": (lambda x: Sarsa(d=2, alpha=x).optimum(jnp.float64), -1.0),
    "beta": (lambda x: ActorCritic(m=1, d=1, beta=x).optimum(jnp.float64), 0.0),
    "epsilon": (lambda x: epsilon_mix(HALF, x), 2.0),
    "policy": (lambda x: epsilon_mix(x, 0.1), np.full((3, 2), 0.9)),
    "state": (lambda x: roll(state=x).rewards, 7),
    "rolled policy": (lambda x: roll(policy=x).rewards, np.full((3, 2), 0.9)),
    "c": (lambda x: rescale(OPTIMUM, x), 0.0),
    "tolerance": (lambda x: policy_value(mdp(), x), np.full((3, 2), 0.9)),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", TRACED)
def test_traced_values_pass(name):
    call, value = TRACED[name]
    with pytest.raises(ValueError, match=r"must"):
        call(value)
    jax.jit(call)(value)


@pytest.mark.usefixtures("unchecked")
def test_shapes_are_checked_even_when_traced():
    with pytest.raises(ValueError, match=r"policy must have shape \(3, 2\), got \(2, 3\)"):
        jax.jit(lambda policy: roll(policy=policy).rewards)(jnp.full((2, 3), 1 / 3))


@pytest.mark.usefixtures("unchecked")
def test_rounding_of_single_precision_is_forgiven():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(1000), 20).astype(np.float32)
    _checks.distribution("x", probabilities)
    with pytest.raises(ValueError, match=r"x must sum to 1 .* sum of 0.9999 at index \(0,\)"):
        _checks.distribution("x", 0.9999 * probabilities)


@pytest.mark.usefixtures("unchecked")
def test_names_of_the_effective_blocks():
    """What a mistake in their order looks like."""
    with pytest.raises(ValueError, match="trained"):
        align(Effective(OPTIMUM.V21, OPTIMUM.P12), OPTIMUM)


def test_the_table_is_long_enough():
    assert len(WRONG) >= 40
