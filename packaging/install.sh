#!/bin/sh
# Installs LiteFS: the executable for this machine, after its sum has been compared with the one that stands below. Then
# the manual page and completion for shells, which that prints, where DIR is some/bin and there is a some/share.
#
#     ./install.sh [--small | --glibc] [--to DIR] [--from DIR_OR_URL] [--bare]
#
#     --small   the static file that takes half the room, starts slower and takes more memory
#     --glibc   the executable that uses the system's glibc
#     --to      where to put it; /usr/local/bin when this is not given
#     --from    where the release is; when this is not given, where this script is
#     --bare    the executable alone
set -eu

sums='
@SUMS@
'

fail() {
  echo "ERROR: Cannot install LiteFS: $1" >&2
  exit "${2:-1}"
}

suffix= bare= to=/usr/local/bin from=$(dirname "$0")
while [ $# -gt 0 ]; do
  case $1 in
    --small) suffix=-small ;;
    --glibc) suffix=-glibc ;;
    --bare) bare=1 ;;
    --to | --from)
      [ $# -ge 2 ] || fail "$1 needs a value" 2
      if [ "$1" = --to ]; then to=$2; else from=$2; fi
      shift
      ;;
    *) fail "\"$1\" is unknown; --small, --glibc, --to DIR, --from DIR_OR_URL and --bare are known" 2 ;;
  esac
  shift
done

[ "$(uname -s)" = Linux ] || fail "this is $(uname -s), it runs on Linux"
case $(uname -m) in
  x86_64 | amd64) architecture=x64 ;;
  aarch64 | arm64) architecture=arm64 ;;
  *) fail "this machine is $(uname -m), there are executables for x86_64 and aarch64" ;;
esac
command -v sha256sum >/dev/null || fail "there is no sha256sum here, install coreutils or busybox"

name=litefs-linux-$architecture$suffix
expected=$(printf '%s' "$sums" | while read -r sum file; do [ "$file" != "$name" ] || echo "$sum"; done)
[ -n "$expected" ] || fail "this release has no $name"
[ -d "$to" ] || fail "\"$to\" is not a directory, create it with: mkdir -p $to"

# Beside its place, so that it gets there whole or not at all, also when it is running.
new=$to/.litefs.$$
trap 'rm -f "$new"' EXIT
case $from in
  http://* | https://*)
    if command -v curl >/dev/null; then
      curl -fsSL -o "$new" "$from/$name" || fail "$from/$name cannot be downloaded"
    elif command -v wget >/dev/null; then
      wget -q -O "$new" "$from/$name" || fail "$from/$name cannot be downloaded"
    else
      fail "there is neither curl nor wget here"
    fi
    ;;
  *) cp "$from/$name" "$new" || fail "\"$from/$name\" cannot be copied" ;;
esac

actual=$(sha256sum "$new" | cut -d ' ' -f 1)
[ "$actual" = "$expected" ] || fail "the sum of $name is $actual, it should be $expected"
chmod 755 "$new"
version=$("$new" version) || fail "$name does not run here, see above"
mv -f "$new" "$to/litefs"
echo "installed $to/litefs: $version"

share=$(cd "$to/.." && pwd)/share
if [ -n "$bare" ] || [ "${to##*/}" != bin ] || [ ! -d "$share" ]; then exit; fi

# Each gets to its place whole, too.
put() {
  path=$share/$1
  shift
  mkdir -p "${path%/*}" && "$to/litefs" "$@" >"$path.$$" && chmod 644 "$path.$$" && mv -f "$path.$$" "$path"
}
if put man/man1/litefs.1 man &&
  put bash-completion/completions/litefs completion bash &&
  put zsh/site-functions/_litefs completion zsh &&
  put fish/vendor_completions.d/litefs.fish completion fish; then
  echo "installed the manual page, and completion for bash, zsh and fish, below $share"
else
  rm -f "$path.$$"
  echo "the manual page and completion are not all installed, see above; --bare leaves them out" >&2
fi
