"""The documents: their blocks of code, the commands in them, and how a reader's command becomes a small one."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.helpers import NO_PICTURES, REPOSITORY, SHARED_DATA, Commands

PAGES = {
    str(path.relative_to(REPOSITORY)): path.read_text()
    for path in (
        REPOSITORY / "README.md",
        REPOSITORY / "CONTRIBUTING.md",
        *sorted((REPOSITORY / "docs").rglob("*.md")),
    )
}
"""The text of each page by its path."""
ELSEWHERE = {
    "docs/own_code.md": "tests/wild/test_own_code_page.py",
    "docs/tasks.md": "tests/tasks/test_page.py",
}
"""Pages whose commands other tests run, with the files of these pages."""
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<mark>.+?) -->\n+)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.M
)
VERB = re.compile(r"(?:\S*python -m experiments\.|experiments )(?P<verb>[a-z]+)(?: (?P<words>.*))?")
MACHINERY = re.compile(
    r"make [a-z-]+|python -m benchmarks |source \.venv/bin/activate|pip install |cd \S+$|git |docker |eval "
)
"""What a reader types besides our verbs: tests of the Makefile, the wheel and the container look at these."""
TIME = "<date>_<time>"
SMALLER = ("observers.tensorboard.enabled=false", NO_PICTURES, "observers.regions.enabled=false")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Args:
        page: its path.
        language: behind the fence.
        code: the content.
        mark: why no test runs it; None if one does.
    """

    page: str
    language: str
    code: str
    mark: str | None

    @property
    def lines(self) -> list[str]:
        """The lines of a block of the shell; a comment is not a command, and no comment in zsh."""
        return [line.rstrip() for line in self.code.splitlines()]


def blocks(page: str, language: str = "sh") -> list[Block]:
    """The blocks of a language on a page."""
    return [
        Block(page, found["language"], found["code"], found["mark"])
        for found in BLOCK.finditer(PAGES[page])
        if found["language"] == language
    ]


def commands_of(page: str) -> list[str]:
    """The commands of our verbs on a page that no mark leaves out."""
    return [
        line for block in blocks(page) if block.mark is None for line in block.lines if VERB.fullmatch(line) is not None
    ]


def shown_after(page: str, command: str) -> str:
    """The first output that a page shows below a command."""
    text = PAGES[page]
    found = re.search(r"^```text\n(.*?)^```$", text[text.index(command) :], re.DOTALL | re.MULTILINE)
    assert found is not None, command
    return found[1]


def first_places() -> Iterator[tuple[str, str]]:
    """Yield each command once, with the first page that has it."""
    seen: set[str] = set()
    for page in PAGES:
        for line in commands_of(page) if page not in ELSEWHERE else []:
            if line not in seen:
                seen.add(line)
                yield page, line


def reduced(words: list[str]) -> list[str]:
    """Return the words of a training that takes a moment: one epoch of few examples, two seeds, few trials."""
    kept = []
    for word in words:
        if word.startswith(("training.epochs=", "observers.pictures", "data.download=")):
            continue
        word = re.sub(r"^(hydra\.sweeper\.(?:n_trials|fresh_seeds))=.*", r"\1=3", word)
        word = re.sub(r"^training\.keep_checkpoints=every:.*", "training.keep_checkpoints=every:1", word)
        word = re.sub(r"^(hydra\.sweeper\.seeds_per_trial)=.*", r"\1=2", word)
        word = re.sub(
            r"^seed=range\((?:(\d+),)?\d+\)$", lambda m: f"seed=range({m[1] or 0},{int(m[1] or 0) + 2})", word
        )
        kept.append(word)
    limit = [] if any(word.startswith("data.limit=") for word in words) else ["data.limit=100"]
    root = [f"data.root={SHARED_DATA}"] if "data=mnist" in words else []
    resumed = any(word.startswith("resume=outputs") for word in words)  # a run of two epochs
    return [*kept, *root, *limit, f"training.epochs={3 if resumed else 1}", *SMALLER]


class Reader:
    """Types the commands of a page in a folder, each as a small one.

    Args:
        commands: the command line.
    """

    def __init__(self, commands: Commands) -> None:
        self.commands = commands

    def typed(self, line: str) -> tuple[str, list[str]]:
        """Return the verb and the words of a command, with the folders that it names; they are trained if missing."""
        match = VERB.fullmatch(line)
        assert match is not None, line
        words = shlex.split(match["words"] or "")
        write_files(words)
        words = [self.named(word, words) for word in words]
        return match["verb"], words

    def named(self, word: str, words: list[str]) -> str:
        """Return a word with the folder of a run, or of a sweep if the command needs one."""
        if re.fullmatch(r"outputs/\w+", word):
            self.folder(word.removeprefix("outputs/"), [*words, "target=all"])
        if word == "run=latest":
            self.folder("train", words)
        if TIME not in word:
            return word
        before, _, name = word.partition(f"/{TIME}")[0].rpartition("outputs/")
        return f"{before}{self.folder(name, words)}"

    def folder(self, name: str, words: list[str]) -> Path:
        """Return a folder in outputs/, the newest one; it is trained if there is none."""
        sweep = any(word.startswith("best=") for word in words) or any(word.startswith("target=") for word in words)
        small = [f"name={name}", "training.epochs=2", "data.limit=100", *SMALLER]
        if any(word.endswith(("newer.csv", "new.csv")) for word in words):
            small = [f"name={name}_table", "training.epochs=1", "data=csv", "data.path=own.csv", "data.target=kind"]
            name = f"{name}_table"
        if any(word.startswith("init_from=") for word in words):
            small += [word for word in words if word.startswith(("model=", "data=", "data.root="))]
            small = reduced(small)
        found = [
            path for path in self.commands.folder.glob(f"outputs/{name}/*") if sweep == (path / "sweep.yaml").exists()
        ]
        if not found:
            kept = ["training.keep_checkpoints=every:1"] if not sweep else []
            outcome = self.commands.train(*(["-m", "init=he,xavier", "seed=1,2,3"] if sweep else kept), *small)
            assert outcome.code == 0, outcome.err
            found = self.found(name, sweep)
        return max(found).relative_to(self.commands.folder)

    def found(self, name: str, sweep: bool) -> list[Path]:
        """Return the folders of runs, or of sweeps, in outputs/."""
        folders = self.commands.folder.glob(f"outputs/{name}/*")
        return [folder for folder in folders if sweep == (folder / "sweep.yaml").exists()]


def write_files(words: list[str]) -> None:
    """Write the files of a reader that a command names: tables and pictures of their own."""
    text = " ".join(words)
    if any(name in text for name in ("own.csv", "newer.csv", "new.csv")):
        for name in ("own.csv", "own/newer.csv", "new.csv"):
            Path(name).parent.mkdir(exist_ok=True)
            rows = "".join(f"{number % 7},{'ab'[number % 2]}\n" for number in range(60))
            Path(name).write_text(f"size,{'species' if 'species' in text else 'kind'}\n{rows}")
    if "own/pictures" in text or "data.path=own " in text:
        folders = ("own/pictures",) if "own/pictures" in text else ("own/cats", "own/dogs")
        for folder in folders:
            Path(folder).mkdir(parents=True, exist_ok=True)
            for number in range(1 if "own/pictures" in text else 12):
                Image.new("L", (20, 30), 20 * number).save(f"{folder}/{number}.png")
    if "docs/" in text and not Path("docs").exists():
        Path("docs").symlink_to(REPOSITORY / "docs")  # the reader is in the folder of the clone


def masked(text: str) -> str:
    """Return an output without its numbers, times and folders, which differ from machine to machine."""
    text = re.sub(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d|<date>_<time>", "TIME", text)
    text = re.sub(r"(\s|^)\S*/bin/(python|tensorboard) ", r"\1\2 ", text)
    text = re.sub(r"[-+]?\d[\d,.]*(e[-+]?\d+)?", "0", text)
    return re.sub(r"[ ]+", " ", text)
