"""A graph of ONNX operators, written one after another: names are given, and weights stand in it in half precision."""

from __future__ import annotations

from typing import Any

import numpy as np

from mvc.errors import BackendError

OPSET = 17
"""Of the default domain: the oldest with LayerNormalization, so that old runtimes read it too."""
IR_VERSION = 8
PRODUCER = "mvc export-decoder"


def onnx_package() -> Any:
    """The package onnx; BackendError where it is not installed."""
    try:
        import onnx
    except ImportError as error:
        hint = "install the extra: pip install 'mvc-codec[onnx]'"
        raise BackendError("writing ONNX needs the package onnx", hint=hint) from error
    return onnx


class Graph:
    """Nodes and initialisers in the order of their making; every method returns the name of its result."""

    def __init__(self) -> None:
        self.onnx = onnx_package()
        self.nodes: list[Any] = []
        self.initialisers: list[Any] = []
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def constant(self, values: Any, name: str = "constant") -> str:
        """An initialiser of these values, float32 for what is real; equal ones are there once."""
        array = np.asarray(values)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._known:
            self._known[key] = unique = f"{name}.{len(self.initialisers)}"
            self.initialisers.append(self.onnx.numpy_helper.from_array(array, unique))
        return self._known[key]

    def weight(self, values: np.ndarray, name: str) -> str:
        """float32 values that float16 holds exactly, stored so; else as they are."""
        half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            return self.constant(values.astype(np.float32), name)
        return self.op("Cast", self.constant(half, name), to=self.onnx.TensorProto.FLOAT)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one result."""
        return self.ops(kind, *inputs, count=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str, count: int, **attributes: Any) -> list[str]:
        """A node with `count` results."""
        names = [f"{kind}.{len(self.nodes)}.{k}" if count > 1 else f"{kind}.{len(self.nodes)}" for k in range(count)]
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def split(self, x: str, sizes: list[int], axis: int) -> list[str]:
        """Parts of these sizes along an axis."""
        return self.ops("Split", x, self.constant(np.array(sizes, np.int64)), count=len(sizes), axis=axis)

    def reshape(self, x: str, *shape: int | str) -> str:
        """As ONNX's Reshape: 0 stands for the size that is there, -1 for what is left; names for sizes int64 [1]."""
        if all(isinstance(side, int) for side in shape):
            return self.op("Reshape", x, self.constant(np.array(shape, np.int64)), allowzero=0)
        parts = [side if isinstance(side, str) else self.constant(np.array([side], np.int64)) for side in shape]
        return self.op("Reshape", x, self.op("Concat", *parts, axis=0), allowzero=0)

    def silu(self, x: str) -> str:
        """x * sigmoid(x)."""
        return self.op("Mul", x, self.op("Sigmoid", x))

    def body(self, name: str, inputs: list[str], nodes: list[Any], outputs: list[str], shape: list[Any]) -> Any:
        """A graph inside a node, all float32 and of one shape."""
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        parts = ([helper.make_tensor_value_info(key, kind, shape) for key in names] for names in (inputs, outputs))
        return helper.make_graph(nodes, name, *parts)

    def model(self, name: str, inputs: list[Any], outputs: list[Any], about: dict[str, str]) -> Any:
        """The whole, checked for form; `about` is its metadata."""
        helper = self.onnx.helper
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.initialisers)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name=PRODUCER)
        helper.set_model_props(model, about)
        self.onnx.checker.check_model(model, full_check=True)
        return model
