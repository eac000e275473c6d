#!/bin/bash
# Expected: bsdtar turns an archive into one of another form, `bsdtar -cf new.tar @old.cpio`, with what is in the files, or says that it cannot;
# its manual says of @archive that the archive is opened and its entries are appended to the new one.
# Happens: where cpio holds a file under several names (newc, the form of an initramfs, whose data stand with the last name), the tar has all
# the names, linked to each other, and none of the data: each is an empty file. Nothing is said, and the end is 0. The same archive unpacked
# by bsdtar itself is whole. The way back is no better: of a tar's links newc gets names that are no file and have no type, again with 0.
# Matters for: spine.img, a cpio in newc (docs/BUILD.md), whose writer in xtask/factory/src/assemble.rs gives each name its own data; who looks
# into another initramfs this way, or makes a room of one, loses what is linked. BusyBox is often there under many names.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download libarchive-tools=3.6.2-1+deb12u5 libarchive13=3.6.2-1+deb12u5 cpio=2.13+dfsg-7.1 \
    libxml2=2.9.14+dfsg-1.3~deb12u6 libicu72=72.1-3+deb12u1 libnettle8=3.8.1-2 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
export PATH=$dir/unpacked/bin:$dir/unpacked/usr/bin:$PATH LD_LIBRARY_PATH=$dir/unpacked/usr/lib/x86_64-linux-gnu
bsdtar --version
mkdir files by-bsdtar by-cpio through-tar
echo "what is in it" >files/first
ln files/first files/second
echo "not linked" >files/third
(cd files && printf '%s\n' first second third | cpio -o -H newc --quiet) >old.cpio
bsdtar -C by-bsdtar -xf old.cpio
(cd by-cpio && cpio -i --quiet) <old.cpio
code=0
bsdtar -cf new.tar @old.cpio 2>said || code=$?
tar -C through-tar -xf new.tar
for how in by-bsdtar by-cpio through-tar; do
    echo "$how:"
    (cd $how && stat -c '    %n %s bytes, %h names' first second third)
done
echo "the conversion ended with $code and said: $(cat said)"
tar -C files -cf old.tar first second third
back=0
bsdtar --format=newc -cf new.cpio @old.tar 2>>said || back=$?
echo "the way back, ended with $back:"
cpio -tv --quiet <new.cpio | tee listed
[ "$code$back" = 00 ] && [ ! -s said ]
cmp files/first by-bsdtar/first
cmp files/first by-cpio/second
cmp files/third through-tar/third
[ "$(stat -c %s:%h through-tar/first):$(stat -c %s:%h through-tar/second)" = 0:2:0:2 ]
grep -q '^?.* 0 .* second$' listed
