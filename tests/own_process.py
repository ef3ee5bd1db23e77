"""The library in a process of its own, in whatever directory that starts."""

import os
import pathlib
import sys

import icrl_flax

ROOT = str(pathlib.Path(icrl_flax.__file__).parents[1])
COMMAND = (sys.executable, "-m", "icrl_flax")


def environment(**more):
    """The variables of this process, and what lets the other one find the library."""
    return os.environ | {"PYTHONPATH": ROOT} | more
