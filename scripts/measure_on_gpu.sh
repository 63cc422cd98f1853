#!/usr/bin/env bash
# Make all measurements that docs/performance.md and docs/sparse.md need from a GPU: 10 minutes.
#
#   scripts/measure_on_gpu.sh FOLDER
#
# If a part fails, the others still run, and its name is printed at the end. ROS is not needed. The
# engine "reference" runs if Meta's sam3 is installed (the extra [reference]). To try the script
# without a GPU, set DEVICE=cpu WEIGHTS=random-demo SHARE=50 (a fiftieth of the frames).
set -uo pipefail
[ $# = 1 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
device=${DEVICE:-cuda} weights=${WEIGHTS:-random-full} share=${SHARE:-1}
frames() { echo $(($1 / share > 0 ? $1 / share : 1)); }
mkdir -p "$1" && out=$(cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
failed=()

part() { # NAME COMMAND...
  local name=$1
  shift
  printf '\n== %s: %s\n' "$name" "$*"
  "$@" 2>&1 | tee "$out/$name.log" || failed+=("$name")
}

engines=ours,early_exit,plain
python -c 'import sam3' 2>/dev/null && engines=$engines,reference
size=(--device "$device" --size 1920x1080 --weights "$weights" --frames "$(frames 20)")

[ "$device" = cpu ] || nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv | tee "$out/gpu.csv"
part tests python -m pytest --import-mode=importlib -q test/sam3/acceleration/test_accelerated.py test/sam3 \
  test/segmentation test/sparsity -m 'not full_size'
part ade20k python -m benchmarks --engine "$engines" --method activesam --vocabulary ade20k \
  --active 30 --preset exact,fast "${size[@]}" --json "$out/ade20k.json"
part cityscapes python -m benchmarks --engine "$engines" --method activesam --vocabulary cityscapes \
  --preset exact,fast "${size[@]}" --json "$out/cityscapes.json"
for setting in compile=never fusion_density=0.4 encoder_attention_density=0.4 streaming=true; do
  part "ade20k_${setting%%=*}" python -m benchmarks --engine ours --method activesam \
    --vocabulary ade20k --active 30 --set "$setting" "${size[@]}" \
    --json "$out/ade20k_${setting%%=*}.json"
done
for bucket in 8 32; do
  part "bucket_$bucket" python -m benchmarks --engine ours --method activesam --vocabulary ade20k \
    --active 30 --bucket-size "$bucket" "${size[@]}" --json "$out/bucket_$bucket.json"
done
part presets python -m benchmarks.presets --device "$device" --frames "$(frames 12)" --json "$out/presets.json"
part start python -m benchmarks.start --device "$device" --weights "$weights" --vocabulary ade20k \
  --runs 2 --json "$out/start.json"
part sparse python -m benchmarks.sparse --weights weights/demo/model.safetensors --device "$device" \
  --frames "$(frames 8)" --output "$out/sparse"
part streaming python -m benchmarks.streaming --weights weights/demo/model.safetensors \
  --device "$device" --frames "$(frames 300)" --output "$out/streaming"

if [ ${#failed[@]} -gt 0 ]; then
  printf '\nfailed: %s\n' "${failed[*]}"
  exit 1
fi
