#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fills in the manual page of traces: fill-in-ops.py TEMPLATE OPS_DEF TRACE_H"""
import re
import sys

WORDS = {
    "p": "_PAGE_", "n": "_PAGES_", "q": "_TO_", "m": "_TO-PAGES_",
    "f": "_FILE_", "F": "_FILE-PAGE_", "o": "_OFFSET_", "b": "_BYTES_",
    "i": "_OBJECT_", "j": "_INODE_", "c": "_PROCESS_", "g": "_GROUP_",
    "h": "_ABOVE_", "a": "_AREA_", "v": "_NUMBER_", "y": "_PRIORITY_",
    "P": "_PROT_", "A": "_ADVICE_", "G": "_CONTEXT_", "K": "*dentry*|*inode*",
    "L": "*max*|*high*|*low*|*min*|*swap*", "T": "_NAME_", "R": "_TEXT_",
}


def strings(text):
    """The value of one or several C string literals."""
    return "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', text))


def ops(path):
    with open(path) as f:
        text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    form = (r'X\((\w+),\s*("\w+"),\s*("[\w?]*"),\s*([^"]*),\s*("[^"]*"),'
            r'\s*((?:"[^"]*"\s*)+)\)')
    found = [(m[4], *map(strings, (m[2], m[3], m[5], m[6])))
             for m in re.finditer(form, text)]
    if len(found) != len(re.findall(r"^X\(", text, re.M)) or not found:
        sys.exit("%s: not all entries are understood" % path)
    return found


def entry(word, fields, flags, what):
    head = ["*%s*" % word]
    need, _, may = fields.partition("?")
    head += [WORDS[f] for f in need]
    head += ["[%s" % WORDS[f] for f in may]
    if may:
        head[-1] += "]" * len(may)
    head += ["[*%s*]" % flag for flag in flags.split()]
    return "%s\n\t%s" % (" ".join(head), what)


def flag_values(header):
    """TRACE_F_* by name."""
    with open(header) as f:
        pairs = re.findall(r"\b(TRACE_F_\w+) = 1 << (\d+)", f.read())
    return {name: 1 << int(bit) for name, bit in pairs}


def tag(number, values, bits, word, fields, flags):
    names = [WORDS[f].replace("*", "") for f in fields.replace("?", "")]
    names = [n if n[0] == "_" else "_KIND_" for n in names]
    if flags:
        # The words stand in the order of the bits.
        bits = sorted(values[b] for b in re.findall(r"TRACE_F_\w+", bits))
        assert len(bits) == len(flags.split()), word
        names.append("flags (%s)" % ", ".join(
            "%s %d" % pair for pair in zip(flags.split(), bits)))
    return "*0x%02x* %s%s" % (0x10 + number, word,
                              ": " + ", ".join(names) if names else "")


def main(template, definitions, header):
    found = ops(definitions)
    with open(template) as f:
        page = f.read()
    entries = [entry(*op[1:]) for op in found[1:]]
    values = flag_values(header)
    tags = [tag(i, values, *op[:4]) for i, op in enumerate(found) if i]
    sys.stdout.write(page.replace("@OPS@", "\n\n".join(entries))
                     .replace("@TOUCH@", found[0][4])
                     .replace("@TAGS@", "++\n".join(tags)))


main(*sys.argv[1:])
