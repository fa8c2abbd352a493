#!/bin/sh
# SPDX-License-Identifier: MIT
# weir against the kernel's swap with real programs, each at half of its own
# peak resident memory. The time of the whole run counts, start and end too.
set -eu
here=$(dirname "$0")
build=$here/../build rounds=3 full=--full part=2 killed=''

usage()
{
	cat <<-END
	usage: programs.sh [-b BUILD] [-r ROUNDS] [-p PART] [-q] [NAME...]
	Runs each program plain once for its peak, then ROUNDS times (default 3)
	under weir and in a memory cgroup with a swap file, at 1/PART (default
	1/2) of the peak. Prints the median times, the ratio weir/kernel and the
	geometric mean of the ratios: below 1, weir is faster. Output and files
	must be those of the plain run. NAME: dict, sort, sqlite, cc, redis
	(default: all five). -q: small inputs, to see that it works.
	BENCH_DIR: where both swap files and inputs go (default /var/tmp).
	Needs root.
	END
	exit "$1"
}

while getopts b:r:p:qh opt; do
	case $opt in
	b) build=$OPTARG ;;
	r) rounds=$OPTARG ;;
	p) part=$OPTARG ;;
	q) full= ;;
	h) usage 0 ;;
	*) usage 64 >&2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- dict sort sqlite cc redis

# shellcheck source=bench/lib.sh
. "$here/lib.sh"
swap=1G
[ -z "$full" ] || swap=6G
machine_up "$(bytes $swap)"
weir_check

# run_as SIDE BUDGET NAME: program.py's line
run_as()
{
	case $1 in
	plain) set -- "$3" ;;
	weir) set -- "$3" "$build/weir" run --memory "$2" \
		--swap "$work:$swap_bytes" --quiet -- ;;
	kernel)
		cgroup_make "$2"
		set -- "$3" sh -c "echo \$\$ >$cg_dir/cgroup.procs"' && exec "$@"' \
			sh
		;;
	esac
	name=$1
	shift
	mkdir -p "$work/$name"
	status=0
	python3 "$here/program.py" $full "$name" "$work/$name" "$@" || status=$?
	cgroup_remove
	return $status
}

# one SIDE
one()
{
	if ! line=$(run_as "$1" "$budget" "$name"); then
		[ "$1" = kernel ] || die "$name under $1 failed"
		# The out-of-memory killer: it happens where pages come back as
		# fast as they go. Nothing to compare with.
		echo "# $name kernel round $round: killed"
		killed="$killed $name"
		return 0
	fi
	echo "# $name $1 round $round: $line"
	echo "${line%% *}" >>"$work/$name.$1"
	[ "${line##* }" = "$want" ] ||
		die "$name under $1: output or status is not that of the plain run"
}

machine_describe
for name; do
	status=0
	line=$(run_as plain 0 "$name") || status=$?
	if [ $status = 77 ]; then
		echo "# $name: left out"
		continue
	fi
	[ $status = 0 ] || die "$name failed by itself ($status)"
	want=${line##* }
	budget=$(echo "$line" | awk -v p="$part" '{
		b = $2 / p; if (b < 8388608) b = 8388608
		printf "%d\n", int(b / 4096) * 4096 }')
	echo "# $name plain: $line; budget $budget"
	echo "$budget ${line%% *}" >"$work/$name.plain"
	round=1
	while [ $round -le "$rounds" ]; do
		if [ $((round % 2)) = 1 ]; then
			one weir
			one kernel
		else
			one kernel
			one weir
		fi
		round=$((round + 1))
	done
	rm -rf "${work:?}/$name"
done
echo "program   budget MiB   plain s    weir s  kernel s  weir/kernel"
for name; do
	[ -e "$work/$name.weir" ] || continue
	case " $killed " in *" $name "*)
		read -r budget plain <"$work/$name.plain"
		printf '%-9s %10d %9.2f %9.2f %9s %12s\n' "$name" \
			$((budget / 1048576)) "$plain" \
			"$(median <"$work/$name.weir")" killed -
		continue
		;;
	esac
	w=$(median <"$work/$name.weir") k=$(median <"$work/$name.kernel")
	r=$(ratio "$w" "$k")
	echo "$r" >>"$work/ratios"
	read -r budget plain <"$work/$name.plain"
	printf '%-9s %10d %9.2f %9.2f %9.2f %12s\n' "$name" \
		$((budget / 1048576)) "$plain" "$w" "$k" "$r"
done
[ -e "$work/ratios" ] || cannot "no program could be run"
echo "geometric mean of weir/kernel: $(geomean <"$work/ratios")"
