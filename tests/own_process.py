"""The library in a process of its own, in whatever directory that starts."""

import os
import pathlib
import sys

import icrl_flax

ROOT = str(pathlib.Path(icrl_flax.__file__).parents[1])
COMMAND = (sys.executable, "-m", "icrl_flax")

# What `-W error` would make of a program that another process is just writing into JAX's cache:
# it is compiled instead. In the same words, after "error", so that it wins.
UNREAD = "ignore:Error reading persistent compilation cache"
STRICT = ("-W", "error", "-W", UNREAD)


def environment(**more):
    """The variables of this process, and what lets the other one find the library."""
    ignored = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), UNREAD]))
    # What a shell may set and another may not: with it nothing stays in a buffer.
    own = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return own | {"PYTHONPATH": ROOT, "PYTHONWARNINGS": ignored} | more


def optimised():
    """The variables, without those by which the tests' small programs are compiled faster."""
    unset = ("JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS")
    return {name: value for name, value in environment().items() if name not in unset}
