#!/usr/bin/env bash
# Run the gpu lane for several releases on this machine, unattended and without a network, and
# put all that was seen into one archive.
#
#     gpu-capture.sh ARCHIVE.tar.gz WHEELS RELEASE...
#
# WHEELS and RELEASE are what gpu-environment.sh takes. Every release saves every scenario, every
# release loads every save; then each saves once at the size of the FAQ's own example, which
# shows whether FP8 attention runs at that size. The archive holds the evidence (evidence.jsonl.gz,
# what `te-matrix fidelity` and `te-matrix merge` read), the report, the comparison with the cpu
# lane, every log, and steps.tsv: exit status and seconds of each step. A step that fails does
# not stop the others; the last exit status is 4 where one could not be done.
set -uo pipefail

usage() { sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p}' "$0" >&2; exit 2; }
[ $# -ge 3 ] || usage
archive=$(realpath -m "$1") wheels=$2
shift 2
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
capture=$work/capture
mkdir -p "$capture/logs"
export TE_MATRIX_CACHE=$work/cache
failed=0

# step NAME COMMAND...: note its exit status; one that judges what it saw may exit 1 or 3.
step() {
    local name=$1 began=$SECONDS status=0
    shift
    "$@" >"$capture/logs/$name.txt" 2>&1 || status=$?
    printf '%s\t%s\t%s\n' "$name" "$status" $((SECONDS - began)) | tee -a "$capture/steps.tsv"
    case $status in 0 | 1 | 3) ;; *) failed=4 ;; esac
    return $status
}
matrix() { "$work/$1/bin/te-matrix" "${@:2}"; }
lane() {
    matrix "$1" run --lane gpu --runner local --scenario all --no-gate --report "$capture/last" "${@:2}"
}

step nvidia-smi nvidia-smi
ready=()
for release in "$@"; do
    step "environment-$release" bash "$here/gpu-environment.sh" "$release" "$wheels" "$work/$release" &&
        ready+=("$release")
done
for phase in save cross-load; do
    for release in "${ready[@]}"; do
        step "$phase-$release" lane "$release" --variant all --phase "$phase" --store "$work/store"
    done
done
for release in "${ready[@]}"; do
    step "faq-size-$release" lane "$release" --size faq --phase save --store "$work/faq-size"
done
if [ ${#ready[@]} -gt 0 ]; then
    any=${ready[0]}
    step report matrix "$any" report --store "$work/store" --report "$capture/report"
    step export matrix "$any" export "$capture/evidence.jsonl.gz" --store "$work/store"
    step fidelity matrix "$any" fidelity recorded "$capture/evidence.jsonl.gz"
    step faq-size matrix "$any" report --store "$work/faq-size" --report "$capture/faq-size"
fi
cp -r "$work/cache/logs" "$capture/logs/workers" 2>/dev/null
rm -rf "$capture/last"
tar -C "$work" -czf "$archive" capture
echo "$archive"
exit $failed
