#!/bin/bash
# Expected: the crate device_tree_parser, "validated against real QEMU-generated DTB files", tells of the tree that QEMU makes for `virt` on aarch64
# where its console and its memory are, and gives a number as the number that it is: uart_addresses() for the first, prop_u32 and prop_u64 for
# one or two cells, size_cells() for what `#size-cells` says.
# Happens: what looks like text is text to it: memory from 0x40000000 of 1 GiB is the list "@", "@" and has no numbers, translate_reg_addresses()
# finds no region in it, and no error. A number that is zero has no value: `#size-cells = <0>`, which stands at every `cpus`, is 1 to
# size_cells(), and the first processor has no number. With 2 GiB the same memory is found. prop_u64 has a value for nothing, since eight
# bytes are two cells first. The console is at 0: the upper half of its address is taken for the whole.
# Matters for: aarch64 (A17 in docs/CONSTITUTION.md), whose Spine would have to find its console on just this machine.
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
device_tree_parser = "=0.4.0"
END
cat > src/main.rs <<'END'
fn main() {
    let bytes = std::fs::read("board.dtb").unwrap();
    let parser = device_tree_parser::DeviceTreeParser::new(&bytes);
    let tree = parser.parse_tree().unwrap();
    let node = |path| tree.find_node(path).unwrap();
    println!("uart_addresses: {:x?}", parser.uart_addresses().unwrap());
    println!("memory: {:?}", node("/memory@40000000")["reg"].value);
    println!("memory, as numbers: {:x?}", node("/memory@40000000").prop_u32_array("reg"));
    println!("memory, as a region: {:x?}", node("/memory@40000000").translate_reg_addresses(Some(&tree)).unwrap());
    println!("cpus: #size-cells {:?}, size_cells() {:?}", node("/cpus").prop_u32("#size-cells"), node("/cpus").size_cells().unwrap());
    println!("cpu@0: {:?}, cpu@1: {:?}", node("/cpus/cpu@0").prop_u32("reg"), node("/cpus/cpu@1").prop_u32("reg"));
    println!("initrd, as u64: {:?}", node("/chosen").prop_u64("linux,initrd-start"));
}
END
cargo build --quiet
# The forms and the numbers of QEMU's own tree for `virt`.
cat > board.dts <<'END'
/dts-v1/;
/ {
    #address-cells = <2>;
    #size-cells = <2>;
    compatible = "linux,dummy-virt";
    chosen { stdout-path = "/pl011@9000000"; linux,initrd-start = <0 0x48000000>; };
    memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 SIZE>; };
    cpus {
        #address-cells = <1>;
        #size-cells = <0>;
        cpu@0 { device_type = "cpu"; compatible = "arm,cortex-a53"; reg = <0>; };
        cpu@1 { device_type = "cpu"; compatible = "arm,cortex-a53"; reg = <1>; };
    };
    pl011@9000000 { compatible = "arm,pl011", "arm,primecell"; reg = <0 0x9000000 0 0x1000>; };
};
END
export LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu
PATH=$dir/unpacked/usr/bin:$PATH
echo "device_tree_parser 0.4.0; $(dtc --version)"
as_described=0
has() { grep -qxF "$1" read || as_described=1; }
for size in 0x40000000 0x80000000; do
    sed "s/SIZE/$size/" board.dts | dtc -q -O dtb -o board.dtb
    echo "fdtget: console at $(fdtget -t x board.dtb /pl011@9000000 reg), memory $(fdtget -t x board.dtb /memory@40000000 reg)," \
        "#size-cells of cpus $(fdtget -t x board.dtb /cpus '#size-cells'), cpu@0 $(fdtget -t x board.dtb /cpus/cpu@0 reg)"
    ./target/debug/finding | tee read | sed 's/^/    /'
    has 'uart_addresses: [0]'
    has 'cpus: #size-cells None, size_cells() 1'
    has 'cpu@0: None, cpu@1: Some(1)'
    has 'initrd, as u64: None'
    if [ $size = 0x40000000 ]; then
        has 'memory: StringList(["@", "@"])'
        has 'memory, as numbers: None'
        has 'memory, as a region: []'
    else
        has 'memory, as a region: [(40000000, 80000000)]'
    fi
done
exit "$as_described"
