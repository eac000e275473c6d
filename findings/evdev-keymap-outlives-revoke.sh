#!/bin/bash
# Expected: EVIOCREVOKE takes a keyboard back from whom it was lent to; the next one to open it finds it as it was before.
# Happens: what its keys mean (EVIOCSKEYCODE_V2) and how they repeat (EVIOCSREP) belong to the device, not to the opening: reading is all the
# access that it takes to set them, and they stay when the opening is revoked and closed. The next reader gets `b` for a pressed `a`.
# Relies on it: bay0-persona/policies/seccomp/refused.toml, which refuses both to rooms.
set -eu
version=6.12.117+deb12-cloud-amd64
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -q download linux-image-$version=6.12.117-1~deb12u1 2>/dev/null >&2
dpkg -x ./*.deb unpacked
command -v qemu-system-x86_64 >/dev/null || apt-get -q install -y qemu-system-x86 >/dev/null
command -v cc >/dev/null || apt-get -q install -y gcc libc6-dev >/dev/null
command -v cpio >/dev/null || apt-get -q install -y cpio >/dev/null
mkdir -p initrd/dev
xz -dc unpacked/lib/modules/$version/kernel/drivers/input/evdev.ko.xz >initrd/evdev.ko
cat >init.c <<'END'
#include <fcntl.h>
#include <linux/input.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The keyboard, opened anew for reading; -1 as long as it is not there. */
static int keyboard(void)
{
    for (int number = 0; number < 16; number++) {
        char path[32], name[64] = "";
        snprintf(path, sizeof path, "/dev/input/event%d", number);
        int fd = open(path, O_RDONLY);
        if (fd >= 0 && ioctl(fd, EVIOCGNAME(sizeof name), name) > 0 && strstr(name, "keyboard"))
            return fd;
        close(fd);
    }
    return -1;
}

static int mapped(int fd, unsigned index, struct input_keymap_entry *entry)
{
    memset(entry, 0, sizeof *entry);
    entry->flags = INPUT_KEYMAP_BY_INDEX;
    entry->index = index;
    return ioctl(fd, EVIOCGKEYCODE_V2, entry);
}

int main(void)
{
    struct input_keymap_entry entry;
    struct input_event event;
    unsigned repeat[2], slow[2] = {1000, 500};
    mount("none", "/dev", "devtmpfs", 0, NULL);
    freopen("/dev/console", "w", stdout);
    setbuf(stdout, NULL);
    syscall(SYS_finit_module, open("/evdev.ko", O_RDONLY), "", 0);
    int lent = -1;
    while ((lent = keyboard()) < 0)
        usleep(100000);
    ioctl(lent, EVIOCGREP, repeat);
    printf("SEEN before: repeats after %u ms\n", repeat[0]);
    unsigned index = 0;
    while (mapped(lent, index, &entry) == 0 && entry.keycode != KEY_A)
        index++;
    entry.keycode = KEY_B;
    printf("SEEN a made b: %d, repeat: %d\n", ioctl(lent, EVIOCSKEYCODE_V2, &entry), ioctl(lent, EVIOCSREP, slow));
    printf("SEEN revoked: %d\n", ioctl(lent, EVIOCREVOKE, 0));
    printf("SEEN read after it: %zd\n", read(lent, &event, sizeof event));
    close(lent);
    int next = keyboard();
    ioctl(next, EVIOCGREP, repeat);
    printf("SEEN next: repeats after %u ms\n", repeat[0]);
    puts("SEEN ready");
    do
        read(next, &event, sizeof event);
    while (event.type != EV_KEY);
    printf("SEEN pressed a: code %u, a is %u, b is %u\n", event.code, KEY_A, KEY_B);
    reboot(RB_POWER_OFF);
}
END
cc -static -o initrd/init init.c
(cd initrd && find . | cpio -o -H newc 2>/dev/null) >initrd.img
touch console
{
    for _ in $(seq 300); do ! grep -q 'SEEN ready' console || break; sleep 0.2; done
    echo sendkey a
    for _ in $(seq 50); do ! grep -q 'SEEN pressed' console || break; sleep 0.2; done
    echo quit
} | timeout 120 qemu-system-x86_64 -M q35 -accel tcg -cpu max -m 512 -display none -nodefaults -no-reboot -monitor stdio -serial file:console \
    -kernel unpacked/boot/vmlinuz-$version -initrd initrd.img -append "console=ttyS0 quiet" >/dev/null || true
echo "Linux $version"
tr -d '\r' <console | grep -ao 'SEEN .*' | tee seen
for line in 'before: repeats after 250 ms' 'a made b: 0, repeat: 0' 'revoked: 0' 'read after it: -1' 'next: repeats after 1000 ms' 'pressed a: code 48,'; do
    grep -q "SEEN $line" seen
done
