# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2154 # $build is the script's
# For the scripts beside it: a budget by weir, a budget by the kernel, numbers.
#
# The kernel's way is a memory cgroup with the budget as its limit and a swap
# file in the same directory as weir's. machine_up makes them, machine_down,
# which also runs on errors and signals, undoes all of it.

die()
{
	echo "$(basename "$0"): $*" >&2
	exit 1
}

# This machine cannot do the comparison; nothing was measured.
cannot()
{
	echo "$(basename "$0"): $*" >&2
	exit 77
}

bytes()
{
	numfmt --from=iec "$1" || die "'$1' is not a size"
}

median()
{
	sort -n | awk '{ a[NR] = $1 } END {
		if (!NR) exit 1
		print NR % 2 ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2
	}'
}

ratio()
{
	awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f\n", a / b }'
}

geomean()
{
	awk '{ s += log($1); n++ } END { if (n) printf "%.3f\n", exp(s / n) }'
}

# The facts that a result means nothing without.
machine_describe()
{
	echo "# $(uname -sr), $(nproc) CPUs," \
		"$(awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo) MiB"
	echo "# huge pages $(sed 's/.*\[\(.*\)\].*/\1/' \
		/sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null)," \
		"swap read-ahead 2^$(cat /proc/sys/vm/page-cluster) pages," \
		"swap in ${BENCH_DIR:-/var/tmp}" \
		"($(stat -f -c %T "${BENCH_DIR:-/var/tmp}"))"
}

cgroup_find()
{
	cg_mounted=
	if [ -e /sys/fs/cgroup/memory/memory.limit_in_bytes ]; then
		cg_root=/sys/fs/cgroup/memory cg_limit=memory.limit_in_bytes
	elif grep -qw memory /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
		cg_root=/sys/fs/cgroup cg_limit=memory.max
		echo +memory >$cg_root/cgroup.subtree_control 2>/dev/null ||
			cannot "cgroup2: the memory controller is not ours to give"
	else
		cg_root=$work/cgroup cg_limit=memory.limit_in_bytes
		mkdir "$cg_root"
		mount -t cgroup -o memory weir-bench "$cg_root" 2>/dev/null ||
			cannot "no memory cgroup controller here"
		cg_mounted=1
	fi
}

# machine_up SWAP_BYTES: sets $work, where weir's swap file goes too.
machine_up()
{
	[ "$(id -u)" = 0 ] || cannot "swapon and cgroups need root"
	work=$(mktemp -d "${BENCH_DIR:-/var/tmp}/weir-bench.XXXXXX")
	swap_bytes=$1 cg_dir='' cg_root='' cg_mounted='' swap_on=''
	trap machine_down EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	cgroup_find
	touch "$work/swap"
	chmod 600 "$work/swap"
	fallocate -l "$1" "$work/swap" || cannot "no room for a swap file"
	mkswap -q "$work/swap" >/dev/null
	# Before any other swap of this machine.
	swapon -p 32767 "$work/swap" || cannot "swapon was refused"
	swap_on=1
}

cgroup_remove()
{
	[ -n "$cg_dir" ] && [ -d "$cg_dir" ] || return 0
	while read -r pid; do
		kill -KILL "$pid" 2>/dev/null || :
	done <"$cg_dir/cgroup.procs"
	[ ! -e "$cg_dir/memory.force_empty" ] ||
		echo 0 >"$cg_dir/memory.force_empty" 2>/dev/null || :
	# A killed process leaves its group a moment later.
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		rmdir "$cg_dir" 2>/dev/null && break
		sleep 0.2
	done
	cg_dir=
}

machine_down()
{
	trap - EXIT
	cgroup_remove
	[ -z "$swap_on" ] || swapoff "$work/swap"
	[ -z "$cg_mounted" ] || umount "$cg_root"
	rm -rf "$work"
}

# cgroup_make BUDGET: a new one each time, so that no charge is left over.
cgroup_make()
{
	cg_dir=$cg_root/weir-bench.$$
	mkdir "$cg_dir"
	echo "$1" >"$cg_dir/$cg_limit"
}

# in_kernel BUDGET COMMAND...
in_kernel()
{
	cgroup_make "$1"
	shift
	status=0
	CG=$cg_dir/cgroup.procs sh -c 'echo $$ >"$CG" && unset CG && exec "$@"' \
		sh "$@" || status=$?
	cgroup_remove
	return $status
}

# in_weir BUDGET COMMAND...
in_weir()
{
	budget=$1
	shift
	"$build/weir" run --memory "$budget" --swap "$work:$swap_bytes" --quiet \
		-- "$@"
}

# Whether weir can work here at all; says why not.
weir_check()
{
	[ -x "$build/weir" ] || die "$build/weir: build it first, or give -b"
	"$build/weir" run --memory 64M --swap "$work:64M" --quiet -- true ||
		cannot "weir run does not work here"
}
