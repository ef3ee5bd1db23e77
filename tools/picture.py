"""Draw the README's picture: train both algorithms at the paper's scale and compare.

Run it with `make picture`; it writes book/_static/main_result.png.
"""

from pathlib import Path

import jax.numpy as jnp
import matplotlib.pyplot as plt

import icrl_flax as icrl
from icrl_flax import plots
from icrl_flax.checkpoint import write_atomically

TARGET = Path(__file__).resolve().parent.parent / "book" / "_static" / "main_result.png"


def main() -> None:
    """Train, draw, write."""
    plots.theme()
    rules = {"SARSA": icrl.Sarsa(), "actor-critic": icrl.ActorCritic()}
    reports = {name: icrl.train(rule) for name, rule in rules.items()}

    optimum = rules["SARSA"].optimum(jnp.float32)
    report = reports["SARSA"]
    trained = icrl.align(icrl.split(report.P, report.V, rules["SARSA"].p).effective, optimum)

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4), width_ratios=(1, 1, 1.5))
    for axes, name, effective in (
        (left, "P after training on SARSA", trained.aligned),
        (middle, "P of Theorem 3.1", optimum),
    ):
        P, _ = icrl.embed(effective)
        plots.heat_map(P, axes, limit=1.0)
        axes.set(title=name, xlabel="column", ylabel="row")
    plots.draw_losses({name: report.losses for name, report in reports.items()}, right)
    right.set_title("Training, 500 000 updates")
    write_atomically(TARGET, lambda path: figure.savefig(path, dpi=110, format="png"))


if __name__ == "__main__":
    main()
