"""Theorem 3.2, measured: the population loss, its optima, its constants and its flow.

Everything here works in float64 and needs JAX's x64 mode. It needs SciPy and Diffrax,
which the extra `theory` installs, so `icrl_flax` itself does not import it.
"""

from icrl_flax.theory.adam import AdamNoise, adam_noise, adam_scale
from icrl_flax.theory.certificate import (
    kernel_dimension,
    predicted_kernel_dimension,
    rank_modulo,
    rational_windows,
    residue,
)
from icrl_flax.theory.cubic import CubicMoments, CubicTheta
from icrl_flax.theory.flow import Flow, Settled, descend, gradient_flow, settle
from icrl_flax.theory.guarantee import Constants, Guarantee, constants, sharpest_radius
from icrl_flax.theory.invariant import Invariants, invariants, signed_permutations
from icrl_flax.theory.manifold import (
    conserved,
    inner,
    nearest_scale,
    nearest_scales,
    norm,
    predicted_scale,
    project_normal,
    tangent,
    tube_points,
)
from icrl_flax.theory.moments import Moments, fold_pairs
from icrl_flax.theory.population import Population, draw_population, offset, point, xavier_starts
from icrl_flax.theory.richness import (
    Richness,
    bootstrap,
    kappa_0,
    kappa_r,
    richness,
    witness,
)
from icrl_flax.theory.sgd import (
    Growth,
    Spikes,
    StepLimits,
    hill,
    moment_growth,
    sgd_drift,
    spikes,
    step_limits,
    tail_index,
    window_jacobians,
)
from icrl_flax.theory.spectrum import (
    Modes,
    SecondMoments,
    lanczos,
    largest_eigenvalue,
    linearised_loss,
    linearised_slope,
    modes,
    second_moments,
    smallest_eigenvalues,
)

__all__ = [
    "AdamNoise",
    "Constants",
    "CubicMoments",
    "CubicTheta",
    "Flow",
    "Growth",
    "Guarantee",
    "Invariants",
    "Modes",
    "Moments",
    "Population",
    "Richness",
    "SecondMoments",
    "Settled",
    "Spikes",
    "StepLimits",
    "adam_noise",
    "adam_scale",
    "bootstrap",
    "conserved",
    "constants",
    "descend",
    "draw_population",
    "fold_pairs",
    "gradient_flow",
    "hill",
    "inner",
    "invariants",
    "kappa_0",
    "kappa_r",
    "kernel_dimension",
    "lanczos",
    "largest_eigenvalue",
    "linearised_loss",
    "linearised_slope",
    "modes",
    "moment_growth",
    "nearest_scale",
    "nearest_scales",
    "norm",
    "offset",
    "point",
    "predicted_kernel_dimension",
    "predicted_scale",
    "project_normal",
    "rank_modulo",
    "rational_windows",
    "residue",
    "richness",
    "second_moments",
    "settle",
    "sgd_drift",
    "sharpest_radius",
    "signed_permutations",
    "smallest_eigenvalues",
    "spikes",
    "step_limits",
    "tail_index",
    "tangent",
    "tube_points",
    "window_jacobians",
    "witness",
    "xavier_starts",
]
