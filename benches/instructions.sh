#!/usr/bin/env bash
# Counts the instructions of each piece of the event path under callgrind and compares with benches/instructions.txt.
# A piece that needs over 10 % more than recorded fails. `benches/instructions.sh --update` records anew.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v valgrind >/dev/null || { echo "valgrind is missing: install it, or count elsewhere" >&2; exit 2; }
cargo build --quiet --profile bench -p towline-benches --bin pieces
pieces=${CARGO_TARGET_DIR:-target}/release/pieces
recorded=benches/instructions.txt
runs=2000

instructions() { # name, count → total instructions
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$pieces" "$1" "$2" 2>&1 |
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

failed=0
fresh=$(mktemp)
for name in $("$pieces"); do
  empty=$(instructions "$name" 0)
  full=$(instructions "$name" "$runs")
  each=$(((full - empty) / runs))
  echo "$name $each" >>"$fresh"
  before=$(awk -v name="$name" '$1 == name { print $2 }' "$recorded" 2>/dev/null || true)
  if [ -z "$before" ]; then
    verdict="new"
  elif [ $((each * 10)) -gt $((before * 11)) ]; then
    verdict="REGRESSED by more than 10 %"
    failed=1
  else
    verdict="ok"
  fi
  printf '%-16s %8d instructions (recorded %s): %s\n' "$name" "$each" "${before:-none}" "$verdict"
done

if [ "${1:-}" = "--update" ]; then
  mv "$fresh" "$recorded"
  echo "recorded in $recorded"
  exit 0
fi
rm -f "$fresh"
exit "$failed"
