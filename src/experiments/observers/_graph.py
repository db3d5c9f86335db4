"""The model's graph for TensorBoard."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from experiments.initializers import evaluating
from experiments.training.streams import undrawn

if TYPE_CHECKING:
    from tensorboard.compat.proto.graph_pb2 import GraphDef


class _Layers(fx.Tracer):
    """Traces the model down to the modules without children."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        del module_qualified_name
        return not any(m.children())


def graph_definition(model: nn.Module, example: Tensor) -> GraphDef | None:
    """Trace the model into a graph whose nodes have the modules' names and output shapes.

    torch.fx traces it, because TensorBoard's own `add_graph` needs `torch.jit.trace`, which torch has deprecated.

    Args:
        model: it is not changed.
        example: inputs of shape (batch, *input_shape).

    Returns:
        The graph, or None for a model that cannot be traced because its control flow depends on its data.
    """
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    try:
        with evaluating(model), torch.no_grad(), undrawn(example.device):
            graph = _Layers().trace(model)
            shapes = _Shapes(fx.GraphModule(model, graph))
            shapes.run(example)
    except Exception:  # fx raises many kinds of errors for a model that it cannot trace
        return None

    definition = GraphDef()
    names = {node: _name(node) for node in graph.nodes}
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    names |= {node: free("input" if len(inputs) == 1 else f"input_{node.name}", names.values()) for node in inputs}
    for node in graph.nodes:
        added = definition.node.add(name=names[node], op=_kind(node, model))
        added.input.extend(names[source] for source in node.all_input_nodes)
        shape = shapes.by_node.get(node.name)
        if shape is not None:
            output_shape = added.attr["_output_shapes"].list.shape.add()
            for size in (-1, *shape[1:]):
                output_shape.dim.add(size=size)
    return definition


class _Shapes(fx.Interpreter):
    """Runs the graph and records the shape of each node's output."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.by_node: dict[str, torch.Size] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor) and result.ndim:
            self.by_node[n.name] = result.shape
        return result


def free(name: str, taken: Collection[str]) -> str:
    """Return a name for a node that is neither another node's nor the beginning of one, as that of its group."""
    while any(other == name or other.startswith(f"{name}/") for other in taken):
        name += "_"
    return name


def _name(node: fx.Node) -> str:
    """Return a node's name, such as `features/hidden1/linear`; further calls of the same module are numbered."""
    if node.op != "call_module":
        return node.name
    scope = str(node.target).replace(".", "/")
    repeats = [n for n in node.graph.nodes if n.op == "call_module" and n.target == node.target]
    return scope if repeats[0] is node else f"{scope}_{repeats.index(node)}"


def _kind(node: fx.Node, model: nn.Module) -> str:
    if node.op == "call_module":
        return type(model.get_submodule(str(node.target))).__name__
    return {"placeholder": "Input", "output": "Output"}.get(node.op, node.name)
