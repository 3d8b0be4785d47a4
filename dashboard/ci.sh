#!/usr/bin/env bash
# What a change of the dashboard has to pass: the sources build to what is committed, their tests pass, and the page does in
# a browser, against the program, what it should. Skipped, with the reason, where there is no CI and something it needs is
# missing: the program itself needs none of this, for it embeds what is committed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

skip() {
  printf 'skipped: %s\n' "$1"
  exit 0
}

if [ -z "${CI:-}" ]; then
  command -v npm >/dev/null || skip 'npm is not installed'
  [ -x "${CHROMIUM:-/usr/bin/chromium}" ] || skip 'Chromium is not installed (CHROMIUM names one)'
fi
[ -x "${CHROMIUM:-/usr/bin/chromium}" ] || { apt-get update -q && apt-get install -y -q chromium; } >/dev/null
command -v npm >/dev/null || { apt-get update -q && apt-get install -y -q nodejs npm; } >/dev/null

npm ci --no-audit --no-fund --loglevel=error
npm run --silent check

# Built beside what is committed, then compared: the same sources give the same bytes.
npx vite build --outDir target/dist --emptyOutDir --logLevel warn
diff -r dist target/dist || {
  printf 'dashboard/dist is not what the sources build to: run npm run build in dashboard/ and commit it\n' >&2
  exit 1
}

npm test --silent
cargo build --quiet -p towline-cli --all-features --manifest-path ../Cargo.toml
# The long log has its million events, which take about a minute: the browser tells the test of each frame. While working on
# the page, EVENTS=100000 is enough.
TOWLINE_BIN=${CARGO_TARGET_DIR:-../target}/debug/towline npm run --silent browser
