"""env.sh and what the colcon build leaves in install/."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SHELLS = [
    "bash",
    pytest.param(
        "zsh", marks=pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
    ),
]
BARE = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent"}


def source(
    shell: str, env_file: Path, then: str, cwd: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Source env_file in a bare environment, then run a command line."""
    return subprocess.run(
        [shell, "-c", f'. "{env_file}" && {then}'],
        cwd=cwd,
        env={**BARE, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_and_interpreter_are_on_the_path(
    shell: str, repository: Path, tmp_path: Path
) -> None:
    found = source(
        shell, repository / "env.sh", "command -v activesam segment_node python3", tmp_path
    )
    assert found.stderr == ""
    paths = [Path(line) for line in found.stdout.split()]
    assert [path.name for path in paths] == ["activesam", "segment_node", "python3"]
    assert all(os.access(path, os.X_OK) for path in paths)
    assert paths[2] == repository / ".venv/bin/python3"


@pytest.mark.parametrize("shell", SHELLS)
def test_messages_and_data_are_found_from_any_folder(
    shell: str, repository: Path, tmp_path: Path
) -> None:
    program = (
        "import rclpy, activesam_ros.msg, activesam_ros.srv; "
        "from activesam_ros import resources; print(resources.messages_dir())"
    )
    result = source(shell, repository / "env.sh", f'python3 -c "{program}"', tmp_path)
    assert result.stderr == ""
    assert Path(result.stdout.strip()) == repository / "msg"


@pytest.mark.parametrize("shell", SHELLS)
def test_sourcing_twice_changes_nothing_more(shell: str, repository: Path, tmp_path: Path) -> None:
    names = "$PATH $PYTHONPATH $AMENT_PREFIX_PATH $LD_LIBRARY_PATH $NLTK_DATA"
    once = source(shell, repository / "env.sh", f'echo "{names}"', tmp_path)
    again = f'. "{repository / "env.sh"}" && echo "{names}"'
    assert source(shell, repository / "env.sh", again, tmp_path).stdout == once.stdout
    assert str(repository / "install/activesam_ros") in once.stdout


def test_choices_of_the_user_stay(repository: Path, tmp_path: Path) -> None:
    chosen = {
        "RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
        "PYTHONPATH": "/mine",
    }
    names = "$RMW_IMPLEMENTATION $ROS_AUTOMATIC_DISCOVERY_RANGE $PYTHONPATH"
    result = source("bash", repository / "env.sh", f'echo "{names}"', tmp_path, **chosen)
    implementation, discovery, path = result.stdout.split()
    assert (implementation, discovery) == ("rmw_cyclonedds_cpp", "SUBNET")
    assert path.endswith(":/mine")


def test_a_sourced_distribution_is_refused(repository: Path, tmp_path: Path) -> None:
    sourced = {"ROS_DISTRO": "humble", "AMENT_PREFIX_PATH": "/opt/ros/humble"}
    result = source("bash", repository / "env.sh", "true", tmp_path, **sourced)
    assert result.returncode == 1
    assert "humble" in result.stderr


def test_a_checkout_that_is_not_set_up_is_refused(repository: Path, tmp_path: Path) -> None:
    shutil.copy(repository / "env.sh", tmp_path)
    result = source("bash", tmp_path / "env.sh", "true", tmp_path)
    assert result.returncode == 1
    assert "make setup" in result.stderr


def test_ros2_run_finds_the_executables(repository: Path) -> None:
    folder = repository / "install/activesam_ros/lib/activesam_ros"
    assert all(os.access(folder / name, os.X_OK) for name in ("activesam", "segment_node"))


def test_new_modules_need_no_new_build(repository: Path) -> None:
    (module,) = repository.glob("install/activesam_ros/lib/python3.*/site-packages/activesam_ros")
    folders = [path for path in (repository / "activesam_ros").iterdir() if path.is_dir()]
    sources = [path for path in folders if path.name != "__pycache__"]
    assert sources
    assert {path.name for path in sources if not (module / path.name).samefile(path)} == set()


def test_wordnet_knows_lexicographer_files(repository: Path) -> None:
    if not (repository / ".venv/nltk_data/corpora/wordnet").is_dir():
        pytest.skip("the system's packages gave no WordNet")
    from nltk.corpus import wordnet

    assert wordnet.get_version() == "3.0"
    names = [wordnet.synset(f"{word}.01").lexname() for word in ("dog.n", "walk.v", "quickly.r")]
    assert names == ["noun.animal", "verb.motion", "adv.all"]
    assert wordnet.synset("car.n.01").hypernyms()[0].name() == "motor_vehicle.n.01"


def test_importing_a_script_runs_no_command(repository: Path) -> None:
    """Spawned processes import the script that started their parent."""
    folders = ("activesam_ros", "benchmarks", "training", "test")
    scripts = [path for name in folders for path in sorted((repository / name).rglob("*.py"))]
    scripts += sorted((repository / "bin").iterdir())
    assert {"activesam", "segment_node"} <= {script.name for script in scripts}
    for script in scripts:
        called = {
            ast.unparse(statement.value.func)
            for statement in ast.parse(script.read_text()).body
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
        }
        assert not called & {"main", "run", "sys.exit", "exit"}, script


STEPS = """
set -euo pipefail
. scripts/progress.sh
STEP_FIRST_S=1 STEP_INTERVAL_S=1
work() { for item in 1 2 3; do echo "item $item"; sleep 1; done; }
fails() { echo why; return 3; }
step "slow work" "$1/slow.log" work
status=0
step "quick work" "$1/quick.log" fails || status=$?
echo "status $status"
"""


def test_a_long_step_of_the_setup_shows_that_it_goes_on(repository: Path, tmp_path: Path) -> None:
    ran = subprocess.run(
        ["bash", "-c", STEPS, "bash", str(tmp_path)],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "status 3\n"
    lines = ran.stderr.splitlines()
    assert lines
    for line in lines:
        assert re.fullmatch(r"slow work \(\d s\) item [123]", line)
    assert (tmp_path / "slow.log").read_text() == "item 1\nitem 2\nitem 3\n"
    assert (tmp_path / "quick.log").read_text() == "why\n"
