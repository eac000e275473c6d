use super::*;
use bay0_persona::cgroup2_root;
use nix::sys::signal::kill;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs;
use std::path::PathBuf;
use std::process;

/// A group of this test's own, to experiment below; gone with everything in it when dropped.
struct Scene(PathBuf);

fn scene(name: &str) -> Scene {
    let path = cgroup2_root()
        .unwrap()
        .join(format!("test-{name}-{}", process::id()));
    fs::create_dir(&path).unwrap();
    Scene(path)
}

impl Drop for Scene {
    fn drop(&mut self) {
        let group = Group::open(self.0.clone()).unwrap();
        group.remove(LIMIT).unwrap();
    }
}

impl Scene {
    fn feel(&self) -> Finding {
        let found = feel(Some(&self.0), true);
        let left = fs::read_dir(&self.0).unwrap().flatten();
        let left = left.filter(|entry| entry.file_type().unwrap().is_dir());
        assert_eq!(left.count(), 0, "nothing is left behind");
        found
    }
}

#[test]
#[ignore = "needs root"]
fn t04_a_working_freezer_is_green_and_leaves_nothing_behind() {
    let found = scene("well").feel();
    assert_eq!(
        (found.level, found.next.as_str()),
        (Level::Green, ""),
        "{found:?}"
    );
    let (burnt, rest) = found
        .reason
        .strip_prefix("burnt ")
        .unwrap()
        .split_once(" us, frozen in ")
        .unwrap();
    assert!(burnt.parse::<u64>().unwrap() >= BURN_US);
    assert!(rest.ends_with(" us, then used 0 us"), "{rest}");
}

#[test]
#[ignore = "needs root"]
fn h15_frozen_for_ever_is_red_and_leaves_nothing_behind() {
    let scene = scene("frozen");
    let outer = Group::open(scene.0.clone()).unwrap();
    outer.freeze(LIMIT).unwrap();
    let why = "used under 2000 us of CPU in 500 ms; no room could run";
    let red = Finding::new("freezer", Level::Red, why, REBOOT);
    assert_eq!(scene.feel(), red);
}

impl Scene {
    /// The experiment, with a second hand on the lever while it has its group frozen.
    fn observe(&self, meanwhile: impl Fn(&Child)) -> Result<String, String> {
        let group = Group::create(&self.0, "inner").unwrap();
        let burner = spawn(Some(&group.dir), CloneFlags::empty(), &[], burn).unwrap();
        let observed = observe(&group, &burner, || meanwhile(&burner));
        group.remove(LIMIT).unwrap();
        observed
    }
}

#[test]
#[ignore = "needs root"]
fn h15_a_room_that_does_not_thaw_is_red_and_can_still_be_ended() {
    let scene = scene("stuck");
    let observed = scene.observe(|_| fs::write(scene.0.join("cgroup.freeze"), "1").unwrap());
    let why = "thaw cgroup: ETIMEDOUT; a paused room stays paused";
    assert_eq!(observed, Err(why.to_owned()));
}

#[test]
#[ignore = "needs root"]
fn h15_a_room_that_thaws_and_does_not_run_is_red_and_can_still_be_ended() {
    let scene = scene("stopped");
    let stop = |burner: &Child| kill(Pid::from_raw(burner.pid), Signal::SIGSTOP).unwrap();
    let observed = scene.observe(stop);
    let why = "used under 2000 us of CPU in 500 ms; a paused room stays paused";
    assert_eq!(observed, Err(why.to_owned()));
}

#[test]
#[ignore = "needs root"]
fn h15_what_a_killed_validation_left_frozen_behind_is_ended_and_harms_the_next_one_not() {
    let scene = scene("leftover");
    let leftover = Group::create(&scene.0, GROUP).unwrap();
    let burner = spawn(Some(&leftover.dir), CloneFlags::empty(), &[], burn).unwrap();
    leftover.freeze(LIMIT).unwrap();
    let found = scene.feel();
    assert_eq!(found.level, Level::Green, "{found:?}");
    let burner = Pid::from_raw(burner.pid);
    let killed = WaitStatus::Signaled(burner, Signal::SIGKILL, false);
    assert_eq!(waitpid(burner, None), Ok(killed));
}

#[test]
fn h15_what_cannot_be_set_up_is_yellow_on_a_host_and_red_in_the_spine() {
    let parent = Path::new("/nonexistent");
    let why = "make cgroup: ENOENT; not tried";
    assert_eq!(
        feel(Some(parent), false),
        Finding::new("freezer", Level::Yellow, why, AS_ROOT)
    );
    assert_eq!(
        feel(Some(parent), true),
        Finding::new("freezer", Level::Red, why, REBOOT)
    );
}

#[test]
fn h15_a_place_that_is_no_cgroup_is_yellow_on_a_host_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let found = feel(Some(dir.path()), false);
    assert_eq!(found.level, Level::Yellow, "{found:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
