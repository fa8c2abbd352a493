# SPDX-License-Identifier: MIT
"""weir trace: summaries, conversions, and each way to fail with its status."""
import gzip
import json
import os
import struct
import subprocess

from harness import Place, Skip, as_nobody, clean_env, expect, main

BAD_USAGE, DATA, NO_INPUT, CANTCREAT, IO, FAILED = 64, 65, 66, 73, 74, 125
P = Place(agent=False)

TEXT = """weir-trace 1
time 1ms
mmap 0x1000 64 rw
open 3 8192 data
r 0x1000
w 0x1001 3
rw 0x1000 2 -1
x 0x1010
read 3 0 4097
write 3 4096 10
fork 2 thread
process 2
r 0x1000
fork 9
process 9
time 2001ms
r 0x1000
end 12
"""


def put(name, data):
    path = P.dir / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def trace(*args, **kw):
    return P.call("trace", *args, **kw)


def summary(*args, **kw):
    return json.loads(expect(trace("--json", *args, **kw), 0).out)


def wrong(status, words, *args, **kw):
    """One message, nothing on standard output, nothing left behind."""
    before = sorted(os.listdir(P.dir))
    r = expect(trace(*args, **kw), status, err=words)
    assert r.out == "", r
    assert r.err.startswith("weir trace: ") and r.err.count("\n") == 1, r
    assert sorted(os.listdir(P.dir)) == before, "something is left behind"
    return r


def test_summary():
    path = put("t.trace", TEXT)
    r = expect(trace(path), 0, out=[
        "t.trace: text, ", "records      12\n",
        "events       6 touch, 2 fork, 1 mmap, 1 open, 1 read, 1 write\n",
        "footprint    7 pages, 28.0 KiB\n", "reads        3\n",
        "writes       5\n", "executes     1\n",
        "of files     2 pages, 8.0 KiB\n", "file reads   4.0 KiB\n",
        "file writes  10 bytes\n", "processes    3\n",
        "time span    2.000000 s\n"])
    for line in r.out.splitlines():
        assert len(line) <= 80 or line.startswith(str(P.dir)), line
    assert r.err == ""


def test_summary_as_json():
    path = put("t.trace", TEXT)
    s = summary(path)
    assert s == {
        "trace": str(path), "format": "text", "compression": "none",
        "bytes": len(TEXT), "records": 12, "footprint_pages": 7,
        "footprint_complete": True, "reads": 3, "writes": 5, "executes": 1,
        "file_footprint_pages": 2, "file_read_bytes": 4097,
        "file_write_bytes": 10, "processes": 3, "regions": True,
        "time_span_ns": 2000000000,
        "events": {"touch": 6, "fork": 2, "mmap": 1, "open": 1, "read": 1,
                   "write": 1}}, s
    out = P.dir / "s.json"
    expect(trace("--json=%s" % out, path), 0, out="")
    assert json.loads(out.read_text()) == s
    wrong(BAD_USAGE, "file is missing", "--json=", path)
    wrong(CANTCREAT, "/nonexistent/x", "--json=/nonexistent/x", path)


def test_each_format():
    record = struct.Struct("<IQIq")
    oracle = b"".join(record.pack(i // 4, i % 7, 4096, -1) for i in range(40))
    for name, data, records, pages, regions in (
            ("text", TEXT, 12, 7, True),
            ("pages", "1\n2 w\n0x2 r\n", 3, 2, False),
            ("arc", "1 5 0 0\n3 5 0 1\n", 2, 7, False),
            ("lackey", "==1== x\nI  1000,4\n L 1ffc,8\n", 2, 2, False),
            ("csv", "op,addr\nr,4096\nw,8192\n", 2, 2, False),
            ("oracleGeneral", oracle, 40, 7, False)):
        path = put("format", data)
        for args in ((path,), ("--format", name, path),
                     ("--format=" + name.upper(), path)):
            s = summary(*args)
            assert (s["format"], s["records"], s["footprint_pages"],
                    s["regions"]) == (name, records, pages, regions), s
        # and out again, by way of both of weir's
        text = P.dir / "o.text"
        binary = P.dir / "o.binary"
        expect(trace(path, "-o", binary), 0, out="", err="")
        expect(trace(binary, "--to", "text", "--output", text), 0)
        for out, f in ((text, "text"), (binary, "binary")):
            t = summary(out)
            assert t["format"] == f, t
            for key in s:
                if key not in ("format", "trace", "bytes"):
                    assert s[key] == t[key], (key, s, t)


def test_text_and_binary_are_the_same():
    path = put("t.trace", TEXT)
    expect(trace(path, "-o", P.dir / "b1"), 0)
    expect(trace(P.dir / "b1", "--to=text", "-o", P.dir / "t1"), 0)
    expect(trace(P.dir / "t1", "-o", P.dir / "b2"), 0)
    expect(trace(P.dir / "b1", "--to=text", "-o", P.dir / "t2"), 0)
    assert (P.dir / "b1").read_bytes() == (P.dir / "b2").read_bytes()
    assert (P.dir / "t1").read_text() == (P.dir / "t2").read_text()
    assert (P.dir / "t1").read_text().splitlines()[:4] == [
        "weir-trace 1", "time 1000000", "mmap 0x1000 64 rw",
        "open 3 8192 data"]


def test_standard_input_and_output():
    s = summary("-", stdin=TEXT.encode())
    assert s["trace"] == "standard input" and s["records"] == 12, s
    r = expect(trace("-", "--to", "text", "-o", "-", stdin=b"1\n2 w\n"), 0)
    assert r.out == "weir-trace 1 bare\nr 0x1\nw 0x2\nend 2\n", r
    wrong(DATA, "standard input: empty", "-", stdin=b"")


def test_compressed():
    path = put("t.gz", gzip.compress(TEXT.encode()))
    assert summary(path)["compression"] == "gzip"
    for name, how in (("o.gz", "gzip"), ("o.zst", "zstd"), ("o", "none")):
        expect(trace(path, "-o", P.dir / name), 0)
        s = summary(P.dir / name)
        assert (s["compression"], s["records"]) == (how, 12), s
    expect(trace(path, "-o", P.dir / "o.gz", "--compress", "none"), 0)
    assert summary(P.dir / "o.gz")["compression"] == "none"
    expect(trace(path, "-o", P.dir / "o", "--compress=zstd"), 0)
    assert summary(P.dir / "o")["compression"] == "zstd"


def test_columns_and_units():
    path = put("c.csv", "when,lba,kind\n1,7,W\n3,8,R\n")
    assert summary(path, "--columns", "page=lba,op=kind,time=when",
                   "--time-unit=ms")["time_span_ns"] == 2000000
    wrong(BAD_USAGE, "columns 'page=x'", path, "--format", "csv",
          "--columns", "page=x")
    wrong(BAD_USAGE, "--time-unit 'h'", path, "--time-unit", "h")


def test_malformed():
    for name, data, words in (
            ("pages", "1\n2\nthree\n", "line 3: 'three' where a page number"),
            ("arc", "1 2\n3\n", "line 2: '3' where start and count"),
            ("lackey", "I  1,1\nI  x,1\n", "line 2: 'I  x,1' where"),
            ("csv", "page\n1\nx\n", "line 3: 'x' where a page number"),
            ("text", "weir-trace 1\nr 1\n", "the trace is cut off"),
            ("text", "weir-trace 1\nr\nend\n", "line 2: 'r' where"),
            ("binary", b"\x89WEIR\r\n\x1a\x01\0\0\0\0\0\0\0", "is cut off"),
            ("oracleGeneral", bytes(30), "byte 24: a record of 24 bytes"),
            ("auto", "what is this\n", "--format says which it is")):
        path = put("bad", data)
        args = [] if name == "auto" else ["--format", name]
        r = wrong(DATA, ["%s" % path, words], path, *args)
        wrong(DATA, words, path, *args, "--json")
        wrong(DATA, words, path, *args, "-o", P.dir / "out")
        wrong(DATA, words, path, *args, "-o", P.dir / "out.zst")
        assert "expected" in r.err or "cut off" in r.err or name == "auto", r


def test_cut_off():
    for name in ("t.gz", "t.zst"):
        lines = "".join("%d\n" % (i * 7919 % 100003) for i in range(20000))
        expect(trace(put("p", lines), "-o", P.dir / name), 0)
        data = (P.dir / name).read_bytes()
        for part in (len(data) // 2, len(data) - 1):
            path = put("cut", data[:part])
            wrong(DATA, "cut, byte %d: the %s data is cut off" % (
                part, "gzip" if name == "t.gz" else "zstd"), path)
        path = put("cut", data[:-5] + bytes([data[-5] ^ 1]) + data[-4:])
        wrong(DATA, "damaged", path, "-o", P.dir / "out")


def test_an_old_output_survives_a_bad_trace():
    out = put("out", "precious")
    wrong(DATA, "cut off", put("bad", "weir-trace 1\nr 1\n"), "-o", out)
    assert out.read_text() == "precious"
    expect(trace(put("t.trace", TEXT), "-o", out), 0)
    assert summary(out)["records"] == 12
    # into itself
    expect(trace(out, "--to", "text", "-o", out), 0)
    assert summary(out)["format"] == "text"


def test_output_has_the_rights_of_a_new_file():
    out = P.dir / "rights"
    subprocess.run(["sh", "-c", 'umask 027 && exec "$@"', "sh", str(P.weir),
                    "trace", str(put("t.trace", TEXT)), "-o", str(out)],
                   check=True, env=clean_env())
    assert out.stat().st_mode & 0o777 == 0o640, oct(out.stat().st_mode)
    out.unlink()


def test_unreadable():
    wrong(NO_INPUT, "/nonexistent: No such file", "/nonexistent")
    wrong(NO_INPUT, "Is a directory", P.dir)
    path = put("secret", TEXT)
    path.chmod(0)
    wrong(NO_INPUT, "Permission denied", path, prefix=as_nobody())


def test_unwritable():
    path = put("t.trace", TEXT)
    wrong(CANTCREAT, "/nonexistent/x: No such file", path, "-o",
          "/nonexistent/x")
    if not os.path.exists("/dev/full"):
        raise Skip("no /dev/full")
    for args in ((), ("--to=text",), ("--compress=gzip",),
                 ("--compress=zstd",)):
        wrong(IO, "/dev/full: No space left", path, "-o", "/dev/full", *args)
    with open("/dev/full", "w") as full:
        p = subprocess.run([P.weir, "trace", path], stdout=full,
                           stderr=subprocess.PIPE, env=clean_env())
    assert p.returncode == FAILED and b"cannot write" in p.stderr, p


def test_usage():
    path = put("t.trace", TEXT)
    wrong(BAD_USAGE, "which trace?")
    wrong(BAD_USAGE, "one trace at a time", path, path)
    wrong(BAD_USAGE, "unknown option '--bogus'", path, "--bogus")
    wrong(BAD_USAGE, "unknown option '-x'", path, "-x")
    wrong(BAD_USAGE, "--output needs a value", path, "-o")
    wrong(BAD_USAGE, "--format needs a value", path, "--format")
    wrong(BAD_USAGE, "--format 'tar'", path, "--format", "tar")
    wrong(BAD_USAGE, "--format '': a value", path, "--format=")
    wrong(BAD_USAGE, "--to 'csv': text or binary", path, "--to", "csv", "-o",
          P.dir / "x")
    wrong(BAD_USAGE, "--compress 'lz4'", path, "--compress", "lz4", "-o",
          P.dir / "x")
    wrong(BAD_USAGE, "--to needs -o FILE", path, "--to", "text")
    wrong(BAD_USAGE, "--compress needs -o FILE", path, "--compress", "gzip")
    wrong(BAD_USAGE, "--json is of the summary", path, "--json", "-o", "x")
    expect(trace("--", path), 0, out="records      12")
    wrong(NO_INPUT, "--json: No such file", "--", "--json")


def test_help():
    for args in (("trace", "--help"), ("trace", "x", "-h"), ("help", "trace")):
        r = expect(P.call(*args), 0, out=["usage: weir trace", "--columns"])
        for line in r.out.splitlines():
            assert len(line) <= 80, line
    expect(P.call("--help"), 0, out="trace ")


def test_the_example_of_the_manual():
    page = os.path.join(os.path.dirname(__file__), "../../man",
                        "weir-trace.5.scd.in")
    with open(page) as f:
        example = f.read().split("```\n")[1]
    s = summary(put("example", example))
    # 4 MiB, and one page more: the child touches them as its own
    assert s["footprint_pages"] == 1024 + 256, s
    assert (s["processes"], s["events"]["touch"]) == (2, 3), s


def test_a_big_footprint_is_no_hang():
    path = put("big", "weir-trace 1 bare\nr 0 18446744073709551615\n"
                      "w 0 18446744073709551615 0\nend\n")
    s = summary(path)
    assert not s["footprint_complete"] and s["footprint_pages"] >= 1 << 26, s
    expect(trace(path), 0, out="footprint    more than ")


main(globals())
