"""Try what is in `dist/`: the wheel in environments that have nothing else, as users install it.

    make dist && python -m tools.try_dist             # the small install, the plain one and each extra alone
    make dist && python -m tools.try_dist --quick     # the small and the plain one
    make dist && python -m tools.try_dist --write     # all, and their sizes into docs/installing.md

Ends with an error at the first thing that does not work.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tinker_client.local_server import start_local_server

__all__ = ["main"]

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/installing.md"
# `hf` has torch in it, which is gigabytes from some indexes: `make engines` installs and tries that.
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = sorted(PROJECT["optional-dependencies"].keys() - {"hf"})
LIMIT_OF_SMALL = 50.0
"""MB."""

SAMPLE = """\
import sys
from tinker_client import ServiceClient, stats, types

service = ServiceClient(base_url=sys.argv[1], api_key="tml-any")
client = service.create_sampling_client(base_model="tinker-sidecar/sim")
prompt = types.ModelInput.from_ints([1, 2, 3])
params = types.SamplingParams(max_tokens=4)
(sample,) = client.sample(prompt=prompt, sampling_params=params, num_samples=1).result().samples
assert isinstance(sample.tokens, list) and len(sample.tokens) == 4, sample.tokens
assert isinstance(sample.logprobs, list) and len(sample.logprobs) == 4, sample.logprobs
scores = client.compute_logprobs(prompt).result()
assert isinstance(scores, list) and len(scores) == 3, scores
assert stats().since_start.submitted == 2, stats()
print("sampled")
"""

METRICS = """\
import os, sys, urllib.request
from tinker_client import ServiceClient

service = ServiceClient(base_url=sys.argv[1], api_key="tml-any")
service.get_server_capabilities()
page = urllib.request.urlopen(f"http://127.0.0.1:{os.environ['TINKER_SIDECAR_METRICS']}/metrics").read()
assert b"tinker_" in page, page
print("measured")
"""

MISSING = {
    "sample.tokens_np": (
        "from tinker_client.types._cells import int32_array as f; f(memoryview(b''))",
        "numpy",
    ),
    "types.TensorData": ("from tinker_client.types import TensorData as f; f([1], 'int64')", "numpy"),
    "get_tokenizer": (
        "from tinker_client.tokenizers import load_tokenizer as f; f('tinker-sidecar/tiny-arithmetic')",
        "transformers",
    ),
    "base_url='local'": (
        "from tinker_client import ServiceClient as f; f(base_url='local')",
        "tinker-sidecar",
    ),
    "serve": ("from tinker_sidecar.cli import main; main()", "tinker-sidecar"),
    "python -m tinker_sidecar.local_server": (
        "import runpy; runpy.run_module('tinker_sidecar.local_server', run_name='__main__')",
        "tinker-sidecar",
    ),
    "training the tiny model": (
        "import tinker_sidecar.local_server.engines.tiny.train",
        "torch",
    ),
}
"""What the small install lacks: a program that asks for it, and what it is told to install."""


class Environment:
    """A virtual environment with nothing in it, not even pip."""

    def __init__(self, folder: Path, *, compiles: bool = True) -> None:
        self.folder = folder
        self._compiles = compiles
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.python = folder / "bin/python"
        (self._packages,) = folder.glob("lib/python*/site-packages")

    def install(self, *arguments: str | Path) -> None:
        pip = [sys.executable, "-m", "pip", "--python", self.python, "install", "-qq", "--no-input"]
        # As for users, whose compiled modules count, too; but it takes long.
        variables = os.environ | {"PIP_COMPILE": str(int(self._compiles))}
        subprocess.run([*pip, *arguments], check=True, env=variables)

    def save_to(self, folder: Path) -> None:
        """Keep it as it is now."""
        shutil.copytree(self.folder, folder, symlinks=True, copy_function=os.link)

    def restore_from(self, folder: Path) -> None:
        """Have it as it was, in the same place: its scripts say where that is."""
        shutil.rmtree(self.folder)
        shutil.copytree(folder, self.folder, symlinks=True, copy_function=os.link)

    def run(self, *command: str | Path, status: int = 0, cwd: Path | None = None, **variables: str) -> str:
        """All that the command writes. It must end with `status`, and runs far from the checkout."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TINKER_"))}
        environment |= {"PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}", **variables}
        run = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        assert run.returncode == status, f"{command} ended with {run.returncode}:\n{run.stdout}"
        return run.stdout

    def size(self) -> float:
        """MB of its packages, as they lie on the disk."""
        files = (path for path in self._packages.rglob("*") if path.is_file())
        return sum(path.stat().st_blocks * 512 for path in files) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only the small install and the plain one")
    parser.add_argument("--write", action="store_true", help="write the table of sizes")
    arguments = parser.parse_args()
    (wheel,) = (ROOT / "dist").glob("*.whl")
    with tempfile.TemporaryDirectory(prefix="tinker-dist-") as folder, _server() as url:
        sizes = _sizes(Path(folder), wheel, url, quick=arguments.quick)
    if arguments.write:
        _write_table(sizes)


def _sizes(folder: Path, wheel: Path, url: str, *, quick: bool) -> dict[str, float]:
    """What each installation weighs, each having been tried."""
    env = Environment(folder / "small")
    sizes = {"sampling": _tried("sampling", env, lambda: _try_small(env, wheel, url))}
    if not quick:
        _tried("sampling, then a report", env, lambda: _try_advice(env, url))
    env = Environment(folder / "venv", compiles=not quick)
    sizes["plain"] = _tried("plain", env, lambda: _try_plain(env, wheel, url))
    if not quick:
        env.save_to(folder / "plain")
    for extra in () if quick else EXTRAS:
        env.restore_from(folder / "plain")
        sizes[extra] = _tried(extra, env, lambda extra=extra: _try_extra(env, url, extra))
    return sizes


def _tried(name: str, env: Environment, attempt: Callable[[], None]) -> float:
    start = time.monotonic()
    attempt()
    size, seconds = env.size(), time.monotonic() - start
    print(f"{name}: works, {size:.0f} MB of site-packages, tried in {seconds:.0f} s", flush=True)
    return size


@contextmanager
def _server() -> Iterator[str]:
    """Ours, run from the checkout: a worker that only samples has a server elsewhere, too."""
    server = start_local_server("sim", "--latency", "0")
    try:
        yield server.base_url
    finally:
        server.close()


def _try_small(env: Environment, wheel: Path, url: str) -> None:
    env.install("-r", ROOT / "requirements-sampling.txt")
    env.install("--no-deps", wheel)
    _samples_in_both_hosts(env, url)
    assert env.run("tinker-sidecar", "--version").startswith("tinker-sidecar ")
    assert "run a program" in env.run("tinker-sidecar", "--help")
    (env.folder / "sample.py").write_text(SAMPLE)
    # No official SDK is there to take over, which is worth a warning.
    assert env.run("tinker-sidecar", "run", "sample.py", url).endswith("sampled\n")
    for what, (program, requirement) in MISSING.items():
        said = env.run(env.python, "-c", f"import sys; sys.argv[1:] = ['serve']; {program}", status=1)
        last = said.splitlines()[-1]
        assert last.endswith(f'pip install "{requirement}"'), f"{what}: {said}"
        print(f"  {last}")
    for command in ("top", "report"):
        assert f'pip install "tinker-sidecar[{command}]"' in env.run("tinker-sidecar", command, status=1)
    size = env.size()
    assert size <= LIMIT_OF_SMALL, f"the small install has {size:.0f} MB, more than {LIMIT_OF_SMALL:.0f}"


def _try_advice(env: Environment, url: str) -> None:
    """The line that the small install says for a report is enough for one."""
    env.install("tinker-sidecar[report]")
    _report_works(env, url)


def _try_plain(env: Environment, wheel: Path, url: str) -> None:
    env.install(wheel)
    readme = (ROOT / "README.md").read_text()
    ((program, output),) = re.findall(
        r"^```python\n(.*?)^```$\n\n^```text\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE
    )
    (env.folder / "readme.py").write_text(program)
    for subprocess_sampling in "01":
        said = env.run(env.python, "readme.py", TINKER_SUBPROCESS_SAMPLING=subprocess_sampling)
        assert said == output, said
    _samples_in_both_hosts(env, url)
    for command in ("serve", "top", "stats", "report"):
        assert "Usage" in env.run("tinker-sidecar", command, "--help")
    for extra, lacking in LACKING.items():
        assert f'pip install "tinker-sidecar[{extra}]"' in lacking(env, url), extra


def _try_extra(env: Environment, url: str, extra: str) -> None:
    # By its name, as users are told to: it is on no index, and pip takes the one that is installed.
    env.install(f"tinker-sidecar[{extra}]")
    _samples_in_both_hosts(env, url)
    for name in [name for name in EXTRAS if name != "all"] if extra == "all" else [extra]:
        WORKS[name](env, url)


def _samples_in_both_hosts(env: Environment, url: str) -> None:
    for subprocess_sampling in "01":
        program = (env.python, "-W", "error", "-c", SAMPLE, url)
        assert env.run(*program, TINKER_SUBPROCESS_SAMPLING=subprocess_sampling) == "sampled\n"


def _top_works(env: Environment, url: str) -> None:
    # A picture of those that run here, or a line that none does.
    assert env.run("tinker-sidecar", "top", "--once")


def _metrics_work(env: Environment, url: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert env.run(env.python, "-c", METRICS, url, TINKER_SIDECAR_METRICS=str(port)) == "measured\n"


def _report_works(env: Environment, url: str) -> None:
    _trace(env, url)
    env.run("tinker-sidecar", "report", "run.json")
    assert "<html" in (env.folder / "run.html").read_text()


def _trace(env: Environment, url: str) -> None:
    env.run(env.python, "-c", SAMPLE, url, TINKER_SIDECAR_TRACE=str(env.folder / "run.json"))


def _who_works(env: Environment, url: str) -> None:
    program = "from tinker_sidecar.watch.py_spy import find_py_spy; print(find_py_spy())"
    found = Path(env.run(env.python, "-c", program).strip())
    assert found.parent == env.folder / "bin", found
    assert env.run(found, "--version").startswith("py-spy ")


def _demo_works(env: Environment, url: str) -> None:
    examples = shutil.copytree(ROOT / "examples", env.folder / "examples", dirs_exist_ok=True)
    assert "sidecar" in env.run(env.python, examples / "rl_grading_loop.py", "--quick")


def _lacking_demo(env: Environment, url: str) -> str:
    return env.run(env.python, ROOT / "examples/rl_grading_loop.py", "--quick", status=1)


def _lacking_hf(env: Environment, url: str) -> str:
    return env.run("tinker-sidecar", "serve", "--port", "0", "--engine", "transformers", status=1)


def _lacking_metrics(env: Environment, url: str) -> str:
    return env.run(env.python, "-c", SAMPLE, url, TINKER_SIDECAR_METRICS="0")


def _lacking_report(env: Environment, url: str) -> str:
    _trace(env, url)
    return env.run("tinker-sidecar", "report", "run.json", status=1)


def _lacking_who(env: Environment, url: str) -> str:
    program = "import asyncio, os; from tinker_sidecar.watch.py_spy import look_at; asyncio.run(look_at(1))"
    return env.run(env.python, "-c", program, status=1, PATH=os.defpath)


WORKS = {
    "demo": _demo_works,
    "metrics": _metrics_work,
    "report": _report_works,
    "top": _top_works,
    "who": _who_works,
}
"""How each extra is tried; `all` is all of them."""

LACKING = {
    "demo": _lacking_demo,
    "hf": _lacking_hf,
    "metrics": _lacking_metrics,
    "report": _lacking_report,
    "who": _lacking_who,
}
"""What is said without it. typer brings rich, so `top` works without being asked for."""


def _write_table(sizes: dict[str, float]) -> None:
    """Between the two marks of the page."""
    head, start, rest = PAGE.read_text().partition("<!-- sizes, by tools/try_dist.py -->\n")
    _, end, tail = rest.partition("<!-- end of sizes -->\n")
    assert start, "the page has no mark where the table begins"
    assert end, "the page has no mark where the table ends"
    rows = [f"| {_named(name)} | {size:.0f} |\n" for name, size in sizes.items()]
    python = ".".join(platform.python_version_tuple()[:2])
    table = (
        f"| what is installed | MB of site-packages, {sys.platform} {platform.machine()}, Python {python} |\n"
    )
    PAGE.write_text(f"{head}{start}{table}| --- | ---: |\n{''.join(rows)}{end}{tail}")


def _named(name: str) -> str:
    return {
        "sampling": "what sampling needs",
        "plain": "`tinker-sidecar`",
    }.get(name, f"`tinker-sidecar[{name}]`")


if __name__ == "__main__":
    main()
