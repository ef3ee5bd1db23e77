"""Figures and tables of the book. Needs the `book` extra."""

from icrl_flax.plots.bands import draw_band
from icrl_flax.plots.factors import factors_figure
from icrl_flax.plots.heat_maps import heat_map, prompt_figure, weights_figure
from icrl_flax.plots.losses import draw_losses, loss_figure, main_result_figure
from icrl_flax.plots.mechanism import loop_figure, mechanism_figure
from icrl_flax.plots.poles import poles_animation, poles_figure
from icrl_flax.plots.slack import slack_figure
from icrl_flax.plots.tables import run_table, verdict_table
from icrl_flax.plots.theme import PALETTE, theme

__all__ = [
    "PALETTE",
    "draw_band",
    "draw_losses",
    "factors_figure",
    "heat_map",
    "loop_figure",
    "loss_figure",
    "main_result_figure",
    "mechanism_figure",
    "poles_animation",
    "poles_figure",
    "prompt_figure",
    "run_table",
    "slack_figure",
    "theme",
    "verdict_table",
    "weights_figure",
]
