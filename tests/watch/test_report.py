"""`tinker-sidecar report`: the page that it makes of a trace, and what it says of files that are none."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tinker_client
from tests.connection import PARAMS, Connection, prompt
from tests.waiting import wait_until
from tests.watch.chromium import Page, chromium, needs_chromium
from tests.watch.test_blame import hold_the_gil, long_enough
from tests.watch.traced_programs import COMMAND, HISTORY, traced
from tinker_sidecar.ipc.stats import STAGES
from tinker_sidecar.watch.advice import ADVICE
from tinker_sidecar.watch.charts import TimeAxis, averages, nice_step, stacked_areas

REPORT = "from tinker_sidecar.cli import main; main()"
SCREENSHOT = Path(__file__).parents[2] / "out" / "report.png"
"""The one in docs/ is a copy of it."""


def report(*arguments: str | Path, code: str = REPORT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, "report", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def refused(*arguments: str | Path) -> str:
    """The one line that it says."""
    done = report(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace of a minute."""
    path = tmp_path_factory.mktemp("history") / "run.json"
    traced(HISTORY, path)
    return path


@pytest.fixture(scope="module")
def page(history: Path) -> Path:
    """The report on it."""
    output = history.with_name("report.html")
    done = report(history, "-o", output)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{output}\n", "")
    return output


def text_of(page: Path) -> str:
    """What the page says, without its style."""
    html = page.read_text().partition("</style>")[2]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html).replace("&#34;", '"'))


def test_it_says_where_the_time_went_and_what_to_do(page: Path) -> None:
    text = text_of(page)
    assert COMMAND in text
    assert re.search(r"\d+ % of the time that requests took went to server :", text)
    assert ADVICE["server"].remedy in text
    for stage in STAGES:
        assert f" {stage} " in text


def test_it_names_who_held_the_gil(page: Path) -> None:
    held = text_of(page).partition("What your program did while results were ready for it")[2]
    assert "grade() at grader.py:41 (re.match) grader 79 % 13.0 s 1 13.0 s" in held
    assert "tokenize() at train.py:88 MainThread 7.3 % 1.20 s 1 1.20 s" in held
    assert "nobody was seen 14 % 2.30 s" in held


def test_it_names_the_line_of_a_real_program(
    connect_in: Callable[..., Connection], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "run.json"
    monkeypatch.setenv("TINKER_SIDECAR_TRACE", str(path))
    client = connect_in("sidecar", "--latency=0.2").sampling_client()
    length = long_enough(4.0)
    futures = [client.sample(prompt(number), 2, PARAMS) for number in range(30)]
    hold_the_gil(length)
    for future in futures:
        future.result(60)
    wait_until(lambda: tinker_client.stats().gil)
    tinker_client.shutdown()
    wait_until(lambda: path.read_bytes().endswith(b"]\n"))
    report(path)
    text = text_of(tmp_path / "run.html")
    assert re.search(r"\d+ % of the time that requests took went to delivery :", text)
    assert re.search(r"It was mostly hold_the_gil\(\) at test_blame.py:\d+ \(re.match\) in thread", text), (
        text
    )


def test_where_nobody_could_be_seen_it_says_what_to_install(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    code = """
async def main():
    trace = open_trace()
    trace.span("starved", "results wait for the program", 1000.0, 1010.0)
    trace.close()

asyncio.run(main())
"""
    traced(code, path)
    report(path)
    text = text_of(tmp_path / "run.html")
    assert "nobody was seen 100 % 10.0 s" in text
    assert 'pip install "tinker-sidecar[who]"' in text


def test_it_shows_the_slowest_requests_the_slowest_first(page: Path) -> None:
    table = page.read_text().partition('id="slowest"')[2].partition("</table>")[0]
    took = [float(seconds) for seconds in re.findall(r'<td class="n">([\d.]+) s</td>', table)]
    assert len(took) == 20
    assert took == sorted(took, reverse=True)
    assert took[0] > 13
    assert "<td>delivery</td>" in table


def test_it_tells_what_else_happened(page: Path) -> None:
    text = text_of(page).rpartition("What else happened")[2]
    assert "throttled 8 5.60 s 700 ms" in text
    assert "unreachable 1 4.00 s 4.00 s" in text
    assert "The longest time between two heartbeats was 10.0 s." in text
    assert "64 requests were in flight: 60 in server, 4 in delivery" in text


def test_it_needs_no_network(page: Path) -> None:
    html = page.read_text()
    assert "<script" not in html
    assert set(re.findall(r'(?:href|src)="([^"#]+)', html)) == {"data:,"}
    assert "url(" not in html


def test_whatever_the_program_is_called_it_stays_text(tmp_path: Path) -> None:
    traced(HISTORY.replace("grade()", "<b onclick='x'>&grade()"), tmp_path / "run.json")
    report(tmp_path / "run.json")
    html = (tmp_path / "run.html").read_text()
    assert "<b onclick" not in html
    assert "&lt;b onclick=&#39;x&#39;&gt;&amp;grade()" in html


def test_older_parts_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    traced(HISTORY.replace("open_trace()", "open_trace(part_bytes=300_000)"), path)
    parts = {part.name for part in tmp_path.iterdir()}
    assert len(parts) > 1
    report(path)
    text = text_of(tmp_path / "run.html")
    assert all(part in text for part in parts)


def test_it_names_the_traces_of_other_processes(history: Path, tmp_path: Path) -> None:
    """But not the parts of this one, nor what only looks like it."""
    trace = tmp_path / "run.json"
    for name in ("run.json", "run-123.json", "run-7.json", "run.1.json", "run-123.1.json", "run-old.json"):
        shutil.copy(history, tmp_path / name)
    done = report(trace)
    assert done.returncode == 0
    assert done.stderr.endswith("other processes beside it: run-123.json, run-7.json\n")


def test_a_torn_last_line_is_fine(history: Path, tmp_path: Path) -> None:
    torn = tmp_path / "run.json"
    torn.write_bytes(history.read_bytes()[:-1000])
    assert report(torn).returncode == 0
    assert "1 line could not be read" in text_of(tmp_path / "run.html")


def test_a_run_in_which_no_request_ended_has_a_page_too(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    code = """
async def main():
    trace = open_trace()
    trace.span("unreachable", "connection refused", 1000.0, 1100.0)
    trace.counter("in flight", {"limits": 0, "submit": 64})
    trace.close()

asyncio.run(main())
"""
    traced(code, path)
    assert report(path).returncode == 0
    text = text_of(tmp_path / "run.html")
    assert "No request ended while this was recorded." in text
    assert "unreachable 1 1 min 40 s" in text
    assert "64 requests were in flight: 64 in submit" in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\xff\xfe\x00", "it is not a trace that TINKER_SIDECAR_TRACE has written"),
        (b'{"traceEvents": []}', "it is not a trace that TINKER_SIDECAR_TRACE has written"),
        (
            b'[\n{"ts":0,"ph":"M","name":"process_name","pid":1,"tid":1,"args":{"name":"x"}},',
            "it is not a trace",
        ),
        (b"\x89PNG\r\n", "it is not a trace that TINKER_SIDECAR_TRACE has written"),
    ],
)
def test_other_files_are_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    assert refused(path).startswith(f"tinker-sidecar report: cannot report on {path}: {reason}")


def test_a_trace_that_has_nothing_yet_is_one_line(history: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"\n".join(history.read_bytes().split(b"\n")[:5]))
    assert refused(path) == (
        f"tinker-sidecar report: cannot report on {path}: nothing had happened yet when it ended"
    )


def test_what_cannot_be_read_or_written_is_one_line(history: Path, tmp_path: Path) -> None:
    name = "tinker-sidecar report"
    assert refused(tmp_path / "no") == f"{name}: cannot read {tmp_path / 'no'}: No such file or directory"
    assert refused(tmp_path) == f"{name}: cannot read {tmp_path}: Is a directory"
    output = tmp_path / "no" / "report.html"
    assert refused(history, "-o", output) == f"{name}: cannot write {output}: No such file or directory"


def test_the_trace_is_not_overwritten(history: Path, tmp_path: Path) -> None:
    trace = tmp_path / "run.html"
    shutil.copy(history, trace)
    assert "name another file with -o" in refused(trace)
    assert trace.read_bytes() == history.read_bytes()


def test_without_the_extra_it_says_what_to_install(history: Path, tmp_path: Path) -> None:
    done = report(
        history, "-o", tmp_path / "x.html", code=f"import sys; sys.modules['jinja2'] = None; {REPORT}"
    )
    assert done.returncode == 1
    assert re.fullmatch(
        r"tinker-sidecar report needs what cannot be imported here \(.*jinja2.*\): "
        r'pip install "tinker-sidecar\[report\]"\n',
        done.stderr,
    )


@needs_chromium
def test_a_browser_shows_it(page: Path, tmp_path: Path) -> None:
    with chromium(tmp_path / "profile") as browser:
        browser.width(1000)
        browser.open(page.as_uri())
        assert browser.complaints == []
        assert [url for url in browser.asked_for if not url.startswith("data:")] == [page.as_uri()]
        assert browser.evaluate("document.documentElement.scrollWidth") <= 1000
        tables = "[...document.querySelectorAll('.scroll')]"
        assert browser.evaluate(f"{tables}.every(table => table.scrollWidth <= table.clientWidth)")
        assert browser.evaluate("document.querySelectorAll('#time path').length") == len(STAGES)
        browser.screenshot(SCREENSHOT)
        light = background(browser)
        browser.scheme("dark")
        browser.screenshot(SCREENSHOT.with_name("report-dark.png"))
        assert sum(background(browser)) < 150 < 700 < sum(light)
        assert unreadable(browser) == []


@needs_chromium
def test_it_can_be_read_by_keyboard_and_on_paper(page: Path, tmp_path: Path) -> None:
    with chromium(tmp_path / "profile") as browser:
        browser.open(page.as_uri())
        reached = []
        for _ in range(12):
            browser.press("Tab", 9)
            reached.append(browser.evaluate("document.activeElement.innerText || ''").split("\n")[0])
        assert reached[:6] == [
            "To the content",
            "In all",
            "Over time",
            "The slowest requests",
            "Who held the GIL",
            "What else happened",
        ]
        assert "The figures of this chart" in reached
        assert browser.pdf().startswith(b"%PDF")


def background(browser: Page) -> tuple[int, ...]:
    color = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    return tuple(map(int, re.findall(r"\d+", color)))


def unreadable(browser: Page) -> list[str]:
    """Text that differs too little from the page in brightness: less than 4.5 to 1."""
    found: list[str] = browser.evaluate("""
        (() => {
            const light = color => {
                const [r, g, b] = color.match(/[\\d.]+/g).map(Number).map(v => v / 255)
                    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const page = light(getComputedStyle(document.body).backgroundColor);
            const all = document.querySelectorAll("p, td, th, a, li, summary, caption, code, text");
            return [...all].filter(element => {
                const style = getComputedStyle(element);
                const ink = light(element.tagName === "text" ? style.fill : style.color);
                return (Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05) < 4.5;
            }).map(element => element.textContent);
        })()
    """)
    return found


def test_averages_are_of_the_requests_at_once() -> None:
    axis = TimeAxis(start=0.0, end=4.0, left=0.0, width=100.0)
    assert averages([0.0, 0.5, 3.0], [4.0, 1.5, 3.0], axis, 4) == [1.5, 1.5, 1.0, 1.0]


def test_areas_stand_on_each_other() -> None:
    axis = TimeAxis(start=0.0, end=2.0, left=0.0, width=100.0)
    areas, limit = stacked_areas(
        {"server": [1.0, 1.0], "fetch": [0.0, 0.0], "delivery": [0.0, 3.0]}, axis, 0, 100
    )
    assert limit == 4
    assert [area.name for area in areas] == ["server", "delivery"]
    assert (
        areas[1].path
        == "M0.0,75.0 L25.0,75.0 L75.0,0.0 L100.0,0.0 L100.0,75.0 L75.0,75.0 L25.0,75.0 L0.0,75.0 Z"
    )


@pytest.mark.parametrize(("least", "step"), [(0.01, 0.1), (0.3, 0.5), (7, 10), (61, 120), (50_000, 86_400)])
def test_labels_are_at_round_times(least: float, step: float) -> None:
    assert nice_step(least) == step
