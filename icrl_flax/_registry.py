"""Rules and families by name (a stub, until the registry is merged)."""

from typing import Any

from icrl_flax.mdps.families import FAMILIES
from icrl_flax.rules import discover


def rules() -> dict[str, Any]:
    return discover()


def families() -> dict[str, Any]:
    return dict(FAMILIES)


def source(kind: type) -> dict[str, Any] | None:
    return None
