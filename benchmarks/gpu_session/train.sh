#!/usr/bin/env bash
# On the GPU machine: train.sh RECIPE.toml CHECKPOINT MINUTES [BATCH] [LR]
# Goes on from CHECKPOINT (packed or not; "-" starts anew) with a cool-down over the last half, and leaves the packed
# state and the log in $OUT. MINUTES are those of the whole script: the crop store is built first, and half a minute is
# kept for the end. LR is by the rule of docs/gpu.md if it is not given. Tried on a CPU first:
#   DATA=FOLDER OUT=/tmp/out SITE=. PYTHON=.venv/bin/python \
#   bash benchmarks/gpu_session/train.sh recipes/mambavc-lite.toml checkpoints/mambavc-lite.pt 1 16
# FOLDER has the folders train and graphics.
set -euo pipefail
recipe=$1 checkpoint=$2 minutes=$3 batch=${4:-64} lr=${5:-}
export PYTHONPATH=${SITE:-/tmp/site}:$PWD PYTHONUNBUFFERED=1
work=${WORK:-/tmp/gpu-run}; mkdir -p "$work" "$OUT"
${PYTHON:-python3} - "$recipe" "$checkpoint" "$minutes" "$batch" "$lr" "${DATA:-/tmp/gpu-data}" "$work" <<'P'
import re, sys, time, tomllib
start = time.monotonic()
from pathlib import Path
recipe, checkpoint, minutes, batch, lr, data, work = sys.argv[1:]
before = 0.0
if checkpoint != "-":
    from mvc.train import state
    before = float(state.read(Path(checkpoint))["minutes"])
text = Path(recipe).read_text()
had = tomllib.loads(text)
lr = lr or f"{had['lr'] * (int(batch) / had['batch']) ** 0.5:.3g}"
changes = {
    "pictures": f'"{data}/train"', "graphics": f'"{data}/graphics"', "drawn": 30, "holdout": 0,
    "store": f'"{work}/store"', "run": f'"{work}/run"', "batch": batch, "lr": lr, "processes": 1,
    "warmup_steps": 100,
    "checkpoint_minutes": 2.0, "validate_minutes": 60.0, "log_steps": 50,
}
if had.get("frames", 0) or not Path(data, "graphics").is_dir():
    changes |= {"graphics": '""', "drawn": 0, "graphics_share": 0.0}
if had.get("frames", 0):  # with its checkpoint of keyframes (`start`) in the tree
    changes |= {"pictures": f'"{data}/video"', "stills": f'"{data}/train"'}
def write():
    top, table, rest = text.partition("\n[config]")
    for name, value in changes.items():
        line = f"{name} = {value}"
        top, n = re.subn(rf"(?m)^{name} = .*$", lambda _: line, top)
        if not n:
            top = line + "\n" + top
    Path(work, "recipe.toml").write_text(top + table + rest)
write()
from mvc.train import stores
from mvc.train.recipe import Recipe
stores.build(Recipe.read(Path(work, "recipe.toml")))
spent = (time.monotonic() - start) / 60
left = float(minutes) - spent - 0.5
print(f"store built in {60 * spent:.0f} s, {60 * left:.0f} s to train", flush=True)
total = before + left
changes |= {"minutes": total, "cooldown": 0.5 * left / total}
write()
P
resume=""; [ "$checkpoint" = "-" ] || resume="--resume-from $checkpoint"
${PYTHON:-python3} -m mvc train "$work/recipe.toml" $resume 2>&1 | tee "$OUT/train.log" | tail -n 40
${PYTHON:-python3} - "$work/run/last.pt" "$OUT/state.pt" <<'P'
import sys
from pathlib import Path
from mvc.train import state
full = state.read(Path(sys.argv[1]))
Path(sys.argv[2]).write_bytes(state.pack(full))
print("step", full["step"], "minutes", full["minutes"], "bytes", Path(sys.argv[2]).stat().st_size)
P
cp "$work"/run/*.csv "$OUT"/ 2>/dev/null || true
