#!/bin/bash
# Expected: the crate fdt tells of a board of aarch64 what its device tree says in the forms that boards use: the console with its speed behind a
# colon (Devicetree Specification, 3.6), interrupts of three numbers as ARM's controller has them, an address of three numbers as PCI has.
# Happens: stdout() has a console only where nothing follows its name: `serial0:115200n8` gives none, and stdin() none either. interrupts() has no
# number for a device of ARM's controller, whether the device names it or its root does, and reg() nothing for one on PCI. No error tells
# any of that from a tree that says nothing. Of another controller an interrupt of two numbers comes as one of 64 bits.
# Matters for: the serial device of aarch64 boards (A17 in docs/CONSTITUTION.md), which the Spine would have to find there.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download device-tree-compiler=1.6.1-4+b1 libfdt1=1.6.1-4+b1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
fdt = "=0.1.5"
END
cat > src/main.rs <<'END'
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let bytes = std::fs::read(path).unwrap();
    let tree = fdt::Fdt::new(&bytes).unwrap();
    println!("stdout: {:?}", tree.chosen().stdout().map(|it| it.name));
    println!("stdin: {:?}", tree.chosen().stdin().map(|it| it.name));
    for path in ["/soc/serial@9000000", "/soc/serial@9010000", "/soc/timer@9020000", "/pcie@10000000/card@1,0"] {
        let node = tree.find_node(path).unwrap();
        let interrupts: Vec<_> = node.interrupts().into_iter().flatten().collect();
        let places: Vec<_> = node.reg().into_iter().flatten().map(|it| it.starting_address as usize).collect();
        println!("{}: interrupts {interrupts:x?}, at {places:x?}", node.name);
    }
}
END
cargo build --quiet
cat > board.dts <<'END'
/dts-v1/;
/ {
    #address-cells = <2>;
    #size-cells = <2>;
    compatible = "a,board";
    model = "A board";
    interrupt-parent = <&gic>;
    aliases { serial0 = "/soc/serial@9000000"; };
    chosen { stdout-path = "CONSOLE"; };
    memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x40000000>; };
    cpus { #address-cells = <1>; #size-cells = <0>; cpu@0 { device_type = "cpu"; reg = <0>; }; };
    gic: interrupt-controller@8000000 {
        compatible = "arm,gic-v3";
        interrupt-controller;
        #interrupt-cells = <3>;
        reg = <0 0x8000000 0 0x10000>;
    };
    soc {
        compatible = "simple-bus";
        #address-cells = <1>;
        #size-cells = <1>;
        ranges = <0x9000000 0 0x9000000 0x1000000>;
        serial@9000000 { compatible = "arm,pl011"; reg = <0x9000000 0x1000>; interrupts = <0 1 4>; };
        serial@9010000 {
            compatible = "arm,pl011";
            reg = <0x9010000 0x1000>;
            interrupt-parent = <&gic>;
            interrupts = <0 2 4>;
        };
        pins: pins@9030000 { interrupt-controller; #interrupt-cells = <2>; reg = <0x9030000 0x1000>; };
        timer@9020000 { reg = <0x9020000 0x1000>; interrupt-parent = <&pins>; interrupts = <5 1>; };
    };
    pcie@10000000 {
        device_type = "pci";
        #address-cells = <3>;
        #size-cells = <2>;
        reg = <0 0x10000000 0 0x1000>;
        ranges = <0x2000000 0 0x20000000 0 0x20000000 0 0x1000000>;
        card@1,0 { reg = <0x800 0 0 0 0>; };
    };
};
END
export LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu
PATH=$dir/unpacked/usr/bin:$PATH
echo "fdt 0.1.5; $(dtc --version)"
as_described=0
has() { grep -qxF "$1" read || as_described=1; }
for console in serial0 serial0:115200n8 /soc/serial@9000000 /soc/serial@9000000:115200; do
    sed "s,CONSOLE,$console," board.dts | dtc -q -O dtb -o board.dtb
    ./target/debug/finding board.dtb >read
    echo "a console $(fdtget board.dtb /chosen stdout-path):"
    head -2 read
    case $console in
        *:*) expected=None ;;
        *) expected='Some("serial@9000000")' ;;
    esac
    has "stdout: $expected"
    has "stdin: $expected"
done
for node in /soc/serial@9000000 /soc/serial@9010000 /soc/timer@9020000; do
    echo "fdtget: ${node#/soc/}: interrupts $(fdtget -t x board.dtb $node interrupts)"
done
echo "fdtget: card@1,0 at $(fdtget -t x board.dtb /pcie@10000000/card@1,0 reg)"
tail -n +3 read
has 'serial@9000000: interrupts [], at [9000000]'
has 'serial@9010000: interrupts [], at [9010000]'
has 'timer@9020000: interrupts [500000001], at [9020000]'
has 'card@1,0: interrupts [], at []'
exit "$as_described"
