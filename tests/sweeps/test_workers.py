"""Who can reach a Ray cluster that a sweep starts."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(
        subprocess.run([sys.executable, "-c", "import ray"], capture_output=True).returncode != 0,
        reason="Ray is missing",
    ),
    pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the listening sockets are read from /proc"),
]

PROGRAM = """
import os, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from experiments.sweeps._workers import RaySettings, connected

def family(pid):
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(status.parent.name)] = int(words[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found

def sockets(pids):
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                yield os.readlink(descriptor)
            except OSError:
                pass

with connected(RaySettings(None, 1, 0, 0)) as ray:
    print("answer", ray.get(ray.remote(num_cpus=1)(lambda: os.environ["RAY_AUTH_MODE"]).remote()))
    own = set(sockets(family(os.getpid())))
    for name in ("tcp", "tcp6"):
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in own:
                print("listens", words[1].partition(":")[0])
"""
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


@pytest.mark.slow
def test_a_cluster_that_is_started_here_listens_only_to_this_machine_and_asks_for_a_token(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    words = [line.split() for line in done.stdout.splitlines() if line.startswith(("answer", "listens"))]
    assert words[:1] == [["answer", "token"]], done.stdout + done.stderr
    addresses = [address for kind, address in words if kind == "listens"]
    assert len(addresses) >= 4
    assert set(addresses) <= LOOPBACK
