"""Runs of many shapes, without a training: what a comparison reads of them."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from experiments.comparison.options import CompareOptions
from experiments.comparison.report import Report
from experiments.comparison.running import create_report
from experiments.folders.reading import Reader


@dataclass(frozen=True)
class Shape:
    """Runs that are compared: a crossing of keys, each with some layers."""

    levels: dict[str, Sequence[Any]]
    seeds: int = 2
    layers: Sequence[str] = ("hidden1", "hidden2", "head")
    epochs: int = 3
    constant: bool = False


def write(folder: Path, shape: Shape) -> None:
    """Make run folders as a training leaves them."""
    for number, values in enumerate(itertools.product(*shape.levels.values(), range(shape.seeds))):
        *levels, seed = values
        given = dict(zip(shape.levels, levels, strict=True))
        config: dict[str, Any] = {"seed": seed, "objective": "val/accuracy", "model": {}, "optimizer": {}}
        for key, value in given.items():
            part, _, name = key.partition(".")
            config[part][name] = value
        run = folder / str(number)
        (run / ".hydra").mkdir(parents=True)
        (run / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        good = 0.9 if shape.constant else 0.9 + 0.01 * math.sin(number)
        metrics = {f"{split}/{kind}": good for split in ("train", "val", "test") for kind in ("loss", "accuracy")}
        summary = {"status": "finished", "metrics": metrics, "best_epoch": shape.epochs}
        (run / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
        rows = ["epoch,step,lr,train/loss,train/accuracy,val/loss,val/accuracy,seconds"]
        rows += [f"{e},{9 * e},0.1,{good / e**3},{good},{good / e},{good},{e}" for e in range(1, shape.epochs + 1)]
        (run / "metrics.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        layers = [name for name in shape.layers if name != "hidden2" or given.get("model.batch_norm", True)]
        write_layers(run, layers, shape.epochs, 0.5 if shape.constant else good)


def write_layers(run: Path, layers: Sequence[str], epochs: int, value: float) -> None:
    """Write what observers see of the layers, and their histograms."""
    rows = ["epoch,step,layer,quantity,value"]
    quantities = ("activation_std", "dead", "gradient_norm")
    writer = EventFileWriter(str(run))
    for epoch in range(epochs + 1):
        for place, layer in enumerate(layers):
            rows += [f"{epoch},{9 * epoch},{layer},{name},{value}" for name in quantities]
            rows.append(f"{epoch},{9 * epoch},{layer}.weight,update_ratio,{value / 1000}")
            histogram = HistogramProto(min=-1, max=2 + place, bucket_limit=[0, 1, 2 + place], bucket=[1, 5, 2])
            summary = Summary(value=[Summary.Value(tag=f"activations/{layer}", histo=histogram)])
            writer.add_event(Event(step=epoch, summary=summary))
    writer.close()
    (run / "layers.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def report_of(folder: Path, shape: Shape) -> Report:
    """What a comparison of such runs writes."""
    write(folder, shape)
    return create_report(Reader([folder]).read(), CompareOptions())
