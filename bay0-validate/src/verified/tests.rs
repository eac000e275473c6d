use super::*;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

const SPINE: &str = "etc/spine";
const MOUNTS: &str = "proc/self/mounts";
const MODULES: &str = "proc/sys/kernel/modules_disabled";
const LOCKDOWN: &str = "sys/kernel/security/lockdown";
const CMDLINE: &str = "proc/cmdline";
const ROOT: Root<'static> = Root {
    device: "spine",
    word: "spine.root=",
    own: &[("proc", "/proc"), ("efivarfs", "/sys/firmware/efi/efivars")],
};
const RELEASE: &str = "soil=x\nprofile=release\ncmdline=quiet panic=1\n";
const GOOD: [(&str, &str); 5] = [
    (SPINE, RELEASE),
    (
        MOUNTS,
        "/dev/dm-0 / squashfs ro,relatime 0 0\nproc /proc proc rw,nosuid 0 0\n",
    ),
    (MODULES, "1\n"),
    (LOCKDOWN, "none [integrity] confidentiality\n"),
    (CMDLINE, "quiet panic=1 spine.root=1,ab,cd\n"),
];

/// A machine that says what a good one says, but for this.
fn judged(but: &[(&str, Option<&str>)]) -> Result<String, String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in GOOD {
        let but = but.iter().find(|it| it.0 == name).map(|it| it.1);
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if let Some(text) = but.unwrap_or(Some(text)) {
            fs::write(path, text).unwrap();
        }
    }
    judge(dir.path())
}

fn judge(base: &Path) -> Result<String, String> {
    ROOT.judge(base).map_err(|why| why.to_string())
}

fn proven(mounts: u8, lockdown: &str, more: u8) -> Result<String, String> {
    Ok(format!(
        "verified, {mounts} mounts as they must be, a write to / answers EROFS, lockdown {lockdown}, {more} words more on the command line"
    ))
}

fn refused(why: &str) -> Result<String, String> {
    Err(why.to_owned())
}

#[test]
fn c01_a_root_is_proven_by_what_the_kernel_says() {
    assert_eq!(judged(&[]), proven(2, "integrity", 0));
    // A kernel without loadable modules.
    assert_eq!(judged(&[(MODULES, None)]), proven(2, "integrity", 0));
    let vars = "x /sys/firmware/efi/efivars efivarfs rw,nosuid 0 0\n";
    assert_eq!(judged(&[(MOUNTS, Some(vars))]), proven(1, "integrity", 0));
}

#[test]
fn c01_what_is_not_as_it_must_be_is_named() {
    let tmpfs = "tmpfs /proc tmpfs rw,nosuid 0 0\n";
    let writable = refused("/proc (tmpfs) is mounted writable");
    assert_eq!(judged(&[(MOUNTS, Some(tmpfs))]), writable);
    let garbled = refused("/proc/self/mounts says \"proc /proc\"");
    assert_eq!(judged(&[(MOUNTS, Some("proc /proc\n"))]), garbled);
    for open in ["0\n", "", "1"] {
        assert_eq!(
            judged(&[(MODULES, Some(open))]),
            refused("modules can be loaded")
        );
    }
    for lockdown in [
        Some("[none] integrity confidentiality\n"),
        Some("[]"),
        Some(""),
        None,
    ] {
        let unlocked = refused("the kernel is not locked down");
        assert_eq!(judged(&[(LOCKDOWN, lockdown)]), unlocked);
    }
    let more = refused("1 words more on the command line");
    assert_eq!(judged(&[(CMDLINE, Some("quiet init=/x panic=1\n"))]), more);
}

#[test]
fn c01_only_a_spine_that_says_dev_is_one() {
    let lax = [(LOCKDOWN, None), (CMDLINE, Some("quiet more\n"))];
    let with = |facts| judged(&[lax[0], lax[1], (SPINE, Some(facts))]);
    assert_eq!(
        with("profile=dev\ncmdline=quiet\n"),
        proven(2, "unknown", 1)
    );
    for facts in [RELEASE, "", "profile=\n", "profile=devel\n", "soil=dev\n"] {
        assert_eq!(with(facts), refused("the kernel is not locked down"));
    }
}

#[test]
fn c01_what_cannot_be_read_is_never_dev_and_never_well() {
    let dev = (SPINE, Some("profile=dev\n"));
    for name in [SPINE, MOUNTS, CMDLINE] {
        let why = format!("read /{name}: No such file or directory (os error 2)");
        assert_eq!(
            judged(&[dev, (name, None)][usize::from(name == SPINE)..]),
            Err(why)
        );
    }
    // Something is there, and no text: of these two the lack is an answer, and nothing else.
    for (name, text) in GOOD {
        let dir = tempfile::tempdir().unwrap();
        for (other, good) in GOOD
            .into_iter()
            .filter(|it| it.0 != name)
            .chain([(name, text)])
        {
            let path = dir.path().join(other);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match other == name {
                true => fs::create_dir(path).unwrap(),
                false => fs::write(path, good).unwrap(),
            }
        }
        let why = format!("read /{name}: Is a directory (os error 21)");
        assert_eq!(judge(dir.path()), Err(why));
        if nix::unistd::Uid::effective().is_root() {
            continue;
        }
        let path = dir.path().join(name);
        fs::remove_dir(&path).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
        let why = format!("read /{name}: Permission denied (os error 13)");
        assert_eq!(judge(dir.path()), Err(why));
    }
}
