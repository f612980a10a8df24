"""A training run as a TOML file. recipes/ holds examples that explain every field."""

from __future__ import annotations

import difflib
import math
import os
import tomllib
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from mvc.distortion import seen_error, structure
from mvc.errors import BackendError, SourceError, WeightsError
from mvc.models import registry
from mvc.models.looks import DETAIL
from mvc.planes import PACKING
from mvc.quality import DEFAULT_MODEL
from mvc.train.augment import Augment
from mvc.train.data import SCALES

_KINDS = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "dict[str, Any]": (dict,),
    "list[int]": (list,),
    "list[str]": (list,),
    "list[float]": (list,),
    "list[list[int]]": (list,),
}
_POSITIVE = ("batch", "lr", "minutes", "clip", "aux_lr", "checkpoint_minutes", "log_steps")
_SHARES = ("cooldown", "ema", "ms_ssim", "seen", "lpips_part", "moved", "graphics_share", "jitter")
_NOT_NEGATIVE = (
    *("rd_lambda", "frames", "warmup_steps", "steps", "processes", "holdout", "drawn", "grain", "validate_minutes"),
    *("seed", "lpips"),
)
_CHOICES = {
    "device": ("auto", "cpu", "cuda"),
    "dtype": ("bfloat16", "float32"),
    "optimizer": ("muon", "adam"),
}
_NO_CONFIG = (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError)  # of networks that cannot be built
CROP_MULTIPLE = 64


@dataclass(frozen=True)
class Recipe:
    """What to train, on what and for how long; paths are relative to the folder `mvc train` is started in."""

    pictures: str  # folder of pictures, or for a model of clips of videos; searched to any depth
    store: str  # crop store made from them: this path with .bin and .json (and -held.bin and -held.json)
    run: str  # folder of checkpoint and logs
    model: str = DEFAULT_MODEL  # a name that mvc.models.registry knows
    config: dict[str, Any] = field(default_factory=dict)  # of the model, where it differs from the preset
    start: str = ""  # a checkpoint whose weights a new run begins with: of this model, or of the still one for clips
    parts: list[str] = field(default_factory=list)  # the networks to train, by what they code; the others stay
    rd_lambda: float = 0.0  # for models of one rate: loss = rd_lambda * 255^2 * MSE + bits per pixel
    batch: int = 16  # crops per step, over all processes
    crop_px: int = 256
    frames: int = 0  # for a model of clips: of each crop, the first of them a keyframe; 1 for the keyframe's network
    stills: str = ""  # for a model of clips: folder of pictures to move, too
    moved: float = 0.0  # share of crops that are moved pictures
    stages: list[list[int]] = field(default_factory=list)  # [step, batch, crop_px]: other crops from this step on
    optimizer: str = "muon"
    lr: float = 1e-3
    aux_lr: float = 1e-3  # Adam's for the tails of the hyperlatent's density, where the model has them
    warmup_steps: int = 100
    lr_drops: list[int] = field(default_factory=list)  # steps from which on the learning rate is a tenth
    minutes: float = 60.0  # wall time of the whole run, what it had before it was resumed included; inf: no limit
    steps: int = 0  # end after so many steps, if that is sooner; 0: no limit
    cooldown: float = 0.0  # share of the run, at its end, in which the learning rate falls to zero
    clip: float = 20.0  # largest norm of the gradient
    ema: float = 0.999  # decay of the averaged weights; 0: they are the weights themselves
    ms_ssim: float = 0.0  # share of 1 - MS-SSIM in the distortion
    seen: float = 0.0  # that of the error as it is seen, by bands and masked; the rest is the squared error
    lpips_part: float = 0.0  # LPIPS, which has to be fetched, and what blocks have in common, added to those
    lpips: float = 0.0  # weight of LPIPS beside distortion and rate, whatever the rate is
    seed: int = 0
    dtype: str = "bfloat16"
    device: str = "auto"
    processes: int = 0  # 0: one for each core, with one thread; on a GPU machine one for each GPU
    graphics: str = ""  # folder of pictures that are no photographs, added to the store
    drawn: int = 0  # pictures of type and line art added to the store
    graphics_share: float = 0.0  # share of the crops that are of `graphics` or drawn; 0: by area
    scales: list[float] = field(default_factory=lambda: list(SCALES))  # of each photograph in the store
    grain: float = 0.0  # half of the photographs' crops get noise, with a standard deviation up to this (of 255)
    jitter: float = 0.0  # share of the crops whose hue, saturation and contrast are changed
    holdout: int = 0  # pictures kept out of the crop store, for validation
    validate_minutes: float = 30.0
    checkpoint_minutes: float = 5.0
    log_steps: int = 50

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """Parse and check a recipe; SourceError names the field that is wrong."""
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SourceError(f"{path} cannot be read as a training recipe: {error}") from error
        try:
            return cls.from_dict(values)
        except SourceError as error:
            raise SourceError(f"{path}: {error.message}", hint=error.hint) from error

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """A recipe from plain values, checked."""
        known = {f.name: str(f.type) for f in fields(cls)}
        for name, value in values.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"fields are {', '.join(known)}"
                raise SourceError(f"there is no field {name!r}", hint=hint)
            if not isinstance(value, _KINDS[known[name]]) or isinstance(value, bool):
                raise SourceError(f"{name} = {value!r} should be of type {known[name].split('[')[0]}")
        missing = [name for name in ("pictures", "store", "run") if not values.get(name)]
        if missing:
            raise SourceError(f"the field {missing[0]!r} is missing", hint="see recipes/ for examples")
        recipe = cls(**values)
        recipe._check()
        return recipe

    def _check(self) -> None:
        for name in (*_POSITIVE, *_NOT_NEGATIVE, *_SHARES):
            value, low = getattr(self, name), "more than 0" if name in _POSITIVE else "at least 0"
            endless = name == "minutes" and value == math.inf and self.steps > 0
            if not (math.isfinite(value) or endless) or value < 0 or (name in _POSITIVE and value == 0):
                raise SourceError(f"{name} = {value} should be {low}")
        for name in _SHARES:
            if getattr(self, name) > 1:
                raise SourceError(f"{name} = {getattr(self, name)} should be at most 1")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise SourceError(f"{name} = {getattr(self, name)!r} should be one of {', '.join(choices)}")
        self._check_schedule()
        self._check_data()
        for crop_px in (self.crop_px, *(row[2] for row in self.stages)):
            if crop_px < CROP_MULTIPLE or crop_px % CROP_MULTIPLE:
                raise SourceError(f"crop_px = {crop_px} should be a multiple of {CROP_MULTIPLE}")
            for name, least in (("ms_ssim", structure.SMALLEST_PX), ("seen", seen_error.SMALLEST_PX)):
                if getattr(self, name) and crop_px < least:
                    raise SourceError(f"crop_px = {crop_px} is too small for {name}, which needs {least}")
        if self.ms_ssim + self.seen > 1:
            raise SourceError(f"ms_ssim = {self.ms_ssim} and seen = {self.seen} should not be more than 1 together")
        self._check_model()

    def _check_schedule(self) -> None:
        if any(type(step) is not int or step < 1 for step in self.lr_drops) or not _grows(self.lr_drops):
            raise SourceError(f"lr_drops = {self.lr_drops} should be steps in growing order")
        for row in self.stages:
            if type(row) is not list or len(row) != 3 or any(type(value) is not int or value < 1 for value in row):
                raise SourceError(f"stages: {row} should be three whole numbers, [step, batch, crop_px]")
        if not _grows([row[0] for row in self.stages]):
            raise SourceError("stages should be in the order of their steps")

    def _check_data(self) -> None:
        if not self.scales or any(type(scale) not in (int, float) or not 0 < scale <= 1 for scale in self.scales):
            raise SourceError(f"scales = {self.scales} should be numbers above 0 and up to 1")
        if self.graphics_share and not (self.graphics or self.drawn):
            raise SourceError(f"graphics_share = {self.graphics_share} needs `graphics`, a folder, or `drawn`")

    def _check_model(self) -> None:
        """That the configuration makes a model, and that the objective is one for it."""
        try:
            preset = registry.known(self.model)
            with torch.device("meta"):  # the papers' networks take seconds to fill with values
                model: Any = preset.make(self.config)
        except WeightsError as error:
            raise SourceError(f"model: {error.message}", hint=error.hint) from error
        except _NO_CONFIG as error:
            raise SourceError(f"config: {error}") from error
        if model.rates > 1 and self.rd_lambda:
            raise SourceError(f"rd_lambda = {self.rd_lambda} should be left out: {self.model} draws it for each crop")
        if model.rates == 1 and not self.rd_lambda:
            raise SourceError(f"rd_lambda = 0 should be more than 0: {self.model} is trained for one rate")
        if unknown := [part for part in self.parts if part not in model.networks]:
            raise SourceError(f"parts: {unknown[0]!r} should be one of {', '.join(model.networks)}")
        if (preset.kind == "look") != (self.parts == [DETAIL]) or (preset.kind == "look" and not self.start):
            hint = f'{self.model} is a look: parts = ["{DETAIL}"], and `start` is a checkpoint of {preset.look_of}'
            raise SourceError(f"parts = {self.parts} and start = {self.start!r} do not fit", hint=hint)
        clips = preset.kind == "video"
        alone = self.parts == [registry.PICTURE]
        if clips != (self.frames > 0) or (clips and (self.frames == 1) != alone):
            wanted = ("1" if alone else "at least 2") if clips else "left out"
            codes = "clips" if clips else "single pictures"
            raise SourceError(f"frames = {self.frames} should be {wanted}: {self.model} codes {codes}")
        if (self.moved > 0) != bool(self.stills) or (self.stills and not clips):
            hint = "moved is the share of crops that are made by moving pictures of that folder, for a model of clips"
            raise SourceError(f"moved = {self.moved} and stills = {self.stills!r} do not go together", hint=hint)
        for name in ("ms_ssim", "seen", "lpips_part", "lpips"):
            if clips and (share := getattr(self, name)):
                raise SourceError(f"{name} = {share} should be left out: {self.model} is trained for squared error")
        stride = max(network.stride for network in model.networks.values())
        for crop_px in (self.crop_px, *(row[2] for row in self.stages)):
            if crop_px % stride:
                raise SourceError(f"crop_px = {crop_px} should be a multiple of {stride} for {self.model}")
        if not model.trains_in_half and self.dtype != "float32":
            raise SourceError(f'dtype = {self.dtype!r} should be "float32": {self.model} has no other')

    def crops_at(self, step: int) -> tuple[int, int]:
        """`batch` and `crop_px` of a step, 0 being the first."""
        reached = [row for row in self.stages if row[0] <= step]
        return (reached[-1][1], reached[-1][2]) if reached else (self.batch, self.crop_px)

    @property
    def in_gops(self) -> bool:
        """Whether frames are trained one by one, each given what is known of those before it (gops.py)."""
        return self.packing == PACKING and self.frames > 1

    @property
    def for_look(self) -> bool:
        """Whether it is a look that is trained, of a model that stays as it is."""
        return registry.known(self.model).kind == "look"

    @property
    def packing(self) -> int:
        """Of the frames that the model takes (mvc/planes.py)."""
        return registry.known(self.model).packing

    @property
    def augment(self) -> Augment | None:
        """What is done to every crop."""
        return Augment(self.grain, self.jitter) if self.grain or self.jitter else None

    @property
    def batches(self) -> list[int]:
        """Every number of crops that a step may have."""
        return [self.batch, *(row[1] for row in self.stages)]

    @property
    def checkpoint(self) -> Path:
        """Where the run's last state lies."""
        return Path(self.run) / "last.pt"

    def chosen_device(self) -> str:
        """Where to train, "cpu" or "cuda"; BackendError if the recipe asks for what this machine lacks."""
        if self.device == "cuda" and not torch.cuda.is_available():
            raise BackendError("this machine has no CUDA device", hint='use device = "auto" in the recipe')
        return "cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu"

    def chosen_processes(self) -> int:
        """How many processes to start: as many as there are cores or GPUs, if the batch divides among them."""
        if self.processes:
            return self.processes
        if self.chosen_device() == "cuda":
            most = torch.cuda.device_count()
        else:
            most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(n for n in range(1, most + 1) if math.gcd(*self.batches) % n == 0)


def _grows(steps: list[int]) -> bool:
    return all(a < b for a, b in pairwise(steps))
