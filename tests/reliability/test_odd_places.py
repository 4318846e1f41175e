"""Long, strange and missing folders, few descriptors, a full disk: sampling goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.reliability.programs import Launch, in_each_host, permitted

SAMPLE = """
sample(connect(), range(100))
say("sampled")
"""


def assert_samples(launch: Launch, code: str = SAMPLE, **options: object) -> None:
    program = launch(code, **options)
    program.expect("sampled")

    program.assert_ends_well()


# Folders

NAMES = {
    "of 200 characters": "d" * 200,
    "with spaces and non-ASCII characters": "Ordner für 'データ' & $HOME",
    "not UTF-8": os.fsdecode(b"\xff\xfe"),
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_temporary_folder(launch: Launch, temporary: Path, name: str) -> None:
    folder = temporary / name
    folder.mkdir()
    assert_samples(launch, variables={"TMPDIR": str(folder)})
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("folder", ["/nonexistent", "/proc"], ids=["missing", "read-only"])
def test_no_temporary_folder(launch: Launch, folder: str) -> None:
    assert_samples(launch, variables={"TMPDIR": folder})


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_working_folder(launch: Launch, temporary: Path, name: str) -> None:
    folder = temporary / name
    folder.mkdir()
    # Named like modules that the sidecar needs, and none of its business.
    for module in ("types", "logging", "zmq", "asyncio"):
        (folder / f"{module}.py").write_text("raise SystemExit('not meant to be imported')")
    assert_samples(launch, cwd=folder, variables={"PYTHONSAFEPATH": "1"})


def test_a_working_folder_that_is_gone(launch: Launch, temporary: Path) -> None:
    assert_samples(
        launch, f"os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n{SAMPLE}", cwd=temporary
    )


@pytest.mark.parametrize("home", ["/proc", "/nonexistent", None], ids=["read-only", "missing", "not set"])
def test_a_home(launch: Launch, home: str | None) -> None:
    assert_samples(launch, variables={"HOME": home})


def test_hardly_any_environment(launch: Launch) -> None:
    """As cron and some schedulers start a program: no PATH, no locale."""
    kept = {"TMPDIR", "TINKER_BASE_URL", "TINKER_API_KEY", "TINKER_SUBPROCESS_SAMPLING"}
    assert_samples(launch, variables=dict.fromkeys(set(os.environ) - kept))


def test_a_start_up_file_that_prints(launch: Launch, temporary: Path) -> None:
    """The sidecar's Python runs it, too, and says so before the sidecar says a word."""
    (temporary / "sitecustomize.py").write_text("import sys; print('hello', file=sys.__stdout__, flush=True)")
    program = launch(SAMPLE, variables={"PYTHONPATH": str(temporary)})
    program.expect("hello")
    program.expect("sampled")
    assert program.wait().status == 0


# Limits

FEW_DESCRIPTORS = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
sample(connect(), range(2000))
say("sampled")
"""


@in_each_host
def test_256_descriptors_and_2000_requests_in_flight(launch: Launch, sidecar: bool | str) -> None:
    assert_samples(launch, FEW_DESCRIPTORS, sidecar=sidecar)


LARGE = """
prompt = types.ModelInput.from_ints([number % 30000 for number in range(20000)])
result = connect().sample(prompt, 1, PARAMS, True, 20).result(30)
assert len(result.topk_prompt_logprobs) == 20000
say("sampled")
"""

NO_FILES = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
"""


@pytest.mark.parametrize("code", [SAMPLE, LARGE], ids=["small results", "large results"])
def test_not_a_byte_may_be_written_to_files(launch: Launch, code: str) -> None:
    """Large results cannot be lent then, and are sent. (What the program says goes through a pipe.)"""
    said_through_a_pipe = "import subprocess\npipe = subprocess.Popen(['cat'], stdin=subprocess.PIPE)\n"
    said = "os.dup2(pipe.stdin.fileno(), 1); pipe.stdin.close()\n"
    assert_samples(launch, said_through_a_pipe + NO_FILES + said + code)


# A disk that is full, and a machine without shared memory: in a mount namespace, so for the program alone.

UNSHARE = ("unshare", "--mount", "sh", "-c")
needs_mounts = pytest.mark.skipif(
    not permitted(*UNSHARE, "mount -t tmpfs none /dev/shm"),
    reason="no permission to mount",
)


@pytest.fixture
def disk(temporary: Path) -> Path:
    folder = temporary / "disk"
    folder.mkdir()
    return folder


FILL = 'mount -t tmpfs -o size=16k none "$TMPDIR" && cat /dev/zero 2>/dev/null > "$TMPDIR/full"; '


@needs_mounts
@pytest.mark.parametrize("code", [SAMPLE, LARGE], ids=["small results", "large results"])
def test_a_full_disk(launch: Launch, disk: Path, code: str) -> None:
    command = (*UNSHARE, FILL + 'exec "$@"', "sh")
    assert_samples(launch, code, command=command, variables={"TMPDIR": str(disk)})


@needs_mounts
@pytest.mark.parametrize("code", [SAMPLE, LARGE], ids=["small results", "large results"])
def test_no_shared_memory(launch: Launch, code: str) -> None:
    command = (*UNSHARE, 'mount -t tmpfs -o ro none /dev/shm && exec "$@"', "sh")
    assert_samples(launch, "assert not os.access('/dev/shm', os.W_OK)\n" + code, command=command)
