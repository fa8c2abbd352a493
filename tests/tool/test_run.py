# SPDX-License-Identifier: MIT
"""weir run around a program: status, signals, streams, the summary."""
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time

from harness import Place, clean_env, expect, main, wait_gone

P = Place()


def run(*args, **kw):
    return P.call("run", "--memory", "64M", *args, **kw)


def sh(script, *options, **kw):
    return run(*options, "--", "sh", "-c", script, **kw)


def test_exit_status_is_the_programs():
    for status in (0, 1, 7, 64, 125, 126, 127, 255):
        assert sh("exit %d" % status).status == status


def test_signal_is_128_and_n():
    for sig in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV):
        assert sh("kill -%d $$" % sig).status == 128 + sig


def test_streams_pass_through():
    r = sh("cat; echo e >&2", "--quiet", stdin=b"in\x00out\n")
    assert (r.out, r.err) == ("in\x00out\n", "e\n"), r


def test_arguments_pass_through():
    r = run("--", "printf", "%s|", "a b", "--memory", "", "*")
    assert r.out == "a b|--memory||*|", r
    assert run("printf", "%s|", "--", "-x").out == "--|-x|"


def test_options_end_at_the_command():
    expect(run("echo", "--stats"), 0, out="--stats")


def test_preloads_of_the_user_stay():
    with Place() as other:
        lib = other.dir / "libweir-agent.so"
        r = sh("echo $LD_PRELOAD", env={"LD_PRELOAD": str(lib)})
        mine, theirs = r.out.split()[0].split(":")
        assert mine == str(P.dir / "libweir-agent.so") and theirs == str(lib)


def test_signals_are_passed_on():
    for name in ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2"):
        p = P.start("run", "--memory", "64M", "--quiet", "--", "sh", "-c",
                    "trap 'echo got; exit 3' %s; echo ready; "
                    "while :; do sleep 0.05; done" % name)
        assert p.stdout.readline() == b"ready\n"
        p.send_signal(getattr(signal, "SIG" + name))
        out, err = p.communicate()
        assert (p.returncode, out) == (3, b"got\n"), (name, p.returncode, err)


def test_signal_without_handler_ends_both():
    p = P.start("run", "--memory", "64M", "--", "sh", "-c",
                "echo $$; exec sleep 1000")
    pid = int(p.stdout.readline())
    p.terminate()
    p.communicate()
    assert p.returncode == 128 + signal.SIGTERM
    wait_gone(pid)


def test_ignored_signals_stay_ignored():
    p = subprocess.run(["sh", "-c", 'trap "" HUP; "$0" run --memory 64M '
                        '--quiet sh -c "kill -HUP \\$\\$; echo alive"',
                        str(P.weir)], stdout=subprocess.PIPE, env=clean_env())
    assert p.stdout == b"alive\n"


def test_killed_weir_takes_the_program_along():
    with tempfile.TemporaryDirectory() as d:
        p = P.start("run", "--memory", "64M", "--swap", d, "--", "sh", "-c",
                    "echo $$; exec sleep 1000")
        pid = int(p.stdout.readline())
        p.kill()
        p.communicate()
        wait_gone(pid)
        assert os.listdir(d) == []


def test_signal_mask_of_the_program_is_the_callers():
    r = run("--quiet", "grep", "SigBlk", "/proc/self/status")
    assert int(r.out.split()[1], 16) == 0, r


def test_no_descriptor_leaks_into_the_program():
    r = run("--quiet", "ls", "-l", "/proc/self/fd")
    assert "weir" not in r.out and "pipe" in r.out, r


def test_summary():
    r = run("true")
    expect(r, 0, err=["budget 64.0 MiB", "peak 5.0 MiB managed",
                      "1.0 MiB engine", "1 process,", "out 2.0 MiB",
                      "in 1.0 MiB", "300 faults", "200 major", "1.50 s",
                      "2.0 MiB file maps"])
    assert len(r.err.splitlines()) <= 4, r
    for line in r.err.splitlines():
        assert len(line) <= 80, line


def test_summary_adds_up_processes():
    r = sh("/bin/true; /bin/true; exit 0")
    expect(r, 0, err=["3 processes", "peak 5.0 MiB", "out 6.0 MiB"])


def test_more_processes_than_slots():
    r = sh("i=0; while [ $i -lt 1500 ]; do /bin/true; i=$((i+1)); done", "--json")
    j = json.loads(r.err)
    assert j["total"]["processes"] == 1501
    assert j["total"]["stats"]["pswpout"] == 1501 * 512
    assert len(j["processes"]) <= 1024


def test_stats_table():
    r = run("--stats", "true")
    lines = dict(l.split()[:2] for l in r.err.splitlines()
                 if l.startswith("  "))
    assert lines["pswpout"] == "512" and lines["pgfault"] == "300"
    assert all(len(l) <= 80 for l in r.err.splitlines())
    expect(run("true", env={"WEIR_STATS": "1"}), 0, err="pswpout")


def test_quiet():
    r = run("--quiet", "true")
    assert (r.out, r.err) == ("", "")
    r = run("true", env={"WEIR_QUIET": "yes"})
    assert r.err == ""


def test_json():
    r = run("--json", "--", "sh", "-c", 'exit 3 # "\\\t\x01')
    j = json.loads(r.err)
    assert j["exit_status"] == 3 and j["signal"] is None
    assert j["command"] == ["sh", "-c", 'exit 3 # "\\\t\x01']
    assert j["budget_bytes"] == 64 << 20
    assert j["total"]["managed_peak_bytes"] == 5 << 20
    assert j["total"]["pages_out"] == 512 and j["total"]["pages_in"] == 256
    assert j["total"]["unmanaged_peak_bytes"]["file"] == 2 << 20
    assert j["processes"][0]["name"] == "fake"
    assert j["processes"][0]["error"] is None
    j = json.loads(sh("kill -9 $$", "--json").err)
    assert j["exit_status"] == 137 and j["signal"] == 9


def test_json_of_bytes_that_are_not_text():
    p = subprocess.run([str(P.weir).encode(), b"run", b"--memory", b"64M",
                        b"--json", b"true", b"\xff\xc3\xa9\xed\xa0\x80"],
                       stderr=subprocess.PIPE, env=clean_env())
    j = json.loads(p.stderr.decode("utf-8"))
    assert j["command"][1].startswith("\ufffd\u00e9\ufffd")


def test_json_file():
    with tempfile.TemporaryDirectory() as d:
        name = os.path.join(d, "report.json")
        r = run("--json=" + name, "true")
        expect(r, 0, err="budget 64.0 MiB")
        assert json.load(open(name))["exit_status"] == 0
        r = run("true", env={"WEIR_JSON": name})
        assert json.load(open(name))["exit_status"] == 0
        assert json.loads(run("true", env={"WEIR_JSON": "1"}).err)


def test_options_beat_the_environment():
    env = {"WEIR_MEMORY": "16M", "WEIR_SWAPPINESS": "1"}
    expect(P.call("run", "true", env=env), 0, err="budget 16.0 MiB")
    expect(P.call("run", "--memory", "32M", "true", env=env), 0,
           err="budget 32.0 MiB")


def test_errors_are_reported_even_when_quiet():
    for options in ([], ["--quiet"]):
        r = run(*options, "true", env={"WEIR_FAKE": "error"})
        expect(r, 0, err='weir: fake (')
        expect(r, 0, err='): page 42 is "wrong"')
        assert "second" not in r.err
    j = json.loads(run("--json", "true", env={"WEIR_FAKE": "error"}).err)
    assert j["processes"][0]["error"] == 'page 42 is "wrong"'


def test_nothing_managed_is_said():
    for options in ([], ["--quiet"]):
        expect(run(*options, "true", env={"WEIR_FAKE": "silent"}), 0,
               err="nothing was managed")


def test_processes_left_behind_are_said():
    with tempfile.TemporaryDirectory() as d:
        r = sh('mkfifo f; sh -c "echo up >f; sleep 1; :" >/dev/null 2>&1 & '
               "until read up <f; do :; done", cwd=d)
    expect(r, 0, err="still running")


def test_verbose():
    expect(run("--verbose", "true"), 0, err=["agent /", "swap /var/tmp"])


if __name__ == "__main__":
    try:
        main(dict(globals()))
    finally:
        P.__exit__()
