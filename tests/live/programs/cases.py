# SPDX-License-Identifier: MIT
"""The programs: what each runs, in a small size and in full.

A case is a function (directory, full) -> Case. Inputs are made from fixed
seeds, so that every run of a size does the same.
"""
import os
import random
import shutil
import sys

PYTHON = os.path.realpath(sys.executable)


class Case:
    """argv is run; stdout, exit status and the files of `made` are compared.
    drive, where given, runs beside the program and returns text to compare."""

    def __init__(self, argv, needs=(), made=(), env=None, drive=None,
                 stdin=None, compare_output=True):
        self.argv, self.needs, self.made = argv, needs, made
        self.env, self.drive, self.stdin = env or {}, drive, stdin
        self.compare_output = compare_output


# -- python: a dictionary built and walked ----------------------------------

DICT = """
import random, sys, zlib
n = int(sys.argv[1])
rng = random.Random(7)
d = {}
for i in range(n):
    d[i * 7919 % 1000003 + i] = (i, b"%d" % (i * i) * 8)
h = 0
for k, (i, v) in d.items():
    h = zlib.crc32(v, h ^ i)
keys = list(d)
for _ in range(n // 20):
    h = zlib.crc32(d[rng.choice(keys)][1], h)
for k in keys[::3]:
    del d[k]
for i in range(n // 4):
    d["k%d" % i] = [i, str(i)]
print(len(d), "%08x" % h, sum(len(v[1]) for v in d.values()))
"""


def dict_walk(directory, full):
    return Case([PYTHON, "-c", DICT, "4000000" if full else "300000"])


# -- GNU sort with a buffer above the budget --------------------------------

def sort(directory, full):
    path = os.path.join(directory, "unsorted")
    size = (400 if full else 40) << 20
    if not os.path.exists(path):
        rng = random.Random(11)
        with open(path, "w") as f:
            written = 0
            while written < size:
                block = "".join("%016x %d\n" % (rng.getrandbits(64), i)
                                for i in range(20000))
                f.write(block)
                written += len(block)
    return Case(["sort", "-S", "%dM" % (2000 if full else 200), "-T",
                 directory, path], env={"LC_ALL": "C"})


# -- sqlite3 in memory -------------------------------------------------------

SQL = """
create table t(id integer primary key, a integer, b text, c real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < %d)
insert into t select i, (i * 7919) %% 100003,
  printf('%%016x-%%d', i * 2654435761, i), i / 7.0 from n;
create index ta on t(a);
create index tb on t(b);
select count(*), sum(a), min(b), max(b) from t;
select a, count(*), round(sum(c), 3) from t where a between 500 and 520
  group by a order by a;
select count(*) from t x join t y on x.a = y.a and x.id < y.id
  where x.a < 2000;
update t set b = b || '!' where a %% 7 = 0;
delete from t where a %% 11 = 0;
select count(*), sum(length(b)) from t;
pragma integrity_check;
"""


def sqlite(directory, full):
    return Case(["sqlite3", ":memory:"],
                stdin=(SQL % (4000000 if full else 250000)).encode(),
                needs=["sqlite3"])


# -- the compiler on a large source -----------------------------------------

def cc(directory, full):
    source = os.path.join(directory, "large.c")
    if not os.path.exists(source):
        rng = random.Random(13)
        with open(source, "w") as f:
            f.write("typedef unsigned long u;\n")
            for i in range(4000 if full else 250):
                f.write("u f%d(u a, u b)\n{\n\tu x = a * %d, y = b ^ %d;\n"
                        "\tfor (u i = 0; i < %d; i++) {\n"
                        % (i, rng.randrange(1, 99999), rng.randrange(99999),
                           rng.randrange(3, 40)))
                for _ in range(6):
                    f.write("\t\tx = (x << %d) + (y >> %d) * %d;\n"
                            "\t\tif (x & %d) y += x; else y ^= i * %d;\n"
                            % (rng.randrange(1, 20), rng.randrange(1, 20),
                               rng.randrange(1, 9999), rng.randrange(1, 64),
                               rng.randrange(1, 999)))
                f.write("\t}\n\treturn x + y%s;\n}\n"
                        % ("" if i < 3 else " + f%d(x, y)"
                           % rng.randrange(i)))
    made = os.path.join(directory, "large.o")
    # One unit, and no random names in it.
    return Case(["cc", "-O2", "-c", "-frandom-seed=1", source, "-o", made],
                made=[made], needs=["cc"])


# -- redis: load, save in a forked child, verify ------------------------------

def redis(directory, full):
    import redis_drive
    path = os.path.join(directory, "redis")
    os.makedirs(path, exist_ok=True)
    socket = os.path.join(path, "s")
    argv = ["redis-server", "--port", "0", "--unixsocket", socket, "--dir",
            path, "--save", "", "--appendonly", "no", "--dbfilename",
            "dump.rdb", "--daemonize", "no", "--logfile", path + "/log"]
    n = 600000 if full else 60000

    def drive(proc):
        return redis_drive.drive(proc, socket, path, argv, n)

    return Case(argv, needs=["redis-server"], drive=drive)


# -- several processes over one inherited table --------------------------------

MP = """
import multiprocessing, sys, zlib
n = int(sys.argv[1])
table = [bytes([i %% 251]) * 900 + b"%%d" %% i for i in range(n)]
def work(part):
    h = 0
    for i in range(part, n, 8):
        h = zlib.crc32(table[i], h)
    extra = [table[i] + b"x" for i in range(part, n, 16)]
    return "%%08x" %% zlib.crc32(b"".join(extra), h)
if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    with multiprocessing.Pool(4) as pool:
        for h in pool.map(work, range(8)):
            print(h)
    print("%%08x" %% zlib.crc32(b"".join(table)))
""".replace("%%", "%")


def mp(directory, full):
    return Case([PYTHON, "-c", MP, "400000" if full else "60000"])


# -- a shell with many short children ------------------------------------------

SHELL = """
set -e
big=$(head -c %d /dev/zero | tr '\\0' x)
i=0
while [ $i -lt %d ]; do
	echo "${#big} $i" | sed 's/ /-/' | tail -n 1
	i=$((i + 1))
done
"""


def shell(directory, full):
    return Case(["bash", "-c", SHELL % ((200 if full else 40) << 20,
                                        200 if full else 30)])


# -- stress-ng -------------------------------------------------------------------

def stress(*args):
    """Its own output holds pids and times: only the status is compared."""
    return Case(["stress-ng", *args], needs=["stress-ng"],
                compare_output=False)


def stress_vm(directory, full):
    return stress("--vm", "2", "--vm-bytes", "1G" if full else "64M",
                  "--vm-method", "all", "--verify", "--vm-ops",
                  "400" if full else "60", "--temp-path", directory)


def stress_one(name, ops, *more):
    def case(directory, full):
        return stress("--" + name, "2", "--%s-ops" % name,
                      str(ops * (10 if full else 1)), "--verify",
                      "--temp-path", directory, *more)
    return case


CASES = {
    "dict": dict_walk,
    "sort": sort,
    "sqlite": sqlite,
    "cc": cc,
    "redis": redis,
    "mp": mp,
    "shell": shell,
    "stress-vm": stress_vm,
    "stress-madvise": stress_one("madvise", 20),
    "stress-mremap": stress_one("mremap", 12, "--mremap-bytes", "32M"),
    "stress-mmap": stress_one("mmap", 20, "--mmap-bytes", "32M"),
    "stress-fork": stress_one("fork", 300),
    "stress-mlock": stress_one("mlock", 20),
}


def missing(case):
    return [n for n in case.needs if not shutil.which(n)]
