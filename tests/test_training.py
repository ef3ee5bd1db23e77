"""Algorithms 1 and 2, update for update, against NumPy."""

import contextlib
import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference

from icrl_flax import (
    ActorCritic,
    RandomMDPs,
    Sarsa,
    TrainingConfig,
    TrainingResult,
    split,
    stream,
    train,
    train_iter,
)
from icrl_flax.mdps import DeterministicMDPs
from icrl_flax.training import joined

RULES = {"sarsa": Sarsa(d=3), "actor-critic": ActorCritic(m=3, d=2)}
FAMILY = RandomMDPs(3, 2, gamma=0.6)
CONFIG = TrainingConfig(
    seed=5,
    mdps=10,
    windows=10,
    window_length=4,
    learning_rate=1e-2,
    decay=0.5,
    decay_every=3,
    gain=0.5,
    dtype="float64",
)


@pytest.fixture(scope="session", params=RULES)
def rule(request):
    return RULES[request.param]


@pytest.fixture(scope="session")
def start_and_end(rule):
    """The report of the start and that of the end of 100 updates."""
    return list(train_iter(rule, FAMILY, CONFIG))


@pytest.fixture(scope="session")
def full(rule):
    """The same with all entries of P and V in training."""
    config = dataclasses.replace(CONFIG, parameters="full")
    return list(train_iter(rule, FAMILY, config))


@pytest.fixture(scope="session")
def examples(rule):
    """The data of the run: tokens, u and target of each update."""
    _, key = jax.random.split(jax.random.key(CONFIG.seed))
    numbers = jnp.arange(CONFIG.mdps)
    data = stream(key, numbers, rule, FAMILY, CONFIG.windows, CONFIG.window_length, jnp.float64)
    parts = (np.asarray(x).reshape(-1, *x.shape[2:]) for x in (data.tokens, data.u, data.target))
    return list(zip(*parts, strict=True))[: CONFIG.updates]


def effective(report, p):
    return np.array(report.P[:p, p:]), np.array(report.V[p + 1 :, :p])


def assemble(P12, V21):
    p, width = P12.shape
    P, V = np.zeros((2, p + width, p + width))
    P[:p, p:] = P12
    V[p + 1 :, :p] = V21
    return P, V


def loss(P12, V21, tokens, u, target):
    """½‖TF_θ(H) − teacher‖² through the whole block."""
    error = reference.transformer(*assemble(P12, V21), tokens, u) - target
    return 0.5 * sum(error**2)


def test_hundred_updates_are_adams_on_the_papers_gradient(rule, start_and_end, examples):
    start, end = start_and_end
    P12, V21 = effective(start, rule.p)
    rates = CONFIG.learning_rate, CONFIG.decay, CONFIG.decay_every * CONFIG.windows
    adam_P, adam_V = reference.Adam(*rates), reference.Adam(*rates)
    rng = np.random.default_rng(0)
    assert len(examples) == 100
    for t, example in enumerate(examples):
        assert end.losses[t] == pytest.approx(loss(P12, V21, *example), rel=1e-9)
        gradient_P, gradient_V = reference.gradients(P12, V21, *example)
        if t % 10 == 0:  # the closed form, by central differences through eq. (1)
            for block, gradient in ((P12, gradient_P), (V21, gradient_V)):
                i, j = rng.integers(block.shape)
                h, kept = 1e-3, block[i, j]
                block[i, j] = kept + h
                above = loss(P12, V21, *example)
                block[i, j] = kept - h
                slope = (above - loss(P12, V21, *example)) / (2 * h)
                block[i, j] = kept
                assert gradient[i, j] == pytest.approx(slope, rel=1e-6, abs=1e-10)
        P12, V21 = adam_P(P12, gradient_P), adam_V(V21, gradient_V)
    P, V = assemble(P12, V21)
    np.testing.assert_allclose(end.P, P, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(end.V, V, rtol=1e-9, atol=1e-12)
    assert np.abs(end.P - start.P).max() > 0.1


def test_all_entries_or_four_blocks_is_the_same(start_and_end, full):
    for few, all_ in zip(start_and_end, full, strict=True):
        np.testing.assert_allclose(all_.losses, few.losses, rtol=1e-9)
        np.testing.assert_allclose(all_.P, few.P, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(all_.V, few.V, rtol=1e-9, atol=1e-12)


def test_blocks_of_proposition_3_1_do_not_move(rule, full):
    start, end = (split(report.P, report.V, rule.p) for report in full)
    for name in ("P11", "P21", "P22", "V11", "V12", "V22"):
        np.testing.assert_array_equal(getattr(end, name), getattr(start, name))
    np.testing.assert_array_equal(end.V21[0], start.V21[0])
    assert (end.P12 != start.P12).all()
    assert (end.V21_bar != start.V21_bar).all()


def test_same_seed_same_bits(rule, start_and_end):
    again = train(rule, FAMILY, CONFIG)
    for name in ("P", "V", "losses"):
        np.testing.assert_array_equal(getattr(again, name), getattr(start_and_end[-1], name))


def test_seed_moves_start_and_data(rule, start_and_end):
    start, end = train_iter(rule, FAMILY, dataclasses.replace(CONFIG, seed=6, mdps=1))
    assert not np.isin(end.losses, start_and_end[-1].losses).any()
    assert not np.isin(start.P[start.P != 0], start_and_end[0].P).any()


def test_defaults_are_the_papers():
    config = TrainingConfig()
    assert (config.mdps, config.windows, config.window_length) == (10_000, 50, 20)
    assert (config.learning_rate, config.decay, config.decay_every) == (1e-3, 0.99, 10)
    assert (config.gain, config.updates) == (0.1, 500_000)


def test_several_mdps_per_update_average_their_gradients(rule, start_and_end):
    """Window t of two MDPs makes one step of gradient descent, at a constant rate."""
    config = dataclasses.replace(
        CONFIG, mdps=4, mdps_per_update=2, optimizer="sgd", schedule="constant", learning_rate=0.1
    )
    assert config.updates == 20
    start, end = train_iter(rule, FAMILY, config)
    np.testing.assert_array_equal(start.P, start_and_end[0].P)
    _, key = jax.random.split(jax.random.key(CONFIG.seed))
    data = stream(
        key, jnp.arange(CONFIG.mdps), rule, FAMILY, 10, CONFIG.window_length, jnp.float64
    )
    tokens, u, target = map(np.asarray, (data.tokens, data.u, data.target))
    P12, V21 = effective(start, rule.p)
    for t in range(20):
        group, window = divmod(t, 10)
        both = [
            (tokens[k, window], u[k, window], target[k, window])
            for k in (2 * group, 2 * group + 1)
        ]
        mean = np.mean([loss(P12, V21, *example) for example in both])
        assert end.losses[t] == pytest.approx(mean, rel=1e-9)
        first, second = (reference.gradients(P12, V21, *example) for example in both)
        P12 = P12 - 0.1 * (first[0] + second[0]) / 2
        V21 = V21 - 0.1 * (first[1] + second[1]) / 2
    P, V = assemble(P12, V21)
    np.testing.assert_allclose(end.P, P, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(end.V, V, rtol=1e-9, atol=1e-12)


def test_schedules():
    config = TrainingConfig(mdps=100, windows=10, learning_rate=0.5, decay=0.1, decay_every=20)
    assert (config.updates, config.stage) == (1000, 200)

    def rates(counts=(0, 199, 200, 500, 999), **changes):
        changed = dataclasses.replace(config, **changes)
        return pytest.approx([float(changed.rate(count)) for count in counts], rel=1e-6)

    assert rates() == [0.5, 0.5, 0.05, 0.005, 5e-5]
    assert rates(floor=0.04) == [0.5, 0.5, 0.05, 0.02, 0.02]
    assert rates(schedule="constant") == [0.5] * 5
    half = [0.25 * (1 + np.cos(np.pi * t / 1000)) for t in (0, 199, 200, 500, 999)]
    assert half == rates(schedule="cosine")
    assert [0.1 + 0.8 * rate for rate in half] == rates(schedule="cosine", floor=0.2)
    # 20 MDPs are 5 groups of 4, of 10 updates each.
    several = dataclasses.replace(config, mdps_per_update=4)
    assert (several.updates, several.stage) == (250, 50)
    assert rates((0, 49, 50, 99, 249), mdps_per_update=4) == [0.5, 0.5, 0.05, 0.05, 5e-5]
    # 20 MDPs are not whole groups of 8: the rate falls when as many are done.
    assert rates((0, 29, 30, 49, 50), mdps=80, mdps_per_update=8) == [0.5, 0.5, 0.05, 0.05, 0.005]


def test_learning_rate_is_a_staircase():
    """A gradient that never changes makes Adam's steps equal to its learning rate."""
    optimizer = TrainingConfig().make_optimizer()

    def update(state, _):
        step, state = optimizer.update(jnp.asarray(1e3), state)
        return state, -step

    _, steps = jax.lax.scan(update, optimizer.init(jnp.asarray(0.0)), length=1501)
    for t, drops in ((0, 0), (499, 0), (500, 1), (999, 1), (1000, 2), (1499, 2), (1500, 3)):
        assert float(steps[t]) == pytest.approx(1e-3 * 0.99**drops, rel=1e-6)


# Long streams make several results of few MDPs.
LONG = TrainingConfig(mdps=7, windows=2500, window_length=2)
SMALL, TINY = Sarsa(d=2), RandomMDPs(2, 2)


@pytest.fixture(scope="session")
def long_run():
    return list(train_iter(SMALL, TINY, LONG))


def test_reports_follow_the_mdps(long_run):
    assert len(long_run) > 2
    assert long_run[0].losses.size == long_run[0].mdps == 0
    assert long_run[-1].mdps == LONG.mdps
    for before, after in itertools.pairwise(long_run):
        assert after.losses.size == (after.mdps - before.mdps) * LONG.windows
        assert (after.P != before.P).any()
    # 7 is no multiple of the MDPs per report: the last one is shorter.
    assert long_run[-1].losses.size < long_run[1].losses.size


def test_single_precision_is_kept(long_run):
    for report in long_run:
        assert report.P.dtype == report.V.dtype == report.losses.dtype == np.float32


def test_summary_joins_the_reports(long_run):
    total = joined(iter(long_run))
    np.testing.assert_array_equal(total.losses, np.concatenate([r.losses for r in long_run]))
    np.testing.assert_array_equal(total.P, long_run[-1].P)
    np.testing.assert_array_equal(total.V, long_run[-1].V)
    assert total.mdps == LONG.mdps
    for name in ("generation_seconds", "update_seconds"):
        assert getattr(total, name) == pytest.approx(sum(getattr(r, name) for r in long_run))


def test_stopping_early_leaves_a_usable_report(long_run):
    run = train_iter(SMALL, TINY, LONG)
    stopped = list(itertools.islice(run, 2))
    run.close()
    assert isinstance(stopped[-1], TrainingResult)
    np.testing.assert_array_equal(stopped[-1].P, long_run[1].P)
    np.testing.assert_array_equal(stopped[-1].losses, long_run[1].losses)


def test_fewer_mdps_are_the_beginning_of_more(long_run):
    """However many MDPs a chunk holds."""
    few = train(SMALL, TINY, dataclasses.replace(LONG, mdps=3))
    losses = np.concatenate([report.losses for report in long_run])
    np.testing.assert_allclose(few.losses, losses[: 3 * LONG.windows], rtol=1e-5)
    assert few.losses.size == 3 * LONG.windows
    assert few.mdps == 3


def lost_at(update):
    """SGD whose step at one update is NaN."""

    def step(gradient, count, params=None):
        bad = jnp.where(count == update, jnp.nan, -1e-3)
        return jax.tree.map(lambda g: (bad * g).astype(g.dtype), gradient), count + 1

    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), step)


def test_loss_that_is_not_finite_names_its_update():
    *before, lost = train_iter(SMALL, TINY, LONG, optimizer=lost_at(12_345))
    assert (lost.diverged_at, bool(lost.diverged)) == (12_346, True)
    assert np.isfinite(lost.losses).sum() == 12_346 - sum(each.losses.size for each in before)
    assert [each.diverged_at for each in before] == [-1] * len(before)
    assert np.isfinite(before[-1].P).all()
    assert np.isfinite(before[-1].losses).all()
    # Nothing is left to train: the MDPs after that are not.
    assert lost.mdps < LONG.mdps


def test_divergence_is_a_value_or_an_exception():
    config = dataclasses.replace(LONG, mdps=1)
    result = train(SMALL, TINY, config, optimizer=optax.sgd(1e6))
    assert 0 < result.diverged_at < 100
    assert np.isfinite(result.losses[: result.diverged_at]).all()
    assert np.isnan(result.losses[result.diverged_at :]).all()
    with pytest.raises(FloatingPointError, match=f"at update {result.diverged_at}$"):
        train(SMALL, TINY, config, optimizer=optax.sgd(1e6), throw=True)


def test_double_precision_needs_no_mode_of_the_caller(start_and_end, rule):
    with jax.enable_x64(False):
        again = train(rule, FAMILY, CONFIG)
    assert again.losses.dtype == again.P.dtype == np.float64
    np.testing.assert_array_equal(again.P, start_and_end[-1].P)


# Whatever the caller's settings

AMBIENT = {
    "64 bits": lambda: jax.enable_x64(True),
    "32 bits": lambda: jax.enable_x64(False),
    "matrix precision": lambda: jax.default_matmul_precision("bfloat16"),
    "another PRNG": lambda: jax.default_prng_impl("rbg"),
    "PRNG not partitionable": lambda: jax.threefry_partitionable(False),
    "default device": lambda: jax.default_device(jax.devices()[-1]),
    "checks for NaN": lambda: jax.debug_nans(True),
    "no rank promotion": lambda: jax.numpy_rank_promotion("raise"),
    "strict types": lambda: jax.numpy_dtype_promotion("strict"),
}
RUN = TrainingConfig(mdps=3, windows=4, window_length=3)


@pytest.fixture(scope="module")
def plain():
    return train(SMALL, DeterministicMDPs(3, 2), RUN)


@pytest.mark.parametrize("setting", AMBIENT)
def test_ambient_settings_change_no_bit(setting, plain):
    with AMBIENT[setting]():
        before, types = jax.numpy.result_type(float), []
        results = train_iter(SMALL, DeterministicMDPs(3, 2), RUN)
        other = joined(types.append(jax.numpy.result_type(float)) or each for each in results)
    assert set(types) == {before}  # none of the library's settings is left between two results
    np.testing.assert_array_equal(other.losses, plain.losses)
    np.testing.assert_array_equal(other.P, plain.P)
    assert other.losses.dtype == np.float32


def test_large_seeds_are_seeds_of_their_own(plain):
    """Without 64-bit numbers JAX takes 2³² for 0."""
    other = train(SMALL, DeterministicMDPs(3, 2), dataclasses.replace(RUN, seed=2**32))
    assert (other.P != plain.P)[other.P != 0].all()


@contextlib.contextmanager
def compilations():
    """A list to which each program that is compiled adds its name."""
    compiled = []

    def listen(event, duration, **details):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(details.get("fun_name", "a program"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_another_number_compiles_nothing(plain):
    """Step sizes, ε, γ, learning rate, gain and seed are array leaves."""
    with compilations() as compiled:
        train(SMALL, DeterministicMDPs(3, 2), RUN)
        train(
            dataclasses.replace(SMALL, alpha=0.7, epsilon=0.3),
            DeterministicMDPs(3, 2, gamma=0.8),
            dataclasses.replace(RUN, seed=9, learning_rate=0.02, decay=0.5, gain=0.3),
        )
    assert compiled == []
    with compilations() as compiled:  # the listener hears
        train(SMALL, DeterministicMDPs(3, 2), dataclasses.replace(RUN, window_length=4))
    assert compiled != []


# Going on from where a run stood


def test_going_on_gives_the_same_bits(long_run):
    middle = long_run[2]
    rest = list(train_iter(SMALL, TINY, LONG, start=middle))
    assert [each.mdps for each in rest] == [each.mdps for each in long_run[2:]]
    for one, other in zip(rest[1:], long_run[3:], strict=True):
        np.testing.assert_array_equal(one.losses, other.losses)
        np.testing.assert_array_equal(one.P, other.P)
    whole = train(SMALL, TINY, LONG, start=joined(long_run[:3]))
    np.testing.assert_array_equal(whole.losses, joined(long_run).losses)


def test_going_on_with_another_run_is_refused(long_run):
    with pytest.raises(ValueError, match=r"^start must be of the same runs"):
        next(train_iter(SMALL, TINY, dataclasses.replace(LONG, seed=1), start=long_run[1]))
    with pytest.raises(ValueError, match=r"^start must have the state of the same optimizer"):
        next(train_iter(SMALL, TINY, LONG, start=long_run[1], optimizer=optax.sgd(0.1)))


def test_nothing_to_join():
    with pytest.raises(ValueError, match="results"):
        joined([])
