"""TensorBoard's own server in this process: what it answers to the page that asks it."""

import json
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.data_ingester import LocalDataIngester
from werkzeug.test import Client

from experiments.folders.dashboard import with_all_columns

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of a library inside TensorBoard
    from tensorboard import default, program
    from tensorboard.backend.application import TensorBoardWSGIApp

STATUSES = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
"""All that the HParams tab allows when it opens."""


class Dashboard:
    """A server that has loaded the event files below a folder.

    Args:
        folder: with runs.
        many: whether it is the one of `make dashboard`, for the columns of many runs and sweeps.
    """

    def __init__(self, folder: Path, *, many: bool = False) -> None:
        plugins = default.get_plugins()
        plugins = [with_all_columns(plugin) for plugin in plugins] if many else plugins
        board = program.TensorBoard(plugins=default.get_plugins())
        words = ["--logdir", str(folder), "--load_fast", "false", "--reload_task", "blocking", "--reload_interval", "0"]
        board.configure(["tensorboard", *words])
        ingester = LocalDataIngester(board.flags)
        ingester.start()
        self.client = Client(TensorBoardWSGIApp(board.flags, plugins, ingester.data_provider))

    def ask(self, question: str, **parameters: Any) -> Any:
        """Return the answer to a question of the page."""
        return json.loads(self.text(question, **parameters))

    def text(self, question: str, **parameters: Any) -> str:
        """Return the answer as text."""
        answer = self.client.get(f"/data/plugin/{question}", query_string=parameters)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return answer.get_data(as_text=True)

    @cached_property
    def tags(self) -> dict[str, set[str]]:
        """The cards of the Time Series tab: each tag, and the runs that it has; a histogram or an image has none."""
        answer = self.ask("timeseries/tags")
        runs: dict[str, set[str]] = {}
        for kind in ("scalars", "histograms"):
            for run, tags in answer[kind]["runTagInfo"].items():
                for tag in tags:
                    runs.setdefault(tag, set()).add(run)
        for tag, info in answer["images"]["tagRunSampledInfo"].items():
            runs[tag] = set(info)
        return runs

    @property
    def groups(self) -> list[str]:
        """The groups of the Time Series tab in its order; it opens the first two."""
        return sorted({tag.partition("/")[0] for tag in self.tags})

    def points(self, tag: str, run: str = ".") -> list[tuple[int, float]]:
        """Return the steps and values of a line."""
        return [(step, value) for _, step, value in self.ask("scalars/scalars", run=run, tag=tag)]

    def experiment(self) -> Any:
        """Return the columns of the HParams tab."""
        return self.ask("hparams/experiment", request=json.dumps({"experimentName": "", "hparamsLimit": 1000}))

    def columns(self) -> list[str]:
        """Return the names of the settings in the HParams tab, in its order."""
        infos = self.experiment()["hparamInfos"]
        return [info["name"] for info in sorted(infos, key=lambda info: not info["differs"])]

    def rows(self, *, filtered: bool = False, missing: bool = False) -> list[Any]:
        """Return the rows of the HParams tab.

        Args:
            filtered: whether to ask for all values of every declared domain, which is no restriction.
            missing: whether runs count that do not have a setting.
        """
        experiment = self.experiment()
        columns: list[dict[str, Any]] = []
        for info in experiment["hparamInfos"]:
            column = {"hparam": info["name"]}
            if filtered and "domainDiscrete" in info:
                column["filterDiscrete"] = info["domainDiscrete"]
            elif filtered and "domainInterval" in info:
                interval = info["domainInterval"]
                column["filterInterval"] = {"minValue": interval["minValue"], "maxValue": interval["maxValue"]}
            columns.append({**column, "excludeMissingValues": filtered and not missing})
        columns += [{"metric": info["name"]} for info in experiment["metricInfos"]]
        request = {
            "experimentName": "",
            "allowedStatuses": STATUSES,
            "colParams": columns,
            "startIndex": 0,
            "sliceSize": 100,
        }
        return self.ask("hparams/session_groups", request=json.dumps(request))["sessionGroups"]

    def metrics(self, row: Any) -> dict[str, float]:
        """Return the metrics of a row, by the names of their columns."""
        names = {json.dumps(info["name"]): info["displayName"] for info in self.experiment()["metricInfos"]}
        return {names[json.dumps(value["name"])]: value["value"] for value in row["metricValues"]}
