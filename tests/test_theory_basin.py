"""The basin theorem: its constants against dense formulas, its inequalities at hostile points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from populations import RULES, as_numpy, one_hot_population, random_pair, random_population

from icrl_flax import Effective, RandomMDPs, Sarsa, rescale
from icrl_flax.theory import (
    Basin,
    Moments,
    arrivals,
    basin,
    conserved,
    draw_population,
    edge,
    escape,
    gradient_flow,
    keep_invariant,
    largest_quadratic,
    least_pull,
    leaving_orbit,
    norm,
    on_sphere,
    point,
    predicted_scale,
    project_normal,
    pull,
    quadratic_bound,
    second_moments,
    tangent,
)


@pytest.fixture(scope="module", params=RULES)
def case(request):
    population, _ = random_population(RULES[request.param])
    c = float(predicted_scale(population.optimum, 0.3))
    return population, c


@pytest.fixture(scope="module")
def balanced():
    """A population, its loss, its balanced scale and the basin there."""
    population, _ = random_population(RULES["sarsa"])
    c = float(predicted_scale(population.optimum, 0.0))
    return population, Moments.of(population), c, basin(population, c, sharp=True)


def batch(optimum, count, seed=0):
    pairs = [random_pair(optimum, seed + k) for k in range(count)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *pairs)


def fourth_moments(population):
    """E Σ̂_ai w̃_j Σ̂_bk w̃_l, as matrices for both ways to pair the indices a, b of v."""
    sigma, w = np.asarray(population.sigma), np.asarray(population.w)
    S = np.einsum("Nai,Nj,Nbk,Nl->aijbkl", sigma, w, sigma, w) / population.size
    size = sigma.shape[1] ** 2 * w.shape[1]
    return S.reshape(size, size), S.transpose(3, 1, 2, 0, 4, 5).reshape(size, size)


def share(population, delta):
    """‖Y‖/‖Δ‖²."""
    Y = np.asarray(population.terms(1.0, delta)[1])
    return np.sqrt((Y**2).sum(1).mean()) / float(norm(delta)) ** 2


def test_bounds_are_those_of_the_dense_matrices(case):
    population, _ = case
    first, second = fourth_moments(population)
    dense = np.sqrt(np.linalg.eigvalsh(first)[-1]) / 2
    assert quadratic_bound(population) == pytest.approx(dense, rel=1e-8)
    best = scipy.optimize.minimize_scalar(
        lambda s: np.linalg.eigvalsh(s * first + (1 - s) * second)[-1],
        bounds=(-6, 1),
        method="bounded",
    ).fun
    sharp = quadratic_bound(population, sharp=True)
    assert np.sqrt(best) / 2 * (1 - 1e-6) <= sharp <= np.sqrt(best) / 2 * (1 + 2e-3)
    assert sharp < 0.99 * dense


def test_bound_is_half_the_root_of_the_largest_weighted_moment():
    """F14's form of it: orthonormal coordinates of the symmetric Σ̂."""
    population, _ = random_population(RULES["sarsa"])
    p = population.optimum.P12.shape[0]
    rows, columns = np.triu_indices(p)
    weight = np.where(rows == columns, 1, np.sqrt(2))
    sigma = np.asarray(population.sigma)[:, rows, columns] * weight
    psi = (sigma[:, :, None] * np.asarray(population.w)[:, None, :]).reshape(60, -1)
    top = np.linalg.eigvalsh(psi.T @ psi / 60)[-1]
    assert quadratic_bound(population) == pytest.approx(np.sqrt(top) / 2, rel=1e-8)


def test_more_windows_than_are_held_at_once():
    small, _ = random_population(RULES["sarsa"], size=41)
    large = small.take(np.tile(np.arange(41), 27))  # 1107, with 1000 at once
    for sharp in (False, True):
        expected = quadratic_bound(small, sharp)
        assert quadratic_bound(large, sharp) == pytest.approx(expected, rel=1e-6)


def test_no_pair_exceeds_the_bounds_and_one_comes_close(case):
    population, _ = case
    sharp = quadratic_bound(population, sharp=True)
    value, worst = largest_quadratic(population)
    assert float(norm(worst)) == pytest.approx(1, rel=1e-12)
    assert share(population, worst) == pytest.approx(value, rel=1e-9)
    assert 0.9 * sharp < value <= sharp
    for seed in range(50):
        assert share(population, random_pair(population.optimum, seed)) <= value


def test_rate_is_the_smallest_eigenvalue_but_one(case):
    population, c = case
    moments = second_moments(population)
    values = np.linalg.eigvalsh(moments.hessian(c))
    found = basin(population, c, moments=moments)
    assert abs(values[0]) < 1e-12 < values[1]
    assert found.rate == pytest.approx(values[1], rel=1e-8)
    assert found.size == pytest.approx(float(norm(rescale(population.optimum, c))), rel=1e-14)
    assert quadratic_bound(population) == found.C
    assert found == basin(population, c)
    mirror = basin(population, -c)
    assert mirror.radius == pytest.approx(found.radius, rel=1e-8)


def test_the_size_of_the_basin_follows_from_its_three_numbers():
    example = Basin(c=1.0, size=0.5, rate=0.04, C=0.3)
    assert example.radius**2 == pytest.approx(0.04 / (4 * 0.09 + 0.04 / (4 * 0.25)), rel=1e-14)
    assert example.pull(0.0) == pytest.approx(0.04)
    assert example.loss_rate(0.0) == pytest.approx(0.08)
    inside = np.linspace(0, 1, 50)[:-1] * example.radius
    assert (example.pull(inside) > 0).all()
    assert (np.diff(example.pull(inside)) < 0).all()
    assert (np.diff(example.loss_rate(inside)) < 0).all()
    assert example.pull(example.radius) == pytest.approx(0, abs=1e-15)
    assert np.isnan(example.pull(1.01 * example.radius))
    assert np.isnan(example.loss_rate(1.01 * example.radius))


def test_two_states_and_two_actions():
    """The figures that the book names, for 4 000 windows of the key 0."""
    rule, family = Sarsa(d=3), RandomMDPs(2, 2)
    population = draw_population(jax.random.key(0), rule, family, 4000)
    c = float(predicted_scale(population.optimum, 0.0))
    found = basin(population, c)
    assert found.rate == pytest.approx(4.62e-4, rel=0.01)
    assert pytest.approx(0.377, rel=0.01) == found.C
    assert found.size == pytest.approx(1.354, rel=1e-3)
    assert 100 * found.radius / found.size == pytest.approx(2.1, abs=0.1)


def test_points_of_the_sphere(case):
    population, c = case
    optimum = population.optimum
    invariant = float(conserved(rescale(optimum, c)))
    size = float(norm(rescale(optimum, c)))
    for seed, radius in enumerate((1e-9, 1e-3, 0.1 * size, 0.5 * size)):
        direction = random_pair(optimum, seed)
        delta = on_sphere(optimum, c, direction, radius)
        assert float(norm(delta)) == pytest.approx(radius, rel=1e-9)
        there = float(conserved(point(optimum, c, delta)))
        assert there - invariant == pytest.approx(0, abs=1e-13)
        wanted, found = (project_normal(optimum, c, each) for each in (direction, delta))
        for a, b in zip(wanted, found, strict=True):
            np.testing.assert_allclose(a / norm(wanted), b / norm(found), atol=1e-9)


def test_the_part_along_the_manifold_is_of_second_order(case):
    """⟨Δ, unit tangent⟩ is at most ‖Δ‖²/(2‖θ̄‖), and U alone attains it."""
    population, c = case
    optimum = population.optimum
    size = float(norm(rescale(optimum, c)))
    along = tangent(optimum, c)
    for seed in range(20):
        normal = project_normal(optimum, c, random_pair(optimum, seed, 0.05))
        if seed == 0:
            normal = Effective(normal.P12 - jnp.vdot(normal.P12, optimum.P12) * optimum.P12
                               / jnp.vdot(optimum.P12, optimum.P12), 0 * normal.V21)  # fmt: skip
        delta = keep_invariant(optimum, c, normal)
        part = jnp.vdot(delta.P12, along.P12) + jnp.vdot(delta.V21, along.V21)
        part = abs(float(part / norm(along)))
        ceiling = float(norm(delta)) ** 2 / (2 * size)
        assert part <= ceiling * (1 + 1e-9)
        if seed == 0:
            assert part > 0.9 * ceiling


def test_there_is_no_such_point_if_the_invariant_cannot_be_kept():
    """A large U off P⋆ raises the invariant by more than any step along the tangent lowers it."""
    optimum = RULES["sarsa"].optimum(jnp.float64)
    U = jnp.where(optimum.P12 == 0, 1.0, 0.0)
    for size, possible in ((0.1, True), (100.0, False)):
        normal = Effective(size * U, jnp.zeros_like(optimum.V21))
        delta = keep_invariant(optimum, 3.0, normal)
        assert bool(jnp.isfinite(norm(delta))) == possible


def test_pull_is_the_speed_of_the_distance(balanced):
    population, loss, c, found = balanced
    delta = on_sphere(population.optimum, c, random_pair(population.optimum, 3), found.radius)
    h = 1e-4 / found.rate
    flow = gradient_flow(loss, c, delta, jnp.array([0.0, h]), rtol=1e-11, atol=1e-14)
    far = np.asarray(jax.vmap(norm)(flow.delta))
    middle = jax.tree.map(lambda leaf: leaf.mean(0), flow.delta)
    assert -np.log(far[1] / far[0]) / h == pytest.approx(float(pull(loss, c, middle)), rel=1e-4)


def test_the_theorem_holds_at_hostile_points(balanced):
    population, loss, c, found = balanced
    optimum = population.optimum
    at_first = jax.jit(
        lambda starts, r: jax.vmap(lambda d: pull(loss, c, on_sphere(optimum, c, d, r)))(starts)
    )
    for fraction in (0.5, 0.99):
        radius = fraction * found.radius
        starts = batch(optimum, 12)
        before = at_first(starts, radius)
        delta, after = least_pull(loss, optimum, c, starts, radius, steps=150)
        assert (np.asarray(after) <= np.asarray(before)).all()
        assert float(after.min()) < 0.5 * float(before.min())
        np.testing.assert_allclose(jax.vmap(norm)(delta), radius, rtol=1e-9)
        np.testing.assert_allclose(jax.vmap(lambda d: pull(loss, c, d))(delta), after, rtol=1e-12)
        assert float(after.min()) >= found.pull(radius)
        for each in range(12):
            one = jax.tree.map(lambda leaf, k=each: leaf[k], delta)
            slope = loss.gradient(c, one)
            fall = float(norm(slope) ** 2 / loss.loss(c, one))
            assert fall >= found.loss_rate(radius)


def test_flows_from_the_ball_arrive_and_their_mirror_images_too(balanced):
    population, loss, c, found = balanced
    optimum = population.optimum
    inside = jax.vmap(lambda d: on_sphere(optimum, c, d, 0.99 * found.radius))(batch(optimum, 3))
    # θ̄ + Δ ↦ −θ̄ − Δ = θ̄ + (−2θ̄ − Δ)
    mirrored = jax.tree.map(lambda d, o: -d - 2 * o, inside, rescale(optimum, c))
    longest = 30 / found.rate
    assert arrivals(loss, optimum, found, inside, longest).tolist() == [1, 1, 1]
    assert arrivals(loss, optimum, found, mirrored, longest).tolist() == [-1, -1, -1]
    zero = jax.tree.map(lambda o: -o[None], rescale(optimum, c))
    assert arrivals(loss, optimum, found, zero, longest).tolist() == [0]


def test_edges():
    borders = np.array([0.3, 0.77, 2.0, 0.01])
    low, high = np.full(4, 0.1), np.full(4, 1.0)
    found = edge(lambda radii: radii < borders, low, high, rounds=12)
    assert np.isnan(found[2:]).all()
    assert ((found[:2] >= borders[:2]) & (found[:2] < borders[:2] + 0.9 / 2**12)).all()
    assert (low == 0.1).all()
    assert (high == 1.0).all()
    with pytest.raises(ValueError, match="rounds must be an integer of at least 1"):
        edge(lambda radii: radii < borders, low, high, rounds=0)


def test_the_saddle_at_zero(case):
    """σ against a dense singular value decomposition, and against the Hessian at 0."""
    population, _ = case
    P, V = as_numpy(population.optimum)
    teacher = np.asarray(population.b) @ V.T
    sigma, w = np.asarray(population.sigma), np.asarray(population.w)
    B = np.einsum("Nk,Nij,Nl->kijl", teacher, sigma, w) / population.size
    values = np.linalg.svd(B.reshape(V.size, P.size), compute_uv=False)
    found = escape(population, 3)
    np.testing.assert_allclose(found.sigma, values[:3], rtol=1e-8)
    at_zero = (teacher**2).sum(1).mean()  # 2 L(0)
    assert np.einsum("kijl,ki,jl", B, V, P) == pytest.approx(at_zero, rel=1e-12)
    assert values[0] >= at_zero / np.linalg.norm(P) / np.linalg.norm(V)
    assert float(norm(found.pair)) == pytest.approx(1, rel=1e-12)
    assert float((found.pair.P12 * P).sum() + (found.pair.V21 * V).sum()) > 0

    home = population.optimum
    zero = jax.tree.map(jnp.negative, home)

    def slope(pair):
        return population.gradient(1.0, jax.tree.map(jnp.add, zero, pair))

    still = slope(jax.tree.map(jnp.zeros_like, home))
    assert float(norm(still)) < 1e-14
    curved = jax.jvp(slope, (jax.tree.map(jnp.zeros_like, home),), (found.pair,))[1]
    for block, expected in zip(curved, found.pair, strict=True):
        np.testing.assert_allclose(block, -values[0] * expected, atol=1e-8 * values[0])


def test_the_orbit_that_leaves_zero(balanced):
    """It grows at the rate σ₁, and `pull` is the slope of −log distance."""
    population, moments, c, ball = balanced
    found = escape(population)
    early = jnp.linspace(0, 1 / found.sigma[0], 5)
    late = jnp.linspace(10, 2 / ball.rate, 400)
    times = jnp.concatenate([early, early[-1] + late])
    orbit = leaving_orbit(population, c, times, loss=moments, start=1e-4, rtol=1e-9)

    home = rescale(population.optimum, c)
    P, V = as_numpy(home)
    e = np.concatenate([np.ravel(block) for block in found.pair])
    o = np.concatenate([np.ravel(P), np.ravel(V)])
    grown = 1e-4 * np.exp(found.sigma[0] * np.asarray(early))
    expected = np.linalg.norm(grown[:, None] * e - o, axis=1)
    np.testing.assert_allclose(orbit.distance[:5], expected, rtol=1e-8)
    assert float(orbit.loss[0]) == pytest.approx(1, abs=1e-6)
    assert (jnp.diff(orbit.loss) < 0).all()
    fallen = scipy.integrate.cumulative_trapezoid(orbit.pull, orbit.times, initial=0)
    logs = np.log(np.asarray(orbit.distance) / orbit.distance[0])
    np.testing.assert_allclose(-logs, fallen, atol=0.01 * np.abs(logs).max())
    plain = leaving_orbit(population, c, times[:6], start=1e-4, rtol=1e-9)
    np.testing.assert_allclose(plain.distance, orbit.distance[:6], rtol=1e-7)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, m: leaving_orbit(p, 1.0, jnp.arange(2.0), start=0.0), "start must be"),
        (lambda p, m: basin(p, 0.0), "c must be finite and different from 0"),
        (lambda p, m: largest_quadratic(p, starts=0), "starts must be an integer of at least 1"),
        (lambda p, m: largest_quadratic(p, rounds=0), "rounds must be an integer of at least 1"),
        (lambda p, m: escape(p, 0), "count must be an integer of at least 1"),
        (lambda p, m: least_pull(m, p.optimum, 0.0, batch(p.optimum, 1), 1.0), "c must be finite"),
        (lambda p, m: least_pull(m, p.optimum, 1.0, batch(p.optimum, 1), 0.0), "radius must be"),
        (lambda p, m: least_pull(m, p.optimum, 1.0, batch(p.optimum, 1), 1.0, 0), "steps must be"),
    ],
)
def test_bad_input(balanced, call, message):
    population, loss, _, _ = balanced
    with pytest.raises(ValueError, match=message):
        call(population, loss)


def test_no_ball_where_the_hessian_is_singular():
    population = one_hot_population()
    with pytest.raises(np.linalg.LinAlgError):
        basin(population, 0.7)
