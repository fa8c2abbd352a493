#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fills in a manual page: fill-in.py TEMPLATE TUNABLE_DEF AGENT_DIR"""
import re
import sys

template, definitions, agent_dir = sys.argv[1:]
with open(definitions) as f:
    entries = re.findall(r'^X\((\w+), ([^,]+), ([^,]+), ([^,]+), "([^"]*)", '
                         r'"([^"]*)"\)', f.read(), re.M)
if not entries:
    sys.exit("%s: no tunables found" % definitions)
parts = []
for name, default, low, high, unit, text in entries:
    high = high.replace("1u << 30", str(1 << 30))
    parts.append("*%s*\n\t%s. %s to %s%s, default %s." % (
        name, text[0].upper() + text[1:], low, high, unit and " " + unit,
        default))
with open(template) as f:
    page = f.read()
sys.stdout.write(page.replace("@TUNABLES@", "\n\n".join(parts))
                 .replace("@AGENTDIR@", agent_dir))
