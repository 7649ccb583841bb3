#!/usr/bin/env bash
# Everything that needs a GPU, in one call, each part with a time limit: verification, sanitizers, bench, peers.
#   tools/gpu_session.sh [verify] [sanitize] [bench] [peers]     (default: verify sanitize bench peers)
# Environment: OUT (results, default build/gpu), BUILD (default build/cuda), OPS ("rms_norm rope": only these),
# *_LIMIT in seconds. Prints a short table last. It builds nothing: see CMakeLists.txt of tests/gpu and bench.
set -uo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
OUT=${OUT:-build/gpu}
BUILD=${BUILD:-build/cuda}
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(verify sanitize bench peers)
mkdir -p "$OUT"
op_options=()
for op in ${OPS:-}; do op_options+=(--op "$op"); done
summary=()

limited() {  # NAME SECONDS COMMAND...: output to $OUT/NAME.log, the last lines here
  local name=$1 limit=$2 begin=$SECONDS
  shift 2
  timeout -k 5 "$limit" "$@" >"$OUT/$name.log" 2>&1
  local code=$?
  tail -n "${TAIL:-6}" "$OUT/$name.log"
  summary+=("$(printf '%-12s exit %-3s %4d s' "$name" "$code" $((SECONDS - begin)))")
  return $code
}

for part in "${parts[@]}"; do
  echo "== $part"
  case $part in
    verify)
      limited launch_test 60 "$BUILD/tests/gpu/octavo_launch_test"
      keys=(); [ ! -f "$BUILD/keys.json" ] || keys=(--keys "$BUILD/keys.json")
      TAIL=60 limited verify "${VERIFY_LIMIT:-280}" "$BUILD/tests/gpu/octavo_verify" "${op_options[@]}" "${keys[@]}" \
        --threads "$(nproc)" --out "$OUT/receipts"
      tar -C "$OUT" -czf "$OUT/receipts.tar.gz" receipts && rm -rf "$OUT/receipts" ;;
    sanitize)
      for tool in memcheck racecheck synccheck initcheck; do
        # Inputs are canaried outputs for initcheck, so it sees only what a kernel itself left unwritten.
        limited "$tool" "${SANITIZE_LIMIT:-60}" compute-sanitizer --tool "$tool" --error-exitcode 9 --print-limit 3 \
          "$BUILD/tests/gpu/octavo_verify" "${op_options[@]}" --exact --repeats 0 --threads 4 \
          --most-elements "${SANITIZE_ELEMENTS:-20000}" --every "${SANITIZE_EVERY:-9}"
      done ;;
    bench) TAIL=200 limited bench "${BENCH_LIMIT:-200}" "$BUILD/bench/octavo_gpu_bench" "${op_options[@]}" --out "$OUT/bench.json" ;;
    peers)
      if ls .whl/*.whl >/dev/null 2>&1; then
        python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .whl/*.whl &&
          export PYTHONPATH=/tmp/site
      fi
      # Compiled side by side first, with all cores; torch chooses among what it compiled when it is measured, alone.
      export PYTHONUNBUFFERED=1 TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-/tmp/octavo_inductor} TORCHINDUCTOR_AUTOTUNE_LOCAL_CACHE=0
      if [ "${COMPILE_LIMIT:-80}" -gt 0 ]; then
        mkdir -p "$OUT/compile"
        processes=$(nproc)
        for ((i = 0; i < processes; ++i)); do
          TORCHINDUCTOR_COMPILE_THREADS=1 timeout -k 5 "${COMPILE_LIMIT:-80}" python3 bench/peers/memory_ops.py "${op_options[@]}" \
            --compile "$i/$processes" --seconds "$((${COMPILE_LIMIT:-80} - 15))" >"$OUT/compile/$i.log" 2>&1 &
        done
        wait
        cat "$OUT"/compile/*.log >"$OUT/compile.log" && rm -r "$OUT/compile"
        grep -h '^memory_ops' "$OUT/compile.log"
      fi
      # PEERS_FILE: where an earlier call of the same session left off.
      TAIL=150 limited peers "${PEERS_LIMIT:-250}" python3 bench/peers/memory_ops.py "${op_options[@]}" \
        --out "${PEERS_FILE:-$OUT/peers.json}" --resume --seconds "$((${PEERS_LIMIT:-250} - 12))"
      [ -z "${PEERS_FILE:-}" ] || cp "$PEERS_FILE" "$OUT/peers.json" ;;
    *) echo "gpu_session.sh: unknown part '$part' (known: verify sanitize bench peers)" >&2; exit 2 ;;
  esac
done
printf '%s\n' "-- summary" "${summary[@]}"
