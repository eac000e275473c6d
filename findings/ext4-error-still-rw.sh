#!/bin/bash
# Expected: an ext4 mounted with errors=remount-ro is shown as `ro` in /proc/mounts and /proc/self/mountinfo once it has met an error, as
# ext4(5) says ("remount the filesystem read-only") and as kernels did for twenty years; monitoring looks for just that.
# Happens: Linux 6.12 goes on showing `rw`, while a new file is refused with EIO, not EROFS. Only /sys/fs/ext4/DEV/errors_count and the
# kernel's log tell.
# Relies on it: bay0/src/pid1/link.rs, which takes the read-only state from the counters and not from the table of mounts.
set -eu
version=6.12.117+deb12-cloud-amd64
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download linux-image-$version=6.12.117-1~deb12u1 busybox-static=1:1.35.0-4+deb12u1+b1 2>/dev/null >&2
for package in ./*.deb; do dpkg -x "$package" unpacked; done
command -v qemu-system-x86_64 >/dev/null || apt-get -q install -y qemu-system-x86 >/dev/null
mkdir -p initrd/bin initrd/dev initrd/proc initrd/sys initrd/mnt
cp unpacked/bin/busybox initrd/bin/busybox
xz -dc unpacked/lib/modules/$version/kernel/drivers/block/virtio_blk.ko.xz >initrd/virtio_blk.ko
cat >initrd/init <<'INIT'
#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
exec >/dev/console 2>&1
insmod /virtio_blk.ko
until [ -e /dev/vda ]; do :; done
mount -t ext4 -o errors=remount-ro /dev/vda /mnt
echo one >/mnt/one && echo "SEEN before: $(grep ' /mnt ' /proc/mounts)"
echo asked >/sys/fs/ext4/vda/trigger_fs_error
write=$( (echo two >/mnt/two) 2>&1 )
echo "SEEN after: $(grep ' /mnt ' /proc/mounts)"
echo "SEEN mountinfo: $(grep ' /mnt ' /proc/self/mountinfo)"
echo "SEEN errors_count: $(cat /sys/fs/ext4/vda/errors_count)"
echo "SEEN write: $write"
poweroff -f
INIT
chmod +x initrd/init
(cd initrd && find . | "$dir"/unpacked/bin/busybox cpio -o -H newc 2>/dev/null) >initrd.img
truncate -s 64M disk.img
/sbin/mke2fs -q -t ext4 disk.img
timeout 120 qemu-system-x86_64 -M q35 -accel tcg -cpu max -m 512 -nographic -nodefaults -serial stdio -no-reboot \
    -kernel unpacked/boot/vmlinuz-$version -initrd initrd.img -append "console=ttyS0 quiet" \
    -drive file=disk.img,format=raw,if=virtio </dev/null | tr -d '\r' | grep -ao 'SEEN .*' | tee seen
echo "Linux $version"
grep -q 'SEEN after: /dev/vda /mnt ext4 rw,' seen && grep -q 'SEEN errors_count: 1' seen && grep -q 'SEEN write: .*Input/output error' seen
