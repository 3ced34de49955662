"""A summary of runs as Markdown and on the console, from the numbers of `tables.summary_table`."""

# ruff: noqa: RUF001 (minus signs and Greek letters are meant)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from fedunlearn.report import verdict
from fedunlearn.results import sampling
from fedunlearn.results.findings import Declared, named
from fedunlearn.results.headline import OF_SAMPLES

CAPTION = (
    "Mean ± standard deviation over seeds; in brackets the gap to the models retrained from scratch in the same run. "
    "Bold: nearest to the retrained models, which is what to aim for (not the smallest number). "
    "≈: the gap is within the noise floor (highest minus lowest retrained model; of a distance or a similarity, only a "
    "gap in the wrong direction counts). What one finding cannot see, another may: a masked head is ≈ on accuracies. "
    "Time and traffic are those of training, retraining and unlearning."
)
VERDICT = (
    "Verdict: from what is left where accuracy does not look, against the retrained models of the same "
    "run. Suppressed: forget accuracy is gone, but more is left than in retrained models. Over-erased: less is left. "
    "No verdict: the audits cannot tell, or are not there (the run's report says why). Checks that count: the findings "
    "that tell the original model from retrained ones, and what they say of this model."
)
JUDGEMENT = (
    "Verdicts are for classes. Of clients and samples it is said whether more or less of them is left than after "
    "retraining, by accuracy on them and membership."
)
FEW = "No noise floor where only one model was retrained: retrain at least two to tell a gap from chance."
SMALL = (
    f"Fewer than {sampling.FEW} forget samples: in square brackets (or below) the 95 % interval of a share of so few. "
    "A difference that is smaller than that interval may be chance."
)
NOTHING = "There is no finished run to show."
SYMBOLS = "†‡§¶"
UNKNOWN = "–"
COSTS = {"rounds": "rounds", "seconds": "s", "megabytes": "MB"}


@dataclass(frozen=True)
class Cell:
    """An audit's value as text: `value`, and where they apply `sd`, `gap` (signed), bold (`best`) and ≈ (`within`).

    `interval`: 95 %, of a share of few samples.
    """

    value: str
    sd: str = ""
    interval: str = ""
    gap: str = ""
    best: bool = False
    within: bool = False

    @property
    def text(self) -> str:
        """`0.012 ± 0.003`, `0.100 [0.02 to 0.34]`."""
        spread = f" ± {self.sd}" if self.sd else ""
        return f"{self.value}{spread}{f' [{self.interval}]' if self.interval else ''}"


@dataclass(frozen=True)
class Line:
    """A row: its name with footnote marks, number of seeds, a cell per audit, and costs.

    `verdict` and `checks` (`2 of 4: more left`) are None in a table that has no such columns.
    """

    name: str
    seeds: str
    verdict: str | None
    checks: str | None
    audits: list[Cell]
    costs: list[str]

    @property
    def cells(self) -> list[Cell]:
        """One cell per column of a wide table."""
        said = [text for text in (self.verdict, self.checks) if text is not None]
        first = map(Cell, [self.name, self.seeds, *said])
        return [*first, *self.audits, *map(Cell, self.costs)]


@dataclass(frozen=True)
class Block:
    """One setting: its reference models (original, retrained, noise floor), then its methods.

    `setting` ends with the number of forget samples, where it is known.
    """

    setting: str
    references: list[Line]
    methods: list[Line]


def to_markdown(table: pd.DataFrame, declared: Declared) -> str:
    """GitHub Markdown: one table per setting, the caption and the footnotes."""
    if table.empty:
        return f"{NOTHING}\n"
    parts = [_markdown_block(header_of(table, declared), block) for block in blocks_of(table)]
    return "\n\n".join([*parts, *map(_markdown_text, notes_of(table))]) + "\n"


def paragraphs(said: Sequence[str]) -> str:
    """Sentences as Markdown, a paragraph each."""
    return "".join(f"{_markdown_text(text)}\n\n" for text in said)


def _markdown_block(header: list[str], block: Block) -> str:
    """A table whose columns line up for those who read the file as it is."""
    cells = [header, *([_markdown(cell) for cell in line.cells] for line in [*block.references, *block.methods])]
    widths = [max(map(len, texts)) for texts in zip(*cells, strict=True)]
    padded = [[text.ljust(width) for text, width in zip(row, widths, strict=True)] for row in cells]
    rule = "|".join(["", f":{'-' * (widths[0] + 1)}", *(f"{'-' * (width + 1)}:" for width in widths[1:]), ""])
    first, *others = [f"| {' | '.join(row)} |" for row in padded]
    return "\n".join([f"**{_markdown_text(block.setting)}**", "", first, rule, *others])


def _markdown(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.best else _markdown_text(cell.text)
    return text + (" ≈" if cell.within else "") + (f" ({cell.gap})" if cell.gap else "")


def _markdown_text(text: str) -> str:
    for sign in "\\|*<":
        text = text.replace(sign, f"\\{sign}")
    return text


def to_rich(table: pd.DataFrame, declared: Declared) -> Table:
    """For the console, 80 columns being enough for five audits: what belongs to one number stands below it.

    Where there are several settings, each stands under a letter that the caption explains.
    """
    if table.empty:
        empty = Table.grid()
        empty.add_row(NOTHING)
        return empty
    blocks = blocks_of(table)
    several = len(blocks) > 1
    letters = [chr(ord("A") + i) if i < 26 else str(i + 1) for i in range(len(blocks))]
    keys = [f"{letter}: {block.setting}" for letter, block in zip(letters, blocks, strict=True)] if several else []
    title = Text("" if several else blocks[0].setting, style="bold")
    caption = Text("\n".join([*keys, *notes_of(table)]), justify="left")
    screen = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    for name in ["model", *_labels(table, declared), "cost"]:
        left = name == "model"
        screen.add_column(capital(name).replace(" ", "\n"), justify="left" if left else "right", no_wrap=not left)
    for letter, block in zip(letters, blocks, strict=True):
        if several:
            screen.add_row(Text(letter, style="bold"))
        for lines in (block.references, block.methods):
            for number, line in enumerate(lines, start=1):
                screen.add_row(*_rich_row(line), end_section=number == len(lines))
    return screen


def _rich_row(line: Line) -> list[Text]:
    name = Text(line.name)
    name.append(f"\n{line.seeds} {'seed' if line.seeds == '1' else 'seeds'}" if line.seeds else "", style="dim")
    name.append("".join(f"\n{word}" for word in (line.verdict or "").split(", ") if word))
    checks = (line.checks or "").replace(UNKNOWN, "").replace(": ", "\nchecks: ")
    name.append("".join(f"\n{words}" for words in checks.split(", ") if words), style="dim")
    spent = [f"{cost} {unit}" for cost, unit in zip(line.costs, COSTS.values(), strict=True) if cost]
    return [name, *map(_rich, line.audits), Text("\n".join(spent))]


def _rich(cell: Cell) -> Text:
    text = Text(cell.value, style="bold" if cell.best else "")
    text.append(" ≈" if cell.within else "", style="not bold")
    text.append(f"\n± {cell.sd}" if cell.sd else "", style="not bold")
    text.append(f"\n{cell.interval}" if cell.interval else "", style="not bold dim")
    return text.append(f"\n({cell.gap})" if cell.gap else "", style="not bold dim")


def header_of(table: pd.DataFrame, declared: Declared) -> list[str]:
    """The names of a wide table's columns: model, seeds, verdict and checks if any, an audit each, costs."""
    judged = ["verdict", "checks that count"] if _has_verdict(table) else []
    names = ["model", "seeds", *judged, *_labels(table, declared), *COSTS]
    return [capital(name) for name in [*names[:-1], "MB"]]


def _audits(table: pd.DataFrame) -> list[str]:
    return [str(name).removesuffix(".sd") for name in table if str(name).endswith(".sd")]


def _labels(table: pd.DataFrame, declared: Declared) -> list[str]:
    return [named(name, declared).label for name in _audits(table)]


def _has_verdict(table: pd.DataFrame) -> bool:
    return bool(table["verdict"].any())


def blocks_of(table: pd.DataFrame) -> list[Block]:
    """Every setting's rows as text. There is no line for a noise floor of which nothing is known."""
    audits, marks, judged = _audits(table), _marks(table), _has_verdict(table)
    found = []
    for setting, group in table.groupby("setting", sort=False):
        rows = group.to_dict("records")
        known = [row for row in rows if row["kind"] != "noise" or any(pd.notna(row[audit]) for audit in audits)]
        references, methods = (
            [_line(row, audits, marks, judged) for row in known if (row["kind"] == "method") == wanted]
            for wanted in (False, True)
        )
        found.append(Block(f"{setting}{_samples(rows[0])}", references, methods))
    return found


def _samples(row: dict[Any, Any]) -> str:
    """`, 36 forget test samples`; empty where that is not known."""
    if not row["samples.most"]:
        return ""
    low, high = f"{row['samples']:,.0f}", f"{row['samples.most']:,.0f}"
    return f", {low if low == high else f'{low} to {high}'} forget {row['samples.split']} samples"


def _line(row: dict[Any, Any], audits: list[str], marks: dict[str, str], judged: bool) -> Line:
    said = (row["verdict"] or (verdict.NONE if row["kind"] == "method" else "")) if judged else None
    checks = (row["checks"] or (UNKNOWN if row["kind"] == "method" else "")) if judged else None
    name = f"{row['row']}{marks.get(row['failed_gates'], '')}"
    seeds = f"{row['runs']:.0f}" if pd.notna(row["runs"]) else ""
    cells, costs = [_cell(row, audit) for audit in audits], [quantity(row[cost]) for cost in COSTS]
    return Line(name, seeds, said, checks, cells, costs)


def _cell(row: dict[Any, Any], audit: str) -> Cell:
    value, sd, gap = row[audit], row[f"{audit}.sd"], row[f"{audit}.gap"]
    if pd.isna(value):
        return Cell(UNKNOWN)
    shown_sd = fixed(sd) if pd.notna(sd) else ""
    shown_gap = signed(gap) if pd.notna(gap) else ""
    best, within = (row[f"{audit}.{mark}"] is True for mark in ("best", "within"))
    few = row["kind"] != "noise" and row[f"{audit}.samples"] < sampling.FEW
    return Cell(
        fixed(value), shown_sd, interval(value, row[f"{audit}.samples"]) if few else "", shown_gap, best, within
    )


def interval(share: float, samples: float) -> str:
    """`0.02 to 0.34`: the 95 % interval of a share of so many samples; empty where it is no such share."""
    if not samples or not 0 <= share <= 1:
        return ""
    low, high = sampling.wilson(share, samples)
    return f"{low:.2f} to {high:.2f}"


def fixed(value: float) -> str:
    """Three decimals with a proper minus, and none on what rounds to zero; a thousand and more: whole numbers."""
    return f"{round(value, 3) + 0.0:.{0 if abs(value) >= 1000 else 3}f}".replace("-", "−")


def signed(value: float) -> str:
    """`fixed` with the sign of what is above zero, too."""
    return ("+" if round(value, 3) > 0 else "") + fixed(value)


def count(value: float) -> str:
    """A whole number, with a proper minus."""
    return f"{value:,.0f}".replace("-", "−")


def quantity(value: float) -> str:
    """An amount in about three digits; empty if it is not known."""
    if pd.isna(value):
        return ""
    if value == int(value) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _marks(table: pd.DataFrame) -> dict[str, str]:
    """Footnote symbol of every distinct text about failed gates."""
    texts = [text for text in table["failed_gates"].unique() if text]
    return {text: SYMBOLS[i % len(SYMBOLS)] * (i // len(SYMBOLS) + 1) for i, text in enumerate(texts)}


def notes_of(table: pd.DataFrame) -> list[str]:
    """The caption, then the footnotes."""
    single = table.loc[table["kind"] == "noise", _audits(table)].isna().all(axis=1).any()
    gates = [f"{mark} A sanity gate failed, hence no verdict: {text}." for text, mark in _marks(table).items()]
    few = (table["samples"].gt(0) & table["samples"].lt(sampling.FEW)).any()
    words = " ".join(table["verdict"])
    samples = any(word in words for word in OF_SAMPLES)
    judged = ([JUDGEMENT] if samples else [VERDICT]) if _has_verdict(table) else []
    return [CAPTION, *judged, *([FEW] if single else []), *([SMALL] if few else []), *gates]


def capital(text: str) -> str:
    """The same with a capital first letter, and no other change."""
    return text[:1].upper() + text[1:]
