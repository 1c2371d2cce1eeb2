#!/bin/sh
# Makes or mends the virtual environment .venv; does nothing when it is in order.
#
# The environment is in order when the copy of the requirements that is written into it LAST (the
# stamp) equals the requirements of today, no file of an installed package is missing or cut off, and
# mmclarity itself is installed from this folder (editable: a change of a file needs no new install).
# Environment variables: PYTHON, the interpreter to build with; PIP_ARGS, more arguments for pip;
# UV, the program uv, which takes the place of pip where it is installed ('' for pip); UV_ARGS.
set -eu
cd "$(dirname "$0")/../.."

VENV=.venv
STAMP=$VENV/.requirements-installed
UV=${UV-uv}
wanted() { cat requirements.txt requirements-nodeps.txt requirements-dev.txt setup.py; }

say() { printf '[env] %s\n' "$*" >&2; }

# Debian splits ensurepip off, and version managers leave shims that do not run: try each one.
usable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 15))' >/dev/null 2>&1; }

find_python() {
  for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3.10 python3.14 python3 python; do
    if usable "$candidate"; then
      echo "$candidate"
      return 0
    fi
  done
  say 'error: no usable Python found. Needed: Python 3.10 to 3.14 with the venv module.'
  say 'On Debian and Ubuntu:  sudo apt-get install -y python3 python3-venv'
  say 'or name one:           make env PYTHON=/path/to/python3.11'
  return 1
}

interpreter_works() {
  "$VENV/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1
}

stamp_is_current() { wanted | cmp -s - "$STAMP"; }

# The packages that are missing, of a wrong version or damaged, as `name==version`; mmclarity as `-e .`
damaged() { "$VENV/bin/python" tools/env/check_env.py --list-damaged; }

# No installation mends what PYTHONPATH puts before it: nothing is removed or fetched then.
path_is_ours() { "$1" tools/env/check_env.py --python-path >&2; }

create() {
  python=$(find_python)
  path_is_ours "$python" || return 1
  say "making $VENV with $($python --version) ($python)"
  rm -rf "$VENV"
  "$python" -m venv "$VENV"
}

has_uv() { [ -n "$UV" ] && command -v "$UV" >/dev/null 2>&1; }

# shellcheck disable=SC2086  # several arguments are meant
get() {
  if has_uv; then
    "$UV" pip install --python "$VENV/bin/python" ${UV_ARGS:-} "$@"
  else
    "$VENV/bin/python" -m pip install --disable-pip-version-check ${PIP_ARGS:-} "$@"
  fi
}

install() {
  say 'installing requirements-dev.txt (a few GB with torch; minutes)'
  get -r requirements-dev.txt || return 1
  get --no-deps -r requirements-nodeps.txt || return 1
  # The requirements have just been installed, setuptools among them: nothing more is fetched.
  get --no-build-isolation --no-deps -e .
}

mend() {
  broken=$(damaged) || return 1
  if [ -n "$broken" ]; then
    say "installing anew:" $broken
    again=--ignore-installed
    if has_uv; then again=--reinstall; fi
    # shellcheck disable=SC2086  # one argument per package
    get $again --no-build-isolation --no-deps $broken || return 1
    broken=$(damaged) && [ -z "$broken" ]
  fi
}

if interpreter_works; then
  path_is_ours "$VENV/bin/python" || exit 1
  if stamp_is_current && [ -z "$(damaged || echo unknown)" ]; then
    exit 0
  fi
  say "$VENV is unfinished, outdated or damaged: mending it"
  rm -f "$STAMP"
  if install && mend; then
    wanted > "$STAMP"
    say "$VENV is ready"
    exit 0
  fi
  say "$VENV could not be mended: making it anew"
fi

create
install
mend || {
  say 'error: still not in order:'
  "$VENV/bin/python" tools/env/check_env.py >&2
  exit 1
}
wanted > "$STAMP"
say "$VENV is ready"
