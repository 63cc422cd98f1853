#!/usr/bin/env bash
# Put WordNet 3.0 from Debian or Ubuntu packages into an NLTK data folder, without root.
#
#   wordnet.sh NLTK_DATA_FOLDER      exits with 1 if the packages are not available
set -euo pipefail

target=$1/corpora/wordnet
packages=(wordnet-base wordnet-sense-index)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

is_complete() { [ -f "$1/data.noun" ] && [ -f "$1/index.sense" ]; }

download() {
  (cd "$scratch" && timeout 120 apt-get "$@" -o Acquire::Retries=1 -o Acquire::http::Timeout=20 \
    download "${packages[@]}") >/dev/null 2>&1
}

# Fetch the package lists into a folder of our own, in case the system has none.
download_with_own_lists() {
  local own=(-o "Dir::State::Lists=$scratch/lists" -o "Dir::Cache=$scratch/cache")
  mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial"
  timeout 180 apt-get "${own[@]}" -o Acquire::Retries=1 -o Acquire::http::Timeout=20 \
    update >/dev/null 2>&1 || true
  download "${own[@]}"
}

source_dir=/usr/share/wordnet
if ! is_complete "$source_dir"; then
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || exit 1
  download || download_with_own_lists || exit 1
  for deb in "$scratch"/*.deb; do
    dpkg-deb -x "$deb" "$scratch/unpacked"
  done
  source_dir=$scratch/unpacked/usr/share/wordnet
  is_complete "$source_dir" || exit 1
fi

# The Debian packages leave out lexnames: number, name and part of speech (1 noun, 2 verb,
# 3 adjective, 4 adverb) of WordNet's 45 lexicographer files, in their fixed order.
lexnames() {
  local number=0 entry
  for entry in adj.all:3 adj.pert:3 adv.all:4 noun.Tops:1 \
    noun.{act,animal,artifact,attribute,body,cognition,communication,event,feeling,food,group}:1 \
    noun.{location,motive,object,person,phenomenon,plant,possession,process,quantity}:1 \
    noun.{relation,shape,state,substance,time}:1 \
    verb.{body,change,cognition,communication,competition,consumption,contact,creation}:2 \
    verb.{emotion,motion,perception,possession,social,stative,weather}:2 adj.ppl:3; do
    printf '%02d\t%s\t%s\n' "$number" "${entry%:*}" "${entry#*:}"
    number=$((number + 1))
  done
}

# NLTK follows no link out of its data folder, so copy the files. Rename a complete folder, so that
# no other process sees a part of it.
mkdir -p "$(dirname "$target")"
staged=$(mktemp -d "$(dirname "$target")/.wordnet.XXXXXX")
cp -L "$source_dir"/* "$staged/"
lexnames >"$staged/lexnames"
chmod 755 "$staged"
rm -rf "$target"
mv "$staged" "$target"
