"""Reads files of torch.save that may come from strangers: no code in them is run, and they fill no memory.

torch.load with `weights_only` runs no code either, but builds whatever a file describes: a deflated archive, a tensor
of one stored number with stride 0, a bytearray of any size, a list that holds another list many times. So their pickle
is read here, by the few of its commands that torch.save writes for tensors and plain values.
"""

from __future__ import annotations

import lzma
import math
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
from torch import Tensor

from mvc.errors import WeightsError

MAX_BYTES = 1 << 33
"""Largest checkpoint that is read: ten times that of the largest model here."""

MAX_PICKLE_BYTES = 1 << 23
"""Of what stands in a checkpoint beside the numbers of its tensors, some hundred bytes for each."""

MAX_OBJECTS = 1 << 20  # in the nest of dictionaries and lists

UNREADABLE = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    pickle.UnpicklingError,
)
"""What damaged files raise on their way through zipfile, pickle and torch."""

DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}


def load(file: BinaryIO) -> Any:
    """What a file of torch.save holds: tensors, which come to the CPU, and plain values.

    WeightsError for one that cannot be read, or that stands for more than its own size; its message goes on from the
    file's name.
    """
    try:
        size = file.seek(0, 2)
        if size > MAX_BYTES:
            raise WeightsError(f"has more than {MAX_BYTES >> 30} GiB, more than any checkpoint")
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise WeightsError("is compressed, which torch.save never does", hint="load it and save it again")
            if sum(entry.file_size for entry in entries) > size:
                raise WeightsError("stands for more than the file has")
            (start,) = (entry for entry in entries if entry.filename.endswith("/data.pkl"))
            if start.file_size > MAX_PICKLE_BYTES:
                raise WeightsError("holds more than any checkpoint beside its tensors")
            with archive.open(start) as commands:
                stored = _Unpickler(commands, archive, start.filename.removesuffix("data.pkl")).load()
    except UNREADABLE as error:
        hint = "files of torch before 1.6 must be loaded and saved again by a later one"
        raise WeightsError("is not a checkpoint of torch", hint=hint) from error
    _check_extent(stored, size)
    return stored


class _Names(OrderedDict[str, Any]):
    """A state dict; what torch keeps in its attributes (`_metadata`) is left out."""

    def __init__(self) -> None:  # a copy of another one costs a file nothing
        super().__init__()


_Plain: Any = pickle._Unpickler  # that in C makes room for as many memos as a file asks for


class _Unpickler(_Plain):
    """The commands of pickle that torch.save writes, and nothing but tensors and plain values from them."""

    dispatch: ClassVar[dict[int, Any]] = {
        code[0]: _Plain.dispatch[code[0]]
        for code in (
            *(pickle.PROTO, pickle.STOP, pickle.MARK, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE),
            *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINFLOAT, pickle.BINUNICODE),
            *(pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS, pickle.EMPTY_DICT, pickle.SETITEM, pickle.SETITEMS),
            *(pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
            *(pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET, pickle.LONG_BINGET),
            *(pickle.GLOBAL, pickle.REDUCE, pickle.BUILD, pickle.BINPERSID),
        )
    }

    def __init__(self, commands: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(commands)
        self.archive, self.folder = archive, folder
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if f"{module}.{name}" not in KNOWN:
            hint = "where you trust it, load it and save its state dict alone: torch.save(model.state_dict(), ...)"
            raise WeightsError(f"holds {module}.{name}; only plain tensors and values are read", hint=hint)
        return KNOWN[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> Tensor:
        """A flat tensor of all that a storage holds."""
        _, dtype, key, _, count = pid
        if not isinstance(key, str):  # see `_set`
            raise ValueError("a storage has no name")
        if key not in self.storages:
            entry = self.archive.getinfo(f"{self.folder}data/{key}")
            storage = torch.empty(entry.file_size, dtype=torch.uint8)
            place = storage.numpy()
            with self.archive.open(entry) as file:
                while part := file.read(1 << 20):
                    place[: len(part)] = np.frombuffer(part, np.uint8)
                    place = place[len(part) :]
            self.storages[key] = storage
        return self.storages[key][: count * dtype.itemsize].view(dtype)

    def build(self) -> None:
        self.stack.pop()

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set(key, value)

    def set_items(self) -> None:
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._set(key, value)

    def _set(self, key: Any, value: Any) -> None:
        if not isinstance(key, (str, int)) or not isinstance(self.stack[-1], dict):
            raise ValueError("keys are names or numbers")  # the hash of a tuple of tuples may take for ever
        self.stack[-1][key] = value

    dispatch |= {pickle.BUILD[0]: build, pickle.SETITEM[0]: set_item, pickle.SETITEMS[0]: set_items}


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Tensor) or len(size) > 16 or math.prod(size) >= 1 << 48:
        raise ValueError("a tensor is larger than any")
    return torch.as_strided(storage, size, stride, offset)


def _first(value: Any, *_: Any) -> Any:
    """For what is made of one value and costs a file nothing to make again and again."""
    return value


KNOWN: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _Names,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _first,
    **dict.fromkeys(("torch.Size", "collections.Counter", "__builtin__.set", "_codecs.encode", "torch.device"), _first),
}
"""What a pickle may call: for tensors, and (in the last line) for values beside them that nothing here reads."""


def _check_extent(stored: Any, size: int) -> None:
    """WeightsError for a nest of more than MAX_OBJECTS objects, or of more numbers in its tensors than `size`."""
    left, objects, values = [stored], 0, 0
    while left:
        item = left.pop()
        objects += 1
        if isinstance(item, Tensor):
            values += item.numel()
        elif isinstance(item, dict):
            left += item.values()
        elif isinstance(item, (list, tuple)):
            left += item
        if objects + len(left) > MAX_OBJECTS:
            raise WeightsError("holds more objects than any checkpoint")
        if values > size:
            raise WeightsError("stands for more numbers than the file has bytes")
