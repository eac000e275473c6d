use super::*;
use bay0_validate::Report;

fn report(findings: &[Finding]) -> String {
    let (ms, findings) = (3, findings.to_vec());
    Report { ms, findings }.to_string()
}

fn findings_beside(pid1: &str) -> Vec<Finding> {
    let dir = tempfile::tempdir().unwrap();
    let comm = dir.path().join("comm");
    std::fs::write(&comm, pid1).unwrap();
    findings_at(None, &dir.path().join("nowhere"), &comm)
}

#[test]
fn h15_exit_codes_are_the_verdicts() {
    for (level, code) in [(Level::Green, 0), (Level::Yellow, 1), (Level::Red, 2)] {
        let finding = Finding {
            level,
            ..Finding::yellow(Component::Freezer, "x")
        };
        assert_eq!(exit_code(&[finding]), code);
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
    assert_eq!(report(&findings), text);
    assert_eq!(exit_code(&findings), 1);
}

#[test]
fn h15_in_the_spine_nothing_is_excused() {
    let findings = findings_beside("bay0\n");
    let red = |it: &Finding| it.level == Level::Red;
    assert!(findings.iter().all(red), "{findings:?}");
    let last = report(&findings).lines().last().map(str::to_owned);
    let all = "RED (3 ms): freezer RED, umbilical RED";
    assert_eq!(last.as_deref(), Some(all));
    assert_eq!(exit_code(&findings), 2);
}

#[test]
fn h15_a_place_that_is_no_cgroup_is_yellow_on_a_host_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let found = findings_at(Some(dir.path()), dir.path(), dir.path());
    assert_eq!(
        (found[0].level, found[0].component),
        (Level::Yellow, Component::Freezer)
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let nowhere = findings_at(Some(Path::new("/nonexistent")), dir.path(), dir.path());
    let why = "make cgroup: ENOENT; not tried";
    assert_eq!(
        nowhere[0].to_string(),
        format!("YELLOW freezer: {why}; next: {AS_ROOT}")
    );
}
