#!/usr/bin/env bash
# On the GPU machine: install what the project imports and the image lacks into /tmp/site.
set -euo pipefail
python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .gpu/tools/whl/*.whl
