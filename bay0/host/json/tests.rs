use super::*;
use bay0_validate::Component;
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn h15_the_report_for_machines_is_one_line_of_json() {
    let full = "marker write \"/persist/.probe\": ENOSPC; next: free space";
    let findings = vec![
        Finding::new(Component::Freezer, Ok("used 0 us".to_owned())),
        Finding::new(Component::Persist, Err(full.to_owned())),
    ];
    let text = "{\"verdict\":\"RED\",\"ms\":7,\"findings\":[\
        {\"component\":\"freezer\",\"level\":\"GREEN\",\"reason\":\"used 0 us\",\"next\":\"\"},\
        {\"component\":\"persist\",\"level\":\"RED\",\
        \"reason\":\"marker write \\\"/persist/.probe\\\": ENOSPC\",\"next\":\"free space\"}]}";
    assert_eq!(render(&Report { ms: 7, findings }), text);
}

/// A finding, and what it is for machines.
fn any_finding() -> impl Strategy<Value = (Finding, Value)> {
    let level = prop_oneof![Just(Level::Green), Just(Level::Yellow), Just(Level::Red)];
    let component = prop_oneof![Just(Component::Log), Just(Component::Disk)];
    let parts = (level, component, any::<String>(), "[\\x00-\\x7f]+");
    parts.prop_map(|(level, component, reason, next)| {
        let (next, text) = match level {
            Level::Green => (String::new(), reason.clone()),
            _ => (next.clone(), format!("{reason}; next: {next}")),
        };
        let (name, word) = (component.to_string(), level.to_string());
        (
            Finding {
                level,
                component,
                text,
            },
            json!({"component": name, "level": word, "reason": reason, "next": next}),
        )
    })
}

proptest! {
    #[test]
    fn h15_any_report_reads_back_as_it_was(
        found in prop::collection::vec(any_finding(), 0..4),
        ms in any::<u32>(),
    ) {
        let (findings, members): (Vec<Finding>, Vec<Value>) = found.into_iter().unzip();
        let expected = json!({"verdict": verdict(&findings).to_string(), "ms": ms, "findings": members});
        let text = render(&Report { ms: ms.into(), findings });
        prop_assert!(!text.contains('\n'));
        prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    }
}
