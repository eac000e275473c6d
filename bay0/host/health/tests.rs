use super::*;
use bay0_validate::report;

fn findings_beside(pid1: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let comm = dir.path().join("comm");
    std::fs::write(&comm, pid1).unwrap();
    findings_at(None, &dir.path().join("nowhere"), &comm)
}

#[test]
fn h15_exit_codes_are_the_verdicts() {
    for (level, code) in [("GREEN", 0), ("YELLOW", 1), ("RED", 2)] {
        assert_eq!(exit_code(&[format!("{level} freezer: x")]), code);
    }
    assert_eq!(exit_code(&[]), 2);
}

#[test]
fn h15_on_a_plain_host_what_cannot_be_tried_is_yellow_with_its_reason() {
    let findings = findings_beside("systemd\n");
    let untried =
        "PID 1 is \"systemd\", not bay0; not tried; next: run bay0 --validate inside the Spine";
    let text = format!(
        "YELLOW freezer: no cgroup2 is mounted; not tried; next: run it as root on a host with cgroup v2\n\
         YELLOW umbilical: {untried}\n\
         YELLOW persist: {untried}\n\
         YELLOW log: {untried}\n\
         YELLOW (3 ms): freezer YELLOW, umbilical YELLOW, persist YELLOW, log YELLOW"
    );
    assert_eq!(report(&findings, 3), text);
    assert_eq!(exit_code(&findings), 1);
}

#[test]
fn h15_in_the_spine_nothing_is_excused() {
    let findings = findings_beside("bay0\n");
    let red = |line: &String| line.starts_with("RED ");
    assert!(findings.iter().all(red), "{findings:?}");
    let last = report(&findings, 3).lines().last().map(str::to_owned);
    let all = "RED (3 ms): freezer RED, umbilical RED";
    assert_eq!(last.as_deref(), Some(all));
    assert_eq!(exit_code(&findings), 2);
}

#[test]
fn h15_a_place_that_is_no_cgroup_is_yellow_on_a_host_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let found = findings_at(Some(dir.path()), dir.path(), dir.path());
    assert!(found[0].starts_with("YELLOW freezer: "), "{found:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let nowhere = findings_at(Some(Path::new("/nonexistent")), dir.path(), dir.path());
    let why = "make cgroup: ENOENT; not tried";
    assert_eq!(
        nowhere[0],
        format!("YELLOW freezer: {why}; next: {AS_ROOT}")
    );
}

#[test]
fn h15_what_was_tried_and_failed_is_not_excused() {
    for line in [
        "RED freezer: used 7 us while frozen; next: reboot",
        "GREEN freezer: burnt 2000 us, frozen in 3 us, then used 0 us",
    ] {
        assert_eq!(excused(line.to_owned()), line);
    }
}
