"""The summary of a run that has ended, and the story that its verdicts are based on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from experiments import assembly
from experiments.checks import best_reference
from experiments.cli.entry import print_error, remedy
from experiments.common.keys import flattened
from experiments.common.metrics import TRAIN_EVAL
from experiments.common.statuses import WITH_RESULT
from experiments.common.text import counted, one_line, shown_path
from experiments.data import memory
from experiments.data.cores import present_cores
from experiments.data.streamed import Streamed
from experiments.folders.identity import identity
from experiments.folders.run import RunFolder
from experiments.tasks import Task
from experiments.training.member import Member, best_row
from experiments.training.position import Plan, Position, epoch_of
from experiments.training.program import Program
from experiments.training.single import Single
from experiments.verdicts.story import Reading, Story

from .job import Job


def outcomes(program: Program, members: Mapping[int, Member], position: Position) -> dict[int, dict[str, Any]]:
    """Return the outcomes of members, by number; the test split is used once, here, with their best weights.

    If a member's best weights cannot be read any more, it is not tested, and its outcome has a `problem`.
    """
    tested: list[int] = []
    problems: dict[int, str] = {}
    for k, member in members.items():
        best = best_row(member.history, member.objective)
        if member.status in WITH_RESULT or (member.status == "diverged" and best):
            if (best is not None and best is not member.history[-1]) or member.status == "diverged":
                try:
                    state = member.folder.load(member.folder.best)
                    if best is not None and epoch_of(state) != int(best["epoch"]):
                        raise ValueError(f"it has those of epoch {epoch_of(state)}, not of epoch {int(best['epoch'])}")
                    program.load_model(k, state["program"])
                except (FileNotFoundError, ValueError) as error:
                    reason = (
                        "is missing" if isinstance(error, FileNotFoundError) else f"cannot be used: {one_line(error)}"
                    )
                    problems[k] = f"{member.folder.best.name}, with the weights of the best epoch, {reason}"
                    continue
            tested.append(k)
    # One by one: a number in the summary must not depend on which members ended in the same epoch.
    scores = {k: program.evaluate("test", [k])[0] for k in tested}
    fitted = {k: program.evaluate(TRAIN_EVAL, [k])[0] for k in tested}
    results = {k: outcome(member, position, scores.get(k), fitted.get(k)) for k, member in members.items()}
    if isinstance(program, Single) and isinstance(program.splits["train"], Streamed):
        for result in results.values():
            result["waiting"] = program.splits["train"].waiting
    for k, problem in problems.items():
        results[k]["problem"] = f"{problem}; the test split is not measured"
    return results


def outcome(
    member: Member, position: Position, test: Mapping[str, float] | None, fitted: Mapping[str, float] | None
) -> dict[str, Any]:
    """Return the outcome of a member: its best epoch, metrics and times.

    Args:
        member: whose.
        position: where it ended.
        test: the loss and the metrics of its best weights on the test split, if it was tested.
        fitted: the same on the training split, in evaluation mode.
    """
    best = best_row(member.history, member.objective)
    chosen = best if best and (member.objective in best or member.objective not in member.folder.measured) else None
    metrics = {name: value for name, value in (best or {}).items() if "/" in name}
    if fitted is not None:
        metrics |= {f"{TRAIN_EVAL}/{name}": value for name, value in fitted.items()}
    if test is not None:
        metrics |= {f"test/{name}": value for name, value in test.items()}
    plan = position.plan
    result: dict[str, Any] = {
        "epochs": position.passes if member.status != "diverged" or plan.validate_steps else len(member.history),
        "steps": position.step,
        "objective": member.objective,
        "best_epoch": int(chosen["epoch"]) if chosen else None,
        "metrics": metrics,
        "seconds": position.seconds,
        "examples_per_second": position.trained_examples / max(position.training_seconds, 1e-9),
    }
    if plan.validate_steps is not None:
        result |= {"best_step": int(chosen["step"]) if chosen else None, "validated_every": plan.validate_steps}
    if member.status == "finished" and position.out_of_time and not position.is_complete:
        result["out_of_time"] = True
    if member.diverged_at is not None:
        result["diverged_at_step"] = member.diverged_at
    undefined = undefined_metrics(member)
    return {**result, "warnings": undefined} if undefined else result


def undefined_metrics(member: Member) -> list[str]:
    """Return a sentence for each metric that no epoch defines, and for an objective that some do not."""
    found, count = [], len(member.history)
    for metric in member.folder.measured if count else ():
        without, decides = sum(metric not in row for row in member.history), metric == member.objective
        if without == count:
            end = ": it chooses no epoch, and the weights are those of the last one" if decides else ""
            found.append(f"{metric} was not a finite number in any of the {counted(count, 'epoch')}{end}")
        elif without and decides:
            found.append(
                f"{metric} was not a finite number in {without} of the {count} epochs, which cannot be the best"
            )
    return found


def story(job: Job, data: assembly.Data, program: Single, member: Member, plan: Plan) -> Story:
    """Collect what the verdicts are based on."""
    config, train, task = job.config, data.splits["train"], data.task
    return Story(
        history=member.history,
        layers=member.folder.read_layers() if assembly.enabled(config, "layers") else [],
        status=member.status or "",
        chance=program.criterion.chance(train.y),
        class_counts=class_counts(data),
        batch_size=plan.batch_size,
        parameters=sum(p.numel() for p in program.parameters if p.requires_grad),
        rate=member.rate,
        val_examples=len(data.splits["val"]) if "val" in data.splits else 0,
        regularization=regularization(config, program),
        whole_batch=program.needs_closure,
        weighted=program.criterion.class_weights is not None,
        diverged_at=member.diverged_at,
        questions=data.questions,
        doubts=member.doubts,
        unused=member.unused,
        faults=data.faults,
        command=job.words,
        resuming=[*job.flags, *job.resuming_words],
        settings=flattened(config),
        planned_steps=plan.total_steps,
        pictures=len(data.input_shape) == 3,
        kind=task.form,
        score=task.metrics[0],
        ratios=task.ratios,
        baseline=task.baseline(train.y.cpu()),
        residuals=residuals(data, program) if member.status in WITH_RESULT else {},
        reference=partial(best_reference, task, train, data.splits["val"]) if "val" in data.splits else None,
        reading=reading(train, config) if isinstance(train, Streamed) else None,
    )


def reading(train: Streamed, config: assembly.Config) -> Reading:
    """Return how the training examples were read."""
    inputs, fits = train.inputs, True
    with memory.limited(assembly.memory_limit(assembly.general(config).limits)):
        try:
            memory.require(inputs.nbytes, "the data set")
        except memory.MemoryLimitError:
            fits = False
    return Reading(train.waited, train.waiting, inputs.workers, present_cores(), fits)


def class_counts(data: assembly.Data) -> list[int]:
    """Return the training examples of each class; their number if the targets are no classes."""
    y = data.splits["train"].y.cpu()
    return torch.bincount(y, minlength=len(data.classes)).tolist() if data.classes else [len(y)]


def residuals(data: assembly.Data, program: Single) -> dict[str, float]:
    """Return facts about the answers for new examples, which the verdicts of some tasks need."""
    task = data.task
    if "val" not in data.splits or (type(task).facts is Task.facts and type(task).residuals is Task.residuals):
        return {}
    return task.facts(data.splits["train"], data.splits["val"], program.scores(0, "val").cpu())


REGULARIZING = (
    "model.dropout",
    "model.input_dropout",
    "optimizer.weight_decay",
    "loss.label_smoothing",
    "data.augment",
)


def regularization(config: assembly.Config, program: Single) -> list[str]:
    """Return the settings that keep the network from memorizing the training examples, as a user would type them."""
    flat = flattened(config)
    held = [f"{key}={flat[key]}" for key in REGULARIZING if flat.get(key) not in (None, 0, "none", [])]
    penalty = program.criterion.penalty
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(penalty).__name__).lower()
    return [*held, f"penalty={name}"] if penalty.adds or penalty.bounds else held


def write_failure(folder: RunFolder, config: assembly.Config, overrides: Sequence[str], error: Exception) -> None:
    """Write a summary that gives the error; on a full disk this may fail too."""
    summary = {"status": "failed", "error": one_line(error), "epochs": 0, "steps": 0, "metrics": {}}
    summary["verdicts"] = []
    try:
        folder.write_summary({**summary, **identity(config, overrides)})
    except OSError:
        print_error("the summary could not be written either")


def was_removed(folder: RunFolder) -> bool:
    """Whether the folder of a run that is training has been removed; a later write may have created it again."""
    return not any((folder.path / name).exists() for name in (".hydra", "train.log"))


def disk_problem(error: OSError, folder: RunFolder) -> str:
    """Return a sentence about what could not be written and how to continue."""
    path = shown_path(folder.path)
    if was_removed(folder):
        return f"the run's folder {path} was removed during the run; start the run again"
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    problem = f"cannot write {name or f'a file in {path}'}: {error.strerror or error}{remedy(error)}"
    if not folder.last.exists():
        return f"{problem}; then start the run again" if remedy(error) else f"{problem}; start the run again"
    return f"{problem}; complete files are unchanged, and 'resume={path}' continues from the last checkpoint"
