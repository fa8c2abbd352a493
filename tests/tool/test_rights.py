# SPDX-License-Identifier: MIT
"""Users without rights: refused with the reason, and the remedy works."""
import os
import shutil
import subprocess
import tempfile

from harness import Place, Skip, as_nobody, expect, main, prefix_with_device

UNAVAILABLE = 69
P = Place()


def sysctl_is_off():
    try:
        with open("/proc/sys/vm/unprivileged_userfaultfd") as f:
            return f.read().strip() == "0"
    except FileNotFoundError:
        return False


def test_run_refuses_and_says_why():
    nobody = as_nobody()
    if not sysctl_is_off():
        raise Skip("vm.unprivileged_userfaultfd is on")
    r = P.call("run", "--memory", "64M", "echo", "hello", prefix=nobody)
    expect(r, UNAVAILABLE, err=["may not use userfaultfd", "/dev/userfaultfd",
                                "sysctl", "udev", "weir doctor"])
    assert r.out == "", r


def test_doctor_says_no():
    nobody = as_nobody()
    if not sysctl_is_off():
        raise Skip("vm.unprivileged_userfaultfd is on")
    r = P.call("doctor", prefix=nobody)
    expect(r, UNAVAILABLE, out=["NO    userfaultfd", "setfacl",
                                "does not work here"])


def test_device_is_enough():
    prefix = prefix_with_device(P)
    expect(P.call("run", "--memory", "64M", "echo", "hello", prefix=prefix), 0,
           out="hello", err="budget")
    expect(P.call("doctor", prefix=prefix), 0,
           out=["/dev/userfaultfd: yes", "note  fork", "weir run works here"])


def test_doctor_as_root():
    if os.getuid():
        raise Skip("needs root")
    r = P.call("doctor")
    expect(r, 0, out=["ok    userfaultfd", "io_uring", "swap", "O_DIRECT",
                      "memlock", "huge pages", "weir run works here"])
    assert all(len(l) <= 80 for l in r.out.splitlines()), r


def test_doctor_on_swap_places():
    expect(P.call("doctor", "--swap", "/no/such"), UNAVAILABLE,
           out=["NO    swap", "does not work here"])
    expect(P.call("doctor", "--swap=/tmp:x1"), None, out="")
    if not os.getuid():
        expect(P.call("doctor", "--swap", "none"), 0, out="note  swap")
        with tempfile.TemporaryDirectory(dir="/dev/shm") as d:
            expect(P.call("doctor", "--swap", d), 0,
                   out="held in memory")


def test_raised_rights_of_weir_itself_are_refused():
    nobody = as_nobody()
    if not shutil.which("setcap"):
        raise Skip("needs setcap")
    with Place() as q:
        if subprocess.run(["setcap", "cap_sys_ptrace+ep", str(q.weir)],
                          stderr=subprocess.DEVNULL).returncode:
            raise Skip("no file capabilities here")
        expect(q.call("run", "--memory", "64M", "true", prefix=nobody),
               UNAVAILABLE, err="raised rights")


if __name__ == "__main__":
    try:
        main(dict(globals()))
    finally:
        P.__exit__()
