use super::*;
use bay0_validate::Level;
use proptest::prelude::*;
use serde_json::{Value, json};

fn any_level() -> impl Strategy<Value = Level> {
    prop_oneof![Just(Level::Green), Just(Level::Yellow), Just(Level::Red)]
}

#[test]
fn h15_the_report_for_machines_is_one_line_of_json() {
    let findings = vec![
        Finding::new("freezer", Level::Green, "used 0 us", ""),
        Finding::new(
            "persist",
            Level::Red,
            "marker write \"/persist/.probe\": ENOSPC",
            "free space",
        ),
    ];
    let text = "{\"verdict\":\"RED\",\"ms\":7,\"findings\":[\
        {\"component\":\"freezer\",\"level\":\"GREEN\",\"reason\":\"used 0 us\",\"next\":\"\"},\
        {\"component\":\"persist\",\"level\":\"RED\",\
        \"reason\":\"marker write \\\"/persist/.probe\\\": ENOSPC\",\"next\":\"free space\"}]}";
    assert_eq!(render(&Report { findings, ms: 7 }), text);
}

proptest! {
    #[test]
    fn h15_any_report_reads_back_as_it_was(
        found in prop::collection::vec((any::<String>(), any_level(), any::<String>(), "[\\x00-\\x7f]*"), 0..4),
        ms in any::<u32>(),
    ) {
        let findings: Vec<Finding> = found
            .iter()
            .map(|(component, level, reason, next)| Finding::new(component, *level, reason, next))
            .collect();
        let report = Report { findings, ms: ms.into() };
        let members: Vec<Value> = report
            .findings
            .iter()
            .map(|f| json!({"component": f.component, "level": f.level.word(), "reason": f.reason, "next": f.next}))
            .collect();
        let expected = json!({"verdict": report.verdict().word(), "ms": ms, "findings": members});
        let text = render(&report);
        prop_assert!(!text.contains('\n'));
        prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    }
}
