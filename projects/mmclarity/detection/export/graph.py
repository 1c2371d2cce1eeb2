"""ONNX graphs written by hand, with pieces that torch exported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.compose import add_prefix

IR_VERSION = 10


class Graph:
    """Nodes in the order in which they are written; a value is known by its name.

    Args:
        opset: Of ONNX.
    """

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._known: dict[tuple, str] = {}

    def add(self, operator: str, *values: str, outputs: int = 1, **attributes: Any) -> Any:
        """Append a node.

        Args:
            operator: Its type, such as ``'Concat'``.
            values: Its inputs; an empty name leaves one out.
            outputs: How many it has.
            attributes: Of the operator.

        Returns:
            The name of its output, or a tuple of them.
        """
        names = [f'{operator.lower()}_{len(self.nodes)}_{place}' for place in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(values), names, **attributes))
        return names[0] if outputs == 1 else tuple(names)

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        """A tensor that the file holds; equal ones are held once."""
        array = np.asarray(value, dtype)
        key = (array.tobytes(), array.shape, array.dtype.str)
        if key not in self._known:
            name = self._known[key] = f'constant_{len(self.constants)}'
            self.constants.append(numpy_helper.from_array(array, name))
        return self._known[key]

    def whole(self, *values: int) -> str:
        """A constant (n,) of int64."""
        return self.constant(values, np.int64)

    def input(self, name: str, kind: int, shape: Sequence[int | str]) -> str:
        """A value that the caller gives."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def option(self, name: str, default: int) -> str:
        """A whole number (1,) that the caller may give."""
        self.constants.append(numpy_helper.from_array(np.array([default], np.int64), name))
        return self.input(name, TensorProto.INT64, [1])

    def output(self, name: str, value: str, kind: int, shape: Sequence[int | str]) -> None:
        """Give a value to the caller."""
        self.nodes.append(helper.make_node('Identity', [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def inline(self, model: onnx.ModelProto, prefix: str, *values: str) -> list[str]:
        """Append the nodes of a whole model.

        Args:
            model: Without functions of its own.
            prefix: Before its names, so that they meet no other.
            values: Its inputs, in its order.

        Returns:
            Names of its outputs.
        """
        if model.functions:
            raise ValueError(f'{prefix}: functions of an exported model are not known here')
        part = add_prefix(model, prefix).graph
        for given, wanted in zip(values, part.input, strict=True):
            self.nodes.append(helper.make_node('Identity', [given], [wanted.name]))
        self.nodes.extend(part.node)
        self.constants.extend(part.initializer)
        return [value.name for value in part.output]

    # ------------------------------------------------------------------ what is needed often
    def size(self, value: str, axis: int) -> str:
        """(1,) int64: how long an axis is."""
        return self.add('Shape', value, start=axis, end=axis + 1)

    def columns(self, value: str, start: int, stop: int) -> str:
        """Columns of a table (N, C)."""
        return self.add('Slice', value, self.whole(start), self.whole(stop), self.whole(1))

    def numbers_to(self, count: str) -> str:
        """0, 1, ... below (1,) int64."""
        zero, one = self.constant(0, np.int64), self.constant(1, np.int64)
        return self.add('Range', zero, self.add('Squeeze', count), one)

    def highest(self, values: str, count: str) -> tuple[str, str]:
        """The ``count`` (1,) largest of (N,), or all: values by falling size, and their places."""
        count = self.add('Min', count, self.size(values, 0))
        return self.add('TopK', values, count, axis=0, outputs=2)

    def where_true(self, flags: str) -> str:
        """Places (K,) of the true ones of (N,)."""
        return self.add('Squeeze', self.add('NonZero', flags), self.whole(0))

    def model(self, metadata: dict[str, str]) -> onnx.ModelProto:
        """All of it, checked."""
        graph = helper.make_graph(
            self.nodes, 'detector', self.inputs, self.outputs, initializer=self.constants
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid('', self.opset)],
            ir_version=IR_VERSION,
            producer_name='mmclarity',
        )
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        return model
