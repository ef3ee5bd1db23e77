"""One linear self-attention block (eq. 1): the map, of given matrices."""

from jaxtyping import Array, Float

from icrl_flax._ambient import full_precision
from icrl_flax.attention.weights import sum_over_heads


@full_precision
def linear_attention(
    P: Float[Array, "*heads D D"], V: Float[Array, "*heads D D"], H: Float[Array, "D columns"]
) -> Float[Array, "D columns"]:
    """H + (1/n) (V H)(Hᵀ P H), eq. (1): linear, no mask; the products of several heads add up.

    The normaliser is the number n of transitions, though H has n+1 columns.
    """
    n = H.shape[1] - 1

    def of_one_head(head: tuple[Float[Array, "D D"], Float[Array, "D D"]]):
        P, V = head
        return (V @ H) @ (H.T @ P @ H)

    return H + sum_over_heads(of_one_head, (P, V)) / n


@full_precision
def last_column(
    P: Float[Array, "*heads D D"], V: Float[Array, "*heads D D"], H: Float[Array, "D columns"]
) -> Float[Array, " D"]:
    """The last column of eq. (1), which alone is read; what it needs of the others, no more."""

    def of_one_head(head: tuple[Float[Array, "D D"], Float[Array, "D D"]]):
        P, V = head
        return V @ (H @ (H.T @ (P @ H[:, -1])))

    return H[:, -1] + sum_over_heads(of_one_head, (P, V)) / (H.shape[1] - 1)
