"""Critical points and PL ratios of a population whose saddle at zero is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from populations import RULES, random_population

from icrl_flax import Effective, rescale
from icrl_flax.theory import (
    Moments,
    critical_points,
    inner,
    least_ratio,
    norm,
    pl_ratio,
    predicted_scale,
    second_moments,
    smallest_eigenvalues,
)


@pytest.fixture(scope="module")
def case():
    population, _ = random_population(RULES["sarsa"])
    c = float(predicted_scale(population.optimum, 0.0))
    return population, Moments.of(population), c


def test_the_ratio_at_an_optimum_is_the_curvature(case):
    population, loss, c = case
    moments = second_moments(population)
    values, vectors = smallest_eigenvalues(moments, c, 1)
    near = moments.unflatten(1e-6 * vectors[:, 0])
    assert float(pl_ratio(loss, c, near)) == pytest.approx(values[0], rel=1e-4)


def test_the_ratio_shrinks_quadratically_towards_zero(case):
    """At (1 − s)θ̄ both blocks shrink alike: the ratio is (1 − s)² times that at θ̄."""
    population, loss, c = case
    star = rescale(population.optimum, c)
    ratio = [
        float(pl_ratio(loss, c, jax.tree.map(lambda leaf, s=s: -s * leaf, star)))
        for s in (1e-4, 0.5)
    ]
    assert ratio[1] / ratio[0] == pytest.approx(0.25 / (1 - 1e-4) ** 2, rel=1e-6)


def test_critical_points_are_found_from_near_zero_and_near_an_optimum(case):
    population, loss, c = case
    star = rescale(population.optimum, c)
    rng = np.random.default_rng(0)
    noise = [jnp.asarray(rng.normal(size=x.shape)) for x in star]
    starts = Effective(
        *(jnp.stack([-x + 1e-3 * y, 1e-3 * y]) for x, y in zip(star, noise, strict=True))
    )
    ends = critical_points(loss, c, starts, 60)
    for k, height in enumerate((float(loss.loss(c, jax.tree.map(jnp.negative, star))), 0.0)):
        one = jax.tree.map(lambda leaf, k=k: leaf[k], ends)
        assert float(norm(loss.gradient(c, one))) < 1e-12
        assert float(loss.loss(c, one)) == pytest.approx(height, rel=1e-6, abs=1e-20)


def test_the_least_ratio_near_an_optimum_is_the_smallest_curvature(case):
    population, loss, c = case
    moments = second_moments(population)
    lowest, vectors = smallest_eigenvalues(moments, c, 1)
    rng = np.random.default_rng(1)
    directions = jax.vmap(moments.unflatten)(
        jnp.asarray(np.stack([vectors[:, 0], rng.normal(size=len(vectors))]))
    )
    found = least_ratio(loss, population.optimum, c, directions, jnp.array([1e-5, 1e-4]), 300)
    assert found.shape == (2, 2)
    assert np.asarray(found).min(1) == pytest.approx(lowest[0], rel=1e-2)
    assert float(inner(population.optimum, population.optimum)) > 0


@pytest.mark.parametrize("count", [0, -1])
def test_counts_are_checked(case, count):
    population, loss, c = case
    star = jax.tree.map(lambda x: x[None], population.optimum)
    with pytest.raises(ValueError, match="rounds"):
        critical_points(loss, c, star, count)
    with pytest.raises(ValueError, match="steps"):
        least_ratio(loss, population.optimum, c, star, jnp.ones(1), count)
