"""A summary of runs as LaTeX (booktabs), from the numbers of `tables.summary_table`."""

# ruff: noqa: RUF001 (minus signs and Greek letters are meant)

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from fedunlearn.report.formats import NOTHING, Block, Cell, blocks_of, header_of, notes_of
from fedunlearn.results.findings import Declared


def to_latex(table: pd.DataFrame, declared: Declared) -> str:
    """A `table*` environment for a two-column paper; needs `booktabs`. Gaps stand in small type below the values."""
    if table.empty:
        return f"% {NOTHING}\n"
    header = header_of(table, declared)
    caption, *notes = map(_tex, notes_of(table))
    body = [line for block in blocks_of(table) for line in _latex_block(block, len(header))]
    return "\n".join(
        [
            r"\begin{table*}",
            r"\centering\footnotesize\setlength{\tabcolsep}{3.5pt}",
            rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
            r"\toprule",
            " & ".join(map(_latex_header, header)) + r" \\",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            *([rf"\par\smallskip\parbox{{\linewidth}}{{\scriptsize {' '.join(notes)}}}"] if notes else []),
            r"\end{table*}",
            "",
        ]
    )


def _latex_header(name: str) -> str:
    """On two lines where it can be, because numbers are narrower than what they are called."""
    first, _, rest = map(_tex, name.partition(" "))
    return rf"\shortstack[r]{{{first} \\ {rest}}}" if rest else first


def _latex_block(block: Block, columns: int) -> list[str]:
    head = [r"\midrule", rf"\multicolumn{{{columns}}}{{l}}{{\emph{{{_tex(block.setting)}}}}} \\"]
    references, methods = (
        [text for line in lines for text in _latex_rows(line.cells)] for lines in (block.references, block.methods)
    )
    return [*head, *references, r"\addlinespace", *methods]


def _latex_rows(cells: Sequence[Cell]) -> list[str]:
    texts = [rf"\textbf{{{_tex(cell.text)}}}" if cell.best else _tex(cell.text) for cell in cells]
    marked = [f"{text} {_tex('≈')}" if cell.within else text for text, cell in zip(texts, cells, strict=True)]
    gaps = [rf"{{\scriptsize ({_tex(cell.gap)})}}" if cell.gap else "" for cell in cells]
    return [" & ".join(row) + r" \\" for row in (marked, gaps) if any(row)]


# Spelt as commands, because the packages that would read these signs are not in every preamble.
TEX: dict[str, str | int | None] = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": "$<$", ">": "$>$", "|": r"$\vert$", "“": "``", "”": "''", "–": "--", "−": "$-$"},
    **{"±": r"\,$\pm$\,", "≈": r"$\approx$", "α": r"$\alpha$", "γ": r"$\gamma$"},
    **{"†": r"$^{\dagger}$", "‡": r"$^{\ddagger}$", "§": r"$^{\S}$", "¶": r"$^{\P}$"},
}


def _tex(text: str) -> str:
    return text.replace(" ± ", "±").translate(str.maketrans(TEX))
