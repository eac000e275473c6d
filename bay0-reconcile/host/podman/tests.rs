use super::*;
use nix::libc;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

struct Scene {
    dir: tempfile::TempDir,
    podman: Podman,
}

/// A stand-in: a shell script in podman's place.
fn stand_in(script: &str) -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("podman");
    // Written under another name: a file open for writing in any thread cannot be executed.
    fs::write(dir.path().join("script"), script).unwrap();
    fs::write(&program, "#!/bin/sh\n. \"${0%/*}/script\"\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let deadline = Duration::from_secs(5);
    Scene {
        dir,
        podman: Podman(program, deadline),
    }
}

fn refused(script: &str) -> String {
    stand_in(script).podman.list().unwrap_err().to_string()
}

#[test]
fn h13_no_podman_is_a_fact_and_not_an_error() {
    let mut scene = stand_in("");
    scene.podman.0 = scene.dir.path().join("nowhere");
    assert_eq!(scene.podman.list().unwrap(), []);
}

#[test]
fn h13_a_listing_is_read_whole() {
    let other = ID.replace('0', "f");
    let scene = stand_in(&format!(
        "printf '{ID}\\tp__work\\trunning\\n{other}\\tpeaceful_euler\\texited\\n'"
    ));
    let work = PersonaName::parse("p://work").unwrap();
    let expected = vec![
        Found {
            id: ID.to_owned(),
            name: Some(work),
            running: true,
        },
        Found {
            id: other,
            name: None,
            running: false,
        },
    ];
    assert_eq!(scene.podman.list().unwrap(), expected);
    assert_eq!(stand_in("").podman.list().unwrap(), []);
}

#[test]
fn h13_the_sentences_of_an_older_podman_are_understood() {
    let says = |state: &str| {
        parse(format!("{ID}\tp__a\t{state}\n").as_bytes()).map(|found| found[0].running)
    };
    for state in [
        "running",
        "Up 5 seconds ago",
        "Up Less than a second ago",
        "paused",
        "Paused",
    ] {
        assert_eq!(says(state), Ok(true), "{state}");
    }
    for state in [
        "created",
        "Created",
        "Exited (0) 3 minutes ago",
        "stopping",
        "Initialized",
    ] {
        assert_eq!(says(state), Ok(false), "{state}");
    }
    for state in ["", "Upwards", " up", "dead"] {
        assert_eq!(
            says(state),
            Err("line 1 is in no known state".to_owned()),
            "{state}"
        );
    }
}

#[test]
fn h13_it_is_asked_in_a_machine_readable_format() {
    let scene = stand_in("printf '%s|' \"$@\" >\"${0%/*}/asked\"");
    scene.podman.list().unwrap();
    scene.podman.remove(ID).unwrap();
    let asked = || fs::read_to_string(scene.dir.path().join("asked")).unwrap();
    assert_eq!(asked(), format!("rm|--force|--time|0|{ID}|"));
    scene.podman.list().unwrap();
    let listed = "ps|--all|--no-trunc|--format|{{.ID}}\t{{.Names}}\t{{.State}}|";
    assert_eq!(asked(), listed);
}

#[test]
fn h13_a_tool_that_hangs_is_killed_with_its_helpers() {
    let mut scene =
        stand_in("exec 9>\"${0%/*}/fifo\"; (sleep 3; echo survived >&9) & sleep 3; wait");
    scene.podman.1 = Duration::from_millis(200);
    let fifo = scene.dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut options = fs::File::options();
    let mut heard = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&fifo)
        .unwrap();
    let err = scene.podman.list().unwrap_err();
    assert_eq!(err.to_string(), "not done after 200 ms, killed");
    // Ends when the last process that holds the other end has.
    fcntl(&heard, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    let mut said = String::new();
    heard.read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn h13_a_tool_that_closes_its_output_and_hangs_is_killed() {
    let mut scene = stand_in("exec >&-; sleep 1000");
    scene.podman.1 = Duration::from_millis(200);
    let err = scene.podman.list().unwrap_err();
    assert_eq!(err.to_string(), "not done after 200 ms, killed");
}

#[test]
fn h13_a_tool_that_prints_ten_megabytes_is_cut_off() {
    let flood = "head -c 10000000 /dev/zero";
    assert_eq!(refused(flood), "over 262144 bytes, killed");
}

#[test]
fn h13_half_a_line_spoils_the_list() {
    let script = format!("printf '{ID}\\tp__work\\trunning\\n{ID}\\tp__wo'");
    assert_eq!(refused(&script), "line 2 is half a line");
    assert_eq!(
        refused(&format!("printf '{ID}\\tp__work\\trunning'")),
        "line 1 is half a line"
    );
}

#[test]
fn h13_garbage_spoils_the_list() {
    assert_eq!(
        refused("echo Error: database locked"),
        "line 1 is not three fields"
    );
    assert_eq!(refused("echo"), "line 1 is not three fields");
    assert_eq!(refused("printf '\\377\\n'"), "it wrote no text");
    assert_eq!(
        refused("printf 'abc\\tp__a\\trunning\\n'"),
        "line 1 is without an id of 64 hex digits"
    );
    let upper = ID.to_uppercase();
    let script = format!("printf '{upper}\\tp__a\\trunning\\n'");
    assert_eq!(refused(&script), "line 1 is without an id of 64 hex digits");
}

#[test]
fn h13_lies_spoil_the_list() {
    let script = format!("printf '{ID}\\tp__a\\trunning\\n{ID}\\tp__b\\trunning\\n'");
    assert_eq!(refused(&script), "line 2 repeats an id");
    assert_eq!(
        refused(&format!("printf '{ID}\\tp__a\\thappy\\n'")),
        "line 1 is in no known state"
    );
    let script = format!("printf '{ID}\\tp__a\\trunning\\n'; exit 3");
    assert_eq!(refused(&script), "exit status: 3");
}

#[test]
fn h13_a_file_that_cannot_be_run_is_an_error() {
    let scene = stand_in("");
    fs::set_permissions(&scene.podman.0, fs::Permissions::from_mode(0o644)).unwrap();
    let err = scene.podman.list().unwrap_err();
    assert_eq!(err.to_string(), "Permission denied (os error 13)");
}

proptest! {
    #[test]
    fn a16_no_output_panics_and_a_cut_listing_is_never_taken_for_a_shorter_one(
        junk in ".*",
        cut in any::<prop::sample::Index>(),
    ) {
        let _ = parse(junk.as_bytes());
        let whole = format!("{ID}\tp__work\trunning\n");
        let cut = cut.index(whole.len().saturating_sub(1)).saturating_add(1);
        prop_assert!(parse(&whole.as_bytes()[..cut]).is_err());
        prop_assert_eq!(parse(whole.as_bytes()).unwrap().len(), 1);
    }
}

/// With the options it needs on a host whose cgroups are hybrid.
fn real() -> Scene {
    let mut scene = stand_in(
        "exec /usr/bin/podman --runtime=/usr/sbin/runc --cgroup-manager=cgroupfs --storage-driver=vfs \"$@\"",
    );
    scene.podman.1 = Duration::from_secs(60);
    scene
}

#[test]
#[ignore = "needs root"]
fn h13_real_podman_is_listed_and_its_containers_removed() {
    let scene = real();
    let podman = &scene.podman;
    let dir = tempfile::tempdir().unwrap();
    let rootfs = dir.path().join("rootfs");
    fs::create_dir_all(rootfs.join("bin")).unwrap();
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    let archive = dir.path().join("rootfs.tar");
    let tar = |args: &[&str]| assert!(Command::new("tar").args(args).status().unwrap().success());
    tar(&[
        "-cf",
        archive.to_str().unwrap(),
        "-C",
        rootfs.to_str().unwrap(),
        ".",
    ]);
    let image = format!("bay0-reconcile-test:{}", std::process::id());
    podman
        .run(&["import", "--quiet", archive.to_str().unwrap(), &image])
        .unwrap();
    let limits = [
        "--ulimit=nofile=1024:1024",
        "--ulimit=nproc=1000:1000",
        "--network=none",
    ];
    let busybox = [image.as_str(), "/bin/busybox", "sleep", "1000"];
    podman
        .run(&[&["create", "--name=p__made"], &limits[..], &busybox].concat())
        .unwrap();
    podman
        .run(
            &[
                &["run", "--detach", "--name=p__runs"],
                &limits[..],
                &busybox,
            ]
            .concat(),
        )
        .unwrap();

    let all = podman.list().unwrap();
    let ours = |name: &str| {
        let name = PersonaName::parse(name).ok();
        all.iter().find(|found| found.name == name).unwrap()
    };
    assert!(!ours("p://made").running);
    assert!(ours("p://runs").running);
    podman.remove(&ours("p://made").id).unwrap();
    podman.remove(&ours("p://runs").id).unwrap();
    let left = podman.list().unwrap();
    assert!(left.iter().all(|found| {
        found
            .name
            .as_ref()
            .is_none_or(|name| !name.to_string().starts_with("p://"))
    }));
    podman.run(&["rmi", "--force", &image]).unwrap();
}
