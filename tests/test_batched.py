"""Runs side by side are what each run is alone."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icrl_flax import ActorCritic, Examples, RandomMDPs, Sarsa, TrainingConfig, train, train_iter
from icrl_flax.training import Run, joined, loop
from icrl_flax.training.loop import chunk_size, in_order, program

CONFIG = TrainingConfig(
    mdps=8,
    windows=5,
    window_length=4,
    learning_rate=1e-2,
    decay=0.5,
    decay_every=2,
    gain=0.5,
    dtype="float64",
)
FAMILY = RandomMDPs(3, 2)


def change(run, rule=(), family=(), **config):
    return Run(
        dataclasses.replace(run.rule, **dict(rule)),
        dataclasses.replace(run.family, **dict(family)),
        dataclasses.replace(run.config, **config),
    )


def different(run):
    """Runs of one batch, each with a number of its own where numbers may differ."""
    return [
        run,
        change(run, seed=7, rule={"alpha": 0.9, "epsilon": 0.6}),
        change(run, seed=7, family={"gamma": 0.9}, gain=0.2),
        change(run, learning_rate=3e-2, decay=0.8, floor=0.6),
    ]


RUNS = {
    "sarsa": Run(Sarsa(d=3), FAMILY, CONFIG),
    "actor-critic": Run(
        ActorCritic(m=3, d=2),
        FAMILY,
        dataclasses.replace(CONFIG, schedule="cosine", mdps_per_update=2),
    ),
    "all entries": Run(Sarsa(d=2), FAMILY, dataclasses.replace(CONFIG, parameters="full")),
}


def columns(runs):
    """Rules, families and configurations, as `train` takes them."""
    return map(list, zip(*runs, strict=True))


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_each_row_is_the_run_alone(run):
    runs = different(run)
    batch = train(*columns(runs))
    assert batch.mdps == 8
    np.testing.assert_array_equal(batch.diverged_at, [-1] * 4)
    for row, run in enumerate(runs):
        alone = train(*run)
        np.testing.assert_allclose(batch.losses[row], alone.losses, rtol=1e-9)
        np.testing.assert_allclose(batch.P[row], alone.P, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(batch.V[row], alone.V, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(batch[row].P, batch.P[row])
        assert batch[row].runs == (run,)
    # Every number arrived: no two rows are one.
    assert len(np.unique(batch.losses[:, -1])) == 4


def test_single_precision_is_kept():
    batch = train(*columns([change(RUNS["sarsa"], dtype="float32")] * 2))
    assert batch.P.dtype == batch.V.dtype == batch.losses.dtype == np.float32


SGD = change(RUNS["sarsa"], optimizer="sgd", schedule="constant", learning_rate=0.1)


def test_one_that_diverges_leaves_the_others_alone():
    lost = change(SGD, learning_rate=1e9)
    batch = train(*columns([SGD, lost, change(SGD, seed=1)]))
    number = train(*lost).diverged_at
    assert number > 0
    np.testing.assert_array_equal(batch.diverged_at, [-1, number, -1])
    assert np.isfinite(batch.losses[1, :number]).all()
    assert np.isnan(batch.losses[1, number:]).all()
    for row, run in ((0, SGD), (2, change(SGD, seed=1))):
        alone = train(*run)
        np.testing.assert_allclose(batch.losses[row], alone.losses, rtol=1e-9)
        np.testing.assert_allclose(batch.P[row], alone.P, rtol=1e-9, atol=1e-12)


def test_one_whose_last_step_diverges():
    """No loss has seen the weights after it: of its two factors each fits, their product not."""
    short = change(SGD, mdps=1, windows=1, dtype="float32")
    lost = change(short, learning_rate=1e20, gain=1e8)
    assert train(*lost).diverged_at == 1
    batch = train(*columns([short, lost]))
    np.testing.assert_array_equal(batch.diverged_at, [-1, 1])
    assert np.isfinite(batch.losses).all()
    assert np.isfinite(batch.P[0]).all()


def test_reports_follow_the_mdps():
    """Long lives make several reports, the last one shorter."""
    config = TrainingConfig(mdps=7, windows=1000, window_length=2)
    runs = [Run(Sarsa(d=2), FAMILY, dataclasses.replace(config, seed=s)) for s in (0, 1)]
    reports = list(train_iter(*columns(runs)))
    assert [report.mdps for report in reports] == [0, 2, 4, 6, 7]
    assert [report.losses.shape for report in reports] == [
        (2, 0),
        *[(2, 2000)] * 3,
        (2, 1000),
    ]
    total = joined(iter(reports))
    losses = np.concatenate([report.losses for report in reports], axis=1)
    np.testing.assert_array_equal(total.losses, losses)
    np.testing.assert_array_equal(total.P, reports[-1].P)
    assert total.update_seconds == pytest.approx(sum(r.update_seconds for r in reports))
    alone = train(*runs[1])
    np.testing.assert_allclose(losses[1], alone.losses, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("runs", [1, 3, 8, 64])
@pytest.mark.parametrize("together", [1, 4])
def test_memory_is_bounded(runs, together):
    config = TrainingConfig(mdps_per_update=together)
    size = chunk_size(config, runs)
    assert size % together == 0
    assert config.mdps % size == 0  # no shorter one at the end, which would be a program more
    # Whole updates, however many runs: one MDP each is the least.
    least = together * runs * config.windows
    assert least <= size * runs * config.windows <= max(5000, least)


def test_a_report_brings_losses_and_a_flag_from_the_device(monkeypatch):
    """Weights stay there, as θ_eff: 1 024 runs of the paper's size hold 22 MB of them."""
    brought = []

    class Counting:
        """NumPy, which counts the bytes of JAX's arrays that it is given."""

        def __getattr__(self, name):
            function = getattr(np, name)

            def counted(*arguments, **options):
                leaves = jax.tree.leaves((arguments, options))
                brought.append(sum(x.nbytes for x in leaves if isinstance(x, jax.Array)))
                return function(*arguments, **options)

            return counted if callable(function) and not isinstance(function, type) else function

    runs, updates = 8, 6
    config = TrainingConfig(mdps=3, windows=2, window_length=2)
    results = train_iter(
        Sarsa(),
        FAMILY,
        [change(Run(Sarsa(), FAMILY, config), seed=seed).config for seed in range(runs)],
    )
    start = next(results)
    monkeypatch.setattr(loop, "np", Counting())
    (last,) = results
    assert sum(brought) == runs * (4 * updates + 1)  # a float32 for each loss, and a flag
    for result in (start, last):
        theta = jax.tree.leaves(result.state.theta)
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(result.state))
        assert [leaf.shape[1:] for leaf in theta] == [(73, 37), (36, 73)]
        assert 1024 / runs * sum(leaf.nbytes for leaf in theta) == pytest.approx(22e6, rel=0.01)


STATIC = [
    {"rule": {"d": 4}},
    {"rule": {"features": "one-hot"}},
    {"family": {"n_states": 4}},
    {"family": {"concentration": 0.5}},
    {"windows": 6},
    {"window_length": 5},
    {"mdps": 10},
    {"mdps_per_update": 2},
    {"optimizer": "sgd"},
    {"schedule": "cosine"},
    {"decay_every": 3},
    {"attention": "softmax"},
    {"parameters": "full"},
    {"dtype": "float32"},
]


@pytest.mark.parametrize("changes", STATIC, ids=str)
def test_what_changes_a_program_is_refused(changes):
    run = RUNS["sarsa"]
    other = change(run, **changes)
    assert program(other) != program(run)
    with pytest.raises(ValueError, match=r"^runs must differ only in"):
        next(train_iter(*columns([run, other])))


def test_numbers_change_no_program():
    assert len({program(run) for run in different(RUNS["sarsa"])}) == 1


def test_no_runs():
    with pytest.raises(ValueError, match=r"^rule, family and config must have equal lengths"):
        next(train_iter([]))
    with pytest.raises(ValueError, match=r"^rule, family and config must .*'rule': 2.*: 3"):
        next(train_iter([Sarsa()] * 2, FAMILY, [CONFIG] * 3))


def test_one_run_has_no_axis():
    run = RUNS["sarsa"]
    one, row = train(*run), train(*columns([run]))
    np.testing.assert_array_equal(row.P[0], one.P)
    np.testing.assert_array_equal(row.losses[0], one.losses)
    assert len(row) == 1
    with pytest.raises(TypeError, match="one run"):
        len(one)
    for name in ("rule", "block", "config"):
        with pytest.raises(ValueError, match=rf"^{name} is that of one run, got 1: take result"):
            getattr(row, name)
    with pytest.raises(IndexError):
        row[1]


class Plain:
    """A family that is no pytree."""

    def sample(self, key, dtype):
        return FAMILY.sample(key, dtype)


@dataclasses.dataclass
class Unhashable(Plain):
    """Equal if its fields are, and so without a hash."""

    size: int = 3


def test_families_that_are_no_equinox_modules(unchecked):
    run = RUNS["sarsa"]
    np.testing.assert_array_equal(train(run.rule, Plain(), CONFIG).P, train(*run).P)
    with pytest.raises(
        ValueError, match=r"^family must be an equinox.Module.*got Unhashable, which has no hash"
    ):
        train(run.rule, Unhashable(), CONFIG)
    with pytest.raises(ValueError, match=r"^family must be a MDPFamily, got 3"):
        train(run.rule, 3, CONFIG)


class Numbered(eqx.Module):
    """A family whose numbers include integers."""

    order: jax.Array
    mark: int = 3

    def sample(self, key, dtype):
        assert jnp.issubdtype(self.order.dtype, jnp.integer)
        assert jnp.issubdtype(jnp.asarray(self.mark).dtype, jnp.integer)
        mdp = FAMILY.sample(key, dtype)
        return dataclasses.replace(mdp, initial=mdp.initial[self.order])


@dataclasses.dataclass(frozen=True)
class Slippery(Plain):
    """A family of one's own that checks nothing."""

    slip: float

    def sample(self, key, dtype):
        right = jnp.full((3, 2, 1), 1 - self.slip, dtype)
        rest = jnp.full((3, 2, 2), self.slip / 2, dtype)
        mdp = FAMILY.sample(key, dtype)
        return dataclasses.replace(mdp, transition=jnp.concatenate([right, rest], axis=2))


def test_a_family_of_ones_own_is_looked_at_before_anything_is_traced():
    """Under a trace there are no numbers to look at, and 1.5 would be a probability."""
    run = RUNS["sarsa"]
    assert train(run.rule, Slippery(0.5), CONFIG).diverged_at == -1
    with pytest.raises(ValueError, match=r"^transition must not be negative, got -0.5"):
        train(run.rule, Slippery(1.5), CONFIG)


def test_integers_of_a_family_stay_integers():
    family = Numbered(np.array([2, 0, 1]))
    assert train([Sarsa(d=3)] * 2, family, CONFIG).diverged_at.tolist() == [-1, -1]


def test_order_of_several_mdps_per_update():
    """Update t of a group holds window t of each of its MDPs."""
    mdp, window = jnp.meshgrid(jnp.arange(6.0), jnp.arange(3.0), indexing="ij")
    examples = Examples(mdp[..., None, None], window[..., None], window[..., None])
    ordered = in_order(examples, 2)
    assert ordered.u.shape == (9, 2, 1)
    np.testing.assert_array_equal(ordered.u[:, 0, 0], [0, 1, 2] * 3)
    np.testing.assert_array_equal(ordered.tokens[:, 0, 0, 0], [0] * 3 + [2] * 3 + [4] * 3)
    np.testing.assert_array_equal(ordered.tokens[:, 1, 0, 0], [1] * 3 + [3] * 3 + [5] * 3)


def test_a_short_run_makes_no_more_than_it_needs():
    assert chunk_size(TrainingConfig(mdps=3, windows=5)) == 3
    assert chunk_size(TrainingConfig(mdps=120, windows=50)) == 60
    assert chunk_size(TrainingConfig(mdps=101, windows=50)) == 100  # a prime: no even parts
