#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The test of the simulator: engines broken on purpose must be caught.

Each mutant is one change to one engine file, the kind of slip that a race
punishes. The changed file is compiled and linked in front of the engine's
archive, and random programs run on it until some seed fails. A mutant that
survives them all, or one whose text is no longer in the source, fails the
test.

usage: sim-mutants.py SOURCE_ROOT SEEDS ARCHIVE... -- CC...
"""
import os
import subprocess
import sys
import tempfile
import time

# name, engine file, old text (must stand there exactly once), new text, model;
# where one change alone would be made good elsewhere, a second file, old, new
MUTANTS = [
    ("a fault does not wait for BUSY", "fault.c",
     "\tif (v & PTE_BUSY) {", "\tif (v & PTE_BUSY && !e) {", "both"),
    ("a fault takes a page without looking at the entry again", "fault.c",
     "\tpte = pte_same(as, addr, v);\n\tif (pte)\n"
     "\t\tpte_store(pte, v | PTE_BUSY);\n"
     "\tweir__spin_unlock(e, &as->lock);\n\tif (pte)\n\t\treturn f;",
     "\tpte = weir__pte(as, addr);\n\tif (pte)\n"
     "\t\tpte_store(pte, v | PTE_BUSY);\n"
     "\tweir__spin_unlock(e, &as->lock);\n\tif (pte)\n\t\treturn f;", "both"),
    ("a slot is freed under its write", "fault.c",
     "\tif (frame_test(f, FRAME_SWAPCACHE) && "
     "!frame_test(f, FRAME_WRITEBACK) &&\n",
     "\tif (frame_test(f, FRAME_SWAPCACHE) &&\n", "both"),
    ("a write to a shared page does not copy", "fault.c",
     "\tif (weir__page_mapcount(f) > 1)\n\t\treturn false;\n", "", "bits"),
    ("a swapped page is mapped though its entry changed", "faultrun.c",
     "*pte == run->old[i] && !first_gone",
     "!(*pte & (PTE_BUSY | PTE_PRESENT)) && !first_gone", "both"),
    ("a page that could not be mapped leaks", "faultrun.c",
     "\t\tif (!mapped(&run->vec[i]))\n"
     "\t\t\tweir__frames_free(e, run_frame(run, i), 0);",
     "\t\t;", "uffd"),
    ("a new page is listed after the lock of its entry", "faultrun.c",
     "\t\telse\n\t\t\tweir__frame_add_lru(e, run_frame(run, i));\n\t}\n"
     "\tweir__pte_busy_end(as);\n\tweir__spin_unlock(e, &as->lock);\n",
     "\t}\n\tweir__pte_busy_end(as);\n\tweir__spin_unlock(e, &as->lock);\n"
     "\tfor (unsigned i = 0; i < nr; i++)\n"
     "\t\tif (mapped(&run->vec[i]) &&\n"
     "\t\t    !frame_test(run_frame(run, i), FRAME_MLOCKED))\n"
     "\t\t\tweir__frame_add_lru(e, run_frame(run, i));\n", "both"),
    ("a write under write-back is forgotten", "fault.c",
     "\tweir__frame_set(f, FRAME_DIRTY);\n}", "}", "both", "pageage.c",
     "\tif (v & PTE_DIRTY)\n\t\tweir__frame_set(a->f, FRAME_DIRTY);\n", ""),
    ("eviction does not hear that the host refused", "pageage.c",
     "\t\tif (v->status == 0) {\n\t\t\t*pte = (old",
     "\t\tif (e) {\n\t\t\t*pte = (old", "uffd"),
    ("the last step frees a page that somebody holds", "swapcache.c",
     "\tif (!weir__frame_freeze(f, expected)) {",
     "\tif (f->refcount = 0) {", "both", "pagelist.c",
     "\tif (f->refcount != REFS_IDLE || frame_test(f, FRAME_DIRTY)) {",
     "\tif (frame_test(f, FRAME_DIRTY)) {"),
    ("a late reader binds the next life of its slot", "swapcache.c",
     "\t} else if (shadow && a->map[off] == SWAP_HAS_CACHE) {",
     "\t} else if (!f) {", "bits", "swapin.c",
     "\t\tf = weir__frames_alloc(e, gfp, 0);\n",
     # its time between the look and the bind, made longer
     "\t\tfor (int i_ = 0; i_ < 50; i_++)\n"
     "\t\t\te->host->ops->preempt(e->host);\n"
     "\t\tf = weir__frames_alloc(e, gfp, 0);\n"),
    ("a page whose write failed is believed written", "pageout.c",
     "\t\tif (io->status[i]) {", "\t\tif (io->status[i] && !e) {", "both"),
    ("a page whose read failed is believed read", "swapin.c",
     "\t\tif (io->status[i] == 0) {", "\t\tif (e) {", "both"),
    ("madvise does not wait for BUSY", "zap.c",
     "\tz->busy = v & PTE_BUSY;", "\tz->busy = false;", "both"),
    ("nobody is woken when BUSY goes", "pgtable.c",
     "\te->host->ops->wake_word(e->host, &as->busy_word, UINT32_MAX);\n}",
     "}", "both"),
    ("fork leaves the parent's pages writable", "fork.c",
     "\tuint64_t v = pte_clear(pte, PTE_WRITE);",
     "\tuint64_t v = pte_load(pte);", "bits"),
    ("fork does not count the child's swap entries", "fork.c",
     "\t\tc->error = weir__swap_dup(as->engine, pte_swap(v));",
     "\t\tc->error = 0;", "bits"),
    ("mremap does not wait for BUSY", "move.c",
     "\tif (pte_load(pte) & PTE_BUSY)\n\t\treturn STOP_BUSY;\n", "", "both"),
    ("a mapped page is not made read-only before it is written", "writeback.c",
     "\t\t\tmake_clean(e, f);\n", "", "bits"),
    ("truncation does not look again where a page has left", "truncate.c",
     "\t\t\tif (!gone)\n\t\t\t\tcontinue;\n", "\t\t\t(void)gone;\n", "bits"),
    ("a swap entry of an object is believed without a second look", "shmem.c",
     "\tif (weir__pcache_entry(m, index) != value) {",
     "\tif (weir__pcache_entry(m, index) != value && !f) {", "both"),
    ("the last step frees a cached page that is dirty", "pcache.c",
     "\tif (frame_test(f, FRAME_DIRTY | FRAME_WRITEBACK)) {",
     "\tif (frame_test(f, FRAME_WRITEBACK)) {", "both", "pagelist.c",
     "\tif (!frame_test(f, FRAME_DIRTY))\n\t\treturn false;\n"
     "\tif (!(weir__self", "\tif (b)\n\t\treturn false;\n\tif (!(weir__self"),
    ("a fault maps a page that was truncated", "filefault.c",
     "\t\t\tif (weir__frame_mapping(f) == m &&\n"
     "\t\t\t    frame_test(f, FRAME_UPTODATE) &&\n"
     "\t\t\t    ff->index < weir__mapping_pages(m))\n",
     "\t\t\tif (frame_test(f, FRAME_UPTODATE))\n", "bits"),
    ("a page that could not be read from its file is believed", "readahead.c",
     "\t\tif (io->status[i] == 0) {", "\t\tif (e) {", "both"),
    ("a page that could not be written to its file is believed written",
     "writeback.c",
     "\t\tif (io->status[i]) {", "\t\tif (io->status[i] && !e) {", "both"),
    ("unmapping forgets that the program wrote to an object", "pageage.c",
     "\tif (pte_xchg(pte, 0) & PTE_DIRTY)\n"
     "\t\tweir__page_dirty(a->e, a->f);\n", "\tpte_xchg(pte, 0);\n", "bits"),
    ("munmap forgets that the program wrote to an object", "zap.c",
     "\tif (v & PTE_DIRTY)\n\t\tweir__page_dirty(e, f);\n", "", "bits"),
    ("truncation leaves the copies that are being made", "truncate.c",
     "\t\t\t/* copies that were being made of those pages */\n"
     "\t\t\tunmap_from(m, first);\n", "", "bits"),
    ("a private page of a file is written without a copy", "filefault.c",
     "\tif (!(r->flags & REGION_SHARED))\n"
     "\t\treturn copy_private(e, as, addr, v);\n", "", "bits"),
]


def build(src, mutant, archives, cc, tmp):
    """None, or why there is no such engine."""
    changed = []
    for file, old, new in [mutant[1:4]] + [mutant[5:]] * (len(mutant) > 5):
        with open(os.path.join(src, "src/engine", file)) as f:
            text = f.read()
        if text.count(old) != 1:
            return "its text stands %d times in %s" % (text.count(old), file)
        changed.append(os.path.join(tmp, file))
        with open(changed[-1], "w") as f:
            f.write(text.replace(old, new))
    run = subprocess.run(
        cc + ["-O2", "-g0", "-std=gnu11", "-D_GNU_SOURCE",
              "-fno-strict-aliasing", "-w", "-I", os.path.join(src, "src")] +
        changed + archives + ["-o", os.path.join(tmp, "mutant")],
        capture_output=True, text=True)
    return run.stderr if run.returncode else None


def hunt(mutant, seeds, tmp):
    """The line of the seed that caught it, or None."""
    run = subprocess.run(
        [os.path.join(tmp, "mutant"), "--seeds", seeds, "--model", mutant[4]],
        capture_output=True, text=True)
    if run.returncode == 0:
        return None
    for line in run.stdout.splitlines():
        if line.startswith("FAILED"):
            return line
    return "crashed (%d)" % run.returncode


def main():
    args = sys.argv[1:]
    cut = args.index("--")
    src, seeds = args[:2]
    archives, cc = args[2:cut], args[cut + 1:]
    bad = 0
    for mutant in MUTANTS:
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as tmp:
            err = build(src, mutant, archives, cc, tmp)
            caught = None if err else hunt(mutant, seeds, tmp)
        took = time.monotonic() - start
        if err:
            print("NOT BUILT  %s: %s" % (mutant[0], err))
        elif not caught:
            print("SURVIVED   %s" % mutant[0])
        else:
            print("caught     %s (%.1f s)\n           %s" %
                  (mutant[0], took, caught))
        sys.stdout.flush()
        bad += caught is None
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
