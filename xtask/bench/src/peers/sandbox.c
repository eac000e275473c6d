/* The bare limit of a room: a resident supervisor that starts `true` in the least that is a sandbox, and takes it away again.
 *
 *   sandbox GROUP IMAGE FILTER ...
 *
 * For each byte on its input it does that once and answers with the nanoseconds. `l`, the least: clone3 into a group, six
 * namespaces, users, overlay, pivot_root, limits, capabilities, seccomp, exec. `s`, the same as bay0: also an image with the
 * room's owners, a terminal, a /dev, a /proc with masks, three files from outside, a group below the group with a namespace of
 * its own, and an init that reaps. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <grp.h>

enum { UID = 655360, MAX_FILTERS = 4, MAX_CAPABILITY = 40, FILES = 3 };
static const unsigned long SAFE = MS_NOSUID | MS_NODEV, QUIET = MS_NOSUID | MS_NOEXEC;
static struct sock_fprog filters[MAX_FILTERS];
static int count_filters;
static const char *image;

static void must(long done, const char *what) {
    if (done < 0) {
        perror(what);
        _exit(1);
    }
}

static void mounted(const char *kind, const char *at, unsigned long flags, const char *data) {
    must(mount(kind, at, kind, flags, data), at);
}

static void bound(const char *from, const char *to) {
    must(mount(from, to, NULL, MS_BIND, NULL), to);
}

static void written(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    must(fd, path);
    must(write(fd, text, strlen(text)), path);
    close(fd);
}

static void made(const char *path) {
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    must(fd, path);
    close(fd);
}

static int copied(const char *path) {
    int fd = syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | O_CLOEXEC);
    must(fd, path);
    return fd;
}

static void restricted(int tree, int users) {
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
    if (users >= 0) {
        attr.attr_set |= MOUNT_ATTR_IDMAP;
        attr.userns_fd = users;
    }
    must(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof attr), "mount_setattr");
}

static void attached(int tree, const char *path) {
    must(syscall(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH), path);
}

static void devices(void) {
    static const char *const nodes[] = {"null", "zero", "full", "random", "urandom", "tty"};
    static const char *const links[][2] = {{"pts/ptmx", "ptmx"}, {"/proc/self/fd", "fd"}, {"fd/0", "stdin"}, {"fd/1", "stdout"}, {"fd/2", "stderr"}};
    char from[64], to[64];
    mkdir("/run/root/dev", 0755);
    mounted("tmpfs", "/run/root/dev", QUIET, "mode=0755,size=64k,nr_inodes=64");
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        snprintf(from, sizeof from, "/dev/%s", nodes[i]);
        snprintf(to, sizeof to, "/run/root/dev/%s", nodes[i]);
        made(to);
        bound(from, to);
    }
    must(mkdir("/run/root/dev/pts", 0755), "pts");
    mounted("devpts", "/run/root/dev/pts", QUIET, "newinstance,ptmxmode=0666,mode=0620");
    must(mkdir("/run/root/dev/shm", 0755), "shm");
    mounted("tmpfs", "/run/root/dev/shm", QUIET, "mode=1777");
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        snprintf(to, sizeof to, "/run/root/dev/%s", links[i][1]);
        must(symlink(links[i][0], to), to);
    }
}

static void proc(void) {
    static const char *const files[] = {"kcore", "keys", "key-users", "kmsg", "sysrq-trigger", "timer_list"};
    static const char *const folders[] = {"sys", "irq", "bus", "fs"};
    char path[64];
    mkdir("/run/root/proc", 0755);
    mounted("proc", "/run/root/proc", SAFE | MS_NOEXEC, "");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "/run/root/proc/%s", files[i]);
        mount("/dev/null", path, NULL, MS_BIND, NULL);
    }
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "/run/root/proc/%s", folders[i]);
        bound(path, path);
        must(mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | SAFE | MS_NOEXEC, NULL), path);
    }
}

static void overlay(int lower) {
    static const char *const parts[] = {"/run/lower", "/run/upper", "/run/work", "/run/root"};
    must(mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL), "private");
    mounted("tmpfs", "/run", SAFE, "mode=0755,size=16777216");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        must(mkdir(parts[i], 0755), parts[i]);
    attached(lower, "/run/lower");
    mounted("overlay", "/run/root", SAFE, "lowerdir=/run/lower,upperdir=/run/upper,workdir=/run/work,userxattr");
}

static void confined(void) {
    struct rlimit open_files = {256, 256}, no_core = {0, 0};
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
    must(setrlimit(RLIMIT_NOFILE, &open_files), "limits");
    must(setrlimit(RLIMIT_CORE, &no_core), "limits");
    for (int capability = 0; capability <= MAX_CAPABILITY; capability++)
        must(prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "bounding set");
    must(syscall(SYS_capset, &header, none), "capset");
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
    for (int i = 0; i < count_filters; i++)
        must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filters[i]), "seccomp");
}

static void inside(int same, int lower, const int *files, int gate) {
    static const char *const places[FILES] = {"/run/root/run/umbilical", "/run/root/usr/bin/bay0", "/run/root/dev/console"};
    static char *const program[] = {"/bin/busybox", "true", NULL}, *const environment[] = {"PATH=/bin", NULL};
    char go;
    if (read(gate, &go, 1) != 1)
        _exit(1);
    must(setsid(), "setsid");
    must(setgroups(0, NULL), "identity");
    must(setresgid(0, 0, 0), "identity");
    must(setresuid(0, 0, 0), "identity");
    if (same)
        must(unshare(CLONE_NEWCGROUP), "cgroup namespace");
    must(sethostname("bench", 5), "hostname");
    overlay(lower);
    if (same) {
        devices();
        proc();
        for (int i = 0; i < FILES; i++) {
            made(places[i]);
            attached(files[i], places[i]);
        }
    }
    must(chdir("/run/root"), "chdir");
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "umount");
    must(chdir("/"), "chdir");
    confined();
    if (same) {
        int status = 1;
        pid_t child = fork();
        must(child, "fork");
        if (child != 0) {
            must(waitpid(child, &status, 0), "wait");
            _exit(status != 0);
        }
        must(setsid(), "setsid");
        int fd = open("/dev/console", O_RDWR);
        must(fd, "console");
        for (int to = 0; to < 3; to++)
            must(dup2(fd, to), "console");
    }
    must(close_range(3, ~0U, 0), "close_range");
    execve(program[0], program, environment);
    _exit(127);
}

static void mapped(pid_t pid, const char *file) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    written(path, "0 655360 65536");
}

static void once(const char *group, int same) {
    int lower = copied(image), terminal = -1, files[FILES], gate[2], pidfd = -1;
    char self[256], name[64];
    must(mkdir(group, 0755), group);
    snprintf(self, sizeof self, same ? "%s/self" : "%s", group);
    if (same) {
        must(mkdir(self, 0755), self);
        terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        must(unlockpt(terminal), "pty");
        must(ptsname_r(terminal, name, sizeof name), "pty");
        must(chown(name, UID, UID), "pty");
        files[0] = copied("/proc/self/exe");
        files[1] = copied("/proc/self/exe");
        files[2] = copied(name);
        restricted(files[0], -1);
        restricted(files[1], -1);
    }
    int into = open(self, O_DIRECTORY | O_CLOEXEC);
    must(into, self);
    must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, gate), "socketpair");
    struct clone_args args = {
        .flags = CLONE_PIDFD | CLONE_INTO_CGROUP | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWUSER,
        .pidfd = (unsigned long)&pidfd, .exit_signal = SIGCHLD, .cgroup = into,
    };
    pid_t pid = syscall(SYS_clone3, &args, sizeof args);
    must(pid, "clone3");
    if (pid == 0)
        inside(same, lower, files, gate[1]);
    mapped(pid, "uid_map");
    mapped(pid, "gid_map");
    if (same) {
        snprintf(name, sizeof name, "/proc/%d/ns/user", pid);
        int users = open(name, O_RDONLY | O_CLOEXEC);
        must(users, name);
        restricted(lower, users);
        close(users);
    }
    must(write(gate[0], "g", 1), "go");
    siginfo_t ended;
    must(waitid(P_PIDFD, pidfd, &ended, WEXITED), "wait");
    if (ended.si_code != CLD_EXITED || ended.si_status != 0) {
        fprintf(stderr, "sandbox: its program ended with %d\n", ended.si_status);
        _exit(1);
    }
    if (same) {
        must(rmdir(self), self);
        for (int i = 0; i < FILES; i++)
            close(files[i]);
        close(terminal);
    }
    must(rmdir(group), group);
    close(lower);
    close(gate[0]);
    close(gate[1]);
    close(into);
    close(pidfd);
}

static long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void loaded(const char *path) {
    struct stat about;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    must(fd, path);
    must(fstat(fd, &about), path);
    struct sock_filter *code = malloc(about.st_size);
    must(read(fd, code, about.st_size) == about.st_size ? 0 : -1, path);
    filters[count_filters].filter = code;
    filters[count_filters++].len = about.st_size / sizeof *code;
    close(fd);
}

int main(int argc, char **argv) {
    char mode;
    if (argc < 3 || argc > 3 + MAX_FILTERS)
        return 2;
    image = argv[2];
    for (int i = 3; i < argc; i++)
        loaded(argv[i]);
    while (read(0, &mode, 1) == 1) {
        long long begun = now_ns();
        once(argv[1], mode == 's');
        dprintf(1, "%lld\n", now_ns() - begun);
    }
    return 0;
}
