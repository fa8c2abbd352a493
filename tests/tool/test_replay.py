# SPDX-License-Identifier: MIT
"""weir replay as a user calls it: outcomes, repeatability, bad input."""
import json
import os
import pathlib
import random
import tempfile

from harness import Place, expect, main

BAD_USAGE, BAD_DATA, NO_INPUT, CANTCREAT = 64, 65, 66, 73
P = Place(agent=False)
D = pathlib.Path(tempfile.mkdtemp(prefix="weir-replay-", dir=P.dir))


def trace(name, lines):
    path = D / name
    path.write_text("".join("%s\n" % line for line in lines))
    return path


def zipf(name, nr=60000, pages=3000, seed=1, writes=5):
    r = random.Random(seed)
    out = []
    for _ in range(nr):
        page = min(int(r.paretovariate(0.6)) - 1, pages - 1)
        if page == pages - 1:
            page = r.randrange(pages)
        out.append("%d%s" % (page, " w" if r.randrange(writes) == 0 else ""))
    return trace(name, out)


ZIPF = zipf("zipf")
# 4096 pages in a row, three times: 16 MiB
LOOP = trace("loop", list(range(4096)) * 3)


def replay(*args, **kw):
    return P.call("replay", *args, **kw)


def outcome(*args, **kw):
    r = expect(replay("--json", *args, **kw), 0)
    return json.loads(r.out)


def test_enough_memory_is_first_touches_only():
    j = outcome(LOOP, "--memory", "64M")
    assert j["trace"]["accesses"] == 3 * 4096, j["trace"]
    assert j["trace"]["pages"] == 4096
    assert j["faults"] == {"minor": 4096, "major": 0}
    assert j["refaults"] == 0 and j["stats"]["pgscan_kswapd"] == 0


def test_loop_larger_than_memory_comes_back_from_swap():
    j = outcome(LOOP, "--memory", "8M")
    s = j["stats"]
    assert s["pswpin"] > 4096 and s["pswpout"] >= 2048, s
    assert j["refaults"] > 4096
    assert s["pgscan_kswapd"] + s["pgscan_direct"] >= s["pgsteal_anon"] > 0
    assert j["lost_ns"] > 0
    assert j["time_ns"] == j["program_ns"] + j["lost_ns"]


def test_more_memory_fewer_faults():
    major = [outcome(ZIPF, "--memory", m)["faults"]["major"]
             for m in ("2M", "4M", "8M", "32M")]
    assert major[0] > major[1] > major[2] >= major[3] == 0, major


def test_same_twice_and_whatever_the_processor():
    a = expect(replay(ZIPF, "--memory", "4M", "--json"), 0).out
    for prefix in ([], ["taskset", "-c", "0"]):
        assert expect(replay(ZIPF, "--memory", "4M", "--json",
                             prefix=prefix), 0).out == a
    with open(ZIPF, "rb") as f:
        assert expect(replay("-", "--memory", "4M", "--json",
                             stdin=f.read()), 0).out == a


def test_seed_moves_the_disk_only_a_little():
    a = outcome(ZIPF, "--memory", "4M")
    b = outcome(ZIPF, "--memory", "4M", "--seed", "2")
    assert a["time_ns"] != b["time_ns"]
    ratio = a["faults"]["major"] / b["faults"]["major"]
    assert 0.9 < ratio < 1.1, ratio


def test_rate_is_the_programs_time():
    j = outcome(LOOP, "--memory", "64M", "--rate", "1000")
    assert j["program_ns"] == 3 * 4096 * 1000000, j["program_ns"]


def test_kinds_of_pages():
    file = outcome(LOOP, "--memory", "64M", "--kind", "file")
    assert file["trace"]["pages"] == 4096
    assert file["faults"] == {"minor": 0, "major": 0}
    # readahead: few reads find nothing, and the second round finds all
    assert 0 < file["misses"] < 64, file["misses"]
    assert 4096 <= file["stats"]["pgfilein"] < 4096 + 128
    mapped = outcome(LOOP, "--memory", "64M", "--kind", "mapped")
    assert mapped["trace"]["pages"] == 4096
    assert mapped["faults"]["major"] == mapped["misses"] > 0
    small = outcome(LOOP, "--memory", "8M", "--kind", "file")
    assert small["refaults"] > 4096
    assert small["stats"]["workingset_refault_file"] == small["refaults"]


def test_a_groups_limit_needs_no_kswapd():
    j = outcome(ZIPF, "--memory", "4M", "--cgroup")
    s = j["stats"]
    assert s["pgscan_kswapd"] == 0 and s["pgsteal_direct"] > 0, s
    assert s["limit_reclaim"] > 0 and s["allocstall"] == 0, s
    in_use = s["pgalloc"] - s["pgfree"]
    assert 1000 <= in_use <= 1024 + 64, in_use
    machine = outcome(ZIPF, "--memory", "4M")
    assert machine["stats"]["pgscan_kswapd"] > 0
    # the machine keeps some memory free, the group does not
    assert j["faults"]["major"] < machine["faults"]["major"]


def test_no_swap_and_too_little_memory_kills():
    j = outcome(LOOP, "--memory", "4M", "--swap", "none")
    assert j["killed"] == 1 and j["skipped"] > 0, j
    r = expect(replay(LOOP, "--memory", "4M", "--swap", "none"), 0)
    assert "OUT OF MEMORY" in r.out


def test_report_is_for_80_columns():
    r = expect(replay(ZIPF, "--memory", "4M"), 0,
               out=["major faults", "scanned by kswapd", "stalled", "lost"])
    for line in r.out.splitlines():
        assert len(line) <= 80, line
    assert r.err == ""


def test_any_page_number():
    far = trace("far", [2**64 - 1, 0, 2**50, 2**50 + 1, 2**64 - 1, 2**35])
    for how in ("as-is", "packed"):
        j = outcome(far, "--memory", "2M", "--addresses", how)
        assert j["trace"]["pages"] == 5, j["trace"]


def test_two_nodes():
    j = outcome(ZIPF, "--memory", "6M", "--nodes", "2")
    assert j["stats"]["pgsteal_anon"] > 0


def test_json_to_a_file_and_text_beside_it():
    f = D / "out.json"
    r = expect(replay(ZIPF, "--memory", "4M", "--json=%s" % f), 0,
               out="major faults")
    assert json.loads(f.read_text())["faults"]["major"] > 0
    expect(replay(ZIPF, "--memory", "4M", "--json=%s/no/way" % D), CANTCREAT,
           err="no/way")


def test_events_have_the_kernels_names():
    f = D / "events"
    expect(replay(ZIPF, "--memory", "4M", "--events=%s" % f), 0)
    text = f.read_text()
    for name in ("mm_vmscan_wakeup_kswapd", "mm_vmscan_kswapd_wake",
                 "mm_vmscan_lru_shrink_inactive"):
        assert name in text, name


def test_sweep_same_for_any_number_of_processors():
    args = [ZIPF, "--sweep", "2M..16M:4", "--json"]
    one = expect(replay(*args, "--jobs", "1"), 0).out
    assert expect(replay(*args, "--jobs", "4"), 0).out == one
    points = json.loads(one)["sweep"]
    assert len(points) == 4
    assert [p["memory_pages"] for p in points] == [512, 1024, 2048, 4096]
    for p in points:
        j = outcome(ZIPF, "--memory", "%dK" % (p["memory_pages"] * 4))
        assert j["faults"]["major"] == p["major"]
        assert j["time_ns"] == p["time_ns"]


def test_sweep_finds_the_smallest_memory():
    r = outcome(ZIPF, "--sweep", "2M..16M", "--max-refaults", "1%")
    limit = 0.01 * r["trace"]["accesses"]
    best = r["smallest_pages"]
    for p in r["sweep"]:
        if p["memory_pages"] >= best:
            assert p["refaults"] <= limit, p
    worse = [p["memory_pages"] for p in r["sweep"]
             if p["memory_pages"] < best]
    assert worse and max(worse) * 1.03 > best
    assert [p for p in r["sweep"]
            if p["memory_pages"] == max(worse)][0]["refaults"] > limit
    r = expect(replay(ZIPF, "--sweep", "2M..3M:2", "--max-stall", "0.0001"), 0)
    assert "none of these is enough" in r.out
    r = expect(replay(ZIPF, "--sweep", "2M..16M"), 0, out=["memory", "16.0"])
    for line in r.out.splitlines():
        assert len(line) <= 80, line


def test_sweep_of_a_bad_trace():
    bad = trace("badsweep", list(range(5000)) + ["x"])
    r = expect(replay(bad, "--sweep", "2M..16M"), BAD_DATA, err="5001")
    assert r.out == "" and r.err.count("\n") == 1, r


def test_environment():
    a = outcome(ZIPF, env={"WEIR_REPLAY_MEMORY": "4M"})
    assert a["machine"]["memory_pages"] == 1024


def test_bad_usage():
    for args, words in (
            ([], "which trace"),
            ([ZIPF], "--memory SIZE"),
            ([ZIPF, "--memory"], "needs a value"),
            ([ZIPF, "--memory", "x"], "'x'"),
            ([ZIPF, "--memory", "8K"], "too small"),
            ([ZIPF, "--memory", "4M", "--swap", "-1"], "negative"),
            ([ZIPF, "--memory", "4M", "--nodes", "3"], "from 1 to 2"),
            ([ZIPF, "--memory", "4M", "--disk", "80"], "a time"),
            ([ZIPF, "--memory", "4M", "--swappiness", "300"], "bounds"),
            ([ZIPF, "--memory", "4M", "--tune", "nonsense=1"], "no tunable"),
            ([ZIPF, "--memory", "4M", "--format", "doc"], "oracleGeneral"),
            ([ZIPF, "--memory", "4M", "--speed"], "unknown option"),
            ([ZIPF, "--memory", "4M", "--kind", "tape"], "mapped"),
            ([ZIPF, "--sweep", "4M"], "two sizes"),
            ([ZIPF, "--sweep", "4M..2M"], "not larger"),
            ([ZIPF, "--sweep", "2M..4M:1"], "from 2"),
            (["-", "--sweep", "2M..4M"], "standard input"),
            ([ZIPF, "--sweep", "2M..4M", "--memory", "2M"], "--memory"),
            ([ZIPF, "--memory", "4M", "--max-stall", "3"], "--sweep"),
            ([ZIPF, LOOP, "--memory", "4M"], "one trace")):
        r = expect(replay(*args), BAD_USAGE, err=words)
        assert r.out == "" and r.err.startswith("weir replay: "), r


def test_bad_input():
    expect(replay(D / "none", "--memory", "4M"), NO_INPUT, err="none")
    bad = trace("bad", list(range(5000)) + ["x7", "4"])
    r = expect(replay(bad, "--memory", "4M"), BAD_DATA, err=["bad", "5001"])
    assert r.out == "", "nothing of a bad trace is an outcome"
    r = expect(replay(bad, "--memory", "4M", "--json=%s" % (D / "bad.json")),
               BAD_DATA)
    assert not (D / "bad.json").exists()


def test_help():
    expect(P.call("help", "replay"), 0, out=["--memory SIZE", "--disk"])
    for line in replay("--help").out.splitlines():
        assert len(line) <= 80, line


try:
    main(dict(globals()))
finally:
    P.__exit__()
