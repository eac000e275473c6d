//! Calls that reach the kernel itself, with arguments that would do something.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::libc::{self, c_int, c_long};

use crate::calls::{at, call, text};
use crate::told::{Told, Ways, errno};

/// `KEY_SPEC_PROCESS_KEYRING`, `KEY_SPEC_SESSION_KEYRING`, `KEY_SPEC_USER_KEYRING`.
const KEYRINGS: [c_long; 3] = [-2, -3, -4];
/// `LINUX_REBOOT_CMD_CAD_OFF`: what control-alt-delete does. Of all commands the one that leaves a machine running.
const CAD_OFF: c_long = 0;
/// `TIOCLINUX` pastes a selection.
const TIOCLINUX: c_long = 0x541C;

/// Packet sockets before they had a family.
const SOCK_PACKET: c_int = 10;

/// Code for the kernel.
pub fn modules() -> Told {
    let mut ways = Ways::default();
    let bytes = [0u8; 64];
    let none = text("");
    let image = [at(&bytes), 64, none];
    ways.add("init_module", call(libc::SYS_init_module, &image));
    match File::open("/proc/self/exe") {
        Ok(file) => {
            let arguments = [file.as_raw_fd().into(), none, 0];
            ways.add("finit_module", call(libc::SYS_finit_module, &arguments));
        }
        Err(error) => ways.refused("finit_module", &errno(&error)),
    }
    let remove = [text("squashfs"), libc::O_NONBLOCK.into()];
    ways.add("delete_module", call(libc::SYS_delete_module, &remove));
    ways.told()
}

/// Maps and programs in the kernel.
pub fn bpf() -> Told {
    let mut ways = Ways::default();
    // BPF_MAP_CREATE of one array; BPF_PROG_LOAD of a socket filter that ends at once.
    let map: [u32; 18] = first([2, 4, 4, 1]);
    ways.add("map", call(libc::SYS_bpf, &[0, at(&map), 72]));
    let program: [u64; 2] = [0xB7, 0x95];
    let licence = *b"GPL\0";
    let mut load = [0u64; 16];
    (load[0], load[1], load[2]) = (1 | 2 << 32, address(&program), address(&licence));
    ways.add("program", call(libc::SYS_bpf, &[5, at(&load), 128]));
    ways.told()
}

fn address<T>(thing: &T) -> u64 {
    (&raw const *thing).expose_provenance() as u64
}

fn first<const N: usize, const M: usize>(values: [u32; M]) -> [u32; N] {
    let mut all = [0; N];
    for (place, value) in all.iter_mut().zip(values) {
        *place = value;
    }
    all
}

/// Calls past every filter.
pub fn io_uring() -> Told {
    let mut ways = Ways::default();
    let parameters = [0u8; 120];
    let setup = [1, at(&parameters)];
    ways.add("setup", call(libc::SYS_io_uring_setup, &setup));
    ways.add("enter", call(libc::SYS_io_uring_enter, &[-1]));
    ways.add("register", call(libc::SYS_io_uring_register, &[-1]));
    ways.told()
}

/// Keys that belong to no namespace.
pub fn keyring() -> Told {
    let mut ways = Ways::default();
    for ring in KEYRINGS {
        let key = [text("user"), text("hostile"), text("secret"), 6, ring];
        ways.add("add_key", call(libc::SYS_add_key, &key));
        ways.add("keyctl", call(libc::SYS_keyctl, &[0, ring, 1]));
    }
    let wanted = [text("user"), text("hostile"), text(""), -2];
    ways.add("request_key", call(libc::SYS_request_key, &wanted));
    ways.told()
}

/// Families that are not for rooms, and the kernel's own sockets.
pub fn sockets() -> Told {
    let mut ways = Ways::default();
    for (name, family, kind, protocol) in [
        ("packet", libc::AF_PACKET, libc::SOCK_RAW, 0x0300),
        ("packet-old", libc::AF_INET, SOCK_PACKET, 0x0300),
        ("raw", libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_TCP),
        ("vsock", libc::AF_VSOCK, libc::SOCK_STREAM, 0),
        ("alg", libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
        ("key", libc::AF_KEY, libc::SOCK_RAW, 2),
        ("bluetooth", libc::AF_BLUETOOTH, libc::SOCK_RAW, 1),
        ("can", libc::AF_CAN, libc::SOCK_RAW, 1),
        ("tipc", libc::AF_TIPC, libc::SOCK_STREAM, 0),
        ("xdp", libc::AF_XDP, libc::SOCK_RAW, 0),
        (
            "audit",
            libc::AF_NETLINK,
            libc::SOCK_RAW,
            libc::NETLINK_AUDIT,
        ),
        (
            "events",
            libc::AF_NETLINK,
            libc::SOCK_RAW,
            libc::NETLINK_KOBJECT_UEVENT,
        ),
        (
            "netfilter",
            libc::AF_NETLINK,
            libc::SOCK_RAW,
            libc::NETLINK_NETFILTER,
        ),
    ] {
        let arguments = [family, kind, protocol].map(c_long::from);
        ways.add(name, call(libc::SYS_socket, &arguments));
    }
    ways.told()
}

/// A socket that makes whoever closes it wait: PID 1, once it is sent along with a request.
pub fn linger() -> Told {
    let mut ways = Ways::default();
    let wait = libc::linger {
        l_onoff: 1,
        l_linger: 3600,
    };
    let (level, option) = (libc::SOL_SOCKET.into(), c_long::from(libc::SO_LINGER));
    for (name, family) in [("tcp", libc::AF_INET), ("tcp6", libc::AF_INET6)] {
        let kind = [family, libc::SOCK_STREAM, 0].map(c_long::from);
        let socket = call(libc::SYS_socket, &kind);
        let Ok(socket) = socket else {
            ways.add(name, socket);
            continue;
        };
        for (how, level, option) in [
            ("", level, option),
            ("-level-64", level | 1 << 32, option),
            ("-option-64", level, option | 1 << 32),
        ] {
            let set = [socket, level, option, at(&wait), 8];
            let set = call(libc::SYS_setsockopt, &set);
            ways.add(&format!("{name}{how}"), set);
        }
    }
    ways.told()
}

/// The machine's clock, set to what it says anyway.
pub fn time() -> Told {
    let mut ways = Ways::default();
    let mut now = [0i64; 2];
    let pointer = now.as_mut_ptr().expose_provenance() as c_long;
    let _ = call(libc::SYS_clock_gettime, &[0, pointer]);
    ways.add(
        "clock_settime",
        call(libc::SYS_clock_settime, &[0, pointer]),
    );
    let zone = [0u32; 2];
    let settime = [0, at(&zone)];
    ways.add("settimeofday", call(libc::SYS_settimeofday, &settime));
    // ADJ_STATUS without a status: no discipline, as after a start.
    let state: [u32; 52] = first([0x10]);
    ways.add("adjtimex", call(libc::SYS_adjtimex, &[at(&state)]));
    ways.add(
        "clock_adjtime",
        call(libc::SYS_clock_adjtime, &[0, at(&state)]),
    );
    ways.told()
}

/// The machine's end.
pub fn reboot() -> Told {
    let mut ways = Ways::default();
    let magic = [0xFEE1_DEAD, 672_274_793, CAD_OFF];
    ways.add("reboot", call(libc::SYS_reboot, &magic));
    ways.add("kexec_load", call(libc::SYS_kexec_load, &[0, 0, 0, 0]));
    let file = [-1, -1, 0, text(""), 4];
    ways.add("kexec_file_load", call(libc::SYS_kexec_file_load, &file));
    ways.told()
}

/// Memory of the machine on a disk.
pub fn swap() -> Told {
    let mut ways = Ways::default();
    for path in ["/dev/vda", "/tmp/hostile-swap"] {
        ways.add("swapon", call(libc::SYS_swapon, &[text(path), 0]));
        ways.add("swapoff", call(libc::SYS_swapoff, &[text(path)]));
    }
    ways.add("acct", call(libc::SYS_acct, &[text("/tmp/hostile-acct")]));
    // Q_QUOTAON of users: with less, anybody may ask.
    let quotas = [0x80_0002 << 8, text("/dev/vda"), 2, text("/tmp")];
    ways.add("quotactl", call(libc::SYS_quotactl, &quotas));
    ways.told()
}

/// Characters that the terminal takes for a person's.
pub fn terminal() -> Told {
    let mut ways = Ways::default();
    let (byte, paste) = (b'#', [3u8, 0]);
    for path in ["/proc/self/fd/0", "/dev/tty", "/dev/console"] {
        let opened = File::open(path);
        let Ok(file) = &opened else {
            ways.add(path, opened);
            continue;
        };
        let of = c_long::from(file.as_raw_fd());
        let typed = [of, libc::TIOCSTI as c_long, at(&byte)];
        ways.add(&format!("TIOCSTI:{path}"), call(libc::SYS_ioctl, &typed));
        let above = [of, libc::TIOCSTI as c_long | 1 << 32, at(&byte)];
        ways.add(&format!("TIOCSTI-64:{path}"), call(libc::SYS_ioctl, &above));
        let pasted = [of, TIOCLINUX, at(&paste)];
        ways.add(&format!("TIOCLINUX:{path}"), call(libc::SYS_ioctl, &pasted));
    }
    ways.told()
}

/// Holds the kernel up in the middle of a copy.
pub fn faults() -> Told {
    let mut ways = Ways::default();
    for (name, flags) in [("kernel", 0), ("user", 1)] {
        ways.add(name, call(libc::SYS_userfaultfd, &[flags]));
    }
    let device = File::options().read(true).open("/dev/userfaultfd");
    ways.add("/dev/userfaultfd", device);
    ways.told()
}

/// Counters of the processor and of the kernel.
pub fn perf() -> Told {
    let mut ways = Ways::default();
    for (name, kind, process, processor) in [
        ("own", 1, 0, -1),
        ("processor", 0, -1, 0),
        ("tracepoint", 2, -1, 0),
    ] {
        let mut attributes = [0u32; 32];
        (attributes[0], attributes[1]) = (kind, 128);
        let arguments = [at(&attributes), process, processor, -1, 0];
        ways.add(name, call(libc::SYS_perf_event_open, &arguments));
    }
    ways.told()
}

/// Files by number instead of name: past every folder above them.
pub fn handles() -> Told {
    let mut ways = Ways::default();
    let root = match File::open("/") {
        Ok(root) => root,
        Err(error) => return Told::Refused(format!("root={}", errno(&error))),
    };
    // Eight bytes, FILEID_INO32_GEN, inode 2: the root of most file systems.
    let handle: [c_int; 4] = [8, 1, 2, 0];
    let open = |fd: &File, handle: &[c_int]| -> io::Result<c_long> {
        let pointer = handle.as_ptr().expose_provenance() as c_long;
        call(
            libc::SYS_open_by_handle_at,
            &[fd.as_raw_fd().into(), pointer, 0],
        )
    };
    ways.add("guessed", open(&root, &handle));
    let mut own = [0 as c_int; 34];
    own[0] = 128;
    let mut mount: c_int = 0;
    let (pointer, number) = (
        own.as_mut_ptr().expose_provenance() as c_long,
        (&raw mut mount).expose_provenance() as c_long,
    );
    let named = [
        libc::AT_FDCWD.into(),
        text("/proc/1/root"),
        pointer,
        number,
        0,
    ];
    match call(libc::SYS_name_to_handle_at, &named) {
        Ok(_) => ways.add("named", open(&root, &own)),
        Err(error) => ways.refused("named", &errno(&error)),
    }
    ways.told()
}
