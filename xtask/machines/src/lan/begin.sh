# The first process of a network for tests. Not a mount, a link or a process of it is there for anybody else.
set -e
mkdir -p "$dir/over" "$dir/root"
mount -t tmpfs none "$dir/over"
mkdir "$dir/over/up" "$dir/over/work"
mount -t overlay none -o "lowerdir=$servers,upperdir=$dir/over/up,workdir=$dir/over/work" "$dir/root"
# QEMU's user network hands questions for names to the server that is named here.
printf 'nameserver 127.0.0.1\n' >"$dir/resolv.conf"
mount --bind "$dir/resolv.conf" /etc/resolv.conf
cd "$dir/root"
mkdir -p dev proc etc lan logs run tmp var/lib/kea var/lib/dhcp var/lib/nginx var/log/nginx
mount --rbind /dev dev
mount -t proc none proc
mount --bind "$dir" lan
mount --bind "$logs" logs
# An image of packages that nobody has set up has neither.
[ -e etc/passwd ] || printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >etc/passwd
[ -e etc/group ] || printf 'root:x:0:\nnogroup:x:65534:\n' >etc/group
exec chroot . /bin/sh
