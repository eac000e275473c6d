//! The report for machines. Written by hand: this is all the JSON there is, and it is only ever written.

use bay0_validate::{Finding, Level, Report, verdict};

/// The report as one JSON object on one line, without a last newline.
pub fn render(report: &Report) -> String {
    let Report { ms, findings } = report;
    let members: Vec<String> = findings.iter().map(member).collect();
    let (verdict, members) = (verdict(findings), members.join(","));
    format!(r#"{{"verdict":"{verdict}","ms":{ms},"findings":[{members}]}}"#)
}

/// GREEN has nothing to be done; of the others, the text says it behind the reason.
fn member(finding: &Finding) -> String {
    let (level, component, text) = (finding.level, finding.component, &finding.text);
    let parts = text.rsplit_once("; next: ");
    let parts = parts.filter(|_| level != Level::Green);
    let (reason, next) = parts.unwrap_or((text, ""));
    let (reason, next) = (escape(reason), escape(next));
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
