/* The bench's own hands inside a guest, the same for every init:
 *
 *   guest time INIT [ARGUMENT ...]          says when, then becomes INIT
 *   guest beside READY INIT [ARGUMENT ...]  becomes INIT, with a storm as its child, for which /beside is a proc
 *   guest storm READY                       makes 10,000 orphans end at once when READY exists; says how long they took
 *   guest memory                            says what PID 1 holds
 *   guest switch                            goes to the virtual terminal of each number that is typed, until 0
 */
#include <fcntl.h>
#include <linux/vt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ORPHANS = 10000, SETTLE_S = 2, SLACK = 64 };

static long long now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void fail(const char *what) {
    dprintf(1, "guest: FAIL: ");
    perror(what);
    _exit(1);
}

static void become(char **argv) {
    execv(argv[0], argv);
    fail(argv[0]);
}

static int processes(void) {
    struct sysinfo info;
    return sysinfo(&info) == 0 ? info.procs : -1;
}

/* A zombie still takes signals; only what was reaped is no such process. */
static int all_gone(const pid_t *orphans) {
    for (int i = 0; i < ORPHANS; i++)
        if (kill(orphans[i], 0) == 0)
            return 0;
    return 1;
}

/* Each waits for the gate to be shut, as a child of a parent that is gone by then. */
static void make_orphans(pid_t *orphans, const int gate[2]) {
    char nothing;
    pid_t parent = fork();
    if (parent == 0) {
        for (int i = 0; i < ORPHANS; i++) {
            pid_t orphan = fork();
            if (orphan == 0) {
                close(gate[1]);
                _exit(read(gate[0], &nothing, 1) != 0);
            }
            if (orphan < 0)
                fail("fork");
            orphans[i] = orphan;
        }
        _exit(0);
    }
    int status = 1;
    if (waitpid(parent, &status, 0) != parent || status != 0)
        fail("make orphans");
}

static void storm(const char *ready) {
    int gate[2];
    while (access(ready, F_OK) != 0)
        usleep(10000);
    sleep(SETTLE_S);
    pid_t *orphans = mmap(NULL, ORPHANS * sizeof *orphans, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (orphans == MAP_FAILED || pipe(gate) != 0)
        fail("storm");
    int before = processes();
    make_orphans(orphans, gate);
    sleep(SETTLE_S);
    long long begun = now_us(), seen;
    close(gate[1]);
    for (;;) {
        seen = now_us();
        if (processes() <= before + SLACK && all_gone(orphans))
            break;
        usleep(1000);
    }
    dprintf(1, "\nstorm_us=%lld\n", seen - begun);
}

static void memory(void) {
    char line[256];
    long kb;
    sleep(SETTLE_S);
    mkdir("/proc", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    FILE *figures = fopen("/proc/1/smaps_rollup", "r");
    if (figures == NULL)
        fail("smaps_rollup");
    while (fgets(line, sizeof line, figures) != NULL) {
        if (sscanf(line, "Pss: %ld kB", &kb) == 1)
            dprintf(1, "\npss_kb=%ld\n", kb);
        if (sscanf(line, "Pss_Anon: %ld kB", &kb) == 1)
            dprintf(1, "\nanon_kb=%ld\n", kb);
    }
    dprintf(1, "\nguest: done\n");
}

static void switch_terminals(void) {
    char line[8];
    int console = open("/dev/tty0", O_RDWR);
    dprintf(1, "terminal> ");
    while (fgets(line, sizeof line, stdin) != NULL && atoi(line) > 0)
        if (ioctl(console, VT_ACTIVATE, atoi(line)) != 0)
            fail("VT_ACTIVATE");
    _exit(0);
}

int main(int argc, char **argv) {
    const char *task = argc > 1 ? argv[1] : "";
    if (strcmp(task, "time") == 0 && argc > 2) {
        dprintf(1, "guest: begins\n");
        dprintf(1, "launch_us=%lld\n", now_us());
        become(argv + 2);
    } else if (strcmp(task, "beside") == 0 && argc > 3) {
        if (fork() != 0)
            become(argv + 3);
        setsid();
        /* The init may have another root by then: through this one, READY is looked for there. */
        mkdir("/beside", 0755);
        mount("proc", "/beside", "proc", 0, NULL);
        storm(argv[2]);
    } else if (strcmp(task, "storm") == 0 && argc > 2) {
        storm(argv[2]);
    } else if (strcmp(task, "memory") == 0) {
        memory();
    } else if (strcmp(task, "switch") == 0) {
        switch_terminals();
    }
    for (;;)
        pause();
}
