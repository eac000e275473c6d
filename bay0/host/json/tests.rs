use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn h15_the_report_for_machines_is_one_line_of_json() {
    let findings = [
        "GREEN freezer: used 0 us",
        "RED persist: marker write \"/persist/.probe\": ENOSPC; next: free space",
    ];
    let text = "{\"verdict\":\"RED\",\"ms\":7,\"findings\":[\
        {\"component\":\"freezer\",\"level\":\"GREEN\",\"reason\":\"used 0 us\",\"next\":\"\"},\
        {\"component\":\"persist\",\"level\":\"RED\",\
        \"reason\":\"marker write \\\"/persist/.probe\\\": ENOSPC\",\"next\":\"free space\"}]}";
    assert_eq!(render(&findings.map(str::to_owned), 7), text);
}

/// A finding, and what it is for machines.
fn any_finding() -> impl Strategy<Value = (String, Value)> {
    let level = prop_oneof![Just("GREEN"), Just("YELLOW"), Just("RED")];
    let reason = any::<String>().prop_filter("says something", |reason| !reason.is_empty());
    (level, "[a-z]+", reason, "[\\x00-\\x7f]+").prop_map(|(level, component, reason, next)| {
        let (next, said) = match level {
            "GREEN" => (String::new(), String::new()),
            _ => (next.clone(), format!("; next: {next}")),
        };
        let line = format!("{level} {component}: {reason}{said}");
        (
            line,
            json!({"component": component, "level": level, "reason": reason, "next": next}),
        )
    })
}

proptest! {
    #[test]
    fn h15_any_report_reads_back_as_it_was(
        found in prop::collection::vec(any_finding(), 0..4),
        ms in any::<u32>(),
    ) {
        let (findings, members): (Vec<String>, Vec<Value>) = found.into_iter().unzip();
        let text = render(&findings, ms.into());
        let expected = json!({"verdict": verdict(&findings), "ms": ms, "findings": members});
        prop_assert!(!text.contains('\n'));
        prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    }

    #[test]
    fn h15_a_line_that_is_no_finding_is_told_all_the_same(line in any::<String>()) {
        prop_assume!(parts(&line).is_none());
        let text = render(std::slice::from_ref(&line), 7);
        let member = json!({"component": "", "level": "RED", "reason": line, "next": ""});
        let value = serde_json::from_str::<Value>(&text).unwrap();
        prop_assert_eq!(&value["findings"], &json!([member]));
    }
}

#[test]
fn h15_a_failure_has_three_parts_and_what_is_well_has_nothing_to_be_done() {
    for (line, expected) in [
        (
            "RED persist: a: b; c; next: d",
            ["RED", "persist", "a: b; c", "d"],
        ),
        ("GREEN log: fine", ["GREEN", "log", "fine", ""]),
        (
            "RED log: a; next: b; next: c",
            ["RED", "log", "a; next: b", "c"],
        ),
        ("YELLOW log: x; next: y", ["YELLOW", "log", "x", "y"]),
    ] {
        assert_eq!(parts(line), Some(expected));
    }
    for line in [
        "green log: x",
        " log: x",
        "GREEN  log: x",
        "REDUNDANT log: x; next: y",
        "GREEN persist: ",
        "GREEN per sist: x",
        "GREEN persist: x; next: do something",
        "RED persist: x",
        "RED persist: ; next: do something",
    ] {
        assert_eq!(parts(line), None, "{line}");
    }
}
