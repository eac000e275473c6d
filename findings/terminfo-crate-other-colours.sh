#!/bin/bash
# Expected: the crate terminfo expands a terminal's strings as `tput` does and terminfo(5) says ("Parameterized Strings"): numbers are printed as by
# printf, with width and precision; `%!` is logical not; an if-then-else may stand in another; `%c` puts out one byte. Its documentation names no
# exception, and it has an error for a string that it cannot expand.
# Happens: the precision is dropped. foot sets a colour of its palette with `%2.2X` for each of red, green and blue: a dark 0A is sent as `A`, which
# stands for AA, so what was to be nearly black is bright. A width is filled up with zeros and not with blanks, `%!` makes 0 of 0 and 1 of all
# else, so a condition is turned round, and `%c` of 128 and more is two bytes. An if inside an if is an error, "Invalid", where none of the
# inner conditions is met, and fine where one is. The first four go out without a word.
# Matters for: the desktop (A14 in docs/CONSTITUTION.md), whose terminal is foot: programs in rooms that draw with this crate send it other colours.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download ncurses-bin=6.4-4 libtinfo6=6.4-4 foot-terminfo=1.13.1-2+deb12u1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
terminfo = "=0.9.0"
END
cat > src/main.rs <<'END'
use std::io::Write;

use terminfo::expand::{Expand, Parameter};
use terminfo::{Database, Value};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let terminal = Database::from_path(&words[0]).unwrap();
    let Some(Value::String(text)) = terminal.raw(&words[1]) else { panic!("the terminal has no {}", words[1]) };
    let numbers: Vec<Parameter> = words[2..].iter().map(|it| Parameter::Number(it.parse().unwrap())).collect();
    let mut sent = Vec::new();
    match text.expand(&mut sent, &numbers, &mut Default::default()) {
        Ok(()) => std::io::stdout().write_all(&sent).unwrap(),
        Err(error) => print!("error {error:?}"),
    }
}
END
cargo build --quiet
export LD_LIBRARY_PATH=$dir/unpacked/lib/x86_64-linux-gnu:$dir/unpacked/usr/lib/x86_64-linux-gnu
export PATH=$dir/unpacked/usr/bin:$PATH TERMINFO=$dir/terminfo
cat > source <<'END'
finding|a terminal with one string for each form,
	hpa=%p1%3d,
	vpa=%?%p1%!%tnone%esome%;,
	ech=%p1%c,
	setaf=%?%p1%{7}%>%thigh%e%?%p1%{1}%=%tblue%e%p1%d%;!%;,
END
tic -o terminfo source
mkdir -p terminfo/f
cp unpacked/usr/share/terminfo/f/foot terminfo/f/
echo "terminfo 0.9.0; ncurses $(tput -V | cut -d ' ' -f 2); foot-terminfo 1.13.1"
as_described=0
# A terminal, a string of it and its numbers; then what tput sends, and what the crate sends, as Python would write it.
sent() {
    tput -T "$1" "${@:4}" >by-tput
    ./target/debug/finding "terminfo/f/$1" "${@:4}" >by-crate
    echo "$1, ${*:4}: tput $(od -An -c by-tput | tr -d '\n' | tr -s ' '), the crate $(od -An -c by-crate | tr -d '\n' | tr -s ' ')"
    printf %b "$2" | cmp by-tput && printf %b "$3" | cmp by-crate || as_described=1
}
sent foot '\033]4;5;rgb:7F/FF/10\033\\' '\033]4;5;rgb:7F/FF/10\033\\' initc 5 500 1000 65
sent foot '\033]4;5;rgb:0A/00/0F\033\\' '\033]4;5;rgb:A/0/F\033\\' initc 5 40 0 60
sent finding '  7' '007' hpa 7
sent finding none some vpa 0
sent finding some none vpa 5
sent finding '\310' '\303\210' ech 200
sent finding high high setaf 9
sent finding 'blue!' 'blue!' setaf 1
sent finding '5!' 'error Expand(Invalid)' setaf 5
exit "$as_described"
