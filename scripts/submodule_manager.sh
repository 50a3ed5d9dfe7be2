#!/usr/bin/env bash
# This repository has no git submodules: documentation and packages are folders of it. The script
# exists for commands written down elsewhere, and says what to do instead.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'TEXT'
Usage: scripts/submodule_manager.sh COMMAND

SAGE has no git submodules, so nothing here downloads or changes anything.
  status        say so, and check that git agrees
  docs-update   say where the documentation is (docs/) and how to build it
  init, update, sync, clean   nothing to do
  help          this text
TEXT
}

case ${1:-help} in
status)
    if [[ -e .gitmodules ]]; then
        echo "unexpected: .gitmodules exists" >&2
        exit 1
    fi
    echo "no git submodules: everything is in this repository"
    ;;
docs-update)
    echo "no git submodules: the documentation is docs/, updated with the rest by 'git pull'"
    echo "build it: ./quickstart.sh --with docs --setup-only && .venv/bin/sphinx-build docs build/docs"
    ;;
init | update | sync | clean | cleanup | switch) echo "no git submodules: nothing to do" ;;
help | --help | -h) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
