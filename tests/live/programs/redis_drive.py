# SPDX-License-Identifier: MIT
"""A redis server is filled, saves while it is written to, is read back, and
what it saved is loaded into a plain server and read there."""
import hashlib
import os
import socket
import subprocess
import time


class Client:
    def __init__(self, path, proc):
        while True:
            try:
                self.s = socket.socket(socket.AF_UNIX)
                self.s.connect(path)
                break
            except OSError:
                if proc.poll() is not None:
                    raise RuntimeError("the server has ended")
                time.sleep(0.02)
        self.f = self.s.makefile("rb")

    def send(self, *words):
        out = [b"*%d\r\n" % len(words)]
        for w in words:
            w = w if isinstance(w, bytes) else str(w).encode()
            out.append(b"$%d\r\n%s\r\n" % (len(w), w))
        self.s.sendall(b"".join(out))

    def reply(self):
        line = self.f.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            n = int(rest)
            return None if n < 0 else self.f.read(n + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        if not line:
            raise RuntimeError("the server closed the connection")
        return rest

    def call(self, *words):
        self.send(*words)
        return self.reply()

    def info(self, section, key):
        for line in self.call("INFO", section).decode().splitlines():
            if line.startswith(key + ":"):
                return line.split(":", 1)[1]


def value(i):
    return (b"%d|" % (i * 2654435761 % 4294967296)) * 80


STEP = 500


def fill(c, n):
    for start in range(0, n, STEP):
        words = ["MSET"]
        for i in range(start, min(start + STEP, n)):
            words += ["key:%d" % i, value(i)]
        c.call(*words)


def check(c, n, changed):
    """Every value, against what it must be; a digest of all."""
    h = hashlib.sha256()
    for start in range(0, n, STEP):
        keys = range(start, min(start + STEP, n))
        got = c.call("MGET", *["key:%d" % i for i in keys])
        for i, v in zip(keys, got):
            want = b"changed" if i in changed else value(i)
            if v != want:
                raise RuntimeError("key:%d is wrong" % i)
            h.update(v)
    return h.hexdigest()


def save(c, n):
    """BGSAVE; keys change meanwhile. The saved file holds the old values."""
    changed = set(range(0, n, 17))
    c.call("BGSAVE")
    for i in changed:
        c.call("SET", "key:%d" % i, "changed")
    while c.info("persistence", "rdb_bgsave_in_progress") != "0":
        time.sleep(0.02)
    if c.info("persistence", "rdb_last_bgsave_status") != "ok":
        raise RuntimeError("BGSAVE failed")
    return changed


def reload(argv, path, n):
    if os.path.exists(os.path.join(path, "s")):
        os.unlink(os.path.join(path, "s"))
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        c = Client(os.path.join(path, "s"), server)
        while c.info("persistence", "loading") != "0":
            time.sleep(0.02)
        if c.call("DBSIZE") != n:
            raise RuntimeError("the saved file holds %d keys"
                               % c.call("DBSIZE"))
        return check(c, n, ())
    finally:
        server.terminate()
        server.wait()


def drive(proc, sock, path, argv, n):
    c = Client(sock, proc)
    fill(c, n)
    first = check(c, n, ())
    changed = save(c, n)
    second = check(c, n, changed)
    c.send("SHUTDOWN", "NOSAVE")
    proc.wait()
    third = reload(argv, path, n)
    os.unlink(os.path.join(path, "dump.rdb"))
    if third != first:
        raise RuntimeError("the saved file differs")
    return "%s %s %s" % (first, second, third)
