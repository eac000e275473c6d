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
    fn feel(&self) -> String {
        let found = freezer(Some(&self.0), (Level::Red, REBOOT)).to_string();
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
    let burnt = found.strip_prefix("GREEN freezer: burnt ");
    let (burnt, rest) = burnt.unwrap().split_once(" us, frozen in ").unwrap();
    assert!(burnt.parse::<u64>().unwrap() >= BURN_US);
    let took = rest.strip_suffix(" us, then used 0 us");
    assert!(took.unwrap().parse::<u64>().is_ok(), "{rest}");
}

#[test]
#[ignore = "needs root"]
fn h15_frozen_for_ever_is_red_and_leaves_nothing_behind() {
    let scene = scene("frozen");
    let outer = Group::open(scene.0.clone()).unwrap();
    outer.freeze(LIMIT).unwrap();
    let why = "used under 2000 us of CPU in 500 ms";
    let red = format!("RED freezer: {why}; next: {REBOOT}");
    assert_eq!(scene.feel(), red);
}

impl Scene {
    /// The experiment, with a second hand on the lever while it has its group frozen.
    fn observe(&self, meanwhile: impl Fn(&Child)) -> Result<String, String> {
        let group = Group::create(&self.0, "inner").unwrap();
        let burner = spawn(Some(&group.dir), CloneFlags::empty(), &[], burn).unwrap();
        let observed = observe(&group, &burner, || meanwhile(&burner));
        group.remove(LIMIT).unwrap();
        observed.map_err(|why| why.to_string())
    }
}

#[test]
#[ignore = "needs root"]
fn h15_a_room_that_does_not_thaw_is_red_and_can_still_be_ended() {
    let scene = scene("stuck");
    let observed = scene.observe(|_| fs::write(scene.0.join("cgroup.freeze"), "1").unwrap());
    let why = "thaw cgroup: ETIMEDOUT";
    assert_eq!(observed, Err(why.to_owned()));
}

#[test]
#[ignore = "needs root"]
fn h15_a_room_that_thaws_and_does_not_run_is_red_and_can_still_be_ended() {
    let scene = scene("stopped");
    let stop = |burner: &Child| kill(Pid::from_raw(burner.pid), Signal::SIGSTOP).unwrap();
    let observed = scene.observe(stop);
    let why = "used under 2000 us of CPU in 500 ms";
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
    assert!(found.starts_with("GREEN freezer: "), "{found}");
    let burner = Pid::from_raw(burner.pid);
    let killed = WaitStatus::Signaled(burner, Signal::SIGKILL, false);
    assert_eq!(waitpid(burner, None), Ok(killed));
}

#[test]
fn h15_what_cannot_be_set_up_is_red_and_says_that_it_was_not_tried() {
    let why = "make cgroup: ENOENT; not tried";
    let red = format!("RED freezer: {why}; next: {REBOOT}");
    let nowhere = Some(Path::new("/nonexistent"));
    assert_eq!(freezer(nowhere, (Level::Red, REBOOT)).to_string(), red);
    // A plain host has another level and another remedy.
    let elsewhere = freezer(nowhere, (Level::Yellow, "be root")).to_string();
    assert_eq!(elsewhere, format!("YELLOW freezer: {why}; next: be root"));
}

#[test]
fn h15_a_place_that_is_no_cgroup_is_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let found = freezer(Some(dir.path()), (Level::Red, REBOOT)).to_string();
    assert!(found.starts_with("RED freezer: "), "{found}");
    assert!(
        found.ends_with(&format!("; not tried; next: {REBOOT}")),
        "{found}"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
