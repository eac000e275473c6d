#!/bin/bash
# Expected: the crate freedesktop-icons, "a freedesktop icon lookup implementation", and the Python package pyxdg find for a name and a size the file that the
# Icon Theme Specification's "Icon Lookup" finds: the nearest size where none fits, an icon that may be scaled up to 64 pixels being 176 away from 240;
# in the theme, in all that it inherits from and what those do, then in hicolor; .png, .svg or .xpm; and the user's ~/.icons before the system's folders.
# Happens: to both an icon that may be scaled up to 64 is right for 240, and that of 256 pixels is passed over; an icon of the user's own is passed over for the
# system's of the same theme and size. freedesktop-icons looks at a theme's parents and not at theirs, and finds no .xpm: it looks for `.xmp`. Nothing
# is said. The crate icon finds all of them.
# Matters for: the desktop (A14 in docs/CONSTITUTION.md): its menus and bars take their icons by such a crate.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check pyxdg==0.28 >&2
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
freedesktop-icons = "=0.4.0"
icon = "=0.2.0"
TOML
cat > src/main.rs <<'RUST'
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (name, size) = (&*arguments[2], arguments[3].parse().unwrap());
    let found = match &*arguments[1] {
        "freedesktop-icons" => freedesktop_icons::lookup(name).with_theme("Child").with_size(size).find(),
        _ => icon::Icons::new().find_icon(name, size.into(), 1, "Child").map(|it| it.path().to_owned()),
    };
    println!("{}", found.map_or("nothing".into(), |it| it.display().to_string()));
}
RUST
cargo build --quiet
cat > look.py <<'PY'
import sys
from xdg.IconTheme import getIconPath

print(getIconPath(sys.argv[1], int(sys.argv[2]), "Child") or "nothing")
PY
theme() {
    mkdir -p "system/icons/$1"
    printf '[Icon Theme]\nName=%s\nComment=%s\n' "$1" "$1" >"system/icons/$1/index.theme"
    [ -z "$2" ] || echo "Inherits=$2" >>"system/icons/$1/index.theme"
    printf 'Directories=16/apps,scalable/apps,256/apps\n
[16/apps]\nSize=16\nType=Fixed\n
[scalable/apps]\nSize=48\nMinSize=32\nMaxSize=64\nType=Scalable\n
[256/apps]\nSize=256\nType=Fixed\n' >>"system/icons/$1/index.theme"
    mkdir -p "system/icons/$1"/{16,scalable,256}/apps
}
theme Child Parent
theme Parent Grandparent
theme Grandparent hicolor
theme hicolor ''
touch system/icons/Child/{scalable/apps/both.svg,256/apps/both.png} system/icons/Parent/16/apps/parent.png
touch system/icons/Grandparent/16/apps/grandparent.png system/icons/Child/16/apps/old.xpm
mkdir -p home/.icons/Child/16/apps home/.local/share
touch home/.icons/Child/16/apps/own.png system/icons/Child/16/apps/own.png
export XDG_DATA_DIRS=$dir/system XDG_DATA_HOME=$dir/home/.local/share
echo "freedesktop-icons 0.4.0, icon 0.2.0, pyxdg 0.28"
as_described=0
# A name and a size, what is right, what pyxdg and what freedesktop-icons finds.
check() {
    found=("$(HOME=$dir/home env/bin/python look.py "$1" "$2")")
    for reader in icon freedesktop-icons; do
        found+=("$(HOME=$dir/home ./target/debug/finding "$reader" "$1" "$2")")
    done
    printf '%s\n' "$1 of $2" "    pyxdg: ${found[0]#"$dir/"}" "    icon: ${found[1]#"$dir/"}" "    freedesktop-icons: ${found[2]#"$dir/"}"
    [ "${found[1]#"$dir/"}" = "$3" ] && [ "${found[0]#"$dir/"}" = "$4" ] && [ "${found[2]#"$dir/"}" = "$5" ] || as_described=1
}
child=system/icons/Child parent=system/icons/Parent/16/apps/parent.png
check both 48 $child/scalable/apps/both.svg $child/scalable/apps/both.svg $child/scalable/apps/both.svg
check both 240 $child/256/apps/both.png $child/scalable/apps/both.svg $child/scalable/apps/both.svg
check parent 16 $parent $parent $parent
check grandparent 16 system/icons/Grandparent/16/apps/grandparent.png system/icons/Grandparent/16/apps/grandparent.png nothing
check old 16 $child/16/apps/old.xpm $child/16/apps/old.xpm nothing
check own 16 home/.icons/Child/16/apps/own.png $child/16/apps/own.png $child/16/apps/own.png
exit "$as_described"
