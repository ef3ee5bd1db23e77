"""Draw the README's picture: train both rules at the paper's scale and compare.

Run it with `make picture`; it writes book/_static/main_result.png.
"""

from pathlib import Path

import jax.numpy as jnp

import icrl_flax as icrl
from icrl_flax import plots
from icrl_flax._files import write_atomically

TARGET = Path(__file__).resolve().parent.parent / "book" / "_static" / "main_result.png"


def main() -> None:
    """Train, draw, write."""
    plots.theme()
    rules = {"SARSA": icrl.Sarsa(), "actor-critic": icrl.ActorCritic()}
    reports = {name: icrl.train(rule) for name, rule in rules.items()}

    optimum = rules["SARSA"].optimum(jnp.float32)
    trained = reports["SARSA"].alignment()

    losses = {name: report.losses for name, report in reports.items()}
    figure = plots.main_result_figure(trained.aligned, optimum, losses)
    write_atomically(TARGET, lambda path: figure.savefig(path, dpi=110, format="png"))


if __name__ == "__main__":
    main()
