#!/bin/sh
# Lays towline out as a system has it: the program, completions, the manual page, the unit, a configuration that sets
# nothing, the licences. It makes no user and starts nothing.
#
#   packaging/install.sh --program target/dist/towline --root /
set -eu

program= root= prefix=/usr
while [ $# -gt 0 ]; do
  case $1 in
    --program) program=$2 ;;
    --root) root=${2%/} ;;
    --prefix) prefix=$2 ;;
    *)
      echo "usage: $0 --program FILE [--root DIRECTORY] [--prefix /usr]" >&2
      exit 2
      ;;
  esac
  shift 2
done
here=$(cd "$(dirname "$0")" && pwd)
[ -x "$program" ] || {
  echo "$0: --program names no program; build one with: cargo build --profile dist -p towline-cli" >&2
  exit 2
}

share=$root$prefix/share
install -D -m 755 "$program" "$root$prefix/bin/towline"
# An unfinished file under a good name would be worse than none.
generate() {
  mkdir -p "$(dirname "$1")"
  to=$1
  shift
  "$program" "$@" >"$to.part"
  chmod 644 "$to.part"
  mv "$to.part" "$to"
}
generate "$share/bash-completion/completions/towline" completions bash
generate "$share/zsh/vendor-completions/_towline" completions zsh
generate "$share/fish/vendor_completions.d/towline.fish" completions fish
generate "$share/man/man1/towline.1" man
gzip -n9f "$share/man/man1/towline.1"

install -D -m 644 "$here/towline.service" "$root$prefix/lib/systemd/system/towline.service"
# The path of the program in the unit is the one it was laid out at.
[ "$prefix" = /usr ] || sed -i "s|/usr/bin/towline|$prefix/bin/towline|" "$root$prefix/lib/systemd/system/towline.service"
# What is configured already stays.
[ -e "$root/etc/towline/towline.toml" ] ||
  install -D -m 644 "$here/towline.toml" "$root/etc/towline/towline.toml"
install -D -m 644 "$here/../LICENSE-MIT" "$share/doc/towline/LICENSE-MIT"
install -D -m 644 "$here/../LICENSE-APACHE" "$share/doc/towline/LICENSE-APACHE"
