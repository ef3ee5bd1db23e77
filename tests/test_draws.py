"""Tables drawn as one row are those of JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icrl_flax._draws import normal, uniform


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (5, 3), (9, 4, 36), (2, 3, 4, 5)])
def test_the_numbers_are_those_of_jax(shape, dtype):
    key = jax.random.key(3)
    expected = jax.random.uniform(key, shape, dtype, -1, 2)
    np.testing.assert_array_equal(uniform(key, shape, dtype, -1, 2), expected)
    assert uniform(key, shape, dtype).dtype == dtype
    np.testing.assert_array_equal(normal(key, shape, dtype), jax.random.normal(key, shape, dtype))


def test_each_key_of_a_batch_has_its_own():
    keys = jax.random.split(jax.random.key(0), 4)
    together = jax.vmap(lambda key: uniform(key, (3, 2), jnp.float32))(keys)
    alone = [jax.random.uniform(key, (3, 2), jnp.float32) for key in keys]
    np.testing.assert_array_equal(together, jnp.stack(alone))
