# SPDX-License-Identifier: MIT
"""Bad command lines: each has one message and the documented status."""
import json
import os
import pathlib
import struct
import subprocess
import tempfile

from harness import Place, Skip, as_nobody, expect, main

BAD_USAGE, UNAVAILABLE, CANTCREAT, FAILED = 64, 69, 73, 125
P = Place()


def refused(status, words, *args, **kw):
    r = expect(P.call(*args, **kw), status, err=words)
    assert r.out == "", r
    assert r.err.startswith("weir"), r
    return r


def run(*args, **kw):
    return P.call("run", "--memory", "64M", *args, **kw)


def test_no_command_shows_help():
    r = P.call()
    expect(r, BAD_USAGE, err=["usage: weir", "run", "doctor"])
    assert r.out == ""


def test_help_and_version():
    expect(P.call("--help"), 0, out=["usage: weir", "doctor"])
    expect(P.call("-h"), 0, out="usage: weir")
    expect(P.call("help"), 0, out="usage: weir")
    expect(P.call("--version"), 0, out="weir 0.")
    for line in P.call("help", "run").out.splitlines():
        assert len(line) <= 80, line


def test_help_of_commands():
    for args in (("help", "run"), ("run", "--help"), ("run", "-h"),
                 ("run", "--memory", "--help")):
        expect(P.call(*args), 0, out=["--memory SIZE", "--swap", "Exit status"])
    for args in (("help", "doctor"), ("doctor", "--help")):
        expect(P.call(*args), 0, out="weir doctor")
    refused(BAD_USAGE, "no command 'x'", "help", "x")


def test_full_output_is_an_error():
    if not os.path.exists("/dev/full"):
        raise Skip("no /dev/full")
    with open("/dev/full", "w") as full:
        p = subprocess.run([P.weir, "--help"], stdout=full,
                           stderr=subprocess.PIPE)
    assert p.returncode == FAILED and b"cannot write" in p.stderr


def test_unknown_words():
    refused(BAD_USAGE, "no command 'bogus'", "bogus")
    refused(BAD_USAGE, "unknown option '--bogus'", "--bogus")
    refused(BAD_USAGE, "unknown option '--bogus'", "run", "--bogus", "true")
    refused(BAD_USAGE, "unknown option '--mem'", "run", "--mem", "1G", "true")
    refused(BAD_USAGE, "unknown option '-m'", "run", "-m", "1G", "true")
    refused(BAD_USAGE, "unknown option 'x'", "doctor", "x")


def test_what_is_missing():
    refused(BAD_USAGE, "--memory SIZE is needed", "run", "true")
    refused(BAD_USAGE, "--memory SIZE is needed", "run")
    refused(BAD_USAGE, "--memory needs a value", "run", "--memory")
    refused(BAD_USAGE, "--memory needs a value", "run", "--memory", "--", "x")
    refused(BAD_USAGE, "no command", "run", "--memory", "64M")
    refused(BAD_USAGE, "no command", "run", "--memory", "64M", "--")
    refused(BAD_USAGE, "--stats takes no value", "run", "--stats=1", "true")


def test_bad_memory():
    least = "the least that can work is 8.0 MiB"
    for text, words in (
            ("0", least), ("4M", least), ("8191K", least), ("1", least),
            ("-1", "cannot be negative"), ("-64M", "cannot be negative"),
            ("", "a size is a number"), ("x", "a size is a number"),
            ("M", "a size is a number"), ("64Q", "a size is a number"),
            ("64MM", "a size is a number"), ("64 M", "a size is a number"),
            ("0x40M", "a size is a number"), ("1.M", "a size is a number"),
            ("1e9", "a size is a number"), ("101%", "more than 100 %"),
            ("99999999999999999999", "larger than any memory"),
            ("9999999T", "larger than any memory")):
        refused(BAD_USAGE, ["--memory '%s'" % text, words],
                "run", "--memory", text, "--", "true")
    refused(BAD_USAGE, "WEIR_MEMORY '4M'", "run", "true",
            env={"WEIR_MEMORY": "4M"})


def test_good_memory():
    for text, size in (("8M", "8.0 MiB"), ("8MiB", "8.0 MiB"),
                       ("8mb", "8.0 MiB"), ("8192K", "8.0 MiB"),
                       ("1.5G", "1.5 GiB"), ("8388608", "8.0 MiB"),
                       ("8388608B", "8.0 MiB"), ("1T", "1.0 TiB")):
        expect(P.call("run", "--memory", text, "true"), 0,
               err="budget " + size)
    expect(P.call("run", "--memory=16M", "true"), 0, err="budget 16.0 MiB")
    expect(P.call("run", "--memory=10%", "true"), 0, err="budget ")


def test_bad_numbers():
    refused(BAD_USAGE, "swappiness is from 0 to 200", "run", "--memory", "64M",
            "--swappiness", "201", "true")
    refused(BAD_USAGE, "a whole number", "run", "--memory", "64M",
            "--swappiness", "sixty", "true")
    refused(BAD_USAGE, "a whole number", "run", "--memory", "64M",
            "--swappiness", "-1", "true")
    refused(BAD_USAGE, "watermark_scale_factor is from 1 to 3000", "run",
            "--memory", "64M", "--watermark-scale-factor", "0", "true")
    refused(BAD_USAGE, "more than a quarter of the budget", "run",
            "--memory", "64M", "--min-free-kbytes", "16385", "true")
    refused(BAD_USAGE, "no tunable 'nope'", "run", "--memory", "64M",
            "--tune", "nope=1", "true")
    refused(BAD_USAGE, "NAME=NUMBER", "run", "--memory", "64M",
            "--tune", "swappiness", "true")
    refused(BAD_USAGE, "WEIR_SWAPPINESS '999'", "run", "--memory", "64M",
            "true", env={"WEIR_SWAPPINESS": "999"})
    expect(run("--tune", "swappiness=1,page-cluster=2,page_cluster=3", "true"),
           0)
    expect(run("--min-free-kbytes", "16384", "true"), 0)


def test_bad_flags_in_environment():
    refused(BAD_USAGE, "WEIR_STATS 'maybe'", "run", "--memory", "64M", "true",
            env={"WEIR_STATS": "maybe"})
    refused(BAD_USAGE, "WEIR_VERBOSE 'much'", "run", "--memory", "64M", "true",
            env={"WEIR_VERBOSE": "much"})
    expect(run("true", env={"WEIR_STATS": "no", "WEIR_VERBOSE": "0",
                            "WEIR_SWAP": ""}), 0)


def test_bad_swap():
    with tempfile.TemporaryDirectory() as d:
        there = pathlib.Path(d, "there")
        there.write_text("keep me")
        for arg, status, words in (
                (d + "/no/such", CANTCREAT, "no such directory"),
                (d + "/no/", CANTCREAT, "no such directory"),
                (there, CANTCREAT, "it exists already"),
                ("%s/x" % there, CANTCREAT, "not a directory"),
                ("/dev/null", CANTCREAT, "it exists already"),
                (d + ":3", BAD_USAGE, "size '3' is too small"),
                (d + ":0", BAD_USAGE, "too small"),
                (d + ":", BAD_USAGE, "bad size ''"),
                (d + ":3x", BAD_USAGE, "bad size '3x'"),
                (d + ":-3", BAD_USAGE, "cannot be negative"),
                ("", BAD_USAGE, "a path is needed"),
                ("/" + "x" * 5000, BAD_USAGE, "too long")):
            r = run("--swap", arg, "true")
            expect(r, status, err=["--swap", words])
        assert there.read_text() == "keep me"
        assert os.listdir(d) == ["there"]


def test_good_swap():
    with tempfile.TemporaryDirectory() as d:
        for arg in (d, d + ":1M", d + "/new", d + "/a:b", d + "/new:1.5G",
                    d + ":50%", "none"):
            expect(run("--swap", arg, "true"), 0)
        expect(run("--swap", "rel", "true", cwd=d), 0)
        expect(run("true", env={"WEIR_SWAP": d + ":1M"}), 0)
        expect(run("true", env={"TMPDIR": d}), 0)
        assert os.listdir(d) == [], os.listdir(d)
    refused(CANTCREAT, "--swap /no/such", "run", "--memory", "64M", "true",
            env={"TMPDIR": "/no/such"})


def test_bad_zmem():
    for arg, words in (
            ("", "a size is needed"), ("x", "a size is a number"),
            ("-1", "cannot be negative"), ("101%", "more than 100 %"),
            ("1000K", "from 1.0 MiB to 90%"), ("64M", "from 1.0 MiB to 90%"),
            ("91%", "from 1.0 MiB to 90%")):
        refused(BAD_USAGE, ["--zmem '%s'" % arg, words],
                "run", "--memory", "64M", "--zmem", arg, "--", "true")
    refused(BAD_USAGE, "WEIR_ZMEM '65M'", "run", "--memory", "64M", "true",
            env={"WEIR_ZMEM": "65M"})
    for arg, words in (
            ("", "lz4, zstd or off"), ("gzip", "lz4, zstd or off"),
            ("lz4x", "lz4, zstd or off"), ("zstd:", "a level is needed"),
            ("zstd:x", "a level is needed"), ("zstd:-1", "a level is needed"),
            ("zstd:0", "levels are 1 to 19"), ("zstd:20", "levels are 1 to 19"),
            ("lz4:65", "levels are 1 to 64"), ("off:1", "a level is needed"),
            ("zstd:99999999999999999999", "a level is needed")):
        refused(BAD_USAGE, ["--compress '%s'" % arg, words],
                "run", "--memory", "64M", "--compress", arg, "--", "true")
    refused(BAD_USAGE, "WEIR_COMPRESS 'best'", "run", "--memory", "64M",
            "true", env={"WEIR_COMPRESS": "best"})


def test_good_zmem():
    for args, limit, how, level in (
            ((), 0, "off", 0),
            (("--compress", "lz4"), 32 << 20, "lz4", 1),
            (("--zmem", "20M"), 20 << 20, "lz4", 1),
            (("--zmem", "25%", "--compress", "zstd"), 16 << 20, "zstd", 1),
            (("--compress", "zstd:7"), 32 << 20, "zstd", 7),
            (("--compress=lz4:3"), 32 << 20, "lz4", 3),
            (("--zmem", "none"), 0, "off", 0),
            (("--zmem", "none", "--compress", "zstd"), 0, "off", 0),
            (("--zmem", "50%", "--compress", "off"), 0, "off", 0)):
        args = (args,) if isinstance(args, str) else args
        r = run("--quiet", "--json", *args, "true")
        expect(r, 0)
        j = json.loads(r.err)
        assert (j["zmem_bytes"], j["compress"], j["compress_level"]) == (
            limit, how, level), (args, j)
    r = run("--json", "true", env={"WEIR_ZMEM": "10%",
                                   "WEIR_COMPRESS": "zstd:2"})
    j = json.loads(r.err)
    assert (j["zmem_bytes"], j["compress"], j["compress_level"]) == (
        6709248, "zstd", 2), j


def test_swap_not_writable():
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o555)
        if os.getuid():
            r = run("--swap", d, "true")
            expect(r, CANTCREAT, err="may not create files there")
            return
        # The machine's rights are looked at first; doctor asks for both.
        r = P.call("doctor", "--swap", d, prefix=as_nobody())
        expect(r, UNAVAILABLE, out="may not create files there")


def test_swap_larger_than_disk_is_told():
    with tempfile.TemporaryDirectory() as d:
        st = os.statvfs(d)
        gib = st.f_bavail * st.f_frsize // 2**30 + 10
        expect(run("--swap", "%s:%dG" % (d, gib), "true"), 0,
               err=["note: ", "of swap asked for"])


def test_file_size_limit():
    limit = ["prlimit", "--fsize=104857600"]
    expect(P.call("run", "--memory", "64M", "--swap", "/var/tmp:1G", "true",
                  prefix=limit), CANTCREAT, err="ulimit -f")
    expect(P.call("run", "--memory", "64M", "true", prefix=limit), 0)


def test_commands_that_cannot_be_found():
    refused(127, "nosuch: not found in PATH", "run", "--memory", "64M",
            "nosuch")
    refused(127, "/no/such: no such file", "run", "--memory", "64M", "/no/such")
    refused(127, "is empty", "run", "--memory", "64M", "--", "")
    refused(126, "/etc: a directory", "run", "--memory", "64M", "/etc")
    refused(126, "may not execute", "run", "--memory", "64M", "/etc/passwd")


def make(d, name, data, mode=0o755):
    path = pathlib.Path(d, name)
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_commands_that_cannot_be_preloaded():
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o755)
        elf = bytearray(pathlib.Path("/bin/true").read_bytes())
        half = bytes(elf[:4] + b"\x01" + elf[5:])
        phoff, = struct.unpack_from("<Q", elf, 32)
        size, count = struct.unpack_from("<HH", elf, 54)
        static = bytearray(elf)
        for i in range(count):  # PT_INTERP becomes PT_NULL
            if struct.unpack_from("<I", elf, phoff + i * size)[0] == 3:
                struct.pack_into("<I", static, phoff + i * size, 0)
        static = make(d, "static", bytes(static))
        refused(UNAVAILABLE, "statically linked", "run", "--memory", "64M",
                static)
        refused(UNAVAILABLE, "32-bit", "run", "--memory", "64M",
                make(d, "half", half))
        musl = elf.replace(b"/lib64/ld-linux-x86-64.so.2",
                           b"/lib64/ld-other-x86-64.so.2")
        if musl != elf:
            refused(UNAVAILABLE, "another C library", "run", "--memory",
                    "64M", make(d, "musl", bytes(musl)))
        refused(126, "not a whole ELF", "run", "--memory", "64M",
                make(d, "cut", bytes(elf[:70])))
        script = make(d, "script", b"#!%s -x\n" % bytes(static))
        refused(UNAVAILABLE, "statically linked", "run", "--memory", "64M",
                script)
        refused(127, "interpreter does not exist", "run", "--memory", "64M",
                make(d, "lost", b"#!/no/such\n"))
        loop = pathlib.Path(d, "loop")
        make(d, "loop", b"#!%s\n" % bytes(loop))
        refused(126, "bad interpreter", "run", "--memory", "64M", loop)
        refused(126, "bad interpreter", "run", "--memory", "64M",
                make(d, "none", b"#! \n"))


def test_setuid_is_refused():
    prefix = as_nobody()
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o755)
        suid = make(d, "suid", pathlib.Path("/bin/true").read_bytes(), 0o4755)
        expect(P.call("run", "--memory", "64M", suid, prefix=prefix),
               UNAVAILABLE, err="set-user-ID")
        os.chmod(suid, 0o2755)
        expect(P.call("run", "--memory", "64M", suid, prefix=prefix),
               UNAVAILABLE, err="set-group-ID")


def test_path_search_goes_on_behind_what_cannot_run():
    with tempfile.TemporaryDirectory() as a, \
         tempfile.TemporaryDirectory() as b:
        make(a, "tool", b"#!/bin/sh\necho wrong\n", 0o644)
        make(b, "tool", b"#!/bin/sh\necho right\n")
        path = "%s:%s:/usr/bin:/bin" % (a, b)
        expect(run("tool", env={"PATH": path}), 0, out="right")
        expect(run("tool", env={"PATH": a}), 126, err="may not execute")


def test_script_without_interpreter_line():
    with tempfile.TemporaryDirectory() as d:
        expect(run(make(d, "plain", b"echo $((6 * 7))\n")), 0, out="42")


def test_json_file_that_cannot_be_made():
    refused(CANTCREAT, "--json=/no/such/x: No such file", "run", "--memory",
            "64M", "--json=/no/such/x", "true")
    refused(BAD_USAGE, "name of the file", "run", "--memory", "64M", "--json=",
            "true")


def test_agent_missing():
    with Place(agent=False) as bare:
        expect(bare.call("run", "--memory", "64M", "true"), FAILED,
               err="cannot find libweir-agent.so")


def test_agent_in_a_path_that_cannot_be_preloaded():
    with Place() as q:
        odd = q.dir / "with space"
        odd.mkdir()
        for name in ("weir", "libweir-agent.so"):
            (q.dir / name).rename(odd / name)
        q.weir = odd / "weir"
        expect(q.call("run", "--memory", "64M", "true"), FAILED,
               err="with a space")


try:
    main(dict(globals()))
finally:
    P.__exit__()
