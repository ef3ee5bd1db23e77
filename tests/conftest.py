"""Float64 everywhere, and every shape annotation of the library enforced."""

import hypothesis
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

# Property tests meet the same cases on every run, so that they fail today or never.
# `--hypothesis-profile=more` draws ten times as many, others each time.
_COMMON = {
    "deadline": None,
    "database": None,
    "suppress_health_check": [hypothesis.HealthCheck.too_slow],
}
hypothesis.settings.register_profile("same", max_examples=20, derandomize=True, **_COMMON)
hypothesis.settings.register_profile("more", max_examples=200, **_COMMON)
hypothesis.settings.load_profile("same")


@pytest.fixture
def unchecked():
    """Annotations not enforced, so that the library's own checks answer."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
