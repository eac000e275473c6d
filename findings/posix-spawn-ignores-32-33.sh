#!/bin/bash
# Expected: a program that is started by posix_spawn without attributes has the signal dispositions that its parent had.
# Happens: with glibc signals 32 and 33 are ignored in it, and in all that it starts, though the parent ignores neither. The child can neither
# see nor undo that through glibc, whose sigaction answers EINVAL for both numbers. fork and exec leave them as they are.
# Relies on it: the tests of bay0-persona/src/ends.rs and room.rs, which every number is sent to: a test runner starts them by posix_spawn.
set -eu
ldd --version | head -1
python3 --version
exec python3 - <<'END'
import os, signal, sys

def ignored(status):
    bits = next(line for line in status.splitlines() if line.startswith("SigIgn"))
    bits = int(bits.split()[1], 16)
    return [number for number in (32, 33) if bits >> (number - 1) & 1]

def child(start):
    read, write = os.pipe()
    pid = start(write)
    os.close(write)
    with open(read) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return ignored(text)

PROGRAM = ["/bin/cat", "/proc/self/status"]

def spawned(write):
    return os.posix_spawn(PROGRAM[0], PROGRAM, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)])

def forked(write):
    pid = os.fork()
    if pid == 0:
        os.dup2(write, 1)
        os.execv(PROGRAM[0], PROGRAM)
    return pid

own = ignored(open("/proc/self/status").read())
by_spawn, by_fork = child(spawned), child(forked)
print(f"ignored of 32 and 33: here {own}, after posix_spawn {by_spawn}, after fork and exec {by_fork}")
sys.exit(0 if by_spawn == [32, 33] and by_fork == own else 1)
END
