#!/bin/sh
# SPDX-License-Identifier: MIT
# weir against the kernel's swap, one pattern of touches at a time: the same
# program, the same budget, swap files of the same size in the same directory,
# in turn, the first of each pair alternating.
set -eu
here=$(dirname "$0")
build=$here/../build budget=256M size=512M ops=200000 rounds=5 lat=''

usage()
{
	cat <<-END
	usage: kernel_swap.sh [-b BUILD] [-m BUDGET] [-s SIZE] [-n OPS]
	                      [-r ROUNDS] [-l] [MODE...]
	Touches SIZE (default 512M) of memory OPS times (default 200000) within
	BUDGET (default 256M), ROUNDS times (default 5) under weir and under a
	memory cgroup with a swap file. Prints the median cost of a touch in each
	and their ratio: below 1, weir is faster. MODE: randread, randwrite,
	seqscan, zipf (default: the first three). -l: percentiles, too. SIZE must
	leave the budget room for the program itself, some 10M.
	BENCH_DIR: where both swap files go (default /var/tmp). Needs root.
	END
	exit "$1"
}

while getopts b:m:s:n:r:lh opt; do
	case $opt in
	b) build=$OPTARG ;;
	m) budget=$OPTARG ;;
	s) size=$OPTARG ;;
	n) ops=$OPTARG ;;
	r) rounds=$OPTARG ;;
	l) lat=lat ;;
	h) usage 0 ;;
	*) usage 64 >&2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- randread randwrite seqscan

# shellcheck source=bench/lib.sh
. "$here/lib.sh"
touch=$build/bench/bench_touch
[ -x "$touch" ] || die "$touch: build it first, or give -b"
budget=$(bytes "$budget")
# Twice what is touched: neither side may run out.
machine_up $(($(bytes "$size") * 2))
weir_check

# one SIDE MODE ROUND: a line of results, after checking the checksum
one()
{
	side=$1 mode=$2 round=$3
	line=$("in_$side" "$budget" "$touch" "$mode" "$size" "$ops" 42 $lat) ||
		die "$mode under $side failed ($?)"
	echo "$line" >>"$work/$mode.$side"
	echo "# round $round $side: $line"
	echo "$line" | awk '{ print $5 }' >>"$work/$mode.sum"
	[ "$(sort -u "$work/$mode.sum" | wc -l)" = 1 ] ||
		die "$mode: the checksums differ: memory was not what it was"
}

# column MODE SIDE FIELD: the median
column()
{
	awk -v f="$3" '{ print $f }' "$work/$1.$2" | median
}

machine_describe
echo "# budget $budget, $size touched $ops times, $rounds rounds"
for mode; do
	round=1
	while [ $round -le "$rounds" ]; do
		if [ $((round % 2)) = 1 ]; then
			one weir "$mode" "$round"
			one kernel "$mode" "$round"
		else
			one kernel "$mode" "$round"
			one weir "$mode" "$round"
		fi
		round=$((round + 1))
	done
done
echo "mode        weir ns/op  kernel ns/op  weir/kernel"
for mode; do
	w=$(column "$mode" weir 2) k=$(column "$mode" kernel 2)
	printf '%-10s %11.1f %13.1f %12s\n' "$mode" "$w" "$k" \
		"$(ratio "$w" "$k")"
done
[ -n "$lat" ] || exit 0
echo "mode         p   weir ns  kernel ns"
for mode; do
	for f in 7:50 9:99 11:99.9; do
		printf '%-10s %4s %8.0f %10.0f\n' "$mode" "${f#*:}" \
			"$(column "$mode" weir "${f%:*}")" \
			"$(column "$mode" kernel "${f%:*}")"
	done
done
