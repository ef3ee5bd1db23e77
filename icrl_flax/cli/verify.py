"""`python -m icrl_flax verify`: constructions held against their teachers."""

from collections.abc import Callable

from icrl_flax import _checks, _registry
from icrl_flax.cli.console import say, usage
from icrl_flax.verification import verify


def command(
    rules: tuple[str, ...] = (), sizes: int = 2, seed: int = 0, layers: int = 1
) -> Callable[[], int]:
    """Check the constructions on random sizes in float64 and float32.

    Args:
        rules: which ones; all if none is named.
        sizes: how many combinations of sizes for each; each is compiled.
        seed: seed of the random sizes and values.
        layers: how many blocks on top of each other, held against so many updates.
    """
    return lambda: run(rules, sizes, seed, layers)


def run(names: tuple[str, ...], sizes: int, seed: int, layers: int) -> int:
    """Print a table, and return 1 if a construction fails."""
    with usage():
        _checks.seed("seed", seed)
        _checks.positive_integer("sizes", sizes)
        _checks.positive_integer("layers", layers)
        known = _registry.rules()
        for name in names:
            _checks.one_of("rules", name, tuple(known))
    names = names or tuple(known)
    row = f"{{:<{max(map(len, names))}}} {{:<8}} {{:>6}} {{:>6}} {{:>16}} {{:>8}}  {{}}"
    say(row.format("rule", "dtype", "cases", "layers", "worst rel. error", "bound", "verdict"))
    holds = True
    kinds = [known[name] for name in names]
    for verdict in verify(kinds, sizes=sizes, seed=seed, layers=layers):
        holds &= verdict.holds
        worst, bound = f"{verdict.worst:.2e}", f"{verdict.bound:.0e}"
        word = "holds" if verdict.holds else "FAILS"
        say(row.format(*verdict[:3], verdict.layers, worst, bound, word))
    return 0 if holds else 1
