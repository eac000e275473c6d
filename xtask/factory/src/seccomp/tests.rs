//! What the filters answer: on a small machine that runs them like the kernel, for every list and both processors; and on this kernel.

// Only there are the programs those of this kernel.
#[cfg(target_arch = "x86_64")]
mod kernel;

use super::*;

/// One instruction of a program.
#[derive(Clone, Copy)]
struct Step {
    code: u16,
    jt: usize,
    jf: usize,
    k: u32,
}

const KILL: u32 = nix::libc::SECCOMP_RET_KILL_PROCESS;
const ALLOW: u32 = nix::libc::SECCOMP_RET_ALLOW;
const ENOSYS: u32 = nix::libc::SECCOMP_RET_ERRNO | nix::libc::ENOSYS.cast_unsigned();
const EPERM: u32 = nix::libc::SECCOMP_RET_ERRNO | nix::libc::EPERM.cast_unsigned();
const EAFNOSUPPORT: u32 = nix::libc::SECCOMP_RET_ERRNO | nix::libc::EAFNOSUPPORT.cast_unsigned();
/// `AUDIT_ARCH_X86_64`, `_AARCH64`, `_I386`.
const ARCH: [u32; 3] = [0xC000_003E, 0xC000_00B7, 0x4000_0003];
const MACHINES: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];

/// Runs one program over `struct seccomp_data`, as `Documentation/networking/filter.rst` says.
fn run(steps: &[Step], data: &[u32; 16]) -> u32 {
    let (mut at, mut value) = (0, 0u32);
    loop {
        let Step { code, jt, jf, k } = steps[at];
        at += 1;
        let jump = |holds: bool| if holds { jt } else { jf };
        match code {
            0x20 => value = data[k as usize / 4],
            0x54 => value &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(value == k),
            0x25 => at += jump(value > k),
            0x35 => at += jump(value >= k),
            0x06 => return k,
            _ => panic!("instruction {code:#x}"),
        }
    }
}

fn steps(programs: &[Vec<u8>]) -> Vec<Vec<Step>> {
    let steps = programs.iter().map(|p| p.chunks_exact(8).map(step));
    steps.map(Iterator::collect).collect()
}

fn step(bytes: &[u8]) -> Step {
    Step {
        code: u16::from_le_bytes([bytes[0], bytes[1]]),
        jt: bytes[2].into(),
        jf: bytes[3].into(),
        k: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    }
}

/// What the kernel makes of all programs: the gravest action, and of equal ones that of the program installed last.
fn answer(programs: &[Vec<Step>], arch: u32, call: i64, arguments: &[u64]) -> u32 {
    let mut data = [0; 16];
    data[0] = call as u32;
    data[1] = arch;
    for (at, argument) in arguments.iter().enumerate() {
        (data[4 + 2 * at], data[5 + 2 * at]) = (*argument as u32, (argument >> 32) as u32);
    }
    let action = |answer: u32| (answer & 0xFFFF_0000).cast_signed();
    let answers = programs.iter().rev().map(|program| run(program, &data));
    let worst = answers.reduce(|a, b| if action(b) < action(a) { b } else { a });
    worst.unwrap()
}

/// What a profile answers to a call by name, on x86-64.
fn asked(profile: usize, call: &str, arguments: &[u64]) -> u32 {
    let call = number(Arch::X86_64, call).unwrap();
    answer(
        &steps(&programs().unwrap()[profile]),
        ARCH[0],
        call,
        arguments,
    )
}

#[test]
fn c05_every_call_of_every_list_gets_the_answer_that_the_list_says_on_both_processors() {
    let lists = Lists::read().unwrap();
    for (machine, arch) in MACHINES.into_iter().zip(ARCH) {
        let all = compiled(&lists, machine).unwrap();
        for (profile, programs) in all.iter().enumerate() {
            let programs = steps(programs);
            let allowed: Vec<_> = lists.allowed(profile).collect();
            let refused: Vec<_> = lists.refused(profile).collect();
            for number in 0..1024 {
                let is = |call: &&str| super::number(machine, call) == Some(number);
                // With 1 for its first argument every call that is allowed is allowed, but one.
                let wanted = match (allowed.iter().any(is), refused.iter().any(is)) {
                    _ if is(&"personality") => EPERM,
                    (true, _) => ALLOW,
                    (false, true) => EPERM,
                    (false, false) => ENOSYS,
                };
                let answer = answer(&programs, arch, number, &[1]);
                assert_eq!(answer, wanted, "{machine:?}, profile {profile}, {number}");
            }
        }
    }
}

#[test]
fn a17_a_file_can_be_looked_at_on_aarch64() {
    // `__NR_newfstatat` of asm-generic/unistd.h, by which its C libraries do stat() and fstat().
    const NEWFSTATAT: i64 = 79;
    for programs in compiled(&Lists::read().unwrap(), Arch::Aarch64).unwrap() {
        assert_eq!(answer(&steps(&programs), ARCH[1], NEWFSTATAT, &[]), ALLOW);
    }
}

#[test]
fn c05_a_wider_profile_refuses_nothing_that_a_stricter_one_allows() {
    let values = [
        0,
        1,
        2,
        3,
        10,
        16,
        0x5412,
        0x541C,
        0x1000_0000,
        0x7C02_0000,
        u64::from(u32::MAX),
    ];
    let all = programs().unwrap().map(|programs| steps(&programs));
    for call in 0..512 {
        for (first, second) in values.iter().flat_map(|a| values.map(|b| (*a, b))) {
            let of =
                |profile: usize| answer(&all[profile], ARCH[0], call, &[first, second]) == ALLOW;
            assert!(of(1) || !of(0), "{call} {first:#x} {second:#x}");
            assert!(of(2) || !of(1), "{call} {first:#x} {second:#x}");
        }
    }
}

#[test]
fn c05_numbers_of_other_machines_end_the_program() {
    for programs in programs().unwrap().map(|programs| steps(&programs)) {
        let read = 0;
        assert_eq!(answer(&programs, ARCH[0], read, &[]), ALLOW);
        assert_eq!(answer(&programs, ARCH[2], read, &[]), KILL, "i386");
        assert_eq!(answer(&programs, ARCH[1], read, &[]), KILL, "aarch64");
        let x32 = read + i64::from(X32);
        assert_eq!(answer(&programs, ARCH[0], x32, &[]), KILL, "x32");
        assert_eq!(answer(&programs, ARCH[0], -1, &[]), ENOSYS, "no call");
    }
}

#[test]
fn c05_clone_makes_threads_and_programs_and_no_namespace() {
    let thread = 0x003D_0F00;
    assert_eq!(asked(0, "clone", &[thread]), ALLOW);
    assert_eq!(asked(0, "clone", &[17]), ALLOW, "fork, with SIGCHLD");
    let namespaces = [17, 25, 26, 27, 28, 29, 30].map(|bit| 1u64 << bit);
    for profile in 0..3 {
        for flag in namespaces {
            assert_eq!(asked(profile, "clone", &[flag | 17]), EPERM, "{flag:#x}");
        }
        assert_eq!(asked(profile, "clone3", &[]), ENOSYS);
        assert_eq!(asked(profile, "unshare", &[0]), EPERM);
        assert_eq!(asked(profile, "setns", &[3, 0]), EPERM);
    }
}

#[test]
fn c05_families_of_sockets_are_those_four_whatever_stands_above_32_bits() {
    let above = 1 << 32;
    for profile in 0..3 {
        for family in [1, 2, 10, 16] {
            assert_eq!(asked(profile, "socket", &[family, 1, 0]), ALLOW, "{family}");
        }
        for family in [0, 3, 15, 17, 31, 38, 40, 44, 17 + above] {
            let answer = asked(profile, "socket", &[family, 3, 0]);
            assert_eq!(answer, EAFNOSUPPORT, "{family}");
        }
        for netlink in [4, 9, 12, 15, 16] {
            let answer = asked(profile, "socket", &[16, 3, netlink]);
            assert_eq!(answer, EAFNOSUPPORT, "netlink {netlink}");
        }
        let packet = 10 | 0o2000000;
        assert_eq!(asked(profile, "socket", &[2, packet, 3]), EAFNOSUPPORT);
        assert_eq!(asked(profile, "socketpair", &[1, 1, 0]), ALLOW);
        assert_eq!(asked(profile, "socketpair", &[40, 1, 0]), EAFNOSUPPORT);
    }
}

#[test]
fn c05_nobody_types_into_a_terminal_for_another_whatever_stands_above_32_bits() {
    for profile in 0..3 {
        for request in [0x5412, 0x541C, 0x5412 | 1 << 32] {
            assert_eq!(asked(profile, "ioctl", &[0, request]), EPERM);
        }
        assert_eq!(asked(profile, "ioctl", &[0, 0x5401]), ALLOW, "TCGETS");
    }
}

#[test]
fn t05_no_room_takes_keys_for_itself_changes_a_device_for_the_next_or_reads_anothers_picture() {
    // EVIOCGRAB, EVIOCSABS of several axes and sizes, EVIOCSFF; GETFB and GETFB2 with the size that they have, and with none.
    let grabs = [
        0x4004_4590,
        0x4018_45C0,
        0x4018_45C1,
        0x4004_45FF,
        0x4030_4580,
    ];
    let reads = [0xC01C_64AD, 0xC068_64CE, 0x64AD, 0x4000_64CE];
    // EVIOCGKEY, EVIOCGABS, EVIOCSCLOCKID, EVIOCREVOKE; ADDFB2, DIRTYFB, SETCRTC.
    let others = [0x8060_4518, 0x8018_4540, 0x4004_45A0, 0x4004_4591];
    let draws = [0xC068_64B8, 0xC018_64B1, 0xC068_64A2];
    for profile in 0..3 {
        for request in grabs.into_iter().chain(reads) {
            for request in [request, request | 1 << 32] {
                let answer = asked(profile, "ioctl", &[0, request]);
                assert_eq!(answer, EPERM, "{request:#x}");
            }
        }
        for request in others.into_iter().chain(draws) {
            assert_eq!(
                asked(profile, "ioctl", &[0, request]),
                ALLOW,
                "{request:#x}"
            );
        }
    }
}

#[test]
fn c05_no_socket_makes_whoever_closes_it_wait_whatever_stands_above_32_bits() {
    let (above, socket, linger) = (1 << 32, 1, 13);
    for profile in 0..3 {
        for (level, option) in [
            (socket, linger),
            (socket | above, linger),
            (socket, linger | above),
        ] {
            let answer = asked(profile, "setsockopt", &[3, level, option]);
            assert_eq!(answer, EPERM, "{level:#x} {option:#x}");
        }
        // SO_REUSEADDR, and the number in another level.
        for (level, option) in [(socket, 2), (6, linger), (socket, 0)] {
            let answer = asked(profile, "setsockopt", &[3, level, option]);
            assert_eq!(answer, ALLOW, "{level} {option}");
        }
    }
}

#[test]
fn c05_only_the_workshop_looks_into_other_programs() {
    for call in ["ptrace", "process_vm_readv", "pidfd_getfd", "chroot"] {
        let answers = [0, 1, 2].map(|profile| asked(profile, call, &[0]));
        assert_eq!(answers, [EPERM, EPERM, ALLOW], "{call}");
    }
    assert_eq!(asked(2, "kcmp", &[]), EPERM);
    for odd in [8, 0x0040_0000, 0x0008_0000] {
        assert_eq!(asked(2, "personality", &[odd]), EPERM, "{odd:#x}");
    }
    for harmless in [0, 0x0004_0000, 0xFFFF_FFFF] {
        assert_eq!(asked(1, "personality", &[harmless]), ALLOW);
    }
}

#[test]
fn h01_the_same_lists_make_the_same_programs() {
    let (first, second) = (programs().unwrap(), programs().unwrap());
    assert_eq!(first, second);
    assert_eq!(first.each_ref().map(Vec::len), [3, 3, 3]);
    let whole = first.iter().flatten();
    assert!(
        whole
            .clone()
            .all(|p| p.len() % 8 == 0 && p.len() < MAX_BYTES)
    );
}

#[test]
fn c05_a_program_that_is_too_long_for_a_line_of_the_database_is_refused() {
    let step = sock_filter {
        code: 6,
        jt: 0,
        jf: 0,
        k: 0,
    };
    assert_eq!(bytes(&vec![step.clone(); 3_499]).unwrap().len(), 27_992);
    assert_eq!(
        bytes(&vec![step; 3_500]).unwrap_err().to_string(),
        "a filter of 3500 instructions is too long; next: shorten the lists in bay0-persona/policies/seccomp"
    );
}

#[test]
fn c05_the_document_has_a_row_for_every_call_and_is_what_the_lists_say() {
    let path = crate::layout::Layout::find()
        .root
        .join("docs/SYSCALL-JUSTIFICATIONS.md");
    let there = std::fs::read_to_string(path).unwrap();
    let next = "next: cargo xtask policy syscalls > docs/SYSCALL-JUSTIFICATIONS.md";
    assert!(
        there == document().unwrap(),
        "not the lists any more; {next}"
    );
    let lists = Lists::read().unwrap();
    for (name, profile) in lists.profiles() {
        for (call, why) in &profile.allow {
            let row = format!("| `{name}` | {why} |");
            let mut rows = there.lines().filter(|line| line.ends_with(&row));
            assert!(rows.any(|line| line.starts_with(&format!("| `{call}`"))));
        }
    }
}
