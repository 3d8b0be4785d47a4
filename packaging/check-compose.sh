#!/usr/bin/env bash
# Has compose read and merge its files, and does on a bare PostgreSQL what the containers would: the first start of the
# database with its script, its settings and its health check, and then the server at the address it is given. The program is
# the one the tests have built (or TOWLINE_BIN). Whatever a machine lacks to try it, it says so; in CI that is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  echo "compose: $*" >&2
  exit 1
}
lacking() {
  [ -z "${CI:-}" ] || fail "$1 is not there to try the compose files with"
  echo "compose: no $1, so the compose files are not tried"
  exit 0
}

built=${TOWLINE_BIN:-${CARGO_TARGET_DIR:-target}/debug/towline}
[ -x "$built" ] || fail "no program at $built; build one with: cargo build -p towline-cli --all-features"
command -v docker-compose >/dev/null || lacking docker-compose
/usr/bin/python3 -c 'import yaml' 2>/dev/null || lacking "Python's yaml"
postgres=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -1)
[ -n "$postgres" ] || lacking PostgreSQL
[ "$(id -u)" = 0 ] || lacking "right to be root"

work=$(mktemp -d /tmp/towline-compose.XXXXXX)
chmod 755 "$work"
server=
database=
finish() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  [ -z "$database" ] || kill -QUIT "$database" 2>/dev/null || true
  wait
  rm -rf "$work"
}
trap finish EXIT

# What compose makes of the files, alone and together.
export ARCP_HOST=localhost TOWLINE_TOKENS=alice:a-token-for-this-try
base=(docker-compose --file packaging/compose.yaml)
both=("${base[@]}" --file packaging/compose.postgres.yaml)
"${base[@]}" config --quiet
! "${both[@]}" config --quiet 2>"$work/said" || fail "a database without a password is let through"
grep -q TOWLINE_DATABASE_PASSWORD "$work/said" || fail "nothing says which password is missing: $(cat "$work/said")"
export TOWLINE_DATABASE_PASSWORD=a1b2c3d4e5f6
"${both[@]}" config >"$work/merged.yaml"
# A value of what they are together, a list with one item a line.
value() {
  /usr/bin/python3 - "$work/merged.yaml" "$@" <<'PYTHON'
import sys, yaml

value = yaml.safe_load(open(sys.argv[1]))
for name in sys.argv[2:]:
    value = value[name]
print("\n".join(map(str, value)) if isinstance(value, list) else value)
PYTHON
}

# The database, as its image makes it: as a user of its own, with what stands in `environment`, the script on a server that
# nobody else reaches yet, and then the command.
socket=$work/socket
install -d -m 3777 -o postgres -g postgres "$socket"
install -d -m 700 -o postgres -g postgres "$work/data"
install -m 755 packaging/postgres-init.sh "$work/towline.sh"
password=$(value services database environment PGPASSWORD)
own=(env -i PATH="$postgres:/usr/bin:/bin" PGDATA="$work/data" PGHOST="$socket" PGPASSWORD="$password")
as_postgres=(setpriv --reuid=postgres --regid=postgres --init-groups "${own[@]}")
read -r -a made < <(value services database environment POSTGRES_INITDB_ARGS)
value services database environment POSTGRES_PASSWORD >"$work/pwfile"
"${as_postgres[@]}" initdb --username=postgres --pwfile=/dev/stdin "${made[@]}" <"$work/pwfile" >"$work/first" 2>&1 || fail "initdb: $(cat "$work/first")"
mapfile -t command < <(value services database command)
command+=(-c "unix_socket_directories=$socket")
"${as_postgres[@]}" pg_ctl --silent --wait -o "-c listen_addresses= -c unix_socket_directories=$socket" start >"$work/first"
"${as_postgres[@]}" "$work/towline.sh" || fail "the script of the first start fails: $(cat "$work/first")"
"${as_postgres[@]}" pg_ctl --silent --wait --mode=fast stop
"${as_postgres[@]}" "${command[@]}" >"$work/log" 2>&1 &
database=$!

mapfile -t health < <(value services database healthcheck test)
[ "${health[0]}" = CMD ] || fail "the health check is no command"
for ((tries = 0; ; tries++)); do
  "${as_postgres[@]}" "${health[@]:1}" 2>"$work/said" && break
  [ "$tries" -lt 100 ] || fail "the database is not healthy: $(cat "$work/said" "$work/log")"
  sleep 0.1
done

# Who gets in, and as what.
ask=(setpriv --reuid=65534 --regid=65534 --clear-groups "${own[@]}" psql --no-password --tuples-only --no-align)
said=$("${ask[@]}" --username=towline --dbname=towline --command="select rolsuper or rolcreaterole or rolcreatedb from pg_roles where rolname = current_user")
[ "$said" = f ] || fail "the role may more than it needs: $said"
said=$("${ask[@]}" --username=towline --dbname=towline --command="show listen_addresses")
[ -z "$said" ] || fail "the database listens on $said"
! "${ask[@]}" --username=postgres --dbname=postgres --command= 2>/dev/null || fail "somebody else gets in as the administrator"
! PGPASSWORD=wrong "${ask[@]/PGPASSWORD=$password/PGPASSWORD=wrong}" --username=towline --dbname=towline --command= 2>/dev/null ||
  fail "a wrong password gets in"

# The server, as another user, with what stands in its `environment`.
[ "$(value services towline hostname)" = towline ] || fail "the node has no name that stays"
[[ $(value services towline volumes) == *socket*/run/postgresql* ]] || fail "the server does not get the socket"
store=$(value services towline environment TOWLINE_STORE)
case $store in *@%2Frun%2Fpostgresql/*) ;; *) fail "the address is not that of the socket: $store" ;; esac
store=${store/\%2Frun%2Fpostgresql/${socket//\//%2F}}
install -m 755 "$built" "$work/towline"
install -d -m 700 -o 65534 -g 65534 "$work/own"
installed=(setpriv --reuid=65534 --regid=65534 --clear-groups env -i PATH="$PATH" HOME="$work/own"
  TOWLINE_DATA_DIR="$work/own" TOWLINE_STORE="$store" TOWLINE_TOKENS="$TOWLINE_TOKENS"
  TOWLINE_ALLOWED_HOSTS="$(value services towline environment TOWLINE_ALLOWED_HOSTS)"
  TOWLINE_TLS_TERMINATED="$(value services towline environment TOWLINE_TLS_TERMINATED)" "$work/towline")
serve() {
  local line
  rm -f "$work/said"
  mkfifo "$work/said"
  "${installed[@]}" serve --demo --listen 127.0.0.1:0 >"$work/said" 2>"$work/served" &
  server=$!
  exec 3<"$work/said"
  listen=
  while [ -z "$listen" ] && read -r -t 60 line <&3; do
    case $line in "listening on ws://"*) listen=${line#listening on ws://} ;; esac
  done
  listen=${listen%%/*}
  [ -n "$listen" ] || fail "the server does not start: $(cat "$work/served")"
}
at_server() {
  "$built" "$@" --data-dir "$work/client" --url "ws://localhost:${listen##*:}/arcp" --token a-token-for-this-try
}
serve
job=$(at_server run echo --input '{"kept":true}' --detach 2>/dev/null)
at_server wait "$job" >/dev/null 2>&1 || fail "the job does not end"
kill -KILL "$server"
wait "$server" 2>/dev/null || true
serve
[ "$(at_server result "$job")" = '{"kept":true}' ] || fail "the job is not there after the server was killed"
kill -TERM "$server"
wait "$server" || fail "SIGTERM ended the server with an error: $(cat "$work/served")"
server=
"${installed[@]}" store verify >/dev/null || fail "the store does not verify"
[ ! -e "$work/own/towline.db" ] || fail "the server kept its jobs in a file"
! grep -rqF "$TOWLINE_DATABASE_PASSWORD" "$work/served" || fail "the password stands in the log"
echo "compose: ok"
