#!/bin/bash
# Expected: flock on an eventfd locks that eventfd, or is refused since it is no file.
# Happens: the kernel keeps every eventfd, epoll, timerfd, signalfd and inotify descriptor of the machine on one inode without a name, and flock
# locks inodes: two eventfds of two processes that share nothing, mount and pid namespaces included, exclude each other.
# Relies on it: docs/THREAT-MODEL.md, which names it as what rooms still share.
set -eu
uname -r
python3 --version
exec python3 - <<'END'
import fcntl, os, select, subprocess, sys

OTHER = """
import fcntl, os
try:
    fcntl.flock(os.eventfd(0), fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("free")
except BlockingIOError:
    print("held")
"""

def other():
    command = ["unshare", "--mount", "--pid", "--fork", "--ipc", "--net", sys.executable, "-c", OTHER]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

before = other()
mine = select.epoll()
fcntl.flock(mine.fileno(), fcntl.LOCK_EX)
during = other()
mine.close()
after = other()
print(f"an eventfd of another process in other namespaces: {before}; while an epoll here is locked: {during}; after: {after}")
sys.exit(0 if (before, during, after) == ("free", "held", "free") else 1)
END
