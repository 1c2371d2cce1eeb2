#!/usr/bin/env bash
# Train under Slurm:
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [SRUN_ARGS=...] \
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]
# GPUS_PER_NODE=0 asks for no GPU: then GPUS CPU processes work over gloo.
set -eu

if [ $# -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]" >&2
    exit 2
fi
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
WORK_DIR=$4
shift 4
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

GPUS=${GPUS:-8}
PER_NODE=${GPUS_PER_NODE:-8}
PLACE=()
if [ "$PER_NODE" -gt 0 ]; then
    [ "$PER_NODE" -gt "$GPUS" ] && PER_NODE=$GPUS
    PLACE=(--gres="gpu:$PER_NODE" --ntasks-per-node="$PER_NODE")
fi

# shellcheck disable=SC2086  # SRUN_ARGS holds several words
exec srun -p "$PARTITION" \
    --job-name="$JOB_NAME" \
    "${PLACE[@]}" \
    --ntasks="$GPUS" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$HERE/train.py" "$CONFIG" \
    --work-dir "$WORK_DIR" --launcher slurm "$@"
