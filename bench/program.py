#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs one real program once, behind a prefix, and says how it went.

usage: program.py [--full] [--huge] NAME DIRECTORY [PREFIX...]

The programs are those of tests/live/programs/cases.py, and "touch", which is
bench_touch (its path in BENCH_TOUCH); inputs are made in DIRECTORY if they are
not there yet. Prints one line:

    SECONDS PEAK_RSS_BYTES HUGE_BYTES DIGEST

DIGEST covers exit status, output and files made: equal runs have equal ones.
HUGE_BYTES is the most AnonHugePages seen in the processes of the program
together; it is only looked for with --huge, because looking takes time.
"""
import hashlib
import os
import resource
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "tests", "live", "programs"))
import cases  # noqa: E402


def touch(directory, full):
    """Random reads of huge pages once filled; its output is a time."""
    binary = os.environ.get("BENCH_TOUCH", "bench_touch")
    return cases.Case([binary, "randread",
                       "512M" if full else "64M", "20M" if full else "2M",
                       "1", "huge"], needs=[binary],
                      compare_output=False)


CASES = {"touch": touch, **cases.CASES}


def descendants(pid):
    out, todo = [], [pid]
    while todo:
        p = todo.pop()
        out.append(p)
        try:
            with open("/proc/%d/task/%d/children" % (p, p)) as f:
                todo += [int(c) for c in f.read().split()]
        except OSError:
            pass
    return out


def huge_bytes(pid):
    total = 0
    for p in descendants(pid):
        try:
            with open("/proc/%d/smaps_rollup" % p) as f:
                for line in f:
                    if line.startswith("AnonHugePages:"):
                        total += int(line.split()[1]) * 1024
        except OSError:
            pass
    return total


class HugeWatch(threading.Thread):
    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.most, self.end = pid, 0, threading.Event()
        self.start()

    def run(self):
        while not self.end.wait(0.05):
            self.most = max(self.most, huge_bytes(self.pid))

    def stop(self):
        self.end.set()
        self.join()
        return self.most


def feed(proc, data):
    try:
        proc.stdin.write(data)
        proc.stdin.close()
    except BrokenPipeError:
        pass


def digest(status, driven, out_path, case):
    h = hashlib.sha256(repr((status, driven)).encode())
    for path in [out_path, *case.made]:
        if path == out_path and not case.compare_output:
            continue
        if os.path.exists(path):
            with open(path, "rb") as f:
                for block in iter(lambda: f.read(1 << 20), b""):
                    h.update(block)
        if path in case.made and os.path.exists(path):
            os.unlink(path)
    return h.hexdigest()[:16]


def run(case, directory, prefix, huge):
    out_path = os.path.join(directory, "stdout")
    env = {k: v for k, v in os.environ.items() if not k.startswith("WEIR_")}
    env.update(case.env)
    begin = time.monotonic()
    with open(out_path, "wb") as out:
        proc = subprocess.Popen([*prefix, *case.argv], stdout=out, env=env,
                                stdin=subprocess.PIPE if case.stdin else
                                subprocess.DEVNULL)
        watch = HugeWatch(proc.pid) if huge else None
        if case.stdin:
            threading.Thread(target=feed, args=(proc, case.stdin),
                             daemon=True).start()
        driven = case.drive(proc) if case.drive else None
        proc.wait()
    seconds = time.monotonic() - begin
    # Of the largest process there was, whoever waited for it. A driver may
    # start others to check the result: those are no larger.
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    most = watch.stop() if watch else 0
    print("%.3f %d %d %s" % (seconds, usage.ru_maxrss * 1024, most,
                             digest(proc.returncode, driven, out_path, case)))
    return proc.returncode


def main():
    args = sys.argv[1:]
    full = huge = False
    while args and args[0].startswith("--"):
        full |= args[0] == "--full"
        huge |= args[0] == "--huge"
        args.pop(0)
    if len(args) < 2 or args[0] not in CASES:
        sys.stderr.write(__doc__.split("\n\n")[1] + "\nprograms: " +
                         ", ".join(CASES) + "\n")
        return 64
    case = CASES[args[0]](args[1], full)
    lacks = cases.missing(case)
    if lacks:
        sys.stderr.write("%s needs %s\n" % (args[0], ", ".join(lacks)))
        return 77
    return 1 if run(case, args[1], args[2:], huge) else 0


if __name__ == "__main__":
    sys.exit(main())
