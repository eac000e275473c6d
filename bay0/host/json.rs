//! The report for machines. Written by hand: this is all the JSON there is, and it is only ever written.

use bay0_validate::{Finding, Report};

/// The report as one JSON object on one line, without a last newline.
pub fn render(report: &Report) -> String {
    let findings: Vec<String> = report.findings.iter().map(finding).collect();
    let (verdict, ms, findings) = (report.verdict().word(), report.ms, findings.join(","));
    format!(r#"{{"verdict":"{verdict}","ms":{ms},"findings":[{findings}]}}"#)
}

fn finding(found: &Finding) -> String {
    let (component, level) = (escape(&found.component), found.level.word());
    let (reason, next) = (escape(&found.reason), escape(&found.next));
    format!(
        r#"{{"component":"{component}","level":"{level}","reason":"{reason}","next":"{next}"}}"#
    )
}

/// The inside of a JSON string: quote, backslash and control characters escaped (RFC 8259, section 7).
fn escape(text: &str) -> String {
    let escaped = text.chars().map(|character| match character {
        '"' | '\\' => format!("\\{character}"),
        '\0'..='\x1f' => format!("\\u{:04x}", u32::from(character)),
        _ => character.to_string(),
    });
    escaped.collect()
}

#[cfg(test)]
mod tests;
