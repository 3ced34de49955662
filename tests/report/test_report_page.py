"""report.html: whole by itself, well-formed, honest about what failed, and working in a real browser."""

# ruff: noqa: RUF001 (minus signs are meant)

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fedunlearn.files import write_text
from fedunlearn.report import figures, page, runs, sweep
from fedunlearn.report.page_curves import course
from fedunlearn.report.page_map import feature_map

VOID = {"meta", "input", "img", "source", "br", "path", "use", "rect", "line", "circle", "polyline", "image", "stop"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")


class Page(HTMLParser):
    """Checks nesting while it reads; keeps ids, links, the text, and the rows of every table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"]] if given.get("id") else []
        self.links += [given["href"]] if tag == "a" and given.get("href") else []
        self.loaded += [str(given[name]) for name in ("src", "srcset", "data", "poster") if given.get(name)]
        self.loaded += [given["href"]] if tag == "link" and given.get("href") else []
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data
        if not {"script", "style"} & set(self.open):
            self.words.append(data)


SKETCH = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><rect width="20" height="20"/></svg>'


@pytest.fixture(scope="module", autouse=True)
def sketched() -> Iterator[None]:
    """Three figures of a run, two of a sweep, as squares: real ones take seconds, and have tests of their own."""
    known = ("erasure_utility", "class_flow", "partition", "distance_cost")

    def drawn(chosen: Mapping[str, Any], folder: Path, titled: bool, *given: Any) -> list[Path]:
        places = [place for name in chosen if name in known for place in (folder / name, folder / "narrow" / name)]
        (folder / "narrow").mkdir(parents=True, exist_ok=True)
        return [write_text(place.with_suffix(".svg"), SKETCH) for place in places]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "_drawn", drawn)
        yield


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, make_run: Any, make_failed: Any) -> Path:
    """Two methods, two seeds, one run that failed and one that never began, and their report. Not to be changed."""
    root = tmp_path_factory.mktemp("mixed")
    for number, (method, seed) in enumerate([("fucrt", 0), ("fucrt", 1), ("head_mask", 0), ("head_mask", 1)]):
        values = {"forget_accuracy": 0.0, "retain_accuracy": 0.7 - 0.1 * number, "leak": 1.0, "flow_tv": 0.2}
        make_run(root / f"{number}_{method}_s{seed}", method=method, seed=seed, unlearned=values)
    make_failed(root / "4_fucrt_s2")
    jobs = [{"dir": path.name, "overrides": ["a=1"]} for path in sorted(root.iterdir())]
    jobs.append({"dir": "5_fucrt_s3", "overrides": ["a=1", "seed=3"]})
    (root / "sweep.json").write_text(json.dumps({"command": "fedunlearn -m a=1", "jobs": jobs}))
    built(root)
    return root


def built(folder: Path) -> Page:
    sweep.draw_runs(folder)
    sweep.build(folder)
    return Page((folder / "report.html").read_text())


def test_a_sweeps_page_is_whole_by_itself(mixed: Path) -> None:
    text = (mixed / "report.html").read_text()
    read = Page(text)
    assert all(address.startswith("data:image/svg+xml;base64,") for address in read.loaded), "everything is inside"
    assert len(read.loaded) == 4, "two figures, each also for phones"
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|https?://(?!www\.w3\.org)", text)
    assert "default-src 'none'" in html.unescape(text), "the browser is told to load nothing"
    assert "unsafe" not in text
    assert len(read.ids) == len(set(read.ids))
    for link in read.links:
        assert link[1:] in read.ids if link.startswith("#") else (mixed / link).is_file()
    assert sum(link.startswith("#run-") for link in read.links) == 6
    assert sum(link.endswith("/report.html") for link in read.links) == 4


def test_a_sweeps_page_says_what_was_measured(mixed: Path) -> None:
    read = Page((mixed / "report.html").read_text())
    methods, everything, first = read.tables[0], read.tables[1], read.tables[2]
    assert [row[0] for row in methods[1:]] == ["original", "retrained", "noise floor", "fucrt", "head_mask"]
    assert everything[0][:5] == ["Run", "Seed", "Forget accuracy", "Retain accuracy", "Flow TV"]
    assert [row[0] for row in everything[1:]] == ["fucrt", "fucrt", "head_mask", "head_mask", "fucrt", "5_fucrt_s3"]
    assert everything[2][3] == "0.600(−0.190)"
    assert [row[-1] for row in everything[1:]] == [*["done"] * 4, "failed", "missing"]
    assert first[0][:4] == ["Audit", "Original", "Retrained", "Lowest to highest"]
    assert first[0][4:] == ["Unlearned", "Gap", "Noise floor", "What it says"]
    by_audit = {row[0]: row[1:] for row in first[1:]}
    assert by_audit["retain accuracy"][:-1] == ["0.800", "0.790", "0.780 to 0.800", "0.700", "−0.090", "0.020"]
    assert by_audit["flow TV"][:-1] == ["0.900", "0.100", "0.100 to 0.100", "0.200", "+0.100", "0.000"]
    assert by_audit["AUSUC leak"][-1] == "how much of what the logits knew is left: 0 as retrained, 1 as the original"
    text = " ".join("".join(read.words).split())
    assert "6 runs: 4 done, 1 failed, 1 missing fedunlearn -m a=1" in text
    assert "the loss is not finite in round 3" in text and "not started (seed=3)" in text
    assert "fedunlearn method=fucrt seed=1" in text


def test_class_flow_transformations_and_gates(tmp_path: Path, make_run: Any) -> None:
    gates = {"original_learnt_task": False, "original_learnt_forget": True, "retrained_at_chance": True}
    notes = {"transformation_classes": {"2": [0, 3]}, "voters": [7]}
    folder = make_run(tmp_path / "run", gates=gates)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "method": notes}))
    read = Page(page.write_run(runs.read(folder)).read_text())
    flow = next(table for table in read.tables if table[0][0] == "Taken for")
    assert flow[0] == ["Taken for", "original", "retrained", "unlearned"], "few columns, for a phone"
    named, *_, unlearned = zip(*flow[1:], strict=True)
    assert named == ("dress", "top", "coat", "trouser"), "forgotten first, then what gets most"
    assert unlearned == ("2", "50", "48", "")
    text = " ".join("".join(read.words).split())
    assert "dress → top, coat" in text
    assert "Sanity gate not passed: the original model did not learn the task." in text
    assert '"voters": [7]' in text and "transformation_classes" not in text
    audits = next(table for table in read.tables if table[0][0] == "Audit")
    assert not any("≈" in cell for row in audits for cell in row), "no verdict where a gate failed"


def test_what_counts_comes_first_and_counts_are_whole(tmp_path: Path, make_run: Any) -> None:
    own = {"pairs": 190.0, "misses": 2.0, "spread": 0.5}
    retrained = [{"retain_accuracy": 0.8, **own, "misses": few} for few in (0.0, 5.0)]
    given = {"retain_accuracy": 0.7, **own}
    folder = make_run(tmp_path / "run", original=given, retrained=retrained, unlearned={**given, "pairs": 2000.0})
    read = Page(page.write_run(runs.read(folder)).read_text())
    first, more = (table for table in read.tables if table[0][0] == "Audit")
    assert [row[0] for row in first[1:]] == ["retain accuracy"]
    by_audit = {row[0]: row[1:-1] for row in more[1:]}
    assert by_audit["pairs"] == ["190", "190", "190 to 190", "2,000", "+1,810", "0"]
    assert by_audit["misses"] == ["2.000", "2.500", "0.000 to 5.000", "2.000", "−0.500 ≈", "5.000"]
    assert by_audit["spread"][0] == "0.500" and "3 more findings" in text_of(read)


def verdict(word: str | None, *reasons: str, **margins: float | None) -> dict[str, Any]:
    return {"word": word, "reasons": list(reasons), "margins": margins, "retrained": 2}


def text_of(read: Page) -> str:
    return " ".join("".join(read.words).split())


def test_a_runs_verdict_its_reasons_and_margins(tmp_path: Path, make_run: Any) -> None:
    given = verdict("suppressed", "leak 0.3 is <above>", "2 retrained", leak=0.5, probe_forget_accuracy=-1.25)
    text = text_of(Page(page.write_run(runs.read(make_run(tmp_path, verdict=given))).read_text()))
    assert "Why suppressed leak 0.3 is <above> 2 retrained Margins, in half widths of the band: " in text
    assert "AUSUC leak +0.500, probe forget accuracy −1.250. Above 0: more is left" in text
    assert "No verdict" not in text


def test_why_there_is_no_verdict_is_said_once(tmp_path: Path, make_run: Any) -> None:
    lonely = make_run(tmp_path / "a", verdict=verdict(None, "one retrained model"))
    failed = make_run(tmp_path / "b", verdict=verdict(None, "the gate g failed"), gates={"original_learnt_task": False})
    old = make_run(tmp_path / "c")
    said = [text_of(Page(page.write_run(runs.read(folder)).read_text())) for folder in (lonely, failed, old)]
    assert "Why there is no verdict one retrained model" in said[0]
    assert "No verdict on fucrt: the original model did not learn the task" in said[1]
    assert "Why there is no verdict" not in said[1]
    assert "No verdict on fucrt: there is none in its summary" in said[2], "what was run before there were verdicts"


def test_a_distance_below_the_retrained_models_is_within_the_noise(tmp_path: Path, make_run: Any) -> None:
    values = {"flow_tv": 0.02, "leak": -0.9}
    read = Page(page.write_run(runs.read(make_run(tmp_path, unlearned=values))).read_text())
    rows = {row[0]: row for row in next(table for table in read.tables if table[0][0] == "Audit")}
    assert "−0.080 ≈" in rows["flow TV"]
    assert "−0.900" in rows["AUSUC leak"]


def test_a_sweeps_page_has_verdicts_of_methods_and_runs(tmp_path: Path, make_run: Any) -> None:
    make_run(tmp_path / "0", verdict=verdict("erased"))
    make_run(tmp_path / "1", seed=1, verdict=verdict("suppressed"))
    make_run(tmp_path / "2", seed=2, verdict=verdict(None))
    read = built(tmp_path)
    methods, everything = read.tables[0], read.tables[1]
    assert methods[0][2] == everything[0][2] == "Verdict"
    assert [row[2] for row in methods[1:]] == ["", "", "", "1 erased, 1 suppressed, 1 no verdict"]
    assert [row[2] for row in everything[1:]] == ["erased", "suppressed", "no verdict"]
    assert {len(row) for row in methods} == {len(methods[0])}
    assert text_of(read).startswith(
        f"{tmp_path.name}: fedunlearn report Fucrt forgot “dress” as thoroughly as retraining in 1 of 3 runs, only hid "
        "“dress” in 1 of 3 runs and came to no verdict in 1 of 3 runs"
    )


def test_a_runs_own_page_has_its_figures(mixed: Path) -> None:
    text = (mixed / "0_fucrt_s0" / "report.html").read_text()
    read = Page(text)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert captions == ["Erasure against utility", "Where the forgotten samples go", "Who holds what"]
    assert "<svg" not in text
    drawn = [base64.b64decode(address.partition(",")[2]) for address in read.loaded]
    names = ("erasure_utility", "class_flow", "partition")
    folder = mixed / "0_fucrt_s0" / "figures"
    paths = [path for name in names for path in (folder / "narrow" / f"{name}.svg", folder / f"{name}.svg")]
    assert drawn == [path.read_bytes() for path in paths], "for phones, and for the rest"


def test_names_are_text_and_never_markup(tmp_path: Path, make_run: Any, make_failed: Any) -> None:
    evil = "<script>alert(1)</script>"
    make_run(tmp_path / "a", method=evil, class_names=[evil, "b", "c", "d"], command=f"fedunlearn method='{evil}'")
    make_failed(tmp_path / "b", reason=f"no {evil}")
    built(tmp_path)
    for path in (tmp_path / "report.html", tmp_path / "a" / "report.html"):
        text = path.read_text()
        assert evil not in re.sub(r"<title>.*?</title>", "", text)
        assert "&lt;script&gt;alert(1)" in text
        assert text.count("<script") == 1
        assert Page(text)


EVIL = """<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20" onload="run('onload')"><title>drawn</title>
<script>run("script")</script><image href="x:" onerror="run('onerror')"/><rect width="20" height="20"/></svg>"""


def planted(root: Path, make_run: Any) -> Path:
    """Somebody else's sweep, with scripts wherever one could be put; all that runs would change the page's title."""
    run = EVIL.replace("run(", "parent.document.title='STOLEN'+(")
    evil = "\"><script>document.title='STOLEN'</script><img src=x onerror=\"document.title='STOLEN'\">"
    name = "javascript:document.title='STOLEN'"
    folder = make_run(root / name, method=evil, class_names=[evil, "b", "c", "d"], command=evil, warnings=[evil])
    content = json.loads((folder / "summary.json").read_text())
    content["findings"]["leak"] |= {"label": evil, "meaning": evil}
    content["gates"] = {evil: False}
    content["verdict"] = {"word": evil, "reasons": [evil], "margins": {evil: 1.0}}
    content["method"] = {"transformation_classes": {"2": [0, evil]}, evil: evil}
    (folder / "summary.json").write_text(json.dumps(content))
    figures = folder / "figures"
    figures.mkdir()
    for stem in ("class_flow", "x\" onerror=document.title='STOLEN' y=\""):
        (figures / f"{stem}.svg").write_text(run)
    (figures / "secret.svg").symlink_to(root / "secret")
    (root / "secret").write_text("a file that is nobody's business")
    (root / "erasure_utility.svg").write_text(run)
    make_run(root / "good", seed=1)
    (root / "sweep.json").write_text(json.dumps({"command": evil, "jobs": []}))
    page.write_run(runs.read(folder))
    sweep.build(root)
    (root / "erasure_utility.svg").write_text(run)
    found = runs.find(root)
    rows, declared_ = sweep.tables.frame_of(found), runs.declared(found)
    page.write_sweep(root, found, rows, sweep.tables.summary_table(rows, declared_), declared_)
    return root


def test_what_lies_in_somebody_elses_folder_is_text_or_an_image(tmp_path: Path, make_run: Any) -> None:
    root = planted(tmp_path, make_run)
    for path in root.rglob("report.html"):
        text = path.read_text()
        read = Page(text)
        assert re.findall(r"<script[^>]*>", text) == ["<script>"] and "<svg xmlns" not in text
        assert not re.search(r"<[^>]*\son\w+=(?![^<]*&)", re.sub(r'"[^"]*"', '""', text)), "no handler in any tag"
        assert [address.partition(",")[0] for address in read.loaded] == ["data:image/svg+xml;base64"] * len(
            read.loaded
        )
        assert read.loaded and base64.b64encode(b"nobody's business")[4:12].decode() not in text
        assert all(link.startswith(("#", "./")) for link in read.links)
        script, style = (re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1] for tag in ("script", "style"))  # type: ignore[index]
        policy = html.unescape(re.search('Policy" content="([^"]*)"', text)[1])  # type: ignore[index]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        hashed = {
            tag: base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
            for tag, own in (("script", script), ("style", style))
        }
        assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
        assert (
            rules["script-src"] == f"'sha256-{hashed['script']}'"
            and rules["style-src"] == f"'sha256-{hashed['style']}'"
        )


@needs_chromium
def test_nothing_in_somebody_elses_folder_runs_in_a_browser(tmp_path: Path, make_run: Any) -> None:
    root = planted(tmp_path / "root", make_run)
    for number, path in enumerate(sorted(root.rglob("report.html"))):
        shown, console = in_chromium(path, tmp_path / f"profile{number}", "--dump-dom", "--virtual-time-budget=3000")
        assert "<main>" in shown and "<title>STOLEN" not in shown
        assert console == [], "nor was anything tried"


def test_a_run_that_cannot_be_shown_stops_no_other(tmp_path: Path, make_run: Any) -> None:
    make_run(tmp_path / "a", details={"original": {"class_flow": [1.0, 0.0]}, "unlearned": {"class_flow": [1.0]}})
    make_run(tmp_path / "b", seed=1)
    sweep.build(tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "its files do not fit together" in text and "fucrt, seed 1" in text


def test_the_same_runs_give_the_same_page(mixed: Path) -> None:
    first = (mixed / "report.html").read_bytes()
    built(mixed)
    assert (mixed / "report.html").read_bytes() == first


def test_a_single_runs_folder_gets_the_page_of_the_run(tmp_path: Path, make_run: Any) -> None:
    make_run(tmp_path / "run")
    built(tmp_path / "run")
    read = Page((tmp_path / "run" / "report.html").read_text())
    assert "fucrt, seed 0" in "".join(read.words) and not any(link.startswith("#run") for link in read.links)


def test_courses_are_drawn_to_scale() -> None:
    drawn = str(course({0: 1.0, 1: 0.5, 2: 0.0}, 0.9, [0.0, 0.5], "said <so>"))
    assert 'points="5.0,5.0 150.0,45.0 295.0,85.0"' in drawn
    assert '<rect class="retrained" x="5" y="45.0" width="290" height="40.0"/>' in drawn
    assert 'class="original" x1="5" x2="295" y1="13.0"' in drawn
    assert 'aria-label="said &lt;so&gt;"' in drawn
    assert 'cy="85.0"' in str(course({0: -3.0}, None, [], "")), "what is outside stands at the edge"


def test_maps_are_drawn_to_scale() -> None:
    """Three dots and a cross on a square of 276 units: places by hand, y upwards, steps from where one ended."""
    found = {"x": [0.0, 20.0, 10.0, 10.0], "y": [0.0, 0.0, 10.0, 5.0], "label": [0, 0, 1, 2]}
    drawn = str(feature_map(found, [2], ["<zero>", "one"], "said"))
    assert 'class="dots" d="m150 81h0m-138 138h0m276 0h0"' in drawn, "(150, 81), (12, 219), (288, 219)"
    assert 'class="crosses" d="m147 147l6 6m0-6l-6 6"' in drawn, "(150, 150)"
    assert '<text x="150" y="219">&lt;zero&gt;</text>' in drawn and '<text x="150" y="81">one</text>' in drawn
    two = {"x": [0.0, 276.0, 276.0], "y": [0.0, 0.0, 0.0], "label": [1, 1, 0]}
    crosses = 'd="m9 147l6 6m0-6l-6 6m276-6l6 6m0-6l-6 6"'
    assert crosses in str(feature_map(two, [1], [], "")), "a cross ends six below where it began"
    flat = {"x": [3.0, 3.0], "y": [3.0, 3.0], "label": [0, 1]}
    assert 'd="m150 150h0"' in str(feature_map(flat, [1], [], "")), "all in one place"


def test_a_runs_section_has_its_maps(tmp_path: Path, make_run: Any) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", seed=1)
    place = {"x": [0.0, 1.0], "y": [0.0, 1.0], "label": [2, 3]}
    (tmp_path / "a" / "exhibits").mkdir()
    (tmp_path / "a" / "exhibits" / "feature_map.json").write_text(json.dumps({"original": place, "retrained_0": place}))
    sweep.build(tmp_path)
    first, second = (tmp_path / "report.html").read_text().split('id="run-2"')
    assert re.findall(r"features of the (\w+) model", first) == ["original", "retrained"]
    assert ">coat</text>" in first and ">dress</text>" not in first, "what stays has its name on the map"
    assert "Feature map" not in second


def test_two_hundred_runs_make_one_page_of_less_than_five_megabytes(many: Path) -> None:
    sweep.draw_runs(many)
    sweep.build(many)
    text = (many / "report.html").read_text()
    assert len(text) < 5_000_000
    assert len(Page(text).tables[1]) == 201


def in_chromium(path: Path, profile: Path, *flags: str) -> tuple[str, list[str]]:
    """What is printed, and what the console says: scripts that fail, and whatever a page was not allowed to load."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
    command += [f"--user-data-dir={profile}", "--enable-logging=stderr", *flags, path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


SCRIPTED = """{
const rows = () => [...document.querySelectorAll("#all-runs tbody tr:not([hidden])")];
const names = () => rows().map(row => row.cells[3].firstChild.data);
const press = number => document.querySelector(`#all-runs th:nth-child(${number}) button`).click();
const found = {};
press(4); found.up = names();
press(4); found.down = names();
found.sort = document.querySelector("#all-runs th:nth-child(4)").getAttribute("aria-sort");
const filter = document.querySelector(".filter");
filter.value = "METHOD_7"; filter.dispatchEvent(new Event("input"));
found.filtered = names().length;
found.sections = document.querySelectorAll("details.run:not([hidden])").length;
filter.value = ""; filter.dispatchEvent(new Event("input"));
document.querySelector("#all-runs a").click();
addEventListener("load", () => setTimeout(() => {
  found.opened = [...document.querySelectorAll("details.run[open]")].length;
  found.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  document.body.textContent = "FOUND" + ":" + JSON.stringify(found) + "END";
}, 200));
}"""


def with_script(text: str, script: str) -> str:
    """A page that also runs `script`, which its policy does not forbid."""
    style, own = (re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1] for tag in ("style", "script"))  # type: ignore[index]
    before, after = (
        html.escape(page.policy(style, *scripts)).replace("&#x27;", "&#39;") for scripts in ([own], [own, script])
    )
    assert before in text
    return text.replace(before, after).replace("</body>", f"<script>{script}</script></body>")


@needs_chromium
def test_sorting_filtering_and_opening_work_in_a_browser(many: Path, tmp_path: Path) -> None:
    sweep.build(many)
    scripted = many / "scripted.html"
    scripted.write_text(with_script((many / "report.html").read_text(), SCRIPTED))
    shown, console = in_chromium(scripted, tmp_path / "profile", "--dump-dom", "--virtual-time-budget=5000")
    assert console == []
    found = json.loads(re.search(r"FOUND:(.*?)END", shown)[1])  # type: ignore[index]
    ascending = [float(value) for value in found["up"]]
    assert ascending == sorted(ascending) and len(ascending) == 200
    assert [float(value) for value in found["down"]] == ascending[::-1]
    assert found["sort"] == "descending"
    assert found["filtered"] == found["sections"] == 10, "method_7 alone, of ten seeds"
    assert found["opened"] == 1
    assert found["wide"] == 0, "the page itself never scrolls sideways"


@needs_chromium
def test_the_page_is_painted_on_a_phone(mixed: Path, tmp_path: Path) -> None:
    """A screenshot 390 pixels wide, in a frame because windows cannot be so narrow: ink where the table is."""
    from PIL import Image

    frame = tmp_path / "frame.html"
    address = (mixed / "report.html").as_uri()
    frame.write_text(
        f"<body style='margin:0'><iframe src='{address}' style='border:0;width:390px;height:800px'></iframe>"
    )
    picture = tmp_path / "phone.png"
    in_chromium(frame, tmp_path / "profile", f"--screenshot={picture}", "--window-size=600,800")
    with Image.open(picture) as image:
        phone = image.convert("L").crop((0, 0, 390, 800))
        beside = image.convert("L").crop((395, 0, 600, 800))
    dark = sum(phone.histogram()[:100])
    assert 2_000 < dark < 60_000, "text, and not a black page"
    assert beside.getextrema() == (255, 255), "nothing sticks out of the frame"


FRAMED = """<!DOCTYPE html><body>
<iframe name="sweep" src="sweep.html" style="border:0;width:390px;height:800px"></iframe>
<iframe name="run" src="run.html" style="border:0;width:390px;height:800px"></iframe>
<iframe name="broken" src="broken.html" style="border:0;width:390px;height:800px"></iframe>
<script>
addEventListener("load", () => {
  const found = {};
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument;
    for (const details of page.querySelectorAll("details")) details.open = true;
    const boxes = [...page.querySelectorAll(".scroll")];
    found[frame.name] = {
      wide: page.documentElement.scrollWidth, inner: frame.contentWindow.innerWidth,
      scrolling: boxes.filter(box => box.scrollWidth > box.clientWidth).length,
    };
  }
  document.body.textContent = "FOUND" + ":" + JSON.stringify(found) + "END";
});
</script>"""


@needs_chromium
def test_on_a_phone_nothing_sticks_out_and_nothing_is_fetched(tmp_path: Path, make_run: Any) -> None:
    """A sweep's page and a run's, everything unfolded, in frames 390 pixels wide (windows are no narrower than 500)."""
    place = {"x": [0.0, 1.0], "y": [0.0, 1.0], "label": [2, 3]}
    for number in range(2):
        folder = make_run(
            tmp_path / f"{number}_{'long' * 20}", method="m" * 60, seed=number, command=f"fedunlearn {'word' * 50}"
        )
        (folder / "exhibits").mkdir()
        (folder / "exhibits" / "feature_map.json").write_text(json.dumps({"original": place, "unlearned": place}))
    sweep.build(tmp_path)
    text = (tmp_path / "report.html").read_text()
    own = page.write_run(runs.read(tmp_path / f"0_{'long' * 20}")).read_text()
    wide = '<svg width="600" height="9"></svg><img src="https://example.org/no.png">'
    (tmp_path / "frames.html").write_text(FRAMED)
    (tmp_path / "sweep.html").write_text(text)
    (tmp_path / "run.html").write_text(own)
    (tmp_path / "broken.html").write_text(text.replace("</body>", f"{wide}</body>"))
    frames = tmp_path / "frames.html"
    shown, console = in_chromium(frames, tmp_path / "profile", "--dump-dom", "--allow-file-access-from-files")
    found = json.loads(re.search(r"FOUND:(.*?)END", shown)[1])  # type: ignore[index]
    assert found["broken"]["wide"] == 600, "this would be seen"
    assert any("example.org" in line for line in console), "and this"
    assert [line for line in console if "broken.html" not in line] == []
    for name in ("sweep", "run"):
        assert found[name]["inner"] == found[name]["wide"] == 390
        assert found[name]["scrolling"] == 0, "no column is off the screen"
