# SPDX-License-Identifier: MIT
"""weir run as it is installed: budgets that are too small, disks that fail,
users without rights, ends of every kind. Nothing may hang, no wrong byte may
be read, nothing may stay behind."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from harness import (BUILD, Place, Skip, as_nobody, expect, main,
                     prefix_with_device, wait_gone)

GROW = os.environ["WEIR_GROW"]
SIGBUS, KILLED = 128 + signal.SIGBUS, 128 + signal.SIGKILL


class Real(Place):
    """weir with the agent of this build, and a place for its swap."""

    def __init__(self):
        super().__init__(agent=False)
        shutil.copy(BUILD / "libweir-agent.so", self.dir)
        shutil.copy(GROW, self.dir / "grow")
        self.grow = str(self.dir / "grow")
        self.swap = pathlib.Path(tempfile.mkdtemp(prefix="weir-swap-",
                                                  dir="/var/tmp"))
        self.swap.chmod(0o777)

    def __exit__(self, *exc):
        super().__exit__(*exc)
        assert os.listdir(self.swap) == [], "left behind in the swap place"
        os.rmdir(self.swap)

    def run(self, *args, memory="16M", swap=None, zmem="none", env=None,
            prefix=()):
        """With the report as .report. Without compressed memory, unless it is
        asked for: what a test says of the disk must be so."""
        report = self.dir / "report.json"
        if report.exists():
            report.unlink()
        report.touch()
        report.chmod(0o666)
        r = self.call("run", "--memory", memory, "--swap", swap or self.swap,
                      "--zmem", zmem, "--json=%s" % report, "--", *args,
                      env=env,
                      prefix=prefix)
        text = report.read_text()
        r.report = json.loads(text) if text else None
        r.stats = r.report["total"]["stats"] if text else None
        return r


if os.environ.get("WEIR_SANITIZED"):
    print("1..0 # SKIP an agent built with a sanitizer cannot be loaded into "
          "programs built without")
    raise SystemExit(0)
P = Real()


def errors(r):
    return " ".join(p["error"] or "" for p in r.report["processes"])


def test_it_fits():
    r = P.run(P.grow, "8", "1", memory="64M")
    expect(r, 0, out="8 1 right", err="nothing was taken out")


def test_four_times_the_budget():
    r = P.run(P.grow, "64", "2")
    expect(r, 0, out="64 2 right", err=["out ", "in "])
    assert r.stats["pswpout"] > 10000 and r.stats["pswpin"] > 10000, r.stats
    assert r.report["total"]["managed_peak_bytes"] <= 16 << 20, r.report


def test_fork_with_evicted_pages():
    expect(P.run(P.grow, "40", "2", "fork"), 0, out="40 2 right")


def test_a_child_counts_only_what_it_did():
    r = P.run("python3", "-c",
              "import os\n"
              "x = [bytes([i % 256]) * 4096 for i in range(12000)]\n"
              "n = sum(b[7] for b in x) + sum(b[9] for b in x)\n"
              "pid = os.fork()\n"
              "if not pid: os._exit(0)\n"
              "os.waitpid(pid, 0)\n")
    expect(r, 0)
    # wherever python3 is a script, other processes come before
    out = sorted(p["stats"]["pswpout"] for p in r.report["processes"])
    assert out[-1] > 8000 and sum(out[:-1]) < out[-1] / 2, out


def test_exec_with_evicted_pages():
    expect(P.run(P.grow, "40", "1", "exec"), 0, out="40 1 right")


def test_threads_of_io_instead_of_a_ring():
    r = P.run(P.grow, "40", "1", env={"WEIR_NO_URING": "1"})
    expect(r, 0, out="40 1 right")


def test_no_swap():
    r = P.run(P.grow, "64", "1", swap="none")
    expect(r, KILLED, err="weir: grow (")
    assert "right" not in r.out and errors(r), r


def test_swap_full():
    r = P.run(P.grow, "64", "1", swap="%s:8M" % P.swap)
    expect(r, KILLED, err="weir: grow (")
    assert "right" not in r.out and "swap" in errors(r), r.report


def test_disk_full():
    if os.getuid():
        raise Skip("needs root for a small filesystem")
    script = 'mount -t tmpfs -o size=8m none "$1" && shift && exec "$@"'
    prefix = ["unshare", "-m", "sh", "-c", script, "sh", str(P.swap)]
    if subprocess.run([*prefix, "true"], stderr=subprocess.DEVNULL).returncode:
        raise Skip("no mount namespace here")
    r = P.run(P.grow, "64", "1", swap="%s:64M" % P.swap, prefix=prefix)
    expect(r, KILLED, err="weir: grow (")
    assert "right" not in r.out and errors(r), r.report


def test_compressed_memory_alone():
    r = P.run(P.grow, "26", "2", "soft", swap="none", zmem="60%")
    expect(r, 0, out="26 2 right", err="compressed ")
    assert r.stats["zswpout"] > 5000 and r.stats["zswpin"] > 5000, r.stats
    assert r.report["total"]["zmem_peak_bytes"] <= 10 << 20, r.report
    assert r.report["total"]["managed_peak_bytes"] <= 16 << 20, r.report
    assert r.report["swap_bytes"] == 0


def test_compressed_memory_and_a_file():
    for how in "lz4", "zstd:3":
        r = P.run(P.grow, "96", "2", "soft", zmem="30%",
                  env={"WEIR_COMPRESS": how})
        expect(r, 0, out="96 2 right", err="compressed ")
        assert r.stats["zswpwb"] > 1000, r.stats
        assert r.report["total"]["zmem_peak_bytes"] <= 5 << 20, r.report


def test_compressed_memory_of_what_does_not_compress():
    r = P.run(P.grow, "40", "1", zmem="50%")
    expect(r, 0, out="40 1 right")
    assert r.stats["zswap_reject_compress_poor"] > 2000, r.stats
    # Nothing else to go to: it ends, and says why.
    r = P.run(P.grow, "40", "1", swap="none", zmem="50%")
    expect(r, KILLED, err="weir: grow (")
    assert "right" not in r.out and errors(r), r


def test_compressed_memory_full():
    r = P.run(P.grow, "200", "1", "soft", swap="none", zmem="2M")
    expect(r, KILLED, err="weir: grow (")
    assert "right" not in r.out and errors(r), r


def test_compressed_memory_and_forks():
    for swap in "none", None:
        r = P.run(P.grow, "24", "2", "fork", "soft", swap=swap, zmem="60%")
        expect(r, 0, out="24 2 right")
        assert r.stats["zswpin"] > 1000, r.stats


def test_compressed_memory_and_a_disk_that_fails():
    r = P.run(P.grow, "96", "1", "soft", zmem="20%",
              env={"WEIR_STORE_ERROR": "write-eio=50"})
    expect(r, 0, out="96 1 right")
    r = P.run(P.grow, "96", "1", "soft", zmem="20%",
              env={"WEIR_STORE_ERROR": "read-eio=1000"})
    expect(r, SIGBUS, err="weir: grow (")


def test_writes_that_fail_now_and_then():
    r = P.run(P.grow, "40", "1", env={"WEIR_STORE_ERROR": "write-eio=100"})
    expect(r, 0, out="40 1 right")
    assert r.stats["swap_write_error"] > 0


def test_every_write_fails():
    r = P.run(P.grow, "40", "1", env={"WEIR_STORE_ERROR": "write-eio=1"})
    expect(r, KILLED, err="weir: grow (")


def test_reads_that_fail():
    r = P.run(P.grow, "40", "1", env={"WEIR_STORE_ERROR": "read-eio=1000"})
    expect(r, SIGBUS, err="weir: grow (")
    assert r.out == "" and errors(r), r.report


def test_flipped_bits_are_never_delivered():
    r = P.run(P.grow, "40", "1", env={"WEIR_STORE_ERROR": "flip=1000"})
    expect(r, SIGBUS, err=["weir: grow (", "checksum"])
    assert r.out == "", r


def hold():
    p = P.start("run", "--memory", "16M", "--swap", P.swap, "--", P.grow,
                "40", "0", "hold")
    assert p.stdout.readline() == b"ready\n"
    with open("/proc/%d/task/%d/children" % (p.pid, p.pid)) as f:
        return p, int(f.read().split()[0])


def test_kill_the_program():
    p, pid = hold()
    os.kill(pid, signal.SIGKILL)
    p.communicate()
    assert p.returncode == KILLED
    wait_gone(pid)
    assert os.listdir(P.swap) == []


def test_kill_weir():
    p, pid = hold()
    p.kill()
    p.communicate()
    wait_gone(pid)
    assert os.listdir(P.swap) == []


def test_kill_weir_at_any_moment():
    for ms in range(0, 60, 4):
        p = P.start("run", "--memory", "16M", "--swap", P.swap, "--", P.grow,
                    "40", "0", "hold")
        time.sleep(ms / 1000)
        with open("/proc/%d/task/%d/children" % (p.pid, p.pid)) as f:
            pids = [int(x) for x in f.read().split()]
        p.kill()
        p.communicate()
        for pid in pids:
            wait_gone(pid)
    assert os.listdir(P.swap) == []


def test_what_is_left_behind_goes_on():
    out = P.dir / "out"
    r = P.run("sh", "-c", '"$0" 40 2 >"$1.new" 2>&1 && mv "$1.new" "$1" & :',
              P.grow, out)
    expect(r, 0)
    while not out.exists():
        assert not (P.dir / "out.new").exists() or alive(), "killed"
        time.sleep(0.05)
    assert out.read_text() == "40 2 right\n"


def alive():
    return subprocess.run(["pgrep", "-f", P.grow],
                          stdout=subprocess.DEVNULL).returncode == 0


def test_user_without_rights():
    r = P.run(P.grow, "40", "1", prefix=as_nobody())
    if r.status == 0:
        raise Skip("userfaultfd is open to every user here")
    expect(r, 69, err="may not use userfaultfd")


def test_user_with_the_device():
    r = P.run(P.grow, "40", "1", prefix=prefix_with_device(P))
    expect(r, 0, out="40 1 right")
    assert r.stats["pswpin"] > 0
    r = P.run(P.grow, "40", "2", "fork", prefix=prefix_with_device(P))
    expect(r, 0, out="40 2 right")


def test_program_closes_every_descriptor():
    r = P.run("python3", "-c",
              "import os\n"
              "x = [bytes([i % 256]) * 4096 for i in range(4000)]\n"
              "os.closerange(3, 100000)\n"
              "y = [bytes([i % 256]) * 4096 for i in range(8000)]\n"
              "print(sum(b[7] for b in x + y))")
    expect(r, 0, out="%d" % sum([i % 256 for i in range(4000)] +
                                [i % 256 for i in range(8000)]))


if __name__ == "__main__":
    try:
        main(dict(globals()))
    finally:
        P.__exit__()
