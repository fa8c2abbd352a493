# SPDX-License-Identifier: MIT
"""What the tests of the tool share: running weir, and TAP output.

A test is a function whose name begins with test_; it fails by an assertion
and is left out by raising Skip(reason).
"""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

BUILD = pathlib.Path(os.environ["WEIR_BUILD"])
FAKE_AGENT = os.environ.get("WEIR_FAKE_AGENT")


class Skip(Exception):
    pass


class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def __repr__(self):
        return "status %d\nout: %s\nerr: %s" % (self.status, self.out, self.err)


def clean_env(extra=None):
    env = {k: v for k, v in os.environ.items() if not k.startswith("WEIR_")}
    env.pop("TMPDIR", None)
    env.pop("LD_PRELOAD", None)
    # A weir built with ASan is given preloads by some tests.
    env["ASAN_OPTIONS"] = ":".join(
        filter(None, [env.get("ASAN_OPTIONS"), "verify_asan_link_order=0"]))
    env.update(extra or {})
    return env


class Place:
    """A directory with weir in it and, beside it, the agent of the tests."""

    def __init__(self, agent=True):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="weir-test-"))
        self.dir.chmod(0o755)
        self.weir = self.dir / "weir"
        shutil.copy(BUILD / "weir", self.weir)
        if agent:
            shutil.copy(FAKE_AGENT, self.dir / "libweir-agent.so")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        shutil.rmtree(self.dir, ignore_errors=True)

    def call(self, *args, env=None, stdin=None, prefix=(), cwd=None):
        # What takes longer than this hangs, on any machine.
        p = subprocess.run([*prefix, str(self.weir), *map(str, args)],
                           env=clean_env(env), input=stdin, cwd=cwd,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           timeout=600)
        return Result(p.returncode, p.stdout.decode(), p.stderr.decode())

    def start(self, *args, env=None):
        return subprocess.Popen([str(self.weir), *map(str, args)],
                                env=clean_env(env), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)


def as_nobody():
    """Words in front of a command that give up every right."""
    if os.getuid() or not shutil.which("setpriv"):
        raise Skip("needs root and setpriv")
    return ["setpriv", "--reuid", "65534", "--regid", "65534",
            "--clear-groups", "--inh-caps=-all"]


def prefix_with_device(place):
    """As nobody, with /dev/userfaultfd open to all: in a mount namespace of
    the test's own, so that the machine stays as it is."""
    nobody = as_nobody()
    if not shutil.which("unshare") or not os.path.exists("/dev/userfaultfd"):
        raise Skip("needs unshare and /dev/userfaultfd")
    d = str(place.dir / "dev")
    if not os.path.exists(d):
        try:
            os.mknod(d, 0o020666, os.stat("/dev/userfaultfd").st_rdev)
            os.chmod(d, 0o666)
        except OSError as e:
            raise Skip("mknod: %s" % e)
    script = 'mount --bind "$1" /dev/userfaultfd && shift && exec "$@"'
    prefix = ["unshare", "-m", "sh", "-c", script, "sh", d]
    if subprocess.run(prefix + ["true"], stderr=subprocess.DEVNULL).returncode:
        raise Skip("no mount namespace here")
    return prefix + nobody


def wait_gone(pid):
    """Until no process runs under this number, or a zombie at most."""
    while True:
        try:
            stat = pathlib.Path("/proc/%d/stat" % pid).read_text()
        except (ProcessLookupError, FileNotFoundError):
            return
        if stat.rsplit(")", 1)[1].split()[0] in "ZX":
            return
        time.sleep(0.02)


def expect(result, status=None, out=None, err=None):
    if status is not None:
        assert result.status == status, "status is not %s: %r" % (status, result)
    for part in [out] if isinstance(out, str) else out or []:
        assert part in result.out, "stdout lacks %r: %r" % (part, result)
    for part in [err] if isinstance(err, str) else err or []:
        assert part in result.err, "stderr lacks %r: %r" % (part, result)
    return result


def main(names):
    signal.alarm(0)
    tests = [(n, f) for n, f in names.items() if n.startswith("test_")]
    print("1..%d" % len(tests))
    failed = 0
    for i, (name, fn) in enumerate(tests, 1):
        try:
            fn()
            print("ok %d - %s" % (i, name))
        except Skip as why:
            print("ok %d - %s # SKIP %s" % (i, name, why))
        except Exception:
            failed += 1
            print("not ok %d - %s" % (i, name))
            for line in traceback.format_exc().splitlines():
                print("#", line)
        sys.stdout.flush()
    sys.exit(1 if failed else 0)
