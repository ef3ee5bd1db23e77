"""TDC: prediction that stays stable off policy, second of two."""

from typing import Any

from jaxtyping import Array, Float

from icrl_flax.rules.off_policy import GradientTdRule


class Tdc(GradientTdRule):
    """TD(0) with a gradient correction that keeps it stable off policy.

    Sutton et al. (2009), TDC. u = [w ; v]; with ρ_i = π(a_i|s_i) / b(a_i|s_i) as in
    `OffPolicyTd`,

        w + (α/n) Σ_i ρ_i (δ_i φ_i − γφ_{i+1} φ_iᵀv),
        v + (β/n) Σ_i ρ_i (δ_i − φ_iᵀv) φ_i,

    where v estimates which combination of the features predicts δ. That takes two
    heads; p = 2d + 1 and q = 2d.
    """

    def change_of_w(
        self,
        now: Float[Array, "n d"],
        then: Float[Array, "n d"],
        td_errors: Float[Array, " n"],
        expected: Float[Array, " n"],
    ) -> Float[Array, " d"]:
        return td_errors @ now - expected @ then

    def rows_of_w(self) -> tuple[list[Any], list[Any]]:
        return [self.alpha, 0, 0], [0, -self.alpha, 0]
