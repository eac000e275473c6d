//! The courier as it would be if a room had taken it over, for the VM scenarios: a file whose first line is `hostile: WHAT` has it do that,
//! once it is read and sealed, with all that this process has by then. Compiled only with the feature `fault`.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use bay0_persona::packet;
use bay0_state::gate::{DATA, DONE, END};
use nix::errno::Errno;
use nix::libc::{self, c_int, c_long};
use nix::sys::socket::{MsgFlags, send};

use super::{Content, Told, WAIT};

/// How a file begins that takes the courier over.
const BEGINS: &str = "hostile: ";
/// Longest first line, in bytes.
const LINE: usize = 64;
/// Numbers of system calls that are tried, and the bit of those of x32.
const NUMBERS: c_long = 600;
const X32: c_long = 0x4000_0000;
/// `uretprobe(2)` of x86, which the kernel takes past every filter, and which does nothing but in a probe.
const PROBE: c_long = 335;
/// What the process may call; the last three would end it, or begin a call anew.
const MAY: [c_long; 14] = [
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_write,
    libc::SYS_pread64,
    libc::SYS_fcntl,
    libc::SYS_close,
    libc::SYS_prctl,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];
/// Descriptors that are written to.
const DESCRIPTORS: c_int = 1024;

/// Does what the file says, if it says something.
///
/// # Errors
/// What has come of it, for the log; not of everything does it return.
pub fn taken_over(
    giver: &OwnedFd,
    control: &OwnedFd,
    memory: &File,
    content: &Content,
) -> Result<(), String> {
    let mut first = [0; LINE];
    let count = memory.read_at(&mut first, 0).unwrap_or_default();
    let first = String::from_utf8_lossy(first.get(..count).unwrap_or_default()).into_owned();
    let what = first.lines().next().and_then(|it| it.strip_prefix(BEGINS));
    let read = Told::Read(content.clone()).encode();
    let words: &[&[u8]] = match what {
        None => return Ok(()),
        Some("walls") => return Err(walls(giver, control, memory)),
        Some("machine") => return Err(another_machine()),
        Some("memory") => return Err(all_memory()),
        Some("spin") => loop {
            std::hint::spin_loop();
        },
        Some("bytes") => return Err(other_bytes(control, &read, memory, content.size)),
        // What it says to PID 1, which then hears no more of it.
        Some("delivered") => &[b"d"],
        Some("again") => &[read.as_bytes(), read.as_bytes()],
        Some("answered") => &[read.as_bytes(), b"d"],
        Some("garbage") => &[&[0xff; 400]],
        Some("nothing") => &[b""],
        Some("yes") => &[b"y"],
        Some("larger") => &[b"r18446744073709551615 text 0000000000000000000000000000000000000000000000000000000000000000"],
        Some("forged") => &[b"fx; next: none\r\nbay0 1.000 keeper: up\x1b[2J\r\nallow> "],
        Some(other) => return Err(format!("hostile: {other} is nothing; next: none")),
    };
    for word in words {
        let _ = say(control, word);
    }
    // Whoever is believed goes on; nobody ends this but PID 1.
    loop {
        let _ = packet::receive(control, &mut [0], WAIT);
    }
}

fn say(to: &OwnedFd, packet: &[u8]) -> nix::Result<usize> {
    send(to.as_raw_fd(), packet, WAIT)
}

/// A system call as the kernel answers it.
fn call(number: c_long, arguments: [usize; 6]) -> Result<c_long, Errno> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: this process is to be an enemy. The filter lets none of these calls begin; what is pointed to outlives them.
    Errno::result(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

/// Tries every call that it has no right to, by its number and in earnest, and every use of those that it has which would reach anybody;
/// how many there were, and which of them reached something.
fn walls(giver: &OwnedFd, control: &OwnedFd, memory: &File) -> String {
    let mut tried = 0_u32;
    let mut reached = Vec::new();
    let mut expect = |name: String, done: Result<c_long, Errno>, errno: Errno| {
        tried = tried.saturating_add(1);
        if done != Err(errno) {
            reached.push(format!("{name} {done:?}"));
        }
    };
    for (name, number, arguments) in earnest(giver, control, memory) {
        expect(name.to_owned(), call(number, arguments), Errno::EPERM);
    }
    // A room that is given an end has it when this process has gone.
    let given = packet::send(giver, &[b"x"], Some(control), MsgFlags::MSG_DONTWAIT);
    expect("give an end".to_owned(), given.map(|()| 0), Errno::EPERM);
    for number in (0..NUMBERS).filter(|it| !MAY.contains(it) && *it != PROBE) {
        for number in [number, number | X32] {
            expect(number.to_string(), call(number, [0; 6]), Errno::EPERM);
        }
    }
    let own = [giver.as_raw_fd(), control.as_raw_fd(), memory.as_raw_fd()];
    for fd in (0..DESCRIPTORS).filter(|it| !own.contains(it)) {
        let at = [fd as usize, b"x".as_ptr() as usize, 1, 0, 0, 0];
        expect(
            format!("write {fd}"),
            call(libc::SYS_write, at),
            Errno::EBADF,
        );
    }
    // A signal to whoever is there, at the next packet: none is there but this process.
    for pid in 2..DESCRIPTORS {
        let at = [
            own[0] as usize,
            libc::F_SETOWN as usize,
            pid as usize,
            0,
            0,
            0,
        ];
        expect(
            format!("own {pid}"),
            call(libc::SYS_fcntl, at),
            Errno::ESRCH,
        );
    }
    reached.truncate(8);
    let reached = match reached.is_empty() {
        true => "nothing".to_owned(),
        false => reached.join(", "),
    };
    format!("hostile: {tried} tried, reached {reached}; next: none")
}

/// What an enemy would do here first, with arguments that the kernel would take.
fn earnest(
    giver: &OwnedFd,
    control: &OwnedFd,
    memory: &File,
) -> Vec<(&'static str, c_long, [usize; 6])> {
    let [giver, control, memory] =
        [giver.as_fd(), control.as_fd(), memory.as_fd()].map(|it| it.as_raw_fd() as usize);
    let text = |text: &'static std::ffi::CStr| text.as_ptr().expose_provenance();
    let (root, own) = (text(c"/"), text(c"/proc/self/exe"));
    let (unix, at) = (libc::AF_UNIX as usize, libc::AT_FDCWD as usize);
    let packets = libc::SOCK_SEQPACKET as usize;
    let shared = libc::MAP_SHARED as usize;
    let both = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let seals = libc::F_ADD_SEALS as usize;
    let byte = b"x".as_ptr().expose_provenance();
    let pair: *mut c_int = Box::leak(Box::new([0; 2])).as_mut_ptr();
    vec![
        ("openat /", libc::SYS_openat, [at, root, 0, 0, 0, 0]),
        ("socket", libc::SYS_socket, [unix, packets, 0, 0, 0, 0]),
        (
            "socket inet",
            libc::SYS_socket,
            [libc::AF_INET as usize, 1, 0, 0, 0, 0],
        ),
        (
            "socketpair",
            libc::SYS_socketpair,
            [unix, packets, 0, pair.expose_provenance(), 0, 0],
        ),
        ("connect", libc::SYS_connect, [giver, byte, 2, 0, 0, 0]),
        (
            "clone",
            libc::SYS_clone,
            [libc::SIGCHLD as usize, 0, 0, 0, 0, 0],
        ),
        (
            "ptrace",
            libc::SYS_ptrace,
            [libc::PTRACE_ATTACH as usize, 1, 0, 0, 0, 0],
        ),
        ("kill all", libc::SYS_kill, [usize::MAX, 9, 0, 0, 0, 0]),
        ("pidfd of 1", libc::SYS_pidfd_open, [1, 0, 0, 0, 0, 0]),
        (
            "mount",
            libc::SYS_mount,
            [text(c"tmpfs"), root, text(c"tmpfs"), 0, 0, 0],
        ),
        (
            "umount",
            libc::SYS_umount2,
            [root, libc::MNT_DETACH as usize, 0, 0, 0, 0],
        ),
        (
            "unshare",
            libc::SYS_unshare,
            [libc::CLONE_NEWUSER as usize, 0, 0, 0, 0, 0],
        ),
        ("chroot", libc::SYS_chroot, [root, 0, 0, 0, 0, 0]),
        ("setuid", libc::SYS_setuid, [0; 6]),
        ("execve", libc::SYS_execve, [own, 0, 0, 0, 0, 0]),
        (
            "execve the file",
            libc::SYS_execveat,
            [memory, text(c""), 0, 0, libc::AT_EMPTY_PATH as usize, 0],
        ),
        (
            "a module",
            libc::SYS_finit_module,
            [memory, text(c""), 0, 0, 0, 0],
        ),
        (
            "reboot",
            libc::SYS_reboot,
            [
                libc::LINUX_REBOOT_MAGIC1 as usize,
                libc::LINUX_REBOOT_MAGIC2 as usize,
                0,
                0,
                0,
                0,
            ],
        ),
        ("memfd", libc::SYS_memfd_create, [text(c"x"), 0, 0, 0, 0, 0]),
        ("dup", libc::SYS_dup, [control, 0, 0, 0, 0, 0]),
        (
            "write the file",
            libc::SYS_write,
            [memory, byte, 1, 0, 0, 0],
        ),
        (
            "truncate the file",
            libc::SYS_ftruncate,
            [memory, 0, 0, 0, 0, 0],
        ),
        (
            "map the file",
            libc::SYS_mmap,
            [0, 4096, both, shared, memory, 0],
        ),
        ("seal it anew", libc::SYS_fcntl, [memory, seals, 0, 0, 0, 0]),
    ]
}

/// A call by the numbers of another machine ends this process.
fn another_machine() -> String {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: getpid(2) of i386, which changes nothing but eax.
    unsafe {
        std::arch::asm!("int 0x80", inout("eax") 20 => _);
    }
    "hostile: it goes on; next: none".to_owned()
}

/// Takes memory until there is none.
fn all_memory() -> String {
    let mut taken = Vec::new();
    loop {
        taken.push(vec![1_u8; 1 << 20]);
        std::hint::black_box(&taken);
    }
}

/// Gives the room that takes something else than was allowed, and says that it has it.
fn other_bytes(control: &OwnedFd, read: &str, memory: &File, size: u64) -> String {
    let _ = say(control, read.as_bytes());
    let (_, taker) = packet::receive(control, &mut [0], WAIT).unwrap_or_default();
    let Some(taker) = taker else {
        return "hostile: no answer; next: none".to_owned();
    };
    let mut bytes = vec![0; size as usize];
    let _ = memory.read_at(&mut bytes, 0);
    bytes.reverse();
    let _ = say(&taker, &[&[DATA], bytes.as_slice()].concat());
    let _ = say(&taker, &[END]);
    let mut answer = [0];
    let _ = packet::receive(&taker, &mut answer, WAIT);
    format!(
        "hostile: the room has {}; next: none",
        if answer == [DONE] {
            "taken it"
        } else {
            "refused it"
        }
    )
}
