#!/usr/bin/env bash
# The reference results in results/digits and results/fashion_mnist.
#   experiments/reference_runs/run.sh digits
#   experiments/reference_runs/run.sh fashion_mnist DATA_ROOT
# Run from anywhere; needs `fedunlearn` on the PATH. What is finished is not computed again.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
what=${1:?digits or fashion_mnist}
work=${OUTPUTS:-$top/outputs}
methods=fucrt,relabel,random_relabel,finetune,head_mask,retrain

case $what in
  digits)
    fedunlearn -m method=$methods seed=0,1,2 train.local_epochs=3 \
      output.dir="$work/digits" store.dir="$work/store"
    first="$work/digits/0_fucrt_s0" ;;
  fashion_mnist)
    fedunlearn -m dataset=fashion_mnist data.root="${2:?the folder that holds FashionMNIST/}" model=cnn \
      partition=dirichlet partition.alpha=0.3 partition.clients=10 'request.classes=[6]' method=fucrt,head_mask,finetune,relabel,random_relabel \
      output.dir="$work/fashion_mnist" store.dir="$work/store"
    first="$work/fashion_mnist/0_fucrt_s0" ;;
  *) echo "digits or fashion_mnist, not $what" >&2; exit 2 ;;
esac

to="$top/results/$what"
mkdir -p "$to"
cp "$work/$what"/{runs.csv,table.md,erasure_utility.png,erasure_utility.svg} "$to/"
cp "$first"/{summary.json,environment.json} "$to/"
for figure in erasure_utility class_flow partition; do
  cp "$first/figures/$figure.png" "$to/fucrt_$figure.png"
done
python3 - "$to" "$work" "${2:-}" <<'PY'
# Published results name no folder of the machine they were made on.
import pathlib, sys
folder, work, data = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
for path in folder.glob("*"):
    if path.suffix in (".csv", ".md", ".json"):
        text = path.read_text().replace(work, "outputs")
        path.write_text(text.replace(data, "DATA_ROOT") if data else text)
PY
