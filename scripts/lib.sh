# What build, test and demo share: a repository that is ready to run on a fresh machine with Node 20
# and npm. Sourced by bash scripts; afterwards the working directory is the top of the repository.

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$REPO"

say() { printf '== %s\n' "$*" >&2; }

die() {
  printf 'ERROR: %s\n' "$*" >&2
  exit 1
}

need_root() {
  [ "$(id -u)" = 0 ] || die "Cannot mount file systems: this is not root, run it with: sudo $0"
}

# apt_install PACKAGE...
apt_install() {
  command -v apt-get >/dev/null || die "Cannot install $*: there is no apt-get, install it yourself"
  need_root
  say "installing $*"
  if [ -z "${apt_updated:-}" ]; then
    apt-get -qq update </dev/null >&2
    apt_updated=1
  fi
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" </dev/null >&2
}

# need_program PROGRAM PACKAGE: installs the Debian package when the program is missing.
need_program() {
  command -v "$1" >/dev/null || apt_install "$2"
}

# Installs the npm packages when there are none, or when package-lock.json has changed since. A link leads to packages
# that others use too: npm would empty their directory, and put one of its own in the place of the link.
need_packages() {
  local stamp=node_modules/.litefs-lock-sum sum
  sum=$(sha256sum <package-lock.json)
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ]; then return; fi
  if [ -L node_modules ]; then
    say "node_modules is a link to packages of another package-lock.json, using them as they are"
    return
  fi

  command -v npm >/dev/null || die "Cannot install packages: there is no npm, install Node 20"
  local major
  major=$(node -p 'process.versions.node.split(".")[0]')
  [ "$major" -ge 20 ] || die "Cannot install packages: this is Node $major, install Node 20"

  say "installing npm packages"
  if ! npm_ci; then
    # better-sqlite3 is compiled when no binary of it can be fetched, and that may be what failed.
    if has_compiler; then die "Cannot install npm packages: see above what npm says"; fi
    apt_install g++ make python3
    npm_ci
  fi
  printf '%s\n' "$sum" >"$stamp"
}

# run_bench NAME ARGUMENT...: runs scripts/NAME.ts on the program as it is now. Also when it is interrupted nothing of it
# is left.
run_bench() {
  need_root
  need_packages
  scripts/build
  TMPDIR=$(mktemp -d)
  local own=$TMPDIR
  trap "rm -rf --one-file-system '$own'" EXIT
  if [ -n "${BENCH_IMAGE_GIB:-}" ]; then
    truncate -s "${BENCH_IMAGE_GIB}G" "$own/image"
    mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$own/image"
    mkdir "$own/on"
    mount -o loop "$own/image" "$own/on"
    trap "umount -l '$own/on'; rm -rf --one-file-system '$own'" EXIT
    TMPDIR=$own/on
  fi
  export TMPDIR LITEFS_PROGRAM=${LITEFS_PROGRAM:-dist/litefs}
  node_modules/.bin/bun "scripts/$1.ts" "${@:2}"
}

has_compiler() {
  command -v g++ >/dev/null && command -v make >/dev/null && command -v python3 >/dev/null
}

npm_ci() {
  # Compiling needs Node's headers. They often come with Node, and then nothing is downloaded.
  local prefix
  prefix=$(node -p 'require("path").resolve(process.execPath, "../..")')
  if [ -f "$prefix/include/node/node.h" ]; then
    npm_config_nodedir=$prefix npm ci --no-progress --loglevel=error </dev/null >&2
  else
    npm ci --no-progress --loglevel=error </dev/null >&2
  fi
}
