"""Families of MDPs: the paper's, others to test how far a trained block reaches, and one's own.

A family is anything with a method `sample(key, dtype)`. Those of the library have a name too.
"""

from icrl_flax.mdps.families.base import (
    Family,
    Fixed,
    MDPFamily,
    checked_sample,
    kebab_case,
)
from icrl_flax.mdps.families.classics import (
    Baird,
    BoyanChain,
    Garnet,
    GridMDPs,
    Loop,
    RandomBoyanChain,
)
from icrl_flax.mdps.families.random import (
    ChainMDPs,
    DeterministicMDPs,
    RandomMDPs,
    RewardLaw,
    SparseMDPs,
)
from icrl_flax.mdps.families.shaped import RepresentableMDPs, TerminatingMDPs

FAMILIES = {
    family.name(): family
    for family in (
        RandomMDPs,
        SparseMDPs,
        DeterministicMDPs,
        ChainMDPs,
        TerminatingMDPs,
        RepresentableMDPs,
        BoyanChain,
        RandomBoyanChain,
        Loop,
        Garnet,
        GridMDPs,
        Baird,
    )
}
"""The families that a few numbers describe, by their names in a sweep's specification."""

__all__ = [
    "FAMILIES",
    "Baird",
    "BoyanChain",
    "ChainMDPs",
    "DeterministicMDPs",
    "Family",
    "Fixed",
    "Garnet",
    "GridMDPs",
    "Loop",
    "MDPFamily",
    "RandomBoyanChain",
    "RandomMDPs",
    "RepresentableMDPs",
    "RewardLaw",
    "SparseMDPs",
    "TerminatingMDPs",
    "checked_sample",
    "kebab_case",
]
