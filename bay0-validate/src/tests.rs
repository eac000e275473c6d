use super::*;
use proptest::prelude::*;

const NAMES: [Component; 4] = [
    Component::Freezer,
    Component::Umbilical,
    Component::Persist,
    Component::Log,
];

fn report(levels: [Level; 4]) -> Report {
    let found = |(component, level)| {
        let text = if level == Level::Green {
            "NOTE"
        } else {
            "REASON; next: ACTION"
        };
        Finding {
            level,
            component,
            text: text.to_owned(),
        }
    };
    let findings = NAMES.into_iter().zip(levels).map(found).collect();
    Report { ms: 312, findings }
}

#[test]
fn h15_all_well_is_one_line() {
    let well = report([Level::Green; 4]);
    assert_eq!(
        well.to_string(),
        "GREEN (312 ms): freezer GREEN, umbilical GREEN, persist GREEN, log GREEN"
    );
    assert_eq!(verdict(&well.findings), Level::Green);
}

#[test]
fn h15_whatever_is_not_green_has_a_line_of_three_parts_before_the_summary() {
    let found = report([Level::Green, Level::Yellow, Level::Red, Level::Green]);
    let text = "YELLOW umbilical: REASON; next: ACTION\n\
                RED persist: REASON; next: ACTION\n\
                RED (312 ms): freezer GREEN, umbilical YELLOW, persist RED, log GREEN";
    assert_eq!(found.to_string(), text);
    assert_eq!(verdict(&found.findings), Level::Red);
}

#[test]
fn h15_the_worst_level_is_the_verdict_and_nothing_found_is_the_worst() {
    let mixed = report([Level::Green, Level::Yellow, Level::Green, Level::Green]);
    assert_eq!(verdict(&mixed.findings), Level::Yellow);
    let (ms, findings) = (0, Vec::new());
    assert_eq!(verdict(&findings), Level::Red);
    assert_eq!(Report { ms, findings }.to_string(), "RED (0 ms): ");
}

#[test]
fn h15_in_the_spine_nothing_is_excused() {
    let dir = tempfile::tempdir().unwrap();
    let umbilical = dir.path().join("sock");
    let socket = umbilical.display();
    let unasked = format!(
        "{socket}: No such file or directory (os error 2); bay0 cannot be asked; next: ask again, then reboot"
    );
    let expected = format!(
        "RED freezer: no cgroup2 is mounted; not tried; \
         next: reboot; if it stays, this kernel is not for the Spine\n\
         RED umbilical: {unasked}\nGREEN root: well\n"
    );
    let root = Finding::new(Component::Root, Ok("well".to_owned()));
    assert_eq!(encode(&feel(None, &umbilical, Some(root))), expected);
}

#[test]
fn h15_a_finding_is_its_line() {
    let red = Finding::new(Component::Persist, Err("a: b; c; next: d".into()));
    assert_eq!(red.to_string(), "RED persist: a: b; c; next: d");
    let green = Finding::new(Component::Log, Ok("fine".into()));
    assert_eq!(green.to_string(), "GREEN log: fine");
    // No text makes a second finding.
    let forged = Finding::new(Component::Log, Err("a\nGREEN log: b".into()));
    assert_eq!(forged.to_string(), "RED log: a?GREEN log: b");
}

#[test]
fn h15_what_is_no_finding_is_not_taken_for_one() {
    for line in [
        "",
        "green log: x",
        " log: x",
        "GREEN  log: x",
        "REDUNDANT log: x; next: y",
        "GREEN per sist: x",
        "GREEN log x",
        "GREEN",
    ] {
        assert_eq!(Finding::decode(line), None, "{line}");
        assert_eq!(
            decode(&format!("GREEN log: fine\n{line}\n")),
            None,
            "{line}"
        );
    }
}

fn any_report() -> impl Strategy<Value = Report> {
    let (levels, names) = ([Level::Red, Level::Yellow, Level::Green], NAMES);
    let one = (
        prop::sample::select(levels.to_vec()),
        prop::sample::select(names.to_vec()),
        "[^\n]*",
    );
    let one = one.prop_map(|(level, component, text)| Finding {
        level,
        component,
        text,
    });
    let all = (any::<u64>(), prop::collection::vec(one, 0..9));
    all.prop_map(|(ms, findings)| Report { ms, findings })
}

proptest! {
    #[test]
    fn a18_a_report_is_decoded_as_it_was_encoded(report in any_report()) {
        prop_assert_eq!(Report::decode(&report.encode()), Some(report));
    }

    #[test]
    fn a16_no_text_makes_the_decoder_panic_or_say_more(sent: String, report in any_report(), cut in 0..200_usize) {
        if let Some(found) = Finding::decode(&sent) {
            prop_assert_eq!(found.to_string(), sent.clone());
        }
        let _ = Report::decode(&sent);
        // A report that was cut off is none, or all of its findings but the end of the last one's text.
        let sent: String = report.encode().chars().take(cut).collect();
        let left = Report::decode(&sent).map(|it| it.findings.len());
        prop_assert!(left.is_none_or(|left| left == report.findings.len()));
    }
}
