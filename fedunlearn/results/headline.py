"""One plain sentence on what came of a run, or of the runs of a sweep in one setting, for readers in a hurry.

It is made of the verdict (or, where clients or samples were forgotten, of the judgement), the gates and the cost, and
claims no more than these: `as thoroughly as retraining` is said where the word is erased, and nowhere else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedunlearn.results import gates
from fedunlearn.results.summary import Summary
from fedunlearn.results.verdict import BLIND, Verdict

SAID: Mapping[str, str] = {  # by the verdict's or the judgement's word, in the order of telling; {it}: what was asked
    "erased": "forgot {it} as thoroughly as retraining",
    "as retrained": "treats {it} as retraining does, as far as accuracy and membership tell",
    "over-erased": "overshot: less of {it} is left than after retraining",
    "less left": "overshot: less trace of {it} is left than after retraining",
    "suppressed": "only hid {it}",
    "more left": "still remembers more of {it} than a retrained model",
    "not erased": "did not forget {it}",
}
OF_SAMPLES = ("as retrained", "less left", "more left")  # a judgement's; the other words are a verdict's
NO_WORD, FAILED, MISSING = "no verdict", "failed", "missing"
PRICED = ("erased", "as retrained", "over-erased", "less left")  # where its price is worth knowing
DAMAGE = 0.02  # of retain accuracy: a loss that is said of any method
LONGEST = 40  # letters of a name or a reason's first part
NAMED = 3  # so many methods are named, of more only their number
NOTHING = "what was asked for"  # of a run that did not get far enough to say
JOINERS = "\u200d\u200c"  # part of emoji and of some scripts; all else that does not print is left out


@dataclass(frozen=True)
class Told:
    """What became of a method: how many of its runs came to which word, and the price of each."""

    title: str
    words: Counter[str]
    why: str
    summaries: tuple[Summary, ...]

    @property
    def word(self) -> str:
        """The word of all runs; empty where they differ."""
        return next(iter(self.words)) if len(self.words) == 1 else ""


def of_run(summary: Summary) -> str:
    """The sentence on one run, however it ended."""
    it, told = forgotten(summary), _told(title(summary), [summary])
    first = _sentence(f"{_clause(told, it)}{_evidence(summary, told.word, it)}{_price([told])}")
    mended = _repaired(summary, told) if summary.repaired else ""
    shipped = _deployed(summary.after_repair(), told, "repaired, at") if summary.repaired else ""
    return " ".join(filter(None, [first, mended, _deployed(summary, told), shipped]))


def _repaired(summary: Summary, whole: Told) -> str:
    """A sentence on the models after the repair."""
    told, chosen = _told(title(summary), [summary.after_repair()]), summary.config.get("repair")
    name = str(chosen.get("name", "")).replace("_", " ") if isinstance(chosen, Mapping) else ""
    by = f" by {cut(name)}" if name else ""
    return _sentence(f"repaired{by}, {_at_format(told.word, told.why, whole, pronoun(summary))}")


def _deployed(summary: Summary, whole: Told, at: str = "at") -> str:
    """A sentence on the models in other formats, those that came to the same together; empty if there are none."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name in summary.deployed:
        told, lost = _told(title(summary), [summary.at(name)]), _lost(summary, name)
        groups.setdefault((told.word, lost or told.why), []).append(name)
    it = pronoun(summary)
    clauses = [f"{at} {_listed(names)} {_at_format(word, why, whole, it)}" for (word, why), names in groups.items()]
    return _sentence("; ".join(clauses)) if clauses else ""


def _lost(summary: Summary, name: str) -> str:
    """Of the gates that float32 models pass, the first that those of a format do not."""
    passed = summary.deployed[name].gates
    lost = [gates.AFTER_ROUNDING[gate] for gate, ok in summary.gates.items() if ok and not passed.get(gate, True)]
    return lost[0] if lost else ""


def _at_format(word: str, why: str, whole: Told, it: str) -> str:
    if word == NO_WORD:
        return "there is no verdict either" if whole.word == NO_WORD else f"there is no verdict: {why}"
    same = word == whole.word
    return "the verdict is the same" if same else f"{whole.title} {SAID[word].format(it=it)}"


def of_runs(runs: Sequence[tuple[str, Summary]]) -> str:
    """The sentence on the runs of one setting, each with the title of its method; empty if there is none.

    Runs of the same title are seeds of one method. Methods that came to the same are told together.
    """
    methods: dict[str, list[Summary]] = {}
    for name, summary in runs:
        methods.setdefault(name, []).append(summary)
    told = [_told(name, summaries) for name, summaries in methods.items()]
    if len(told) == 1 and len(told[0].summaries) == 1:
        return of_run(told[0].summaries[0]) if told[0].title == title(told[0].summaries[0]) else _all(told)
    return _all(told) if told else ""


def _all(told: Sequence[Told]) -> str:
    first = next((each.summaries[0] for each in told if each.word not in (FAILED, MISSING)), told[0].summaries[0])
    it = forgotten(first)
    clauses: list[str] = []
    for group in _grouped(told):
        clauses.append(_together(group, it) + _price(group))
        if it in clauses[-1]:
            it = pronoun(first)
    return _sentence("; ".join(clauses))


def _grouped(told: Sequence[Told]) -> list[list[Told]]:
    """Methods that came to the same, in the order of `SAID`; those whose runs differ each by itself, then the rest."""
    groups: dict[tuple[str, str], list[Told]] = {}
    for each in told:
        apart = each.title if not each.word else each.why
        groups.setdefault((each.word, apart), []).append(each)
    order = [*SAID, "", NO_WORD, FAILED, MISSING]
    return sorted(groups.values(), key=lambda group: order.index(group[0].word))


def _together(group: Sequence[Told], it: str) -> str:
    if len(group) == 1:
        return _clause(group[0], it)
    told, names = group[0], [_priced(each) if _each_priced(group) else each.title for each in group]
    return _clause(Told(_names(names), told.words, told.why, told.summaries), it, len(group))


def _clause(told: Told, it: str, methods: int = 1) -> str:
    """What is said of a method, or of several that came to the same."""
    if told.word in SAID:
        said = SAID[told.word].format(it=it)
        return f"{told.title} {_plural(said) if methods > 1 else said}"
    if told.word == NO_WORD:
        return f"{_undecided(told, it)}: {told.why}"
    if told.word == FAILED:
        return f"{told.title} failed" + (f": {told.why}" if methods == 1 else "")
    if told.word == MISSING:
        return f"{told.title} {'have' if methods > 1 else 'has'} not ended"
    return _divided(told, it)


def _plural(said: str) -> str:
    return said.replace("treats ", "treat ").replace("still remembers ", "still remember ")


def _undecided(told: Told, it: str) -> str:
    gone = all(_blind(each) and not _judges_samples(each) for each in told.summaries)
    same = f"{told.title} recognises {it} no better than retraining does"
    hides = f"{same}, but whether it was erased or only hidden cannot be told"
    kind = "judgement" if all(map(_judges_samples, told.summaries)) else "verdict"
    return hides if gone and " and " not in told.title else f"no {kind} on {told.title}"


def _divided(told: Told, it: str) -> str:
    """Seeds that disagree: each word with the number of runs that came to it."""
    total, parts, said = told.words.total(), [], it
    for word in [*SAID, NO_WORD, FAILED, MISSING]:
        if number := told.words[word]:
            shown = {NO_WORD: "came to no verdict", MISSING: "has not ended"}.get(word, word)
            parts.append(f"{SAID.get(word, shown).format(it=said)} in {number} of {total} runs")
    return f"{told.title} {_listed(parts)}"


def _told(name: str, summaries: Sequence[Summary]) -> Told:
    words = Counter(_word(summary) for summary in summaries)
    whys = [_why(summary) for summary in summaries if _word(summary) in (NO_WORD, FAILED)]
    return Told(name, words, whys[0] if whys else "", tuple(summaries))


def _word(summary: Summary) -> str:
    if summary.status != "done":
        return FAILED if summary.status == "failed" else MISSING
    found, passed = _found(summary), all(summary.gates.values())
    known = OF_SAMPLES if _judges_samples(summary) else [word for word in SAID if word not in OF_SAMPLES]
    return found.word if passed and found and found.word and found.word in known else NO_WORD


def _judges_samples(summary: Summary) -> bool:
    return bool(summary.status == "done" and not summary.forget_classes)


def _found(summary: Summary) -> Verdict | None:
    return summary.judgement if _judges_samples(summary) else summary.verdict


def _blind(summary: Summary) -> bool:
    """Is the accuracy gone, and nothing else known?"""
    found = summary.verdict
    return bool(found and found.word is None and found.reasons[:1] == (BLIND,) and all(summary.gates.values()))


def _why(summary: Summary) -> str:
    """Why a run failed, or has no verdict."""
    if summary.status == "failed":
        return cut(summary.reason.partition("\n")[0], 3 * LONGEST) or "no reason given"
    failed = [gates.sentence(name) for name, passed in summary.gates.items() if not passed]
    if failed:
        return failed[0]
    found = _found(summary)
    if found is None:
        return "verdicts are for classes" if _judges_samples(summary) else "there is none in its summary"
    if found.retrained < 2:
        return "with a single retrained model, chance cannot be told from an effect"
    if not found.margins:
        return "the audits that it takes are switched off, or not defined here"
    if found.retrained < 8:
        few = f"with {found.retrained} retrained models, not even the original model can be told from these"
        return f"{few} (eight may settle it: retrain.seeds=8)"
    return "not even the original model is clearly apart from the retrained ones"


def _evidence(summary: Summary, word: str, it: str) -> str:
    """How many of the findings that count say so."""
    found = _found(summary)
    if not found or not found.counts or word not in SAID:
        return ""
    total, above, below = len(found.counts), len(found.above), len(found.below)
    checks = f"{total} {'check' if total == 1 else 'checks'} that {'counts' if total == 1 else 'count'}"
    if word == "erased":
        return f" by {'the one check that counts' if total == 1 else f'all {checks}'}"
    if word == "suppressed":
        return f": {above} of {checks} {'finds' if above == 1 else 'find'} more left than after retraining"
    if word == "over-erased":
        return f" according to {below} of {checks}"
    if word == "not erased" and (share := summary.models.get("unlearned", {}).get("forget_accuracy")) is not None:
        return f": it still calls {100 * share:.0f} % of its test samples right"
    return ""


def _price(told: Sequence[Told]) -> str:
    """`, in 19 % of the time and with 0.4 points less accuracy on the rest`: what it took, next to retraining.

    Of several methods or runs, from the lowest to the highest; of a few methods `_together` says it beside each name.
    Of one that did not forget, only damage is said.
    """
    runs = [summary for each in told for summary in each.summaries]
    losses = _retain_gaps(runs)
    if told[0].word in PRICED:
        shares = [] if _each_priced(told) else _shares(runs)
        lost = [] if _each_priced(told) else losses
        parts = [*([f"in {_range(shares)} of the time"] if shares else []), *([_accuracy(lost)] if lost else [])]
        return f", {' and '.join(parts)}" if parts else ""
    if losses and max(losses) <= -DAMAGE and all(run.status == "done" for run in runs):
        return f"; {'it' if len(told) == 1 else 'they'} lost {_points(losses)} points of accuracy on the rest"
    return ""


def _each_priced(told: Sequence[Told]) -> bool:
    return told[0].word in PRICED and 1 < len(told) <= NAMED


def _priced(told: Told) -> str:
    """`FUCRT (19 % of the time, −0.4 points of accuracy)`."""
    shares, gaps = _shares(told.summaries), _retain_gaps(told.summaries)
    parts = [*([f"{_range(shares)} of the time"] if shares else []), *([_change(gaps)] if gaps else [])]
    return f"{told.title} ({', '.join(parts)})" if parts else told.title


def _change(gaps: Sequence[float]) -> str:
    """`−0.4 points of accuracy`, `−0.4 to +1.0 points of accuracy`."""
    low, high = (f"{100 * gap:+.1f}".replace("-", "\N{MINUS SIGN}") for gap in (min(gaps), max(gaps)))
    return f"{low if low == high else f'{low} to {high}'} points of accuracy"


def _shares(runs: Sequence[Summary]) -> list[float]:
    return [share for run in runs if (share := _share(run)) is not None]


def _retain_gaps(runs: Sequence[Summary]) -> list[float]:
    return [gap for run in runs if (gap := run.gap.get("retain_accuracy")) is not None]


def _share(summary: Summary) -> float | None:
    """The time of unlearning over that of one retraining."""
    ours, theirs = (summary.cost.get(stage, {}).get("seconds") for stage in ("unlearn", "retrain"))
    return None if ours is None or not theirs else ours / theirs


def _range(shares: Sequence[float]) -> str:
    """`19 %`, `12 to 45 %`."""
    low, high = (f"{100 * share:.0f}" for share in (min(shares), max(shares)))
    if high == "0":
        return "less than 1 %"
    return f"{high} %" if low == high else f"{low} to {high} %"


def _accuracy(gaps: Sequence[float]) -> str:
    if max(abs(gap) for gap in gaps) < 0.0005:
        return "with the same accuracy on the rest"
    if max(gaps) <= 0 or min(gaps) >= 0:
        return f"with {_points(gaps)} points {'less' if max(gaps) <= 0 else 'more'} accuracy on the rest"
    return f"with {100 * -min(gaps):.1f} points less to {100 * max(gaps):.1f} more accuracy on the rest"


def _points(gaps: Sequence[float]) -> str:
    low, high = sorted((f"{100 * abs(gap):.1f}" for gap in (min(gaps), max(gaps))), key=float)
    return low if low == high else f"{low} to {high}"


def title(summary: Summary) -> str:
    """What the run's method is called; where its summary does not say, by its name in conf/."""
    chosen = summary.config.get("method")
    name = str(chosen.get("name", "")) if isinstance(chosen, Mapping) else ""
    return cut(summary.title or name.replace("_", " ")) or "the method"


def forgotten(summary: Summary) -> str:
    """What was to be forgotten: `“Ankle boot”`, `class 3`, `client 4`, `20 samples of clients 0 and 1`."""
    given = summary.config.get("request")
    asked: Mapping[str, object] = given if isinstance(given, Mapping) else {}
    classes, clients, samples = (asked.get(part) or () for part in ("classes", "clients", "samples"))
    if summary.forget_classes or classes:
        return _classes(summary, classes)
    if isinstance(clients, Sequence) and clients:
        return _several("client", [str(client) for client in clients])
    if isinstance(samples, Mapping) and samples:
        number = sum(value for value in samples.values() if isinstance(value, int))
        return f"{number:,} samples of {_several('client', [str(client) for client in samples])}"
    return NOTHING


def pronoun(summary: Summary) -> str:
    """`it`, or `them` where several things were to be forgotten."""
    said = forgotten(summary)
    return "them" if said.startswith("clients") or " samples of" in said or _many(summary) else "it"


def _many(summary: Summary) -> bool:
    return len(summary.forget_classes) > 1


def _classes(summary: Summary, asked: object) -> str:
    chosen: Sequence[object] = summary.forget_classes or (asked if isinstance(asked, (list, tuple)) else ())
    names = [_class_name(each, summary.class_names) for each in chosen]
    if not names:
        return NOTHING
    if len(names) > NAMED:
        return f"{len(names)} classes"
    plain = all(name.isdecimal() for name in names)
    return _several("class", names) if plain else _listed([f"“{name}”" for name in names])


def _class_name(number: object, names: Sequence[str]) -> str:
    known = isinstance(number, int) and 0 <= number < len(names)
    return cut(names[number] if known and isinstance(number, int) else str(number)) or str(number)


def cut(text: str, longest: int = LONGEST) -> str:
    """The text on one line, of what prints alone, and no longer than that."""
    shown = "".join(sign if sign.isprintable() or sign in JOINERS else " " for sign in text)
    words = " ".join(shown.split())
    return words if len(words) <= longest else f"{words[: longest - 1]}…"


def _several(one: str, names: Sequence[str]) -> str:
    many = f"{one}es" if one.endswith("s") else f"{one}s"
    if len(names) > NAMED:
        return f"{len(names)} {many}"
    return f"{one if len(names) == 1 else many} {_listed(names)}"


def _names(names: Sequence[str]) -> str:
    """`a, b and c`; of more, how many others there are."""
    shown = list(names) if len(names) <= NAMED + 1 else [*names[:NAMED], f"{len(names) - NAMED} other methods"]
    return _listed(shown)


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
