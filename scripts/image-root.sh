#!/usr/bin/env bash
# Puts together the files of the image: the program, the libraries that it is linked with, certificates, time zones, a
# font for statements, and who runs it. No shell and no package manager come with it.
#
#   scripts/image-root.sh TALLY FOLDER     TALLY is a built program; FOLDER must not be there yet
#
# The Dockerfile copies FOLDER into an empty image. It runs as it is too: chroot --userspec=65532:65532 FOLDER …
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ $# == 2 ]] || { echo 'usage: scripts/image-root.sh TALLY FOLDER' >&2; exit 2; }
program=$1 root=$2
[[ ! -e $root ]] || { echo "image-root: $root is there already" >&2; exit 1; }
font=/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc
certificates=/etc/ssl/certs/ca-certificates.crt
for file in "$font" "$certificates" /usr/share/zoneinfo/Asia/Shanghai; do
  [[ -f $file ]] || { echo "image-root: $file is missing: apt-get install -y fonts-noto-cjk ca-certificates tzdata" >&2; exit 1; }
done

mkdir -p "$root"/{etc/ssl/certs,usr/bin,usr/share/tally,usr/share/fonts/opentype/noto,usr/share/zoneinfo/Asia,tmp}
chmod 1777 "$root/tmp"
# Symbols stay, for traces of a panic; what debuggers want does not.
strip --strip-debug -o "$root/usr/bin/tally" "$program"
chmod 755 "$root/usr/bin/tally"
# The loader and the libraries where the program looks for them.
ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done
cp "$certificates" "$root$certificates"
cp "$font" "$root/usr/share/fonts/opentype/noto/"
cp /usr/share/zoneinfo/Asia/Shanghai "$root/usr/share/zoneinfo/Asia/"
cp LICENSE "$root/usr/share/tally/"
cp /usr/share/doc/fonts-noto-cjk/copyright "$root/usr/share/tally/fonts-noto-cjk.copyright"
echo 'tally:x:65532:65532:Tally:/:/nowhere' >"$root/etc/passwd"
echo 'tally:x:65532:' >"$root/etc/group"
python3 scripts/sbom.py "$root" >"$root/usr/share/tally/sbom.cdx.json"
