"""The gradient flow against solutions in closed form, and what it conserves."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from jaxtyping import Array, Float
from populations import RULES, as_numpy, random_pair, random_population

from icrl_flax import Effective
from icrl_flax.theory import (
    Moments,
    conserved,
    descend,
    gradient_flow,
    nearest_scale,
    predicted_scale,
    project_normal,
    second_moments,
    settle,
)


class Powers(eqx.Module):
    """L = c² Σ kᵢ xᵢ^m / m with m = 2 or 4; at c = 1, x e^{−kt} or x/√(1 + 2kx²t)."""

    rates: Effective
    power: int = eqx.field(static=True)

    def loss(self, c, delta: Effective) -> Float[Array, ""]:
        each = jax.tree.map(lambda k, x: (k * x**self.power).sum(), self.rates, delta)
        return c**2 * sum(each) / self.power

    def gradient(self, c, delta: Effective) -> Effective:
        return jax.tree.map(lambda k, x: c**2 * k * x ** (self.power - 1), self.rates, delta)

    def exact(self, delta, times):
        def one(k, x):
            t = times.reshape(-1, *[1] * x.ndim)
            return x * np.exp(-k * t) if self.power == 2 else x / np.sqrt(1 + 2 * k * x**2 * t)

        return jax.tree.map(one, as_numpy(self.rates), as_numpy(delta))


def problem(power):
    rng = np.random.default_rng(power)
    rates = Effective(*(jnp.asarray(rng.uniform(0.1, 3, shape)) for shape in ((3, 2), (1, 3))))
    return Powers(rates, power), random_pair(rates, 0)


TIMES = jnp.array([0.0, 0.5, 2.0, 5.0])  # as many everywhere: a program serves one number


def stack(*trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def error(flow, exact):
    return max(np.abs(a - b).max() for a, b in zip(flow.delta, exact, strict=True))


@pytest.mark.parametrize("power", [2, 4])
def test_closed_forms(power):
    loss, delta = problem(power)
    flow = gradient_flow(loss, 1.0, delta, TIMES, rtol=1e-10, atol=1e-13)
    exact = loss.exact(delta, np.asarray(TIMES))
    assert error(flow, exact) < 1e-8
    np.testing.assert_array_equal(flow.times, TIMES)
    for k in range(len(TIMES)):
        at = Effective(*(block[k] for block in exact))
        assert flow.loss[k] == pytest.approx(float(loss.loss(1.0, at)), rel=1e-7)
    for block, first in zip(flow.delta, delta, strict=True):
        np.testing.assert_allclose(block[0], first, rtol=1e-15)


def test_tolerance():
    """A smaller rtol costs steps and buys accuracy, about in proportion."""
    loss, delta = problem(4)
    exact = loss.exact(delta, np.asarray(TIMES))
    flows = [gradient_flow(loss, 1.0, delta, TIMES, rtol=r, atol=1e-14) for r in (1e-4, 1e-9)]
    errors = [error(flow, exact) for flow in flows]
    assert 1e-7 < errors[0] < 1e-2
    assert errors[1] < 1e-8
    assert flows[0].steps < flows[1].steps


def test_absolute_tolerance_is_relative_to_the_start():
    """A linear flow from Δ(0) of 1e-200 takes the same steps as from Δ(0) of 1."""
    loss, delta = problem(2)
    tiny = jax.tree.map(lambda leaf: leaf * 2.0**-500, delta)
    flows = [gradient_flow(loss, 1.0, first, TIMES, atol=1e-6) for first in (delta, tiny)]
    assert flows[0].steps == flows[1].steps
    for a, b in zip(*(flow.delta for flow in flows), strict=True):
        np.testing.assert_allclose(np.asarray(b) * 2.0**500, a, rtol=1e-12)


@pytest.fixture(scope="module", params=RULES)
def case(request):
    population, _ = random_population(RULES[request.param])
    return population, Moments.of(population)


def test_near_the_manifold_the_flow_is_linear(case):
    """Δ(t) = e^{−Ht} Δ(0), with a relative error of the size of Δ(0)."""
    population, moments = case
    c = 0.8
    delta = project_normal(population.optimum, c, random_pair(population.optimum, 1, 1e-12))
    forms = second_moments(population)
    H = forms.hessian(c)
    times = jnp.array([0.0, 1.0, 10.0, 100.0]) / np.linalg.norm(H, 2)
    flow = gradient_flow(moments, c, delta, times, rtol=1e-9, atol=1e-12)
    for k, t in enumerate(times):
        exact = scipy.linalg.expm(-float(t) * H) @ forms.flatten(delta)
        at = forms.flatten(Effective(*(block[k] for block in flow.delta)))
        np.testing.assert_allclose(at, exact, rtol=0, atol=1e-7 * np.abs(exact).max())
        assert flow.loss[k] == pytest.approx(exact @ H @ exact / 2, rel=1e-6)


def test_conservation_and_descent(case):
    """Far from the manifold: the invariant stays, the loss falls at the rate ‖∇L‖²."""
    population, moments = case
    optimum, c = population.optimum, 0.9
    delta = random_pair(optimum, 2, 0.5)
    times = jnp.array([0.0, 1e-4, 1.0, 1e4])
    flow = gradient_flow(moments, c, delta, times, rtol=1e-9, atol=1e-12)
    thetas = [
        Effective(c * optimum.P12 + U, optimum.V21 / c + W)
        for U, W in zip(*flow.delta, strict=True)
    ]
    values = [float(conserved(theta)) for theta in thetas]
    np.testing.assert_allclose(values, values[0], rtol=0, atol=1e-6)
    assert (np.diff(flow.loss) < 0).all()
    slope = moments.gradient(c, delta)
    rate = sum((np.asarray(block) ** 2).sum() for block in slope)
    assert (flow.loss[0] - flow.loss[1]) / 1e-4 == pytest.approx(rate, rel=1e-2)
    assert flow.loss[-1] < 1e-3 * flow.loss[0]
    reached = abs(nearest_scale(thetas[-1], optimum))
    assert reached == pytest.approx(float(predicted_scale(optimum, values[0])), rel=1e-2)


def test_batch_is_its_single_flows():
    loss, _ = problem(4)
    starts = [random_pair(loss.rates, seed) for seed in (3, 4)]
    batch = gradient_flow(loss, jnp.array([0.7, -1.2]), stack(*starts), TIMES)
    assert batch.loss.shape == (2, 4)
    assert batch.steps[0] != batch.steps[1]
    for k, (c, start) in enumerate(zip((0.7, -1.2), starts, strict=True)):
        alone = gradient_flow(loss, c, start, TIMES)
        np.testing.assert_array_equal(batch.times[k], alone.times)
        assert batch.steps[k] == alone.steps
        np.testing.assert_allclose(batch.loss[k], alone.loss, rtol=1e-10)
        for block, expected in zip(batch.delta, alone.delta, strict=True):
            np.testing.assert_allclose(block[k], expected, rtol=0, atol=1e-12)


def test_too_few_steps():
    loss, delta = problem(2)
    message = r"did not reach time 5\.0 within max_steps = 3"
    with pytest.raises(RuntimeError, match=message):
        gradient_flow(loss, 1.0, delta, TIMES, max_steps=3)
    with pytest.raises(RuntimeError, match=message):
        descend(slope(loss), stack(delta, delta), TIMES, max_steps=3)
    with pytest.raises(RuntimeError, match=message):
        settle(loss, jnp.ones(2), stack(delta, delta), 1e-6, 5.0, max_steps=3)


def slope(loss):
    return eqx.Partial(loss.gradient, 1.0)


def test_descend():
    """The batch's paths are those of the closed form, in θ itself."""
    loss, delta = problem(4)
    other = random_pair(delta, 1)
    path = descend(slope(loss), stack(delta, other), TIMES, rtol=1e-10, atol=1e-13)
    for k, start in enumerate((delta, other)):
        for found, exact in zip(path, loss.exact(start, np.asarray(TIMES)), strict=True):
            np.testing.assert_allclose(found[k], exact, atol=1e-8)


def test_settle():
    """Flows stop once L < until, or at the longest time, each where the closed form is then."""
    loss, delta = problem(2)
    starts = stack(delta, jax.tree.map(lambda leaf: 1e6 * leaf, delta))
    settled = settle(loss, jnp.ones(2), starts, until=1e-3, longest=60.0, rtol=1e-9)
    assert settled.loss[0] < 1e-3 < settled.loss[1]
    assert 0 < settled.time[0] < settled.time[1] == 60
    for k in range(2):
        start = jax.tree.map(lambda leaf, k=k: leaf[k], starts)
        exact = loss.exact(start, np.asarray(settled.time[k : k + 1]))
        at = Effective(*(block[0] for block in exact))
        for found, expected in zip(settled.delta, at, strict=True):
            scale = np.abs(np.asarray(start.P12)).max()
            np.testing.assert_allclose(found[k], expected, rtol=0, atol=1e-6 * scale)
        assert settled.loss[k] == pytest.approx(float(loss.loss(1.0, at)), rel=1e-4)


def test_a_start_on_the_manifold_stays():
    """Δ(0) = 0 has no size to divide by."""
    loss, delta = problem(2)
    zero = jax.tree.map(jnp.zeros_like, delta)
    flow = gradient_flow(loss, 1.0, zero, TIMES)
    assert not flow.loss.any()
    assert not any(leaf.any() for leaf in flow.delta)
    settled = settle(loss, jnp.ones(1), stack(zero), 1e-6, 5.0)
    assert not settled.loss.any()


def test_implicit_solver():
    """Rates from 1e-3 to 1e6: the implicit solver needs steps for the slow one alone."""
    rates = Effective(jnp.array([[1e-3, 1e6]]), jnp.array([[1.0], [1e3]]))
    loss, delta = Powers(rates, 2), jax.tree.map(jnp.ones_like, rates)
    times = jnp.array([0.0, 1.0, 10.0, 1000.0])
    flow = gradient_flow(loss, 1.0, delta, times, 1e-8, 1e-10, 1000, diffrax.Kvaerno5())
    assert error(flow, loss.exact(delta, np.asarray(times))) < 1e-6
    with pytest.raises(RuntimeError, match="did not reach"):
        gradient_flow(loss, 1.0, delta, times, 1e-8, 1e-10, 1000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rtol": 0.0}, "rtol must be positive"),
        ({"atol": -1.0}, "atol must be positive"),
        ({"max_steps": 0}, "max_steps must be an integer of at least 1"),
        ({"c": 0.0}, "c must be different from 0"),
        ({"c": float("nan")}, "c must be finite"),
    ],
)
def test_refusals(arguments, message):
    loss, delta = problem(2)
    with pytest.raises(ValueError, match=message):
        gradient_flow(**{"loss": loss, "c": 1.0, "delta": delta, "times": TIMES} | arguments)


def test_needs_x64():
    loss, delta = problem(2)
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"gradient_flow.*jax_enable_x64"):
        gradient_flow(loss, 1.0, delta, TIMES)
