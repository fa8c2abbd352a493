#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Adds up Meson's logs of tests and names what failed and what was skipped.

The last line is "N passed, N failed". Exit status 1 when a test failed, or
when a log is missing or empty: tests that did not run have not passed.
"""
import json
import os
import re
import sys

GOOD = {"OK", "EXPECTEDFAIL"}


def reasons(text):
    """What a skipped test, or a skipped part of one, gave as its reason."""
    return re.findall(r"(?im)(?:# SKIP|^SKIP:?)\s*(.*)", text or "")


def last_words(t, lines=25):
    """The end of what a failed test printed, errors last."""
    said = (t.get("stdout") or "").splitlines()[-lines:]
    return said + (t.get("stderr") or "").splitlines()[-lines:]


def main(paths):
    passed = failed = 0
    bad = []
    for path in paths:
        way = os.path.basename(os.path.dirname(os.path.dirname(path)))
        tests = []
        if os.path.exists(path):
            with open(path) as log:
                tests = [json.loads(line) for line in log if line.strip()]
        if not tests:
            print("FAILED %s: no test has run" % way)
            failed += 1
        for t in tests:
            name = "%s: %s" % (way, t["name"])
            said = reasons(t.get("stdout"))
            if t["result"] in GOOD:
                passed += 1
                for why in said:
                    print("skipped in %s: %s" % (name, why))
            elif t["result"] == "SKIP":
                print("skipped %s: %s" % (name, "; ".join(said) or "no reason"))
            else:
                failed += 1
                bad.append((name, t))
    # After everything else, so that a cut-off log still tells why.
    for name, t in bad:
        print("FAILED %s (%s)" % (name, t["result"]))
        for line in last_words(t):
            print("    " + line)
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
