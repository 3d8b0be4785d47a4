#!/usr/bin/env bash
# Counts what a load on the machine does not disturb, and fails when one of them is over its bound in benches/counts.txt:
# what the heap is asked for by an event, a job and a silent session (valgrind's dhat, over the pieces), and how
# often a job makes the program sync its store when commits survive a power cut (strace). That a job costs two commits is a
# test of the runtime's.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in valgrind strace python3; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: install it, or count elsewhere" >&2; exit 2; }
done
target=${CARGO_TARGET_DIR:-target}
cargo build --quiet --profile bench -p towline-benches --bin pieces
cargo build --quiet --all-features -p towline-cli
bounds=benches/counts.txt
failed=0

# What is not under its bound, or has none, fails.
hold() { # name, count
  local bound
  bound=$(awk -v name="$1" '$1 == name { print $2 }' "$bounds")
  if awk -v count="$2" -v bound="${bound:--1}" 'BEGIN { exit !(count <= bound) }'; then
    printf '%-26s %10s (at most %s): ok\n' "$1" "$2" "$bound"
  else
    printf '%-26s %10s (at most %s): TOO MUCH\n' "$1" "$2" "${bound:-nothing, as it is not in $bounds}"
    failed=1
  fi
}

heap() { # piece, runs → blocks in all, and bytes at the moment there were most
  valgrind --tool=dhat --dhat-out-file=/dev/null "$target/release/pieces" "$1" "$2" 2>&1 | tr -d ',' |
    awk '/Total:/ { blocks = $(NF - 1) } /At t-gmax:/ { bytes = $4 } END { print blocks, bytes }'
}

each() { # more, less, by how many
  awk -v more="$1" -v less="$2" -v by="$3" 'BEGIN { printf "%.2f", (more - less) / by }'
}

blocks() { # name, piece, events or so a run
  local less more
  read -r less _ < <(heap "$2" 20)
  read -r more _ < <(heap "$2" 220)
  hold "$1" "$(each "$more" "$less" $((200 * $3)))"
}

blocks allocations_an_event events_64 64
blocks allocations_a_job job 1

read -r _ less < <(heap silent 20)
read -r _ more < <(heap silent 220)
hold bytes_a_silent_session "$(each "$more" "$less" 200)"

syncs=$("$target/debug/towline" bench disk --store sqlite-power --runs 1 --count 200 --json |
  python3 -c 'import json, sys
for figure in json.load(sys.stdin)["figures"]:
    if "fsyncs" in figure["name"]:
        print("%.2f" % figure["median"])')
hold fsyncs_a_job "${syncs:-none counted}"

exit "$failed"
