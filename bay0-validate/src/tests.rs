use super::*;

fn findings(levels: [&str; 4]) -> Vec<String> {
    let names = ["freezer", "umbilical", "persist", "log"];
    let pairs = names.into_iter().zip(levels);
    let said = |level| {
        if level == "GREEN" {
            "NOTE"
        } else {
            "REASON; next: ACTION"
        }
    };
    pairs
        .map(|(name, level)| format!("{level} {name}: {}", said(level)))
        .collect()
}

#[test]
fn h15_all_well_is_one_line() {
    let well = findings(["GREEN"; 4]);
    assert_eq!(
        report(&well, 312),
        "GREEN (312 ms): freezer GREEN, umbilical GREEN, persist GREEN, log GREEN"
    );
    assert_eq!(verdict(&well), "GREEN");
}

#[test]
fn h15_whatever_is_not_green_has_a_line_of_three_parts_before_the_summary() {
    let found = findings(["GREEN", "YELLOW", "RED", "GREEN"]);
    let text = "YELLOW umbilical: REASON; next: ACTION\n\
                RED persist: REASON; next: ACTION\n\
                RED (312 ms): freezer GREEN, umbilical YELLOW, persist RED, log GREEN";
    assert_eq!(report(&found, 312), text);
    assert_eq!(verdict(&found), "RED");
}

#[test]
fn h15_the_worst_level_is_the_verdict_and_nothing_found_is_the_worst() {
    assert_eq!(
        verdict(&findings(["GREEN", "YELLOW", "GREEN", "GREEN"])),
        "YELLOW"
    );
    assert_eq!(
        (verdict(&[]), report(&[], 0).as_str()),
        ("RED", "RED (0 ms): ")
    );
}

#[test]
fn h15_in_the_spine_nothing_is_excused() {
    let dir = tempfile::tempdir().unwrap();
    let umbilical = dir.path().join("sock");
    let socket = umbilical.display();
    let unasked = format!(
        "{socket}: No such file or directory (os error 2); bay0 cannot be asked; next: ask again, then reboot"
    );
    let expected = [
        "RED freezer: no cgroup2 is mounted; not tried; \
         next: reboot; if it stays, this kernel is not for the Spine"
            .to_owned(),
        format!("RED umbilical: {unasked}"),
    ];
    assert_eq!(feel(None, &umbilical), expected);
}

#[test]
fn h15_a_finding_is_its_line() {
    let red = finding("persist", Err("a: b; c; next: d".into()));
    assert_eq!(red, "RED persist: a: b; c; next: d");
    assert_eq!(finding("log", Ok("fine".into())), "GREEN log: fine");
}
