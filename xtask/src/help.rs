//! What `--help` shows below the options, and the refusal of a filter that names nothing.

use anyhow::{Result, bail};

pub const ALL: &str = "Examples:
  cargo xtask qemu                    set everything up and boot on this terminal (Ctrl-A X leaves)
  cargo xtask qemu --smoke            boot headless; exit 0 GREEN, 1 YELLOW, 2 RED, 3 no verdict, 4 not tried
  cargo xtask test                    everything that is checked, with its own set-up
  cargo xtask --locked spine          only what the locks pin: a package that the archive has dropped is an error
  cargo xtask spine                   ./vmlinuz and ./build/spine.img
  cargo xtask persist --size 1G --force

Exit codes: 0 all well, 1 a check failed, 4 the command could not do its work; those of `qemu --smoke` above";

pub const SPINE: &str = "Examples:
  cargo xtask spine                   ./vmlinuz and ./build/spine.img, with a kernel that is built here
  cargo xtask spine --soil alpine     build/alpine/vmlinuz and build/alpine/spine.img
  cargo xtask spine --soil debian     build/debian/vmlinuz and build/debian/spine.img, with a kernel that is not built here
  cargo xtask spine --profile release build/release-hardened: what ships
  cargo xtask spine --fault           the test build, in build/fault/
  cargo xtask spine --rooms busybox,web    with these images of rooms and no others, in build/rooms.img
  cargo xtask spine --rooms none      without any: no room can be started";

pub const STAGE: &str = "Example:
  cargo xtask stage                   prints the staged folder: the first argument of `assemble`";

pub const ASSEMBLE: &str = "Example:
  cargo xtask assemble build/stage out    out/vmlinuz and out/spine.img, the bytes of `cargo xtask spine`";

pub const VM: &str = "Examples:
  cargo xtask vm --list               names and promises
  cargo xtask vm h06                  the scenarios of one requirement
  cargo xtask vm --soil debian h06    the same on Debian's kernel
  cargo xtask vm --rooms busybox,dev  with the large image too, and the scenarios that need it
  cargo xtask vm s04 --cuts 100 --seed 7 --jobs 1";

pub const SOAK: &str = "Examples:
  cargo xtask soak --for 8h           every topic by turns; the next run goes on where this one stopped
  cargo xtask soak scenarios --for 1h --under-load        machines in a random order, on a busy host
  cargo xtask soak genesis --seed 7 --from 123 --for 1s  one case again";

pub const BENCH: &str = "Examples:
  cargo xtask bench                   every figure, as a table
  cargo xtask bench boot --runs 9 --json
  cargo xtask bench store             without a machine: the store beside a bare write, SQLite and cp, in build/bench
  cargo xtask bench store --dir /persist --size 256M    on that disk, with less sealed than a GiB
  cargo xtask bench rooms             as root: rooms beside a bare sandbox, bubblewrap, crun and runc";

pub const QEMU: &str = "Examples:
  cargo xtask qemu                    boot on this terminal (Ctrl-A X leaves)
  cargo xtask qemu --smoke --timeout 120
  cargo xtask qemu --soil alpine --accel tcg
  cargo xtask qemu --uefi --update build/update.img    then `update` and `reboot` at the prompt
  cargo xtask qemu --uefi --secure-boot    build/disk.img, made where it is missing, under UEFI
  cargo xtask qemu --uefi --fresh          the same with both slots written from this tree first
  cargo xtask qemu --vault            build/vault.img as /persist, made where it is missing; docs/VAULT.md
  cargo xtask qemu --vault --tpm      the same, sealed to an emulated TPM as well: build/sealed.img, build/tpm
  cargo xtask qemu --rooms busybox,dev,web    with these images of rooms, built where they are missing

Exit codes of --smoke: 0 GREEN, 1 YELLOW, 2 RED or after its verdict without an answer, 3 no verdict in time, 4 not tried
(wrong option, failed set-up or build)";

pub const REPIN: &str = "Examples:
  cargo xtask repin --check           what the archive still has of every lock: exit 0 all, 1 some is gone, 4 it could not be asked
  cargo xtask repin debian            the newest kernel of the series
  cargo xtask repin source            its source, for the hardened soil
  cargo xtask repin tools             the packages of cryptsetup and mke2fs
  cargo xtask repin alpine https://dl-cdn.alpinelinux.org/alpine/v3.24/releases/x86_64/netboot-3.24.2
  cargo xtask repin alpine DIR --version 3.24.2    the same from local files
  cargo xtask repin builder sha256:DIGEST --version 3.24.2
Then: cargo xtask test, and commit the lock";

pub const POLICY: &str = "Examples:
  cargo xtask policy check            every finding in all policies
  cargo xtask policy show p://web     what that room may, in plain words
  cargo xtask policy diff p://web p://dev    what p://dev may beyond p://web, and the reverse
  cargo xtask policy compile          build/policy.db; the same input makes the same bytes
  cargo xtask policy compile FILE --rooms busybox    with that image's root hash
  cargo xtask policy syscalls         which system calls each seccomp profile allows, and why
  cargo xtask policy check --dir DIR  other policies than those in bay0-persona/policies

Exit codes: 0 all policies are in order, 1 one is not, 4 the command could not do its work";

pub const PERSIST: &str = "Examples:
  cargo xtask persist                 build/persist.img, 10G and sparse, where there is none
  cargo xtask persist --size 512M --force    another one in its place
  cargo xtask persist --luks --passphrase-file FILE    build/vault.img: the same as a vault";

pub const KEYS: &str = "Examples:
  cargo xtask keys                    build/keys, for `disk` and `qemu --uefi --secure-boot`
  cargo xtask keys --force            others in their place; make the disk again afterwards";

pub const DISK: &str = "Examples:
  cargo xtask disk                    build/disk.img, signed with the keys for development
  cargo xtask disk --vault --force    anew, with a blank persist that the first boot makes a vault
  cargo xtask disk --unsigned carry   carry/spine.efi and carry/off.efi, to be signed elsewhere
  cargo xtask disk --signed carry --cert db.crt    the disk with what came back
The whole ceremony: docs/DEPLOYMENT-GUIDE.md";

pub const BUDGET: &str = "Examples:
  cargo xtask budget                  every crate and process beside its bound; 1 if one is over
  cargo xtask budget --items pid1     what PID 1 can run, the largest first, each with who mentions it
  cargo xtask budget --items none     what no process of a Spine can run";

pub const REPRODUCE: &str = "Examples:
  cargo xtask reproduce               all but the kernel a second time, in another folder
  cargo xtask reproduce --kernel      the kernel too";

pub const UPDATE: &str = "Examples:
  cargo xtask update                  build/update.img, signed with the keys for development
  cargo xtask update --out stick.img  elsewhere
Attached to a machine that was started from a slot, `update` at its operator line takes it.";

pub const SIGN: &str = "Example:
  cargo xtask sign --key db.key --cert db.crt carry/spine.efi carry/off.efi";

pub const ROOM_BUILD: &str = "Examples:
  cargo xtask room build busybox      build/rooms/busybox.sqfs: small, without privilege
  cargo xtask room build dev          a Debian system with a compiler; web and work likewise
Then: cargo xtask qemu --rooms busybox,dev (which builds what is missing by itself)";

pub const ROOM_IMPORT: &str = "Examples:
  docker save app -o app.tar && cargo xtask room import app.tar
  podman save --format oci-archive -o app.tar app && cargo xtask room import app.tar --name mine
  cargo xtask room import layout/ --name mine --force

What is refused, what is left out: docs/ROOMS.md";

pub const ROOM_NEW: &str = "Example:
  docker save app -o app.tar && cargo xtask room new app --from app.tar
  cargo xtask qemu                    then at its prompt: start p://app, enter p://app
Writes bay0-persona/policies/p__app.toml from the image's command, environment, folder and ports: docs/ROOMS.md";

pub const ROOM_REPIN: &str = "Example:
  cargo xtask room repin dev          on Debian 12: xtask/rooms/dev.lock with today's versions
Then: cargo xtask room build dev, and commit the lock";

/// What has `filter` in its name, of `all`; an error that lists the names if nothing has.
pub fn matching<'a, T>(
    what: &str,
    filter: Option<&str>,
    all: &'a [(&'static str, T)],
) -> Result<Vec<&'a (&'static str, T)>> {
    let chosen: Vec<_> = all
        .iter()
        .filter(|(name, _)| filter.is_none_or(|f| name.contains(f)))
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        bail!(
            "no {what} has {:?} in its name; next: one of {}",
            filter.unwrap_or_default(),
            names.join(", ")
        );
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_names_nothing_is_refused_with_the_names_there_are() {
        let all = [("boot", 1), ("size", 2)];
        assert_eq!(matching("group", None, &all).unwrap().len(), 2);
        assert_eq!(matching("group", Some("oo"), &all).unwrap(), [&("boot", 1)]);
        assert_eq!(
            matching("group", Some("nosuch"), &all)
                .unwrap_err()
                .to_string(),
            "no group has \"nosuch\" in its name; next: one of boot, size"
        );
    }
}
