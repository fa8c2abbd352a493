#!/bin/sh
# SPDX-License-Identifier: MIT
# What weir costs where it has nothing to do: programs whose budget is twice
# their peak, against the same programs plain. Huge pages must stay whole.
set -eu
here=$(dirname "$0")
build=$here/../build rounds=5 full=--full

usage()
{
	cat <<-END
	usage: fits.sh [-b BUILD] [-r ROUNDS] [-q] [NAME...]
	Runs each program ROUNDS times (default 5) plain and under weir with a
	budget of twice its peak, in turn; prints the median times, the ratio
	weir/plain (1: weir costs nothing) and the most AnonHugePages seen in one
	more run of each. NAME: dict, sort, sqlite, cc, redis, touch (default:
	touch, dict, sort, sqlite, cc). -q: small inputs, to see that it works.
	BENCH_DIR: where inputs go (default /var/tmp).
	END
	exit "$1"
}

while getopts b:r:qh opt; do
	case $opt in
	b) build=$OPTARG ;;
	r) rounds=$OPTARG ;;
	q) full= ;;
	h) usage 0 ;;
	*) usage 64 >&2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- touch dict sort sqlite cc

# shellcheck source=bench/lib.sh
. "$here/lib.sh"
[ -x "$build/weir" ] || die "$build/weir: build it first, or give -b"
work=$(mktemp -d "${BENCH_DIR:-/var/tmp}/weir-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# run_as SIDE BUDGET NAME [--huge]
run_as()
{
	name=$3 huge=${4-} budget=$2
	case $1 in
	plain) set -- ;;
	weir) set -- "$build/weir" run --memory "$budget" --swap "$work" \
		--quiet -- ;;
	esac
	mkdir -p "$work/$name"
	# shellcheck disable=SC2086 # $full and $huge: one word or none
	BENCH_TOUCH=$build/bench/bench_touch python3 "$here/program.py" $full \
		$huge "$name" "$work/$name" "$@"
}

one()
{
	line=$(run_as "$1" "$budget" "$name") || die "$name $1 failed"
	echo "# $name $1 round $round: $line"
	echo "${line%% *}" >>"$work/$name.$1"
	[ "${line##* }" = "$want" ] ||
		die "$name $1: output or status is not that of the first run"
}

huge_mib()
{
	run_as "$1" "$budget" "$name" --huge |
		awk '{ printf "%d\n", $3 / 1048576 }'
}

machine_describe
for name; do
	line=$(run_as plain 0 "$name") || die "$name failed"
	want=${line##* }
	budget=$(echo "$line" | awk '{ printf "%d\n",
		int(($2 < 16777216 ? 16777216 : $2) * 2 / 4096) * 4096 }')
	round=1
	while [ $round -le "$rounds" ]; do
		if [ $((round % 2)) = 1 ]; then
			one weir
			one plain
		else
			one plain
			one weir
		fi
		round=$((round + 1))
	done
	echo "$budget $(huge_mib plain) $(huge_mib weir)" >"$work/$name.facts"
	rm -rf "${work:?}/$name"
done
echo "program   budget MiB   plain s    weir s  weir/plain  huge MiB plain, weir"
for name; do
	w=$(median <"$work/$name.weir") p=$(median <"$work/$name.plain")
	r=$(ratio "$w" "$p")
	echo "$r" >>"$work/ratios"
	read -r budget hp hw <"$work/$name.facts"
	printf '%-9s %10d %9.2f %9.2f %11s %15d %7d\n' "$name" \
		$((budget / 1048576)) "$p" "$w" "$r" "$hp" "$hw"
done
echo "geometric mean of weir/plain: $(geomean <"$work/ratios")"
