//! The filters on this kernel, as an ordinary user may install them.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use nix::libc::{self, c_long, c_void};

use super::super::*;

/// As `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    steps: *const u8,
}

/// Installs a profile's programs in their order. Allocates nothing: it runs between fork and exec.
fn install(programs: &[Vec<u8>]) -> io::Result<()> {
    // SAFETY: no pointer is passed.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    for program in programs {
        let program = Program {
            length: (program.len() / INSTRUCTION) as u16,
            steps: program.as_ptr(),
        };
        // SAFETY: the kernel copies the instructions; both live until it returns.
        let done = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0,
                &raw const program,
            )
        };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// What a child tries; -1 with an errno, as calls of libc answer.
type Call = fn() -> c_long;

/// How a child ends that installs a profile and then calls: 0, or the errno; a signal is negative.
fn outcome(profile: usize, call: Call) -> i32 {
    let programs = programs().unwrap();
    // SAFETY: the child allocates nothing and leaves by _exit.
    match unsafe { libc::fork() } {
        0 => {
            let code = match install(&programs[profile]) {
                Ok(()) if call() >= 0 => 0,
                Ok(()) => io::Error::last_os_error().raw_os_error().unwrap_or(255),
                Err(_) => 254,
            };
            // SAFETY: ends this process, whatever state its memory is in.
            unsafe { libc::_exit(code) }
        }
        child => {
            assert!(child > 0);
            let mut status = 0;
            // SAFETY: `status` is ours.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            match libc::WIFSIGNALED(status) {
                true => -libc::WTERMSIG(status),
                false => libc::WEXITSTATUS(status),
            }
        }
    }
}

macro_rules! call {
    ($number:expr $(, $argument:expr)*) => {
        // SAFETY: every pointer among the arguments is null or lives as long as the call.
        || unsafe { libc::syscall($number $(, $argument as c_long)*) }
    };
}

#[test]
fn c05_this_kernel_answers_as_the_lists_say() {
    let (enosys, eperm, family) = (libc::ENOSYS, libc::EPERM, libc::EAFNOSUPPORT);
    for profile in 0..3 {
        let rows: [(&str, i32, Call); 20] = [
            ("getpid", 0, call!(libc::SYS_getpid)),
            ("dup", 0, call!(libc::SYS_dup, 2)),
            ("1000", enosys, call!(1000)),
            ("-1", enosys, call!(-1)),
            ("clone3", enosys, call!(libc::SYS_clone3, 0, 0)),
            ("mount", eperm, call!(libc::SYS_mount, 0, 0, 0, 0, 0)),
            ("fsopen", eperm, call!(libc::SYS_fsopen, 0, 0)),
            ("bpf", eperm, call!(libc::SYS_bpf, 0, 0, 0)),
            ("unshare", eperm, call!(libc::SYS_unshare, 0)),
            ("io_uring", eperm, call!(libc::SYS_io_uring_setup, 1, 0)),
            ("keyctl", eperm, call!(libc::SYS_keyctl, 0, -3, 0)),
            ("reboot", eperm, call!(libc::SYS_reboot, 0, 0, 0)),
            (
                "new user",
                eperm,
                call!(libc::SYS_clone, libc::CLONE_NEWUSER | 17, 0, 0, 0, 0),
            ),
            (
                "TIOCSTI",
                eperm,
                call!(libc::SYS_ioctl, 0, libc::TIOCSTI, 0),
            ),
            ("odd", eperm, call!(libc::SYS_personality, 0x0040_0000)),
            ("unix", 0, call!(libc::SYS_socket, 1, 1, 0)),
            ("route", 0, call!(libc::SYS_socket, 16, 3, 0)),
            ("packet", family, call!(libc::SYS_socket, 17, 3, 0)),
            ("vsock", family, call!(libc::SYS_socket, 40, 1, 0)),
            ("audit", family, call!(libc::SYS_socket, 16, 3, 9)),
        ];
        for (what, wanted, call) in rows {
            assert_eq!(outcome(profile, call), wanted, "{what}, profile {profile}");
        }
    }
}

#[test]
fn c05_this_kernel_ends_a_program_that_uses_numbers_of_x32() {
    let x32 = call!(i64::from(X32) + 39);
    assert_eq!(outcome(0, x32), -libc::SIGSYS);
    assert_eq!(outcome(2, x32), -libc::SIGSYS);
}

#[test]
fn c05_this_kernel_lets_only_the_workshop_trace() {
    let trace = call!(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0);
    let answers = [0, 1, 2].map(|profile| outcome(profile, trace));
    assert_eq!(answers, [libc::EPERM, libc::EPERM, 0]);
}

#[test]
fn c05_threads_work_in_the_strictest_profile() {
    extern "C" fn thread(_: *mut c_void) -> *mut c_void {
        std::ptr::null_mut()
    }
    let threads = || {
        let mut handle = 0;
        // SAFETY: the function takes nothing and its handle is ours.
        let made = unsafe {
            libc::pthread_create(&mut handle, std::ptr::null(), thread, std::ptr::null_mut())
        };
        // SAFETY: a thread that was made is joined once.
        let joined = || unsafe { libc::pthread_join(handle, std::ptr::null_mut()) };
        if made == 0 && joined() == 0 { 0 } else { -1 }
    };
    assert_eq!(outcome(0, threads), 0);
}

/// Runs a program under a profile.
fn under(profile: usize, program: &str, arguments: &[&str]) -> Output {
    let programs = programs().unwrap();
    let mut command = Command::new(program);
    command.args(arguments);
    let filter = move || install(&programs[profile]);
    // SAFETY: it makes three system calls and allocates nothing.
    unsafe { command.pre_exec(filter) };
    command.output().unwrap()
}

#[test]
fn c05_a_shell_runs_in_the_strictest_profile() {
    let script =
        "echo one | cat; (exit 3); echo $? > \"$0\"; ls -l \"$0\" | wc -l; kill -0 $$; sleep 0.01";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let output = under(0, "/bin/sh", &["-c", script, file.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["one", "1"]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    assert_eq!(fs::read_to_string(file).unwrap(), "3\n");
}

#[test]
fn c05_a_compiler_and_a_program_with_threads_run_in_standard() {
    let dir = tempfile::tempdir().unwrap();
    let (source, program) = (dir.path().join("t.c"), dir.path().join("t"));
    let text = "#include <pthread.h>\n#include <stdio.h>\n\
        static void *f(void *x) { return x; }\n\
        int main(void) { pthread_t t[8]; for (int i = 0; i < 8; i++) pthread_create(t + i, 0, f, 0);\n\
        for (int i = 0; i < 8; i++) pthread_join(t[i], 0); FILE *p = popen(\"echo done\", \"r\"); char c = fgetc(p); putchar(c); return pclose(p); }\n";
    fs::write(&source, text).unwrap();
    let (source, program) = (source.to_str().unwrap(), program.to_str().unwrap());
    let built = under(1, "cc", &["-pthread", "-o", program, source]);
    assert!(built.status.success(), "{built:?}");
    let ran = under(1, program, &[]);
    assert!(ran.status.success() && ran.stdout == b"d", "{ran:?}");
}
