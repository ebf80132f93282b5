#!/bin/sh
# Measures asmtrace beside what it could be at best and beside its peer, in turn,
# and prints the shortest times of N rounds with their ratios and the goals.
# Usage, from the root of the repository: scripts/bench/asmtrace.sh [N]
set -eu
rounds=${1:-10}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export XDG_CACHE_HOME="$dir/cache" GOCACHE="$(go env GOCACHE)"
go build -o "$dir/asmtrace" ./cmd/asmtrace
gobin="$(go env GOROOT)/bin/go"
go tool objdump -s '^main.main$' "$gobin" >/dev/null # builds the tool

now() { date +%s%N; }

# best NAME COMMAND...: runs it once, and keeps the shortest time in $dir/NAME.
best() {
	name=$1
	shift
	start=$(now)
	"$@" >/dev/null 2>"$dir/stderr" || { cat "$dir/stderr"; exit 1; }
	took=$((($(now) - start) / 1000))
	if [ ! -f "$dir/$name" ] || [ "$took" -lt "$(cat "$dir/$name")" ]; then
		echo "$took" >"$dir/$name"
	fi
}

# ratio TEXT A B GOAL: A over B, and whether it is within the goal.
ratio() {
	awk -v text="$1" -v a="$(cat "$dir/$2")" -v b="$(cat "$dir/$3")" -v goal="$4" 'BEGIN {
		r = a / b
		printf "%-58s %8.1f ms / %8.1f ms = %5.2f (goal %s: %s)\n", text, a / 1000, b / 1000, r, goal, r <= goal ? "met" : "missed"
	}'
}

# memory COMMAND...: the peak of its resident memory in MiB, "?" without GNU time.
memory() {
	if [ -x /usr/bin/time ]; then
		/usr/bin/time -f %M -o "$dir/rss" "$@" >/dev/null 2>&1
		awk '{ printf "%.0f", $1 / 1024 }' "$dir/rss"
	else
		echo '?'
	fi
}

go build -gcflags=-S net/http 2>/dev/null # warms the build cache
best first "$dir/asmtrace" net/http        # and fills the cache of facts
for i in $(seq "$rounds"); do
	best build go build -gcflags=-S net/http
	best text "$dir/asmtrace" net/http
	best summary "$dir/asmtrace" --summary net/http
	rm -rf "$dir/cache"
	best cold "$dir/asmtrace" net/http
done
for i in 1 2 3; do
	best bin "$dir/asmtrace" --bin --summary "$gobin"
	best objdump go tool objdump "$gobin"
done
ratio 'asmtrace net/http / go build -gcflags=-S net/http' text build 2
ratio 'asmtrace --summary net/http / the same' summary build 2
ratio 'asmtrace net/http, types not known yet / the same' cold build 2
ratio 'asmtrace --bin --summary go / go tool objdump go' bin objdump 0.333
echo "peak memory: asmtrace net/http $(memory "$dir/asmtrace" net/http) MiB (goal 300), --bin --summary go $(memory "$dir/asmtrace" --bin --summary "$gobin") MiB"
go test ./internal/disasm -run '^$' -bench '^BenchmarkReader$' -benchtime 2s | awk '/MB\/s/ { for (i = 1; i < NF; i++) if ($(i + 1) == "MB/s") printf "parser alone: %s MB/s (goal 150)\n", $i }'
