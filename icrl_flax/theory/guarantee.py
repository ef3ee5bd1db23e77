"""The constants of Theorem 3.2 and Lemma C.2, as functions of those of Assumption 1."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import scipy.optimize

from icrl_flax import _checks
from icrl_flax.attention.weights import Effective
from icrl_flax.theory.richness import Richness


@dataclasses.dataclass(frozen=True)
class Constants:
    """What the proof uses of the distribution and of the rule.

    Written for any rule; for SARSA the norms are ‖P⋆12‖₂ = √2, ‖V̄⋆21‖₂ = α,
    ‖P⋆12‖_F = √(2d+1), ‖V̄⋆21‖_F = α√d, and kappa_a = α² κ_R κ_w̃ or the joint excitation.

    Args:
        B_sigma: bound on ‖Σ̂‖; the paper's 2B_φ² + B_r².
        B_w: bound on ‖w̃‖.
        kappa_a: E‖A U w̃‖² ≥ kappa_a ‖U‖² with A = V̄⋆21 Σ̂ (αR for SARSA).
        kappa_q: E[bbᵀ] ⪰ kappa_q I.
        rho: ρ in [0, 1) of item (5).
        P_operator: ‖P⋆12‖₂.
        V_operator: ‖V̄⋆21‖₂.
        P_frobenius: ‖P⋆12‖_F.
        V_frobenius: ‖V̄⋆21‖_F.
    """

    B_sigma: float
    B_w: float
    kappa_a: float
    kappa_q: float
    rho: float
    P_operator: float
    V_operator: float
    P_frobenius: float
    V_frobenius: float

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name != "rho":
                _checks.positive(field.name, getattr(self, field.name))
        _checks.discount("rho", self.rho)


def constants(
    richness: Richness,
    optimum: Effective,
    B_sigma: float | None = None,
    kappa_a: float | None = None,
) -> Constants:
    """Gather the proof's constants from a population's.

    Args:
        richness: the constants of Assumption 1.
        optimum: (P⋆12, V̄⋆21).
        B_sigma: bound on ‖Σ̂‖; the largest ‖x_i‖² if not given.
        kappa_a: replaces the joint excitation, for instance by α² κ_R κ_w̃.

    Raises:
        ValueError: if a constant that has to be positive is not, or ρ is not below 1.
    """
    P, V = optimum
    return Constants(
        B_sigma=richness.B_x if B_sigma is None else B_sigma,
        B_w=richness.B_w,
        kappa_a=richness.kappa_a if kappa_a is None else kappa_a,
        kappa_q=richness.kappa_q,
        rho=richness.rho,
        P_operator=float(jnp.linalg.norm(P, 2)),
        V_operator=float(jnp.linalg.norm(V, 2)),
        P_frobenius=float(jnp.linalg.norm(P)),
        V_frobenius=float(jnp.linalg.norm(V)),
    )


@dataclasses.dataclass(frozen=True)
class Guarantee:
    """Theorem 3.2's numbers on the tube of radius r about c in I = [low, high].

    Args:
        constants: of the distribution and the rule.
        low: c₋ > 0.
        high: c₊ ≥ c₋.
        r: radius of the tube, below `largest_radius` (eq. 10).

    Raises:
        ValueError: if the interval is not in order or r is not in (0, largest_radius).
    """

    constants: Constants
    low: float
    high: float
    r: float

    def __post_init__(self) -> None:
        _checks.interval("interval", (self.low, self.high))
        _checks.positive("r", self.r)
        if self.r >= self.largest_radius:
            raise ValueError(
                f"r must be below √m₀/(3C_Q) = {self.largest_radius:.3e}, got {self.r!r}"
            )

    @property
    def C_Q(self) -> float:
        """‖Y‖ ≤ C_Q ‖Δ‖², in L²."""
        return self.constants.B_sigma * self.constants.B_w / 2

    @property
    def m0(self) -> float:
        """‖X‖² ≥ m₀ ‖Δ‖² for Δ in N_c, in L²."""
        k = self.constants
        return (1 - k.rho) * min(k.kappa_a / self.high**2, k.kappa_q * self.low**2)

    @property
    def M0(self) -> float:
        """‖X‖² ≤ M₀ ‖Δ‖², in L²."""
        k = self.constants
        largest = (k.V_operator / self.low) ** 2 + (k.P_operator * self.high) ** 2
        return (k.B_sigma * k.B_w) ** 2 * largest

    @property
    def largest_radius(self) -> float:
        """√m₀/(3C_Q): eq. (10) asks for a smaller r."""
        return math.sqrt(self.m0) / (3 * self.C_Q)

    @property
    def mu(self) -> float:
        """μ_r of Lemma C.2: ½‖∇L‖² ≥ μ_r L on the tube."""
        numerator = self.m0 - 3 * self.C_Q * math.sqrt(self.m0) * self.r
        return numerator**2 / (math.sqrt(self.M0) + self.C_Q * self.r) ** 2

    @property
    def mu_sharp(self) -> float:
        """(√m₀ − 2 C_Q r)²: a larger μ from the same assumptions, without M₀.

        ⟨∇L, Δ⟩ = E⟨X + Y, X + 2Y⟩ ≥ ‖X + Y‖ (‖X + Y‖ − ‖Y‖) ≥ ‖X + Y‖ (‖X‖ − 2‖Y‖), and
        ‖X + Y‖² is 2L, so ½‖∇L‖² ≥ L (‖X‖ − 2‖Y‖)²/‖Δ‖². The paper bounds ‖X‖ from below
        in the gradient but from above in the loss, and so loses a factor m₀/M₀.
        """
        return (math.sqrt(self.m0) - 2 * self.C_Q * self.r) ** 2

    @property
    def K(self) -> float:
        """K_r with ‖∇L‖ ≤ K_r √L on the tube: ‖V̄⋆21‖_F in full, α√d for SARSA."""
        return self._gradient_bound(self.constants.V_frobenius)

    @property
    def K_printed(self) -> float:
        """K_r as the paper prints it for SARSA, with √d for ‖V̄⋆21‖_F."""
        k = self.constants
        return self._gradient_bound(k.V_frobenius / k.V_operator)

    def _gradient_bound(self, v_norm: float) -> float:
        k = self.constants
        sizes = math.hypot(self.high * k.P_frobenius + self.r, v_norm / self.low + self.r)
        return math.sqrt(2) * k.B_sigma * k.B_w * sizes

    def eta(self, inner: tuple[float, float]) -> float:
        """A lower bound of η, eq. (11): how far the tube reaches around c in I₀.

        A point nearer than r to θ̄(c) is in the tube unless the point of M_I nearest to it
        is an end of M_I; then it is at least half as far from θ̄(c) as that end is.

        Args:
            inner: I₀ = [low, high], inside I.

        Raises:
            ValueError: if I₀ is not inside I.
        """
        _checks.interval("inner", inner)
        if not self.low < inner[0] <= inner[1] < self.high:
            raise ValueError(f"inner must lie inside ({self.low}, {self.high}), got {inner}")
        k = self.constants
        ends = [
            math.hypot((c - end) * k.P_frobenius, (1 / c - 1 / end) * k.V_frobenius)
            for c, end in ((inner[0], self.low), (inner[1], self.high))
        ]
        return min(self.r, *(end / 2 for end in ends))

    def start_radius(self, inner: tuple[float, float], sharp: bool = False) -> float:
        """Condition (12): from how far away of c in I₀ the theorem holds.

        Args:
            inner: I₀ = [low, high], inside I.
            sharp: with `mu_sharp` in place of μ_r.
        """
        mu = self.mu_sharp if sharp else self.mu
        length = self.K * (math.sqrt(self.M0) + self.C_Q * self.r) / (math.sqrt(2) * mu)
        return min(self.r, self.eta(inner) / (1 + length))

    def short_path_radius(self, inner: tuple[float, float]) -> float:
        """The start that condition (12) allows with `mu_sharp` and a shorter bound on the path.

        −d√L/dt ≥ √(μ/2) ‖∇L‖ bounds the length of the path by √(2/μ) √L(0), in place of
        (K_r/μ) √L(0).

        Args:
            inner: I₀ = [low, high], inside I.
        """
        length = (math.sqrt(self.M0) + self.C_Q * self.r) / math.sqrt(self.mu_sharp)
        return min(self.r, self.eta(inner) / (1 + length))


def short_path_start(
    constants: Constants, interval: tuple[float, float], inner: tuple[float, float]
) -> float:
    """The largest `Guarantee.short_path_radius` over radii of the tube, by a grid.

    The paper's r stops at √m₀/(3C_Q); μ′ allows √m₀/(2C_Q), but the best r lies below both.

    Args:
        constants: of the distribution and the rule.
        interval: I.
        inner: I₀, inside I.
    """
    largest = Guarantee(constants, *interval, np.finfo(float).tiny).largest_radius
    return max(
        Guarantee(constants, *interval, fraction * largest).short_path_radius(inner)
        for fraction in np.linspace(0.01, 0.99, 99)
    )


def lost_factors(
    guarantee: Guarantee, richness: Richness, c: float, lowest: float, largest: float
) -> dict[str, float]:
    """μ_r/λ_min as a product: what each step from 2λ_min to 2μ_r gives away at θ̄(c).

    Args:
        guarantee: Theorem 3.2's numbers, with r.
        richness: the population's constants.
        c: scale at which λ_min is taken, in I.
        lowest: λ_min at θ̄(c).
        largest: max of λ_max over I. λ_max is convex in log c, so it is at an end of I.
    """
    g, k = guarantee, guarantee.constants
    here = (1 - k.rho) * min(k.kappa_a / c**2, richness.kappa_q * c**2)
    s = g.C_Q * g.r / math.sqrt(g.m0)
    width = (1 - 3 * s) / (1 + g.C_Q * g.r / math.sqrt(g.M0))
    return {
        "1 splitting": here / lowest,
        "2 one bound for all of I": g.m0 / here,
        "3 m₀²/max λ_max for m₀": g.m0 / largest,
        "4 bounds for means in M₀": largest / g.M0,
        "5 width of the tube": width**2,
    }


def sharpest_radius(
    constants: Constants,
    interval: tuple[float, float],
    inner: tuple[float, float],
    sharp: bool = False,
) -> Guarantee:
    """The guarantee whose r allows the largest start, by condition (12).

    Args:
        constants: of the distribution and the rule.
        interval: I.
        inner: I₀, inside I.
        sharp: with `mu_sharp` in place of μ_r.
    """
    smallest = np.finfo(float).tiny
    largest = Guarantee(constants, *interval, smallest).largest_radius

    def cost(fraction: float) -> float:
        guarantee = Guarantee(constants, *interval, fraction * largest)
        return -math.log(guarantee.start_radius(inner, sharp))

    best = scipy.optimize.minimize_scalar(cost, bounds=(1e-6, 1 - 1e-6), method="bounded")
    return Guarantee(constants, *interval, float(best.x) * largest)  # pyright: ignore[reportAttributeAccessIssue]
