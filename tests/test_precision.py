"""No product may be rounded to the tensor cores' ten bits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from icrl_flax import (
    Effective,
    EffectiveBlock,
    Examples,
    LinearAttentionBlock,
    RandomMDPs,
    Sarsa,
    decompose,
    fit,
    linear_attention,
    split,
    stream,
)
from icrl_flax.attention import bilinear_term
from icrl_flax.verification import random_case, relative_error


def ones(*shape):
    return jnp.ones(shape, jnp.float32)


def one_case():
    case = random_case(np.random.default_rng(0), Sarsa(d=1), 3)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), case)


CASE = one_case()
THETA, TOKENS, U = Effective(ones(3, 2), ones(1, 3)), ones(4, 3), ones(1)
BATCH = Examples(TOKENS[None], U[None], U[None])
PRODUCTS = {
    "attention": lambda: linear_attention(ones(5, 5), ones(5, 5), ones(5, 4)),
    "bilinear_term": lambda: bilinear_term(THETA, TOKENS, U),
    "decompose": lambda: decompose(split(ones(5, 5), ones(5, 5), 3), TOKENS, U),
    "stream": lambda: stream(jax.random.key(0), jnp.arange(2), Sarsa(d=1), RandomMDPs(2, 2), 2, 3),
    "fit": lambda: fit(EffectiveBlock(THETA), optax.sgd(0.1), BATCH).losses,
    "fit of all entries": lambda: (
        fit(
            LinearAttentionBlock.from_matrices(ones(5, 5), ones(5, 5), 3), optax.sgd(0.1), BATCH
        ).losses
    ),
    "relative_error": lambda: relative_error(Sarsa(d=1), CASE, jnp.float32),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_keep_the_precision_of_their_factors(name):
    program = str(jax.make_jaxpr(PRODUCTS[name])())
    products = program.count("dot_general[")
    assert products > 0
    assert program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == products
