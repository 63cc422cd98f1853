# shellcheck shell=bash disable=SC2154
# Source this in bash or zsh, from any directory, after `make setup`:
#
#   . ./env.sh
#
# It puts activesam, segment_node, the virtual environment and the ROS overlay on the shell's path.
# On a ROS distribution source the workspace's install/setup.bash instead.

# _activesam_prepend VARIABLE FOLDER: put the folder first in a colon-separated variable, once.
_activesam_prepend() {
  eval "_activesam_value=\${$1:-}"
  case ":$_activesam_value:" in
    *":$2:"*) ;;
    *) eval "export $1=\"\$2\${_activesam_value:+:\$_activesam_value}\"" ;;
  esac
  unset _activesam_value
}

_activesam_environment() {
  if [ ! -f "$1/.venv/stamps/build" ]; then
    echo "env.sh: $1 is not set up; run 'make setup' there first" >&2
    return 1
  fi
  case ":${AMENT_PREFIX_PATH:-}" in
    *:/opt/ros/*)
      echo "env.sh: this shell already has the ROS distribution ${ROS_DISTRO:-in /opt/ros}, which does not" \
        "mix with the one in .venv; use a new shell, or build this package in your own workspace" >&2
      return 1
      ;;
  esac
  for _activesam_folder in "$1"/.venv/lib "$1"/.venv/lib/python3.*/site-packages/ros_*.libs \
    "$1"/install/activesam_ros/lib; do
    _activesam_prepend LD_LIBRARY_PATH "$_activesam_folder"
  done
  for _activesam_folder in "$1"/install/activesam_ros/lib/python3.*/site-packages; do
    _activesam_prepend PYTHONPATH "$_activesam_folder"
  done
  unset _activesam_folder
  _activesam_prepend AMENT_PREFIX_PATH "$1/.venv"
  _activesam_prepend AMENT_PREFIX_PATH "$1/install/activesam_ros"
  _activesam_prepend NLTK_DATA "$1/.venv/nltk_data"
  _activesam_prepend PATH "$1/.venv/bin"
  _activesam_prepend PATH "$1/install/activesam_ros/bin"
  # Another computer's robots stay out unless asked for: export SUBNET before, or ROS_LOCALHOST_ONLY.
  if [ -z "${ROS_LOCALHOST_ONLY:-}" ]; then
    export ROS_AUTOMATIC_DISCOVERY_RANGE="${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"
  fi
  export RMW_IMPLEMENTATION="${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp}"
  export ROS_DISTRO=jazzy ROS_VERSION=2 ROS_PYTHON_VERSION=3
}

if [ -n "${BASH_VERSION:-}" ]; then
  _activesam_file=${BASH_SOURCE[0]}
else
  # zsh's name for the file being sourced; bash cannot parse it
  eval '_activesam_file=${(%):-%x}'
fi
_activesam_environment "$(cd "$(dirname "$_activesam_file")" && pwd)"
_activesam_status=$?
unset _activesam_file
unset -f _activesam_prepend _activesam_environment
# The status of the last command is the status of sourcing this file.
(exit $_activesam_status) && unset _activesam_status
