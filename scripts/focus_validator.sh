#!/usr/bin/env bash
# Print the folder of the FinOps Foundation's focus-validator, and make it where there is none: a virtual
# environment of its own (it pins numpy below 2) in a folder of the user's cache. The tests of the FOCUS export
# call it; the first time takes about a minute and 700 MB.
#
# Release 2.2.1 asks for Python 3.12 because of a single expression that older ones can not read (a backslash
# within an f-string). Below 3.12 that one line is written the older way; no rule is touched.
set -euo pipefail
cd "$(dirname "$0")/.."
version=2.2.1
cache=${SPENDGATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/spendgate-tests}
into=$cache/focus-validator-$version
stamp=$into/.ready
mkdir -p "$cache"
exec 9>"$cache/focus-validator.lock"
flock 9
if [ ! -f "$stamp" ]; then
  rm -rf "$into"
  .venv/bin/python -m venv "$into"
  "$into/bin/python" -m pip install --quiet --disable-pip-version-check --ignore-requires-python \
    "focus-validator==$version" 'numpy<2' 'pyarrow<21' >&2
  package=$("$into/bin/python" -c 'import importlib.util as u; print(u.find_spec("focus_validator").submodule_search_locations[0])')
  "$into/bin/python" - "$package/config_objects/focus_to_duckdb_converter.py" <<'PY'
import ast, pathlib, sys

path = pathlib.Path(sys.argv[1])
text = path.read_text()
try:
    ast.parse(text)
except SyntaxError:
    new = r"""f"'{k.replace('\"', '\"\"')}'" for k in ignore_keys"""
    old = """"'" + k.replace('"', '""') + "'" for k in ignore_keys"""
    if text.count(new) != 1:
        sys.exit("focus_validator.sh: the expression to rewrite is not where it was; look at the new release")
    path.write_text(text.replace(new, old))
    ast.parse(path.read_text())
PY
  touch "$stamp"
fi
"$into/bin/python" -c 'import importlib.util as u; print(u.find_spec("focus_validator").submodule_search_locations[0])'
