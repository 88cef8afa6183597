#!/usr/bin/env bash
# What waits for a machine with a GPU, in the order of its value, in calls of less than 9 minutes:
#
#     benchmarks/gpu.sh OUT [--data FOLDER] [--from FOLDER] [--seconds 520] [--tiny]
#
# runs the papers' CIFAR-10 networks, Omniglot at full size, and the steps of every rule, until the
# seconds are over. OUT then holds `state-NN`, parts of an archive of at most 15 MiB, and the figures
# so far as JSON. The next call goes on from them: `--from` names the folder where they were brought
# to. What was finished is not run again; a seed that was interrupted goes on from its checkpoint if
# that fits into the parts, and else from its beginning. `--tiny` takes the reduced versions, which
# any machine can run.
set -euo pipefail
cd "$(dirname "$0")/.."

# MiB of a part, and the number of parts.
part=15
parts=4
python=${PYTHON:-python3}
out='' data='' from='' seconds=520 size=()

refuse() {
    echo "benchmarks/gpu.sh: $1" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
        --data | --from | --seconds)
            [ $# -gt 1 ] || refuse "$1 was given no value: write $1 and what it names."
            case $1 in --data) data=$2 ;; --from) from=$2 ;; *) seconds=$2 ;; esac
            shift 2
            ;;
        --tiny) size=(--quick) && shift ;;
        -*) refuse "there is no option $1: it takes --data, --from, --seconds and --tiny." ;;
        *) [ -z "$out" ] || refuse "both $out and $1 were given, but there is one folder OUT."
           out=$1 && shift ;;
    esac
done
[ -n "$out" ] || refuse 'it was given no folder: write benchmarks/gpu.sh OUT.'
[[ $seconds =~ ^[1-9][0-9]*$ ]] || refuse "--seconds is $seconds, but it is a whole number above 0."
[ -z "$from" ] || ls "$from"/state-* >/dev/null 2>&1 ||
    refuse "--from is $from, which holds no state-NN: name the folder that OUT was brought to."

ends=$((SECONDS + seconds))
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$out"
[ -z "$from" ] || cat "$from"/state-* | tar -xzf - -C "$state"

# Runs a command until the time is over. 124: it was asked to stop, and left what it had.
within_time() {
    local left=$((ends - SECONDS))
    [ "$left" -gt 0 ] || return 124
    timeout --signal=TERM --kill-after=20 "$left" "$@"
}

keep() {
    local packed
    cp "$state"/*.json "$out"/ 2>/dev/null || true
    packed=$(mktemp)
    tar -czf "$packed" -C "$state" .
    # Without checkpoints where they do not fit: finished runs need none.
    if [ "$(stat -c %s "$packed")" -gt $((parts * part * 1024 * 1024)) ]; then
        tar -czf "$packed" -C "$state" --exclude='checkpoints' .
    fi
    rm -f "$out"/state-*
    split --numeric-suffixes --suffix-length=2 --bytes="${part}m" "$packed" "$out/state-"
    rm -f "$packed"
}

leastcontrol=("$python" -m leastcontrol.cli)
# Ended before its time is over, so that there is some left to keep what was found.
ends=$((ends - 15))
for experiment in cifar10-feedforward omniglot cifar10-deep-equilibrium; do
    [ -e "$state/$experiment.done" ] && continue
    status=0
    within_time "${leastcontrol[@]}" reproduce "$experiment" "${size[@]}" \
        --out "$state/reproduce" --results "$state/$experiment.json" \
        ${data:+--data-dir "$data"} || status=$?
    # 1 is a figure that is not the paper's.
    if [ "$status" -le 1 ]; then touch "$state/$experiment.done"; fi
done
if [ ! -e "$state/bench.json" ]; then
    within_time "${leastcontrol[@]}" bench --json "$state/bench.json" || true
fi
keep
ls -l "$out"
