"""The names of a sweep's folders sort by the numbers of the runs, and those of earlier versions stay in use."""

import shutil
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from experiments.cli.composing import register_resolvers
from experiments.sweeps._numbering import number_folders
from tests.helpers import SMALL, Commands, run, run_folders, summary, thinned

SUBDIR = "${padded:${hydra.job.num}}_${clipped:${hydra.job.override_dirname}}"


@pytest.mark.parametrize(
    ("count", "begun", "first", "last"),
    [
        (2, (), "00_seed=1", "01_seed=1"),
        (100, (), "00_seed=1", "99_seed=1"),
        (101, (), "000_seed=1", "100_seed=1"),
        (1001, (), "0000_seed=1", "1000_seed=1"),
        (16, ("0_a", "10_a"), "0_seed=1", "15_seed=1"),
        (16, ("10_a",), "00_seed=1", "15_seed=1"),
        (200, ("00_a", "17_a"), "00_seed=1", "199_seed=1"),
        (4, ("000_a", "100_a"), "000_seed=1", "003_seed=1"),
    ],
)
def test_names_have_as_many_digits_as_the_largest_number(
    tmp_path: Path, count: int, begun: tuple[str, ...], first: str, last: str
) -> None:
    register_resolvers()
    for name in begun:
        (tmp_path / name / ".hydra").mkdir(parents=True)
    config = OmegaConf.create(
        {
            "hydra": {
                "sweep": {"dir": str(tmp_path), "subdir": SUBDIR},
                "job": {"num": 0, "override_dirname": "seed=1"},
                "overrides": {"hydra": []},
            }
        }
    )
    number_folders(config, count)
    for number, expected in ((0, first), (count - 1, last)):
        config.hydra.job.num = number
        assert config.hydra.sweep.subdir == expected


def test_names_that_the_user_chose_stay(tmp_path: Path) -> None:
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path), "subdir": "x_${hydra.job.num}"}}})
    number_folders(config, 500)
    assert OmegaConf.to_container(config)["hydra"]["sweep"]["subdir"] == "x_${hydra.job.num}"  # type: ignore[index, call-overload]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", thinned(["stacked", "basic"]))
@pytest.mark.parametrize("noted", [True, False], ids=["noted", "not noted"])
def test_a_sweep_of_an_earlier_version_is_resumed_in_its_folders(
    commands: Commands, launcher: str, noted: bool
) -> None:
    words = ("-m", *SMALL, "seed=1,2,3", f"hydra/launcher={launcher}")
    assert run(commands.folder, *words).code == 0
    folders = run_folders(commands.folder)
    sweep = folders[0].parent
    old = [folder.rename(sweep / folder.name.removeprefix("0")) for folder in folders]
    content = yaml.safe_load((sweep / "sweep.yaml").read_text())
    runs = content.pop("runs", {})
    if noted:
        for entry in runs.values():
            entry["folder"] = entry["folder"].removeprefix("0")
        content["runs"] = runs
    (sweep / "sweep.yaml").write_text(yaml.safe_dump(content))
    (old[1] / "summary.json").unlink()
    shutil.rmtree(old[2])
    outcome = commands.train(*words, f"resume={sweep}")
    assert outcome.code == 0, outcome.err
    assert [folder.name for folder in run_folders(commands.folder)] == [folder.name for folder in old]
    assert all(summary(folder)["status"] == "finished" for folder in old)
