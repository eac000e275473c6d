//! Every field of a policy file as `docs/POLICIES.md` tells it; a test keeps the two the same, and both the same as what is read.

/// One row: the field, its value and bounds, what holds where it is not set, and what a nested room may have.
pub type Field = (&'static str, &'static str, &'static str, &'static str);

/// In the order of the document.
pub const FIELDS: [Field; 23] = [
    (
        "image",
        "1 to 32 of `a-z`, `0-9`, `-`: the image its files come from",
        "must be set",
        "free",
    ),
    (
        "command",
        "list of texts: a program by its whole path in the image, then its arguments; at most 64",
        "must be set",
        "free",
    ),
    (
        "environment",
        "table of variables, the whole environment; at most 64",
        "empty",
        "free",
    ),
    (
        "cpu.quota",
        "percent of one processor, 1 to 6400: 150 is one and a half",
        "must be set",
        "not greater",
    ),
    (
        "cpu.weight",
        "1 to 10000, share where rooms compete",
        "100",
        "not greater",
    ),
    (
        "memory.max",
        "text with unit `KiB`, `MiB` or `GiB`, `1MiB` to `1024GiB`; swap is always 0",
        "must be set",
        "not greater",
    ),
    (
        "pids",
        "processes and threads at once, 1 to 32768",
        "must be set",
        "not greater",
    ),
    (
        "open_files",
        "open files of one process, 16 to 1048576",
        "must be set",
        "not greater",
    ),
    (
        "tmpfs",
        "new files, kept in memory, and as much again in `/dev/shm`: text with unit, `4KiB` to `1024GiB`, less than `memory.max`",
        "must be set",
        "not greater",
    ),
    (
        "seccomp",
        "`strict`, `standard` or `workshop`, each allowing all of the one before",
        "must be set",
        "not higher",
    ),
    (
        "capabilities",
        "list of the names below, kept by root inside",
        "none",
        "a part",
    ),
    (
        "network",
        "`none`, `via sys://net` or `nic`",
        "`none`",
        "`none`, or the same",
    ),
    (
        "devices",
        "list of `gpu`, `npu`, `sound`, `camera`, `standin`, `slot`",
        "none",
        "a part",
    ),
    (
        "terminal",
        "`true` or `false`",
        "`false`",
        "`true` only below `true`",
    ),
    (
        "exit",
        "`stop` or `again`: whether the end of the command is the end of the room",
        "`stop`",
        "`again` only below `again`",
    ),
    (
        "autostart",
        "`true` or `false`",
        "`false`",
        "`true` only below `true`",
    ),
    (
        "restart.when",
        "`never` or `on-failure`",
        "`never`",
        "`on-failure` only below `on-failure`",
    ),
    (
        "restart.tries",
        "how often at most, 1 to 10",
        "must be set with `on-failure`",
        "not greater",
    ),
    (
        "restart.delay_ms",
        "milliseconds before the first time, 100 to 60000; doubles each time, up to 60 s",
        "must be set with `on-failure`",
        "not less",
    ),
    (
        "persist.bytes",
        "text with unit, `64KiB` to `1024GiB`: bytes that it may keep on `/persist`",
        "nothing",
        "not greater",
    ),
    (
        "persist.records",
        "objects and records together, 1 to 1000000",
        "must be set with `persist.bytes`",
        "not greater",
    ),
    (
        "persist.rate",
        "text with unit, `64KiB` to `1GiB`: bytes a second that it may write there, with a second's worth at once",
        "must be set with `persist.bytes`",
        "not greater",
    ),
    (
        "background",
        "`freeze` or `run`: what it does while another room is in front",
        "`freeze`",
        "`run` only below `run`",
    ),
];
