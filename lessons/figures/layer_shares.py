"""Which layer holds how much, in several settings of one network: stacked bars, longest where most is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from lessons.figures.shape_ladder import human
from lessons.figures.style import BLUE, GREEN, INK, PALETTE, VERMILION, house_style, new_figure, to_numpy


@house_style()
def layer_shares(
    settings: Sequence[str],
    layers: Sequence[str],
    amounts: Mapping[str, Any],
    *,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """One panel for each kind of amount, one bar for each setting, one color for each layer.

    Args:
        settings: N names, from top to bottom, such as sizes of the crop.
        layers: K names, in the order of the network.
        amounts: what a panel shows, such as "weights" -> (N, K), each at least 0. The share of a layer is
            written into its part of the bar where there is room, the sum behind the bar.

    Raises:
        ValueError: nothing to draw, more layers than colors, or amounts of another shape or below 0.
    """
    if not settings or not amounts:
        raise ValueError("settings, amounts: expected at least one of each")
    if not 1 <= len(layers) <= len(PALETTE):
        raise ValueError(f"layers: {len(layers)} of them, expected 1 to {len(PALETTE)}")
    fig = new_figure(width, 0.42 * len(settings) + 1.25)
    panels = fig.subplots(1, len(amounts), sharey=True, squeeze=False)[0]
    for ax, (name, values) in zip(panels, amounts.items(), strict=True):
        table = to_numpy(values, f"amounts[{name!r}]", 2)  # (N, K)
        if table.shape != (len(settings), len(layers)):
            raise ValueError(
                f"amounts[{name!r}]: shape {table.shape}, expected {len(settings)} settings x "
                f"{len(layers)} layers"
            )
        if table.min() < 0:
            raise ValueError(f"amounts[{name!r}]: smallest {table.min():g}, expected at least 0")
        sums = table.sum(axis=1)  # (N,)
        longest = sums.max() or 1
        for k, color in enumerate(PALETTE[: len(layers)]):
            left = table[:, :k].sum(axis=1)  # (N,)
            ax.barh(range(len(settings)), table[:, k], left=left, height=0.66, color=color, label=layers[k])
            for row, amount in enumerate(table[:, k]):
                share = f"{100 * amount / (sums[row] or 1):.0f} %"
                if amount > max(0.085, 0.021 * len(share)) * longest:
                    ax.text(
                        left[row] + amount / 2,
                        row,
                        share,
                        ha="center",
                        va="center",
                        fontsize=8,
                        color="white" if color in (BLUE, VERMILION, GREEN) else INK,
                    )
        for row, total in enumerate(sums):
            ax.text(total + 0.015 * longest, row, human(total), va="center", fontsize=8.5, color=INK)
        ax.set_title(name)
        ax.set(xlim=(0, 1.17 * longest), xticks=[], ylim=(len(settings) - 0.5, -0.5))
        ax.set_yticks(range(len(settings)), settings)
        ax.tick_params(axis="y", length=0)
        ax.spines[["left", "bottom"]].set_visible(False)
    handles, names = panels[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=len(layers), handlelength=1.0)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig
