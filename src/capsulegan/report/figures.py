"""Figures as SVG that takes the page's ink: legible on light and on dark, the same bytes each time."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from capsulegan.report import paper, words
from capsulegan.report.classification import kernel_groups, label_counts, lines_of, printed_data
from capsulegan.report.intervals import mean_of
from capsulegan.report.table import Row, by_seed, chosen, measured
from capsulegan.training.recipes import BEST

INK: Final = "#0a0b0c"  # stands for the page's text colour
FONTS: Final = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
STANDALONE: Final = (
    "<style>:root{color:#24292f}@media (prefers-color-scheme:dark){:root{color:#d8dee4}}</style>"
)
PALETTE: Final = (
    "#0b7bc1",
    "#d55e00",
    "#0f9d77",
    "#b8629b",
    "#8a7a1f",
    "#5f6fd0",
)  # safe to the colour-blind
STYLE: Final = {
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "font.size": 10,
    "grid.alpha": 0.14,
    "grid.color": INK,
    "grid.linewidth": 0.6,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "xtick.labelsize": 9,
    "xtick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.color": INK,
    "ytick.labelsize": 9,
    "ytick.major.width": 0.6,
}
CONTROL_LOOKS: Final = {
    "labelled-only": ("labelled images alone", (0, (6, 2)), "s"),
    "noise": ("noise (control)", (0, (1, 1.5)), "v"),
    "real": ("real images (ceiling)", (0, (3, 1.5)), "^"),
}


@dataclass(frozen=True)
class Drawing:
    """An SVG element in `currentColor`, with its caption and what to say to those who cannot see it."""

    name: str
    svg: str
    caption: str
    description: str

    @property
    def file(self) -> str:
        """The same as a file of its own, dark in a dark browser."""
        return self.svg.replace(">", ">" + STANDALONE, 1)


def colour_of(model: str, models: Sequence[str]) -> str:
    """Return a model's colour, the same in every figure: the known models first, then the others.

    One of the best recipe has that of its plain recipe, unless both are among the models.
    """
    known, plain = list(words.MODELS), model.removesuffix(BEST)
    model = plain if plain in known and plain not in models else model
    others = [other for other in models if other not in known]
    place = known.index(model) if model in known else len(known) + others.index(model)
    return PALETTE[place % len(PALETTE)]


def draw(name: str, plot: Callable[[Axes], None], height: float = 2.9) -> str:
    """Return the plot as an SVG element; its ids come from its name, so that figures share a page."""
    buffer = io.StringIO()
    with style.context(["default", {**STYLE, "svg.hashsalt": name}]):
        figure = Figure(figsize=(4.5, height), layout="constrained")
        FigureCanvasSVG(figure)
        plot(figure.add_subplot())
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[A-Za-z0-9.]+_\d+">', "<g>", svg)
    return svg.replace(INK, "currentColor").replace("'DejaVu Sans'", FONTS)


def classification_errors(rows: Sequence[Row], data: str, models: Sequence[str]) -> list[Drawing]:
    """Return the error against the number of labels, for each kernel: models, controls, the paper."""
    drawings = []
    for index, (kernel, group) in enumerate(kernel_groups(rows)):
        if any(map(measured, group)) and label_counts(group):
            drawings.append(_classification_error(index, kernel, group, data, models))
    return drawings


def _classification_error(
    index: int, kernel: str, group: Sequence[Row], data: str, models: Sequence[str]
) -> Drawing:
    labels, data = label_counts(group), printed_data(group, data)

    def plot(axes: Axes) -> None:
        for model, _, own in lines_of(group):
            values = {n: [*by_seed(chosen(own, labels=n)).values()] for n in labels}
            means = {n: mean_of(v) for n, v in values.items() if v}
            name, dashes, marker = CONTROL_LOOKS.get(model, (words.model_name(model), "solid", "o"))
            control = model in CONTROL_LOOKS
            colour = INK if control else colour_of(model, models)
            axes.errorbar(
                list(means),
                [mean.value for mean in means.values()],
                [mean.half_width or 0 for mean in means.values()],
                fmt="none",
                ecolor=colour,
                alpha=0.6,
                capsize=2.5,
            )
            axes.plot(
                list(means),
                [mean.value for mean in means.values()],
                color=colour,
                alpha=0.55 if control else 1,
                linestyle=dashes,
                marker=marker,
                markersize=4 if control else 5,
                linewidth=1 if control else 1.6,
                label=name,
            )
            plain = model.removesuffix(BEST)
            printed = {} if model != plain and plain in models else paper.errors_of(data, model)
            if known := {n: printed[n] for n in labels if n in printed}:
                axes.plot(
                    list(known),
                    list(known.values()),
                    color=colour,
                    linestyle=(0, (1, 2)),
                    marker="D",
                    markersize=4.5,
                    fillstyle="none",
                    linewidth=1,
                    label=f"{words.model_name(plain)}, paper",
                )
        axes.set_xscale("log")
        axes.set_xticks(labels, [f"{n:,}" for n in labels])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="labelled images", ylabel="classification error", ylim=(0, None))
        axes.figure.legend(loc="outside lower center", ncols=2)

    named = f", {kernel}" if kernel else ""
    caption = f"Classification error against the number of labelled images{named}. Grey: controls."
    if data in paper.CLASSIFICATION:
        caption += f" Hollow diamonds: {paper.CITATION}, single runs."
    if any(len(by_seed(chosen(own, labels=n))) > 1 for _, _, own in lines_of(group) for n in labels):
        caption += " Bars: 95 % interval over the seeds."
    name = f"classification-{index + 1}"
    return Drawing(name, draw(name, plot, 3.9), caption, f"{caption} The table above has the same figures.")


def best_answers() -> Drawing:
    """Return what each loss's best discriminator answers, against how likely an image is to be real.

    With s the share p / (p + q) of real images among those that look like this one, cross-entropy
    answers s; the margin loss (Eq. 2) answers (0.9 s + 0.05 (1 - s)) / (s + 0.5 (1 - s)).
    """
    shares = [index / 100 for index in range(101)]
    margin = [(0.9 * s + 0.05 * (1 - s)) / (s + 0.5 * (1 - s)) for s in shares]

    def plot(axes: Axes) -> None:
        axes.plot(shares, shares, color=PALETTE[0], label="cross-entropy")
        axes.plot(shares, margin, color=PALETTE[1], label="margin loss")
        axes.axhline(0.5, color=INK, linewidth=0.8, linestyle=(0, (2, 3)), alpha=0.7)
        axes.plot([0.5, 0.5], [0.5, 0.95 / 1.5], "o", color=INK, markersize=4)
        axes.annotate("0.633", (0.5, 0.95 / 1.5), (-6, 5), textcoords="offset points", ha="right")
        axes.annotate("0.5", (0.5, 0.5), (6, -12), textcoords="offset points")
        axes.set(xlabel="share of real images, p / (p + q)", ylabel="best answer", xlim=(0, 1), ylim=(0, 1))
        axes.legend(loc="upper left")

    caption = "What the best possible discriminator answers. Dotted: the paper's cut."
    description = f"{caption} Cross-entropy answers the share itself; the margin loss 0.633 at one half."
    return Drawing("best-answers", draw("best-answers", plot), caption, description)
