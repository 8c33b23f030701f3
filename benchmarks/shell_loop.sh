#!/bin/sh
# The plain script once for each beta, two at a time: shell_loop.sh PYTHON WORK OUT WORKERS BETA...
set -eu
python=$1 work=$2 out=$3 workers=$4
shift 4
printf '%s\n' "$@" | xargs -P "$workers" -I BETA "$python" -m benchmarks.plain_trl BETA "$work" "$out/BETA"
