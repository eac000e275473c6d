//! The report for machines. Written by hand: this is all the JSON there is, and it is only ever written.

use bay0_validate::verdict;

/// The findings as one JSON object on one line, without a last newline.
pub fn render(findings: &[String], ms: u128) -> String {
    let members: Vec<String> = findings.iter().map(|line| member(line)).collect();
    let (verdict, members) = (verdict(findings), members.join(","));
    format!(r#"{{"verdict":"{verdict}","ms":{ms},"findings":[{members}]}}"#)
}

/// Level, component, reason and next action of a finding, if it has them: whatever is not GREEN says why and what next, and
/// GREEN has nothing to be done.
fn parts(line: &str) -> Option<[&str; 4]> {
    let (level, rest) = line.split_once(' ')?;
    let (component, text) = rest.split_once(": ")?;
    let (reason, next) = text.rsplit_once("; next: ").unwrap_or((text, ""));
    let named = !component.is_empty() && component.bytes().all(|b| b.is_ascii_lowercase());
    let explained = (level == "GREEN") == next.is_empty() && !reason.is_empty();
    (["GREEN", "YELLOW", "RED"].contains(&level) && named && explained)
        .then_some([level, component, reason, next])
}

fn member(line: &str) -> String {
    // A line without its parts is a reason all the same.
    let [level, component, reason, next] = parts(line).unwrap_or(["RED", "", line, ""]).map(escape);
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
