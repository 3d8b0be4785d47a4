#!/bin/sh
# Makes a Debian package of a program that is built, and prints its path. Needs dpkg-deb; with dpkg-shlibdeps (dpkg-dev)
# the libraries it depends on are looked up, otherwise those of every Rust program are named.
#
#   packaging/debian/build.sh --program target/dist/towline --out target
set -eu

program= out=.
while [ $# -gt 0 ]; do
  case $1 in
    --program) program=$2 ;;
    --out) out=$2 ;;
    *)
      echo "usage: $0 --program FILE [--out DIRECTORY]" >&2
      exit 2
      ;;
  esac
  shift 2
done
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree

"$here/../install.sh" --program "$program" --root "$tree"
mkdir -p "$tree/DEBIAN"
mv "$tree/usr/share/doc/towline/LICENSE-MIT" "$tree/usr/share/doc/towline/copyright"
printf '\nOr, at your choice:\n\n' >>"$tree/usr/share/doc/towline/copyright"
cat "$tree/usr/share/doc/towline/LICENSE-APACHE" >>"$tree/usr/share/doc/towline/copyright"
rm "$tree/usr/share/doc/towline/LICENSE-APACHE"

version=$("$program" version | sed -n 's/^towline *//p')
architecture=$(dpkg --print-architecture)
depends='libc6, libgcc-s1'
if command -v dpkg-shlibdeps >/dev/null; then
  mkdir -p "$work/debian"
  printf 'Source: towline\n\nPackage: towline\nArchitecture: any\n' >"$work/debian/control"
  found=$(cd "$work" && dpkg-shlibdeps -O -e"$tree/usr/bin/towline" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
  [ -z "$found" ] || depends=$found
fi
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@DEPENDS@/$depends/" \
  -e "s/@SIZE@/$(du -sk "$tree" | cut -f1)/" "$here/control.in" >"$tree/DEBIAN/control"
echo /etc/towline/towline.toml >"$tree/DEBIAN/conffiles"
install -m 755 "$here/postinst" "$here/prerm" "$here/postrm" "$tree/DEBIAN/"

package=$out/towline_${version}_${architecture}.deb
dpkg-deb --root-owner-group --build "$tree" "$package" >/dev/null
echo "$package"
