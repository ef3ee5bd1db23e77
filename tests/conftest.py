"""Float64 everywhere, and every shape annotation of the library enforced."""

import importlib
import os
import signal
from pathlib import Path

# Programs that JAX compiles are kept from one run to the next, and shared by the processes that
# a run starts, which inherit these variables. They must be there before JAX is imported.
_PROGRAMS = Path(__file__).resolve().parents[1] / "_build" / "xla-cache"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_PROGRAMS))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# The tests compile thousands of small programs and run each once or twice, so that most of their
# time was the compiler's. Without its optimisations a program is ready in a quarter of it. Where
# arithmetic is long, or its bits are those that users get, a process of its own is `optimised`.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
# Each core has a worker of its own: threads of NumPy's would only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hypothesis  # noqa: E402
import jax  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_enable_x64", True)

# A script's shell starts what runs in the background with Ctrl-C ignored, and a process hands
# that on to those that it starts. Some tests send it to them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def enforce_annotations():
    """From now on, each module of the library is imported with its annotations enforced.

    The numeric tower lets `alpha: float` take an int, as static type checkers do.
    """
    checker = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
    return jaxtyping.install_import_hook("icrl_flax", checker)


with enforce_annotations():
    importlib.import_module("icrl_flax")

# The command line is imported outside the hook, since it rewrites its annotations for tyro;
# then the hook comes back, for the modules that the package does not import by itself.
importlib.import_module("icrl_flax.cli")

enforce_annotations()

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


def pytest_addoption(parser):
    parser.addoption("--moments", type=int, default=2, help="at which test_moments.py ends each")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """A folder of tests runs on all cores, unless the command says on how many: `-n 0` on none.

    Single files stay in this process, since others take seconds to start; so does what is
    debugged or measured, and everything where pytest-xdist is not installed.
    """
    option = config.option
    own = getattr(option, "usepdb", False) or getattr(option, "cov_source", None)
    if own or hasattr(config, "workerinput") or getattr(option, "numprocesses", 0) is not None:
        return
    if any(Path(argument).is_dir() for argument in config.args):
        option.numprocesses = "auto"
        option.dist = "worksteal"  # neighbours, which share fixtures, stay together


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Cores that this process may use, but few: with half the tests one grows to 4.4 gigabytes."""
    usable = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    return min(len(usable), 4)


@pytest.fixture
def unchecked():
    """Annotations not enforced, so that the library's own checks answer."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
