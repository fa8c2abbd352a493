# SPDX-License-Identifier: MIT
"""Watches from outside how much memory that weir could manage the processes
of a tree have resident.

/proc/PID/smaps is read mapping by mapping, and pages that move from one to
another meanwhile are seen twice or not at all. /proc/PID/status has one
number for the whole process (RssAnon), which knows no mappings. So a sample
is the smaller of two: the sum over manageable mappings, and RssAnon less what
smaps shows of anonymous pages elsewhere (stack, written pages of private file
mappings, locked and small mappings). The engine's own memory is in both.
"""
import os
import threading
import time


def children(pid):
    found = []
    try:
        for tid in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/children" % (pid, tid)) as f:
                found += map(int, f.read().split())
    except OSError:
        pass
    return found


def tree(pid):
    """The processes below pid."""
    todo, seen = children(pid), []
    while todo:
        p = todo.pop()
        seen.append(p)
        todo += children(p)
    return seen


def rss_anon(pid):
    with open("/proc/%d/status" % pid) as f:
        for line in f:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


# What weir leaves alone, by its own account in the manual: mappings below
# this size, those the program locked, those it may not write.
SMALL = 64 * 1024


def smaps(pid):
    """(resident in manageable mappings, anonymous elsewhere)"""
    managed = other = anonymous = 0
    manageable = False
    with open("/proc/%d/smaps" % pid) as f:
        for line in f:
            head, _, rest = line.partition(":")
            if " " in head:  # 7f00-7f01 rw-p 0000 00:00 0  NAME
                words = line.split(None, 5)
                name = words[5].strip() if len(words) > 5 else ""
                start, end = (int(x, 16) for x in words[0].split("-"))
                manageable = (words[4] == "0" and words[1][1] == "w" and
                              words[1][3] == "p" and end - start >= SMALL and
                              (not name or name == "[heap]" or
                               name.startswith("[anon:")))
            elif head == "Anonymous":
                anonymous = int(rest.split()[0]) * 1024
            elif head == "Locked" and rest.split()[0] != "0":
                manageable = False
            elif head == "VmFlags":  # the last line of a mapping
                if manageable:
                    managed += anonymous
                else:
                    other += anonymous
    return managed, other


def sample(pid):
    total = rss_anon(pid)
    managed, other = smaps(pid)
    total = max(total, rss_anon(pid))
    return min(managed, max(total - other, 0))


class Sampler:
    """The largest sample of any one process below pid, until stop()."""

    def __init__(self, pid, interval=0.01, own=False):
        self.pid, self.interval, self.own = pid, interval, own
        self.peak = self.samples = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.done.is_set():
            for p in tree(self.pid) + ([self.pid] if self.own else []):
                try:
                    n = sample(p)
                except (OSError, ValueError, IndexError):
                    continue
                self.peak = max(self.peak, n)
                self.samples += 1
            time.sleep(self.interval)

    def stop(self):
        self.done.set()
        self.thread.join()
        return self.peak
