"""A summary of runs as Markdown, LaTeX (booktabs) and on the console, from the numbers of `tables.summary_table`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from fedunlearn.report import words

CAPTION = (
    "Mean ± standard deviation over seeds; in brackets the gap to the models retrained from scratch in the same run. "
    "Bold: nearest to the retrained models, which is what to aim for (not the smallest number). "
    "≈: the gap is within the noise floor (highest minus lowest retrained model), so this audit cannot tell the model "
    "from a retrained one; the column “within noise” counts these. Time and traffic are those of training, retraining "
    "and unlearning."
)
FEW = "No noise floor where only one model was retrained: retrain at least two to tell a gap from chance."
NOTHING = "There is no finished run to show."
SYMBOLS = "†‡§¶"
NUMBERS = {"rounds": "rounds", "seconds": "seconds", "megabytes": "MB"}


@dataclass(frozen=True)
class Cell:
    """A table's cell: `text`, then where they apply the sign ≈ and the gap in brackets; `best` is shown in bold."""

    text: str
    gap: str = ""
    best: bool = False
    within: bool = False


@dataclass(frozen=True)
class Block:
    """One setting: rows of cells, the first of each its name; the first `references` rows are not methods."""

    setting: str
    rows: list[list[Cell]]
    references: int


def to_markdown(table: pd.DataFrame) -> str:
    """GitHub Markdown: one table per setting, the caption and the footnotes."""
    if table.empty:
        return f"{NOTHING}\n"
    header = [_capital(name) for name in _header(table)]
    parts = []
    for block in _blocks(table):
        cells = [header, *([_markdown(cell) for cell in row] for row in block.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"
            for row in cells
        ]
        rule = (
            "|" + "|".join(f":{'-' * (w + 1)}" if i == 0 else f"{'-' * (w + 1)}:" for i, w in enumerate(widths)) + "|"
        )
        parts.append("\n".join([f"**{_markdown_text(block.setting)}**", "", lines[0], rule, *lines[1:]]))
    return "\n\n".join([*parts, *map(_markdown_text, _notes(table))]) + "\n"


def _markdown(cell: Cell) -> str:
    text = _markdown_text(cell.text)
    return _joined(cell, f"**{text}**" if cell.best else text)


def _markdown_text(text: str) -> str:
    for sign in "\\|*<":
        text = text.replace(sign, f"\\{sign}")
    return text


def to_latex(table: pd.DataFrame) -> str:
    """A `table*` environment for a two-column paper; needs `booktabs`. Gaps stand in small type below the values."""
    if table.empty:
        return f"% {NOTHING}\n"
    header = [_capital(name) for name in _header(table)]
    body: list[str] = []
    for block in _blocks(table):
        body += [r"\midrule", rf"\multicolumn{{{len(header)}}}{{l}}{{\emph{{{_tex(block.setting)}}}}} \\"]
        for number, row in enumerate(block.rows):
            body += [r"\addlinespace"] if number == block.references else []
            body += _latex_row(row)
    notes = " ".join(map(_tex, _notes(table)[1:]))
    return "\n".join(
        [
            r"\begin{table*}",
            r"\centering\footnotesize\setlength{\tabcolsep}{3.5pt}",
            rf"\caption{{{_tex(_notes(table)[0])}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
            r"\toprule",
            " & ".join(rf"\shortstack[{'r' if i else 'l'}]{{{_tex(_stacked(name))}}}" for i, name in enumerate(header))
            + r" \\",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            *([rf"\par\smallskip\parbox{{\linewidth}}{{\scriptsize {notes}}}"] if notes else []),
            r"\end{table*}",
            "",
        ]
    )


def _latex_row(row: list[Cell]) -> list[str]:
    texts = [rf"\textbf{{{_tex(cell.text)}}}" if cell.best else _tex(cell.text) for cell in row]
    marked = [f"{text} {_tex('≈')}" if cell.within else text for text, cell in zip(texts, row, strict=True)]
    lines = [" & ".join(marked) + r" \\"]
    if any(cell.gap for cell in row):
        gaps = [rf"{{\scriptsize ({_tex(cell.gap)})}}" if cell.gap else "" for cell in row]
        lines.append(" & ".join(gaps) + r" \\")
    return lines


# Spelt as commands, because the packages that would read these signs are not in every preamble.
TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\n": r"\\"}
TEX |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
TEX |= {
    "±": r"\,$\pm$\,",
    "≈": r"$\approx$",
    "−": "$-$",
    "–": "--",
    "α": r"$\alpha$",
    "γ": r"$\gamma$",
    "“": "``",
    "”": "''",
}
TEX |= {
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "§": r"$^{\S}$",
    "¶": r"$^{\P}$",
    "<": "$<$",
    ">": "$>$",
    "|": r"$\vert$",
}


def _tex(text: str) -> str:
    return text.replace(" ± ", "±").translate(str.maketrans(TEX))


def to_rich(table: pd.DataFrame) -> Table:
    """For the console; where there are several settings, each stands under a letter that the caption explains."""
    if table.empty:
        return Table(title=NOTHING)
    blocks = _blocks(table)
    letters = [chr(ord("A") + i) if i < 26 else str(i + 1) for i in range(len(blocks))]
    several = len(blocks) > 1
    keys = [f"{letter}: {block.setting}" for letter, block in zip(letters, blocks, strict=True)] if several else []
    title = Text(blocks[0].setting if not several else "", style="bold")
    caption = Text("\n".join([*keys, *_notes(table)]), justify="left")
    screen = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for number, name in enumerate(_header(table)):
        screen.add_column(_capital(name), justify="right" if number else "left", vertical="top")
    for letter, block in zip(letters, blocks, strict=True):
        if several:
            screen.add_row(Text(letter, style="bold"))
        for number, row in enumerate(block.rows, start=1):
            screen.add_row(*map(_rich, row), end_section=number in (block.references, len(block.rows)))
    return screen


def _rich(cell: Cell) -> Text:
    text = Text(cell.text, style="bold" if cell.best else "")
    text.append(" ≈" if cell.within else "", style="not bold")
    return text.append(f"\n({cell.gap})", style="not bold dim") if cell.gap else text


def _header(table: pd.DataFrame) -> list[str]:
    return ["model", "seeds", *map(words.label, _audits(table)), "within noise", *NUMBERS.values()]


def _audits(table: pd.DataFrame) -> list[str]:
    return [str(name).removesuffix(".sd") for name in table if str(name).endswith(".sd")]


def _blocks(table: pd.DataFrame) -> list[Block]:
    """Every setting's rows as text; rows that share a footnote share its symbol."""
    audits, marks = _audits(table), _marks(table)
    found = []
    for setting, group in table.groupby("setting", sort=False):
        rows = group.to_dict("records")
        shown = [row for row in rows if row["kind"] != "noise" or any(pd.notna(row[audit]) for audit in audits)]
        references = sum(row["kind"] != "method" for row in shown)
        found.append(Block(str(setting), [_cells(row, audits, marks) for row in shown], references))
    return found


def _cells(row: dict[Any, Any], audits: list[str], marks: dict[str, str]) -> list[Cell]:
    within = [row[f"{audit}.within"] for audit in audits if pd.notna(row[f"{audit}.within"])]
    counted = f"{sum(map(bool, within))} of {len(within)}" if within else ("–" if row["kind"] == "method" else "")
    costs = [Cell(_quantity(row[name])) for name in NUMBERS]
    name = f"{row['row']}{marks.get(row['failed_gates'], '')}"
    seeds = Cell(f"{row['runs']:.0f}" if pd.notna(row["runs"]) else "")
    return [Cell(name), seeds, *(_measured(row, audit) for audit in audits), Cell(counted), *costs]


def _measured(row: dict[Any, Any], audit: str) -> Cell:
    value, sd, gap = row[audit], row[f"{audit}.sd"], row[f"{audit}.gap"]
    if pd.isna(value):
        return Cell("–")
    text = _fixed(value) + (f" ± {_fixed(sd)}" if pd.notna(sd) else "")
    signed = ("+" if round(gap, 3) > 0 else "") + _fixed(gap) if pd.notna(gap) else ""
    return Cell(text, signed, row[f"{audit}.best"] is True, row[f"{audit}.within"] is True)


def _fixed(value: float) -> str:
    """Three decimals with a proper minus, and none on what rounds to zero."""
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "−")


def _quantity(value: float) -> str:
    if pd.isna(value):
        return ""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _joined(cell: Cell, text: str) -> str:
    return text + (" ≈" if cell.within else "") + (f" ({cell.gap})" if cell.gap else "")


def _marks(table: pd.DataFrame) -> dict[str, str]:
    """Footnote symbol of every distinct text about failed gates."""
    texts = [text for text in table["failed_gates"].unique() if text]
    return {text: SYMBOLS[i % len(SYMBOLS)] * (i // len(SYMBOLS) + 1) for i, text in enumerate(texts)}


def _notes(table: pd.DataFrame) -> list[str]:
    """The caption, then the footnotes."""
    single = table.loc[table["kind"] == "noise", _audits(table)].isna().all(axis=1).any()
    gates = [
        f"{mark} No verdict, because a sanity gate was not passed: {text}." for text, mark in _marks(table).items()
    ]
    return [CAPTION, *([FEW] if single else []), *gates]


def _stacked(name: str) -> str:
    return name.replace(" ", "\n", 1)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
