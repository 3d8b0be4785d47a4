#!/usr/bin/env bash
# Installs what packaging/ makes into bare directories, and runs it there as a user without rights. The program is the one
# the tests have built (or TOWLINE_BIN). Whatever a machine lacks to try something, it says so; in CI that is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

program=${TOWLINE_BIN:-${CARGO_TARGET_DIR:-target}/debug/towline}
[ -x "$program" ] || {
  echo "no program at $program; build one with: cargo build -p towline-cli --all-features" >&2
  exit 1
}
work=$(mktemp -d)
server=
finish() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
fail() {
  echo "packaging: $*" >&2
  exit 1
}
# Leaves something untried, but not in CI.
lacking() {
  [ -z "${CI:-}" ] || fail "$1 is not there to try $2"
  echo "packaging: no $1, so $2 is not tried"
}

# Scripts that say nothing wrong to their shells.
for script in packaging/install.sh packaging/debian/build.sh packaging/debian/p*; do sh -n "$script"; done

# The package: what is in it, what it says of itself.
if command -v dpkg-deb >/dev/null; then
  # The program of the tests is large, and packed for nobody.
  package=$(DPKG_DEB_COMPRESSOR_TYPE=none packaging/debian/build.sh --program "$program" --out "$work")
  contents=$(dpkg-deb --contents "$package" | awk '{ print $1, $2, $6 }')
  for line in \
    '-rwxr-xr-x root/root ./usr/bin/towline' \
    '-rw-r--r-- root/root ./usr/lib/systemd/system/towline.service' \
    '-rw-r--r-- root/root ./usr/share/man/man1/towline.1.gz' \
    '-rw-r--r-- root/root ./usr/share/bash-completion/completions/towline' \
    '-rw-r--r-- root/root ./usr/share/zsh/vendor-completions/_towline' \
    '-rw-r--r-- root/root ./usr/share/fish/vendor_completions.d/towline.fish' \
    '-rw-r--r-- root/root ./usr/share/doc/towline/copyright' \
    '-rw-r--r-- root/root ./etc/towline/towline.toml'; do
    grep -qxF -- "$line" <<<"$contents" || fail "the package lacks: $line"
  done
  dpkg-deb --field "$package" Version | grep -qxF "$("$program" version | sed -n 's/^towline *//p')" ||
    fail "the package has another version than the program"
  dpkg-deb --field "$package" Depends | grep -q '^libc6' || fail "the package does not depend on a C library"
  dpkg-deb --extract "$package" "$work/root"
else
  lacking dpkg-deb "the Debian package"
  packaging/install.sh --program "$program" --root "$work/root"
fi

# Completions and pages are what their readers take them for.
bash -n "$work/root/usr/share/bash-completion/completions/towline"
# Whole, and then looked at: a reader that stops early makes a failure of the one that writes.
gzip -dc "$work/root/usr/share/man/man1/towline.1.gz" >"$work/towline.1"
grep -q '^\.TH towline 1' "$work/towline.1" || fail "the manual page is none"
grep -q '^#compdef towline' "$work/root/usr/share/zsh/vendor-completions/_towline" || fail "zsh would not take its completion"

# The unit, with the program in its place.
if command -v systemd-analyze >/dev/null; then
  sed "s|/usr/bin/towline|$work/root/usr/bin/towline|" "$work/root/usr/lib/systemd/system/towline.service" >"$work/towline.service"
  systemd-analyze verify --man=no "$work/towline.service" >"$work/unit" 2>&1 || fail "the unit: $(cat "$work/unit")"
  ! grep -F towline.service "$work/unit" || fail "the unit is complained of"
else
  lacking systemd-analyze "the unit"
fi

# The image's context holds what its steps take.
while read -r from; do [ -e "$from" ] || fail "Dockerfile: no $from"; done < <(
  sed -n 's/^COPY \([^-][^ ]*\) .*/\1/p; s/^RUN \(packaging[^ ]*\) .*/\1/p' packaging/Dockerfile
)

# A system with nothing in it but what was installed and the libraries that it is linked to. In it the server is another
# user, as its unit has it; where this is not root, and may not be another, it is run from where it lies.
root=$work/root
while read -r library; do
  install -D "$library" "$root$library"
done < <(ldd "$program" | grep -o '/[^ ]*')
install -d -m 1777 "$root/tmp"
if [ "$(id -u)" = 0 ]; then
  user=65534
  chmod 755 "$work"
  install -d -m 700 -o $user -g $user "$root/var/lib/towline"
  enter=(chroot --userspec=$user:$user "$root")
  inside=
else
  lacking "right to be root" "the program in a system of its own"
  install -d -m 700 "$root/var/lib/towline"
  enter=()
  inside=$root
fi
cat >"$root/etc/towline/towline.toml" <<'TOML'
[server]
allowed_hosts = ["localhost"]
demo = true

[[auth.tokens]]
principal = "alice"
token_file = "alice.token"
TOML
echo a-token-for-this-try >"$root/etc/towline/alice.token"
# The program with nothing of this environment.
installed=(env -i "PATH=$PATH" HOME=/nowhere "TOWLINE_CONFIG=$inside/etc/towline/towline.toml"
  "TOWLINE_DATA_DIR=$inside/var/lib/towline" ${enter[@]+"${enter[@]}"} "$inside/usr/bin/towline")

"${installed[@]}" version | grep -q '^towline ' || fail "the installed program does not say its version"
mkfifo "$work/said"
"${installed[@]}" serve --listen 127.0.0.1:0 >"$work/said" 2>"$work/log" &
server=$!
exec 3<"$work/said"
listen=
while read -r -t 60 line <&3; do
  case $line in
    "listening on ws://"*)
      listen=${line#listening on ws://}
      listen=${listen%%/*}
      break
      ;;
  esac
done
[ -n "$listen" ] || fail "the installed server does not start: $(cat "$work/log")"
[ "$("${installed[@]}" ready --listen "$listen")" = ready ] || fail "the health check does not find the installed server"
answer=$("$program" run echo --input '{"hello":"world"}' --quiet --data-dir "$work/client" \
  --url "ws://localhost:${listen##*:}/arcp" --token a-token-for-this-try)
[ "$answer" = '{"hello":"world"}' ] || fail "a job of the installed server gives: $answer"

kill -TERM "$server"
status=0
wait "$server" || status=$?
server=
[ "$status" = 0 ] || fail "SIGTERM ended the server with status $status: $(cat "$work/log")"
[ -s "$root/var/lib/towline/towline.db" ] || fail "the server kept nothing in its data directory"
[ "$(stat -c %u "$root/var/lib/towline/towline.db")" != 0 ] || [ "$(id -u)" != 0 ] || fail "the server ran as root"
echo "packaging: ok"
