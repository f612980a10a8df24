#!/usr/bin/env bash
# On the GPU machine: stage.sh PART: put data part PART beside the others, outside the tree, and install what is missing.
set -euo pipefail
mkdir -p /tmp/gpu-data && cp -r .gpu/part"$1"/. /tmp/gpu-data/
echo "part $1: $(find /tmp/gpu-data -type f | wc -l) pictures there"
[ -d /tmp/site ] || bash .gpu/tools/site.sh
