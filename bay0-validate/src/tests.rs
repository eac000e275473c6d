use super::*;

fn finding(component: &str, level: Level) -> Finding {
    Finding::new(component, level, "REASON", "ACTION")
}

fn report(levels: [Level; 4]) -> Report {
    let names = ["freezer", "umbilical", "persist", "log"];
    let pairs = names.into_iter().zip(levels);
    Report {
        findings: pairs.map(|(name, level)| finding(name, level)).collect(),
        ms: 312,
    }
}

#[test]
fn h15_all_well_is_one_line() {
    let report = report([Level::Green; 4]);
    assert_eq!(
        report.to_string(),
        "GREEN (312 ms): freezer GREEN, umbilical GREEN, persist GREEN, log GREEN"
    );
    assert_eq!((report.verdict(), report.exit_code()), (Level::Green, 0));
}

#[test]
fn h15_whatever_is_not_green_has_a_line_of_three_parts_before_the_summary() {
    let report = report([Level::Green, Level::Yellow, Level::Red, Level::Green]);
    let text = "YELLOW umbilical: REASON; next: ACTION\n\
                RED persist: REASON; next: ACTION\n\
                RED (312 ms): freezer GREEN, umbilical YELLOW, persist RED, log GREEN";
    assert_eq!(report.to_string(), text);
    assert_eq!((report.verdict(), report.exit_code()), (Level::Red, 2));
}

#[test]
fn h15_the_worst_level_is_the_verdict_and_nothing_found_is_the_worst() {
    let yellow = report([Level::Green, Level::Yellow, Level::Green, Level::Green]);
    assert_eq!((yellow.verdict(), yellow.exit_code()), (Level::Yellow, 1));
    let empty = Report {
        findings: Vec::new(),
        ms: 0,
    };
    assert_eq!((empty.verdict(), empty.exit_code()), (Level::Red, 2));
}

#[test]
fn h15_on_a_plain_host_what_cannot_be_tried_is_yellow_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let comm = dir.path().join("comm");
    std::fs::write(&comm, "systemd\n").unwrap();
    let report = feel(None, &dir.path().join("nowhere"), &comm);
    let ms = report.ms;
    let untried =
        "PID 1 is \"systemd\", not bay0; not tried; next: run bay0 --validate inside the Spine";
    let text = format!(
        "YELLOW freezer: no cgroup2 is mounted; not tried; next: run it as root on a host with cgroup v2\n\
         YELLOW umbilical: {untried}\n\
         YELLOW persist: {untried}\n\
         YELLOW log: {untried}\n\
         YELLOW ({ms} ms): freezer YELLOW, umbilical YELLOW, persist YELLOW, log YELLOW"
    );
    assert_eq!(report.to_string(), text);
    assert_eq!(report.exit_code(), 1);
}

#[test]
fn h15_in_the_spine_nothing_is_excused() {
    let dir = tempfile::tempdir().unwrap();
    let comm = dir.path().join("comm");
    std::fs::write(&comm, "bay0\n").unwrap();
    let umbilical = dir.path().join("sock");
    let report = feel(None, &umbilical, &comm);
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.level == Level::Red),
        "{report}"
    );
    assert_eq!(report.exit_code(), 2);
}
