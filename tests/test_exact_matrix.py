"""Files coded under one setting of the machine decode to the same symbols and y_hat under every other.

Each setting is a process of its own (this file, run as a script): it encodes, waits until all have, and decodes
the files of all. The float transforms may give each encoder other latents; what it coded must arrive everywhere.
Blocks of mambavc-lite's transforms, of which no file is made as yet, give the same integers once they are lowered.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numba
import pytest
import torch
from tiny_model import PAPERS, decoded_digests, encoded_digests, picture, sha256, tiny_paper_weights, tiny_weights
from torch import Tensor

from mvc.blocks.lite import Stage, VSSBlock
from mvc.codec import Codec
from mvc.exact.fixed import FINE
from mvc.exact.lower import lower
from mvc.models.weights import load, save

LITE = {"rgb": (picture(70, 100), 20), "gray": (picture(50, 130, gray=True), 55)}
JOBS = {"mambavc-lite": LITE} | {name: {"rgb": (picture(70, 100, seed=3), 0)} for name in PAPERS}
"""Model -> kind -> picture and quality index. Files are named model.setting.kind.mvc."""


@dataclass(frozen=True)
class Setting:
    """Environment of a process and what it does after its imports."""

    environment: dict[str, str] = field(default_factory=dict)
    threads: int = 2
    mkldnn: bool = True
    carrier: str = "float64"
    encodes: bool = True  # a processor for which numba has compiled nothing yet would take a minute over it
    capability: str | None = None  # what torch must report for the setting to mean anything


SETTINGS = {
    "plain": Setting(),
    "one-thread": Setting({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}, threads=1),
    "sse": Setting(
        {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
        capability="DEFAULT",
    ),
    "avx2": Setting({"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}, capability="AVX2"),
    "avx512": Setting({"ATEN_CPU_CAPABILITY": "avx512"}, capability="AVX512"),
    "compatible": Setting({"MKL_CBWR": "COMPATIBLE", "OMP_DYNAMIC": "TRUE", "OMP_SCHEDULE": "dynamic,1"}, threads=3),
    "generic": Setting({"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}, encodes=False),
    "no-mkldnn": Setting(mkldnn=False, carrier="int64"),
}
SHARED = {"PYTHONPATH": str(Path(__file__).parent.parent), "OMP_WAIT_POLICY": "PASSIVE"}  # many on few cores
LEVELS = ("DEFAULT", "AVX2", "AVX512")  # of x86, each with the ones before it


def possible(setting: Setting) -> bool:
    """Whether this machine has the instructions that a setting asks for."""
    here = torch.backends.cpu.get_cpu_capability()
    if setting.capability is None:
        return True
    return here in LEVELS and LEVELS.index(setting.capability) <= LEVELS.index(here)


def new_stage() -> Stage:
    return Stage(VSSBlock(64), VSSBlock(64, 2))


def stage_digest(folder: Path, carrier: torch.dtype) -> str:
    """Of what the stored stage, lowered, makes of the stored integers."""
    stage = new_stage()
    stage.load_state_dict(torch.load(folder / "stage.pt"))
    with torch.inference_mode():
        y: Tensor = lower(stage, FINE)(torch.load(folder / "x.pt").to(carrier))
    return sha256(y.long().numpy())


def work(folder: Path, name: str) -> None:
    """The process of a setting: report, encode, wait, decode everything."""
    setting = SETTINGS[name]
    torch.set_num_threads(setting.threads)
    torch.backends.mkldnn.set_flags(setting.mkldnn)
    codecs = {model: Codec(load(folder / model), dtype=getattr(torch, setting.carrier)) for model in JOBS}
    coded = {}
    for model, kind in ((m, k) for m in JOBS for k in JOBS[m]) if setting.encodes else ():
        file = folder / f"{model}.{name}.{kind}.mvc"
        data, coded[file.stem] = encoded_digests(codecs[model], *JOBS[model][kind])
        file.write_bytes(data)
    stage = stage_digest(folder, getattr(torch, setting.carrier))
    state = (torch.backends.cpu.get_cpu_capability(), torch.get_num_threads(), numba.config.CPU_NAME, stage)
    print(json.dumps([state, coded]), flush=True)
    sys.stdin.readline()
    files = {file: codecs[file.name.partition(".")[0]] for file in sorted(folder.glob("*.mvc"))}
    print(json.dumps({f.stem: decoded_digests(codec, f.read_bytes()) for f, codec in files.items()}), flush=True)


def answer(process: subprocess.Popen[str]) -> Any:
    """The next line of a process, as JSON; its error output where there is none."""
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        pytest.fail(process.communicate()[1])
    return json.loads(line)


def test_every_setting_decodes_what_every_other_coded(tmp_path: Path) -> None:
    for model, pictures in JOBS.items():
        weights = tiny_weights() if model == "mambavc-lite" else tiny_paper_weights(model)
        save(tmp_path / model, weights)
        Codec(weights).encode(*pictures["rgb"])  # so that numba compiles once, and not in every process
    stage = new_stage()
    for parameter in stage.parameters():
        torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    torch.save(stage.state_dict(), tmp_path / "stage.pt")
    torch.save(torch.randint(-3 * FINE.one, 3 * FINE.one, (1, 9, 14, 64)), tmp_path / "x.pt")
    stages = {stage_digest(tmp_path, torch.int64)}
    settings = {name: setting for name, setting in SETTINGS.items() if possible(setting)}
    processes = {
        name: subprocess.Popen(
            [sys.executable, __file__, str(tmp_path), name],
            env=os.environ | SHARED | setting.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, setting in settings.items()
    }
    try:
        coded: dict[str, list[str]] = {}
        for name, setting in settings.items():
            (capability, threads, processor, stage_of_it), own = answer(processes[name])
            stages.add(stage_of_it)
            assert capability == setting.capability or setting.capability is None
            assert threads == setting.threads
            assert (processor == "generic") == (name == "generic")
            coded |= own
        assert len(stages) == 1
        count = sum(len(pictures) for pictures in JOBS.values())
        assert len(coded) == (len(settings) - 1) * count
        for process in processes.values():
            assert process.stdin
            process.stdin.write("decode\n")
            process.stdin.flush()
        for name in settings:
            assert answer(processes[name]) == coded, f"decoded under {name}"
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
    assert len({digest for pair in coded.values() for digest in pair}) >= 2 * count


if __name__ == "__main__":
    work(Path(sys.argv[1]), sys.argv[2])
