#!/bin/bash
# Expected: the crate bpfvm, "a small BPF VM" and "assembler", "intended for testing cBPF functionality before deployment, e.g. seccomp BPF filters", comes to
# the result that the kernel comes to. A jump compares with its number or, by one bit of its code, with the index register; BPF_LEN is the length of the data in
# bytes; and a conditional jump reaches 255 instructions, as it has eight bits for that (Linux, Documentation/networking/filter.rst, "Structure").
# Happens: the bit is not looked at: what is to be compared with the index is compared with the number, which is 0 there. The length is that in words of four
# bytes, 16 of seccomp's 64. compile() makes of a label 301 instructions away one that is 45 away, the rest of a division by 256, and no error: the filter goes
# on in the middle of something else, in the kernel too. TAX, TXA and NEG are errors.
# Relies on it: xtask/factory/src/seccomp/tests.rs, which runs the filters of rooms by an interpreter of its own.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
bpfvm = "=0.1.2"
libc = "=0.2.178"
TOML
cat > src/main.rs <<'RUST'
use bpfvm::asm::{compile, Operation::*};
use bpfvm::bpf::{bpf_ld, bpf_ldx, bpf_ret, JmpOp, Mode, Src};
use bpfvm::vm::BpfVM;
use libc::sock_filter;

/// A program's name, its instructions and what bpfvm comes to, with 64 bytes of data.
fn tell(name: &str, program: Vec<sock_filter>) {
    let result = match BpfVM::new(&program).unwrap().run(&[0; 16]) {
        Ok(result) => result.to_string(),
        Err(error) => error.to_string(),
    };
    let words: Vec<_> = program.iter().map(|it| format!("{},{},{},{}", it.code, it.jt, it.jf, it.k)).collect();
    println!("{name}|{}|{result}", words.join(" "));
}

fn main() {
    let index = |operation| sock_filter { code: (libc::BPF_JMP | operation | libc::BPF_X) as u16, jt: 0, jf: 1, k: 0 };
    let compared = |operation, accumulator, index_register| {
        let mut program = vec![bpf_ld(Mode::IMM, accumulator), bpf_ldx(Mode::IMM, index_register), index(operation)];
        program.extend([bpf_ret(Src::Const, 1), bpf_ret(Src::Const, 2)]);
        program
    };
    tell("5 = index 5", compared(libc::BPF_JEQ, 5, 5));
    tell("5 > index 9", compared(libc::BPF_JGT, 5, 9));
    tell("5 & index 4", compared(libc::BPF_JSET, 5, 4));
    tell("length", vec![bpf_ld(Mode::LEN, 0), bpf_ret(Src::Acc, 0)]);
    let far = |between: u32| {
        let mut lines = vec![Load(Mode::IMM, 1), Jump(JmpOp::JEQ, 1, Some("far"), None)];
        lines.extend((0..between).map(|_| Load(Mode::IMM, 0)));
        lines.extend([Return(Src::Const, 3), Label("far"), Return(Src::Const, 4)]);
        compile(&lines).unwrap()
    };
    tell("label 101 away", far(100));
    tell("label 301 away", far(300));
    tell("TXA", vec![bpf_ldx(Mode::IMM, 7), sock_filter { code: (libc::BPF_MISC | 0x80) as u16, jt: 0, jf: 0, k: 0 }, bpf_ret(Src::Acc, 0)]);
}
RUST
cargo build --quiet
cat > kernel.py <<'PY'
# The kernel cuts a packet to the length that a socket's filter comes to.
import ctypes
import socket
import struct
import sys

for line in sys.stdin:
    name, program, by_bpfvm = line.rstrip().split("|")
    words = [tuple(map(int, it.split(","))) for it in program.split()]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *it) for it in words))
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    far.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HxxxxxxP", len(words), ctypes.addressof(code)))
    near.send(bytes(64))
    print(f"{name}: bpfvm {by_bpfvm}, kernel {len(far.recv(100))}")
PY
echo "bpfvm 0.1.2, Linux $(uname -r | cut -d - -f 1)"
./target/debug/finding | python3 kernel.py | tee read
cat > expected <<'END'
5 = index 5: bpfvm 2, kernel 1
5 > index 9: bpfvm 1, kernel 2
5 & index 4: bpfvm 2, kernel 1
length: bpfvm 16, kernel 64
label 101 away: bpfvm 4, kernel 4
label 301 away: bpfvm 3, kernel 3
TXA: bpfvm Unsupported BPF Instruction; 7., kernel 7
END
cmp expected read
