#!/usr/bin/env bash
# A CI job that fails if a model is worse than another: by more than 1 point on a subset, and by more than chance.
#
#     bash examples/compare_in_ci.sh BASELINE CANDIDATE TASK RESULTS
set -euo pipefail
baseline=${1:-pypi:multilingual-e5-small}
candidate=${2:-optical-student}
task=${3:-CLDRNameRetrieval}
results=${4:-results}

for model in "$baseline" "$candidate"; do
    optical-mteb run -m "$model" -t "$task" --output-folder "$results" # what is in the folder is not run again
done
optical-mteb compare "$baseline" "$candidate" -t "$task" --results "$results" --fail-if-worse 1
