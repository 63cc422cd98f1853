#!/usr/bin/env bash
# Makes .venv/ (pinned packages, a real ROS 2 Jazzy, WordNet) and builds this package into install/.
#
# Each step writes a stamp with the digest of its inputs, so a second run takes seconds.
# PYTHON=... chooses the interpreter (3.10 to 3.13). TORCH=... chooses the PyTorch to install: any
# arguments of `pip install`, for example TORCH="torch==2.13.0 --index-url ...".
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
stamps=$venv/stamps
python=$venv/bin/python
lock=$root/requirements/lock.txt
frost=$root/requirements/frost.txt

# shellcheck source=scripts/progress.sh
. "$root/scripts/progress.sh"

say() { printf 'setup: %s\n' "$*"; }

fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

# Keep a sourced ROS distribution or another environment out of this one.
unset PYTHONPATH PYTHONHOME AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH \
  LD_LIBRARY_PATH ROS_DISTRO _ROS_WHEELS_BOOTSTRAP_COMPLETE
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONNOUSERSITE=1

# pip ARGUMENT...: let pip install, with its output in a log
pip() {
  local log=$root/log/setup_pip.log
  step "setup: pip" "$log" "$python" -m pip install --progress-bar off "$@" && return
  tail -n 40 "$log" >&2
  fail "pip failed; its output is in log/setup_pip.log"
}

digest() { sha256sum | cut -d ' ' -f 1; }

# is_fresh STEP DIGEST: whether the step was done with these inputs
is_fresh() { [ -f "$stamps/$1" ] && [ "$(cat "$stamps/$1")" = "$2" ]; }

stamp() { printf '%s\n' "$2" >"$stamps/$1"; }

suitable() {
  "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

find_python() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    suitable "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.10 to 3.13"
    printf '%s\n' "$PYTHON"
    return
  fi
  for candidate in python3 python3.12 python3.11 python3.13 python3.10; do
    if suitable "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  fail "no Python 3.10 to 3.13 on the PATH; install one or name it: make setup PYTHON=/path/to/python3.12"
}

make_venv() {
  local base include key
  base=$(find_python)
  key=$(
    { printf '%s\n' "$root" && "$base" -c 'import sys; print(sys.version, sys.base_prefix)'; } | digest
  )
  if is_fresh venv "$key" && "$python" -c '' 2>/dev/null; then
    return
  fi
  include=$("$base" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
  [ -f "$include/Python.h" ] ||
    fail "the headers of $base are missing ($include/Python.h); install its development package, such as python3-dev"
  command -v c++ >/dev/null || fail "no C++ compiler (c++) on the PATH; install one, such as g++"
  say "making .venv with $("$base" --version)"
  rm -rf "$venv"
  "$base" -m venv "$venv" || fail "$base cannot make a virtual environment; install its venv module, such as python3-venv"
  mkdir -p "$stamps"
  stamp venv "$key"
}

install_packages() {
  local key
  key=$(cat "$lock" "$frost" | digest)
  is_fresh packages "$key" && return
  say "installing the locked packages"
  pip --no-deps --requirement "$lock" --requirement "$frost"
  stamp packages "$key"
}

install_torch() {
  local key
  if [ -n "${TORCH:-}" ]; then
    key=$(printf '%s' "$TORCH" | digest)
    is_fresh torch "$key" && return
    say "installing $TORCH"
    # Split into words on purpose: TORCH may hold options of pip.
    # shellcheck disable=SC2086
    pip $TORCH
  else
    # A PyTorch chosen earlier with TORCH=... stays until torch.txt changes.
    key=$(digest <"$root/requirements/torch.txt")
    is_fresh torch_default "$key" && return
    say "installing PyTorch (200 MB; with CUDA 3 GB)"
    pip --requirement "$root/requirements/torch.txt"
  fi
  stamp torch "$key"
  stamp torch_default "$(digest <"$root/requirements/torch.txt")"
}

install_cmake() {
  command -v cmake >/dev/null || [ -x "$venv/bin/cmake" ] && return
  say "no cmake on the PATH: installing one into .venv"
  pip --requirement "$root/requirements/cmake.txt"
}

# The ROS wheels' CMake files name two folders of the machine they were built on.
relocate_ros() {
  local include numpy
  is_fresh relocate "$(cat "$stamps/packages")" && return
  say "pointing the CMake files of ROS at this Python"
  include=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
  numpy=$("$python" -c 'import numpy; print(numpy.get_include())')
  # grep finds none if the lock file changed and the ROS packages did not
  { grep --recursive --files-with-matches --null --include='*.cmake' '/opt/python/cp3' "$venv/share" || true; } |
    xargs --null --no-run-if-empty sed --in-place --regexp-extended \
      -e "s#/opt/python/cp3[^;\"]*/site-packages/numpy/_core/include#$numpy#g" \
      -e "s#/opt/python/cp3[^;\"]*/include/python3\.[0-9]+#$include#g"
  stamp relocate "$(cat "$stamps/packages")"
}

install_wordnet() {
  [ -d "$venv/nltk_data/corpora/wordnet" ] && return
  if step "setup: WordNet" "$root/log/setup_wordnet.log" "$root/scripts/wordnet.sh" \
    "$venv/nltk_data"; then
    say "WordNet 3.0 is in .venv/nltk_data"
  else
    say "WordNet is not available here, so your own vocabularies get no hypernyms;" \
      "to add it, run .venv/bin/python -m nltk.downloader -d .venv/nltk_data wordnet"
  fi
}

# The inputs of the compiled part of the build; if they change, everything is built again.
interface_inputs() {
  (cd "$root" && cat "$stamps/packages" CMakeLists.txt package.xml msg/*.msg srv/*.srv)
}

# The files that install/ only links to: their names suffice. Folders of the module are links.
linked_names() {
  (
    cd "$root"
    find activesam_ros -mindepth 1 -maxdepth 1 ! -name __pycache__
    find bin launch config weights/README.md weights/demo -type f 2>/dev/null || true
  ) | LC_ALL=C sort
}

run_colcon() (
  cd "$1"
  export PATH=$venv/bin:$PATH AMENT_PREFIX_PATH=$venv CMAKE_PREFIX_PATH=$venv
  export LD_LIBRARY_PATH=$venv/lib
  colcon --log-base "$root/log" --log-level error build --symlink-install \
    --build-base "$root/build" --install-base "$root/install" \
    --event-handlers console_direct+ summary- \
    --cmake-args -DCMAKE_BUILD_TYPE=Release "-DPython3_EXECUTABLE=$venv/bin/python3"
)

build_overlay() {
  local interfaces key workspace=$venv/workspace
  interfaces=$(interface_inputs | digest)
  key=$({ printf '%s\n' "$interfaces" && linked_names; } | digest)
  if [ ! -d "$root/install/activesam_ros" ] || ! is_fresh interfaces "$interfaces"; then
    rm -rf "$root/build" "$root/install"
  elif is_fresh build "$key"; then
    return
  fi
  say "building the ROS package into install/"
  # CMake does not export an include folder below the source folder, as NumPy's in .venv is.
  # So the source is a package of a workspace, through a link.
  mkdir -p "$workspace/src"
  ln -sfn "$root" "$workspace/src/activesam_ros"
  step "setup: colcon" "$root/log/setup_build.log" run_colcon "$workspace" || {
    tail -n 60 "$root/log/setup_build.log" >&2
    fail "the colcon build failed; its output is in log/setup_build.log"
  }
  # remove links to files that no longer exist
  find "$root/install" -type l ! -exec test -e {} \; -delete
  stamp interfaces "$interfaces"
  stamp build "$key"
}

make_venv
install_packages
install_torch
install_cmake
relocate_ros
install_wordnet
build_overlay
say "ready; '. ./env.sh' puts activesam, segment_node and the ROS overlay on the shell's path"
