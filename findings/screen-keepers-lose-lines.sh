#!/bin/bash
# Expected: what keeps the screen of a terminal, as the crate vt100 does for "programs like screen or tmux" and the Python package pyte does, has on it what a
# terminal would show: a region that scrolls (DECSTBM) puts the cursor in the screen's upper left corner, and a step up (RI) scrolls only at the
# region's upper edge (DEC's VT510 manual); without DECAWM a line's end stays its end; what an APC, PM or DCS holds is no text, and a parameter
# may have parts behind colons (ECMA-48 5.6, 5.4.2; ITU-T T.416 for colours).
# Happens: vt100 puts the cursor at the upper edge of the region, and both scroll the region by a step up that is sent above it, so that lines are lost. vt100
# goes on to the next line without DECAWM, overwrites in insert mode (IRM), and passes over IND and CBT. pyte shows what an APC, PM or DCS
# holds, as pictures are sent (sixel, kitty's), and the rest of a colour with colons; it passes over SU, SD, REP and CBT. No error is told; vt100 has a call
# for what it does not know, which DECSTBM and RI are not. The crate avt and xterm.js (npm's @xterm/headless) agree on each line.
# Matters for: the desktop (A14 in docs/CONSTITUTION.md) and what its terminal shows: a room that runs programs under either has another screen in mind.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check pyte==0.8.2 wcwidth==0.2.13 >&2
npm install --silent --no-audit --no-fund @xterm/headless@6.0.0 >&2
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
avt = "=0.19.0"
vt100 = "=0.18.1"
TOML
# Each prints the six lines of its screen with a bar behind each, and none behind the last that is not empty.
cat > src/main.rs <<'RUST'
use std::{io::Read, num::NonZeroU16};

fn main() {
    let mut sent = String::new();
    std::io::stdin().read_to_string(&mut sent).unwrap();
    let lines: Vec<String> = if std::env::args().nth(1).unwrap() == "vt100" {
        let mut parser = vt100::Parser::new(NonZeroU16::new(6).unwrap(), NonZeroU16::new(20).unwrap(), 0);
        parser.process(sent.as_bytes());
        parser.screen().rows(0, 20).collect()
    } else {
        let mut terminal = avt::Terminal::new(20, 6).unwrap();
        terminal.feed(&*sent);
        terminal.screen().visible_lines().map(|line| line.text()).collect()
    };
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    println!("{}", lines.join("|").trim_end_matches('|'));
}
RUST
cargo build --quiet
cat > xterm.cjs <<'JS'
const { Terminal } = require("@xterm/headless");

const terminal = new Terminal({ cols: 20, rows: 6, allowProposedApi: true });
terminal.write(require("node:fs").readFileSync(0), () => {
    const screen = terminal.buffer.active;
    const lines = [0, 1, 2, 3, 4, 5].map((at) => screen.getLine(screen.baseY + at).translateToString(true).trimEnd());
    console.log(lines.join("|").replace(/\|+$/, ""));
});
JS
cat > pyte-screen.py <<'PY'
import sys
import pyte

screen = pyte.Screen(20, 6)
pyte.ByteStream(screen).feed(sys.stdin.buffer.read())
print("|".join(line.rstrip() for line in screen.display).rstrip("|"))
PY
echo "vt100 0.18.1, pyte 0.8.2; avt 0.19.0, @xterm/headless 6.0.0"
as_described=0
# What is sent, what is right, and what vt100 and pyte have where that is another.
check() {
    printf '%b' "$2" >sent
    found=("$(node xterm.cjs <sent)" "$(./target/debug/finding avt <sent)" "$(./target/debug/finding vt100 <sent)" "$(env/bin/python pyte-screen.py <sent)")
    echo "$1"
    printf '    %s\n' "xterm.js and avt: ${found[0]}" "vt100: ${found[2]}" "pyte: ${found[3]}"
    [ "${found[0]}" = "$3" ] && [ "${found[1]}" = "$3" ] && [ "${found[2]}" = "$4" ] && [ "${found[3]}" = "$5" ] || as_described=1
}
lines='11\r\n22\r\n33\r\n44\r\n55\r\n66'
check 'DECSTBM' "$lines"'\e[2;4rx' 'x1|22|33|44|55|66' '11|x2|33|44|55|66' 'x1|22|33|44|55|66'
check 'RI above the region' "$lines"'\e[3;5r\e[1;1H\eM\eM' '11|22|33|44|55|66' '11|22|||33|66' '11|22||33|44|66'
check 'DECAWM off' '\e[?7labcdefghijklmnopqrstuvwxyz' abcdefghijklmnopqrsz 'abcdefghijklmnopqrst|uvwxyz' abcdefghijklmnopqrsz
check 'IRM' 'abcdef\e[1;3H\e[4hx' abxcdef abxdef abxcdef
check 'IND' 'ab\eDcd' 'ab|  cd' abcd 'ab|  cd'
check 'CBT' 'abcdefghijkl\e[2Zx' xbcdefghijkl abcdefghijklx abcdefghijklx
check 'SU in the region' "$lines"'\e[2;4r\e[S' '11|33|44||55|66' '11|33|44||55|66' '11|22|33|44|55|66'
check 'REP' 'ab\e[3bc' abbbbc abbbbc abc
check 'PM' 'a\e^xyz\e\\b' ab ab 'axyzb'
check 'SD in the region' "$lines"'\e[2;4r\e[T' '11||22|33|55|66' '11||22|33|55|66' '11|22|33|44|55|66'
check 'APC' 'a\e_Gf=100;AAAA\e\\b' ab ab 'aGf=100;AAAAb'
check 'DCS' 'a\ePq#1~\e\\b' ab ab 'aq#1~b'
check 'a colour with colons' 'a\e[38:2::1:2:3mb' ab ab 'a2::1:2:3mb'
exit "$as_described"
