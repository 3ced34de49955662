#!/usr/bin/env bash
# All that is to be measured on a GPU, in one command: experiments/gpu/run.sh [--data DIR] [--minutes 9] (see __main__.py)
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -z "${PYTHON:-}" ]; then
  make --silent .venv/.ready
  PYTHON=.venv/bin/python
fi
exec "$PYTHON" -m experiments.gpu "$@"
