"""Resuming a run: the same command line in the same folder, with no change to what is learnt."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.assembly.trust import advice, untrusted
from experiments.common.errors import UserError
from experiments.common.foreign import read_yaml
from experiments.common.keys import flattened, meaning
from experiments.common.text import one_line


def check_unchanged(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse to resume a run with a configuration that changes what is learnt.

    Raises:
        UserError: some keys may not change, or the configuration names code that is not trusted.
    """
    path = folder / ".hydra" / "config.yaml"
    try:
        content = read_yaml(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"resume={str(folder)!r} is not a run folder: {path.relative_to(folder)} cannot be read ({one_line(error)})"
        ) from None
    if not isinstance(content, dict):
        raise UserError(
            f"resume={str(folder)!r} is not a run folder: {path.relative_to(folder)} is not a configuration"
        )
    saved = flattened(content)
    now = flattened(config)
    differing = [
        f"{key} ({saved.get(key, 'absent')} -> {now.get(key, 'absent')})"
        for key in dict.fromkeys([*saved, *now])
        if not meaning(key).resume
        and not isinstance(saved.get(key, now.get(key)), Mapping)
        and saved.get(key) != now.get(key)
    ]
    if differing:
        raise UserError(f"resume cannot change {', '.join(differing)}; start a new run, or keep the old values")
    for key, value in untrusted(config, config.get("trust") or ()):
        raise UserError(
            f"{key}={value!r} in resume={str(folder)!r} names code from outside this package; "
            + advice(str(value), "'trust=[{}]'")
        )
