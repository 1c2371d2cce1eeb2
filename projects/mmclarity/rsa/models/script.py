"""TorchScript networks as modules whose parts can be seen: their graphs, run node by node.

The interpreter of TorchScript runs a whole network without coming back to Python, so that no hook
of a part is ever called. Here each call of a submodule is one of Python, and the operators between
are the same ones, called one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mmclarity.errors import LayerError

# Modules of PyTorch, by the names that TorchScript keeps.
NORMS = ('BatchNorm', 'LayerNorm', 'GroupNorm', 'InstanceNorm', 'SyncBatchNorm')
WEIGHTED = ('Linear', 'Conv1d', 'Conv2d', 'Conv3d')


def opened(model: nn.Module) -> nn.Module:
    """A model whose parts of TorchScript are views of them, in place; or the view of all of it."""
    if isinstance(model, torch.jit.ScriptModule):
        return ScriptView(model)
    for name, child in model.named_children():
        if isinstance(child, torch.jit.ScriptModule):
            setattr(model, name, ScriptView(child))
        else:
            opened(child)
    return model


def refuse_frozen(model: nn.Module) -> None:
    """Raise a LayerError for the view of a script that has no parts.

    Raises:
        LayerError: If it was frozen.
    """
    if isinstance(model, ScriptView) and not any(True for _ in model.children()):
        raise LayerError(
            f'{model.script_name} is TorchScript without parts, as torch.jit.freeze and '
            'optimize_for_inference leave it: there are no layers to record. Save it before it is '
            'frozen, or give the Python model that it was made from (file.py:function)'
        )


class ScriptView(nn.Module):
    """A module of TorchScript with its submodules as modules of Python, sharing all weights.

    Args:
        script: Scripted or traced; what ``torch.jit.freeze`` made has no submodules left.
    """

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.script_name = script.original_name
        for name, parameter in script.named_parameters(recurse=False):
            if not isinstance(parameter, nn.Parameter):  # from a file
                parameter = nn.Parameter(parameter.detach(), parameter.requires_grad)
            self.register_parameter(name, parameter)
        for name, buffer in script.named_buffers(recurse=False):
            self.register_buffer(name, buffer)
        for name, child in script.named_children():
            self.add_module(name, ScriptView(child))
        # Not among the modules: what is registered there twice would be listed twice.
        object.__setattr__(self, '_script', script)

    def forward(self, *args: Any, **options: Any) -> Any:
        """What the script answers."""
        return self.call_method('forward', args, options)

    def call_method(self, name: str, args: tuple, options: dict[str, Any] | None = None) -> Any:
        """Run one method of the module."""
        method = self._script._c._get_method(name)
        names = [argument.name for argument in method.schema.arguments[1:]]
        given = {**dict(zip(names, args)), **(options or {})}
        graph = _opened(method.graph)
        own, *places = [value.debugName() for value in graph.inputs()]
        values: dict[str, Any] = {own: self}
        for place, argument in zip(places, method.schema.arguments[1:]):
            values[place] = given.get(argument.name, argument.default_value)
        try:
            (found,) = _run(graph, values)
        except (NotImplementedError, AttributeError) as error:
            raise LayerError(
                f'{self.script_name} is TorchScript that cannot be looked into ({error}); give the '
                'Python model that it was made from (file.py:function)'
            ) from error
        return found


# In the place of prim::CallMethod.
CALL = 'mmclarity::CallMethod'


def _opened(graph: Any) -> Any:
    """A copy in which functions are written out, but methods are still called."""
    graph = graph.copy()
    _rename_calls(graph, graph)
    torch._C._jit_pass_inline(graph)
    return graph


def _rename_calls(block: Any, graph: Any) -> None:
    for node in list(block.nodes()):
        for inner in node.blocks():
            _rename_calls(inner, graph)
        if node.kind() == 'prim::CallMethod':
            call = graph.create(CALL, list(node.inputs()), node.outputsSize())
            call.s_('name', node.s('name'))
            call.insertBefore(node)
            for old, new in zip(node.outputs(), call.outputs()):
                new.setType(old.type())
                old.replaceAllUsesWith(new)
            node.destroy()


def _run(block: Any, values: dict[str, Any]) -> list[Any]:
    """The outputs of a graph or of a block of one, whose inputs are among the values by name."""
    for node in block.nodes():
        inputs = [values[value.debugName()] for value in node.inputs()]
        kind = node.kind()
        if kind in CONTROL:
            found = CONTROL[kind](node, inputs, values)
        elif kind in SINGLE:
            found = [SINGLE[kind](node, inputs)]
        else:
            found = _operator(node)(*inputs)
            many = node.outputsSize() > 1
            found = list(found) if many else [found]
        values.update((v.debugName(), f) for v, f in zip(node.outputs(), found))
    return [values[value.debugName()] for value in block.outputs()]


def _operator(node: Any) -> Callable:
    """What a node of PyTorch's operators calls."""
    schema = node.schema()
    if schema == '(no schema)':
        raise NotImplementedError(f'there is no way to run {node.kind()} from Python')
    name, _, overload = schema.partition('(')[0].partition('.')
    if 't[]' in schema and name in LISTS:
        return LISTS[name]
    operator = torch._C._get_operation_overload(name, overload)[0]
    arguments = torch._C._get_schema(name, overload).arguments
    if len(arguments) != node.inputsSize():
        return operator
    plain = sum(not argument.kwarg_only for argument in arguments)
    named = [argument.name for argument in arguments[plain:]]
    return lambda *inputs: operator(*inputs[:plain], **dict(zip(named, inputs[plain:])))


def _branch(node: Any, inputs: list[Any], values: dict[str, Any]) -> list[Any]:
    yes, no = node.blocks()
    return _run(yes if inputs[0] else no, values)


def _loop(node: Any, inputs: list[Any], values: dict[str, Any]) -> list[Any]:
    (block,) = node.blocks()
    names = [value.debugName() for value in block.inputs()]
    most, go_on, *carried = inputs
    turn = 0
    while go_on and turn < most:
        values.update(zip(names, [turn, *carried]))
        go_on, *carried = _run(block, values)
        turn += 1
    return carried


def _fail(node: Any, inputs: list[Any], values: dict[str, Any]) -> list[Any]:
    raise RuntimeError(inputs[0])


def _attribute(node: Any, inputs: list[Any]) -> Any:
    owner, name = inputs[0], node.s('name')
    # Weights may have been moved, converted or changed since the view was made: its own count.
    held = name == 'training' or any(
        name in of for of in (owner._modules, owner._parameters, owner._buffers)
    )
    return getattr(owner if held else owner._script, name)


def _method(node: Any, inputs: list[Any]) -> Any:
    owner, name = inputs[0], node.s('name')
    # The call of a module runs its hooks.
    return owner(*inputs[1:]) if name == 'forward' else owner.call_method(name, tuple(inputs[1:]))


def _constant(node: Any, inputs: list[Any]) -> Any:
    value = node.output()
    return None if value.type().kind() == 'NoneType' else value.toIValue()


def _slice(node: Any, inputs: list[Any]) -> Any:
    return inputs[0][node.i('beg') : node.i('end')]


def _assign(node: Any, inputs: list[Any], values: dict[str, Any]) -> list[Any]:
    owner, name = inputs[0], node.s('name')
    setattr(owner if name in owner._buffers else owner._script, name, inputs[1])
    return []


CONTROL: dict[str, Callable[[Any, list[Any], dict[str, Any]], list[Any]]] = {
    'prim::If': _branch,
    'prim::Loop': _loop,
    'prim::RaiseException': _fail,
    'prim::SetAttr': _assign,
    'prim::TupleUnpack': lambda node, inputs, values: list(inputs[0]),
    'prim::ListUnpack': lambda node, inputs, values: list(inputs[0]),
    'prim::Print': lambda node, inputs, values: [],
    'aten::warn': lambda node, inputs, values: [],
}
SINGLE: dict[str, Callable[[Any, list[Any]], Any]] = {
    'prim::Constant': _constant,
    'prim::GetAttr': _attribute,
    CALL: _method,
    'prim::TupleConstruct': lambda node, inputs: tuple(inputs),
    'prim::ListConstruct': lambda node, inputs: list(inputs),
    'prim::DictConstruct': lambda node, inputs: dict(zip(inputs[::2], inputs[1::2])),
    'prim::TupleIndex': lambda node, inputs: inputs[0][inputs[1]],
    'prim::TupleSlice': _slice,
    'prim::unchecked_cast': lambda node, inputs: inputs[0],
    'prim::unchecked_unwrap_optional': lambda node, inputs: inputs[0],
    'prim::Uninitialized': lambda node, inputs: None,
    'prim::data': lambda node, inputs: inputs[0].data,
    'prim::dtype': lambda node, inputs: inputs[0].dtype,
    'prim::device': lambda node, inputs: inputs[0].device,
    'prim::is_cuda': lambda node, inputs: inputs[0].is_cuda,
    'prim::requires_grad': lambda node, inputs: inputs[0].requires_grad,
    'prim::layout': lambda node, inputs: inputs[0].layout,
    'prim::min': lambda node, inputs: min(inputs[0]) if len(inputs) == 1 else min(inputs),
    'prim::max': lambda node, inputs: max(inputs[0]) if len(inputs) == 1 else max(inputs),
    'aten::__is__': lambda node, inputs: inputs[0] is inputs[1],
    'aten::__isnot__': lambda node, inputs: inputs[0] is not inputs[1],
    'aten::__not__': lambda node, inputs: not inputs[0],
    'aten::len': lambda node, inputs: len(inputs[0]),
    'aten::append': lambda node, inputs: inputs[0].append(inputs[1]) or inputs[0],
    'aten::__getitem__': lambda node, inputs: inputs[0][inputs[1]],
    'aten::_set_item': lambda node, inputs: inputs[0].__setitem__(inputs[1], inputs[2]),
    'aten::__contains__': lambda node, inputs: inputs[1] in inputs[0],
    'aten::format': lambda node, inputs: inputs[0].format(*inputs[1:]),
}
# Of lists of any type, which operators called from Python do not take.
LISTS: dict[str, Callable[..., Any]] = {
    'aten::add': lambda a, b: a + b,
    'aten::copy': list,
    'aten::extend': lambda items, more: items.extend(more),
    'aten::insert': lambda items, place, item: items.insert(place, item),
    'aten::list': list,
    'aten::mul': lambda items, times: items * times,
    'aten::pop': lambda items, place=-1: items.pop(place),
    'aten::slice': lambda items, start, stop, step=1: items[slice(start, stop, step)],
}
