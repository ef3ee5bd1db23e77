"""Float64 everywhere, and every shape annotation of the library enforced."""

import jax
import jaxtyping
import pytest

jax.config.update("jax_enable_x64", True)

# The numeric tower lets `alpha: float` take an int, as static type checkers do. The
# command line is imported outside the hook: it rewrites its annotations for tyro.
with jaxtyping.install_import_hook(
    "icrl_flax", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
):
    import icrl_flax  # noqa: F401


@pytest.fixture
def unchecked():
    """Annotations not enforced, so that the library's own checks answer."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
