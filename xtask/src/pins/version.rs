//! Debian's order of versions (deb-version(7)): epoch, then upstream's and Debian's part, each as runs of non-digits and digits by turns.

use std::cmp::Ordering;

/// Compares two versions.
pub fn compare(a: &str, b: &str) -> Ordering {
    let ((epoch_a, a), (epoch_b, b)) = (epoch(a), epoch(b));
    let ((up_a, deb_a), (up_b, deb_b)) = (revision(a), revision(b));
    epoch_a
        .cmp(&epoch_b)
        .then_with(|| part(up_a.as_bytes(), up_b.as_bytes()))
        .then_with(|| part(deb_a.as_bytes(), deb_b.as_bytes()))
}

fn epoch(version: &str) -> (u64, &str) {
    let split = version.split_once(':');
    split.map_or((0, version), |(epoch, rest)| {
        (epoch.parse().unwrap_or(0), rest)
    })
}

fn revision(version: &str) -> (&str, &str) {
    version.rsplit_once('-').unwrap_or((version, "0"))
}

fn part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        let order = text(&mut a, &mut b).then_with(|| number(&mut a).cmp(&number(&mut b)));
        if order != Ordering::Equal || (a.is_empty() && b.is_empty()) {
            return order;
        }
    }
}

/// The leading non-digits of both, taken off.
fn text(a: &mut &[u8], b: &mut &[u8]) -> Ordering {
    loop {
        let (left, right) = (weight(a), weight(b));
        if left != right {
            return left.cmp(&right);
        }
        if left == END {
            return Ordering::Equal;
        }
        (*a, *b) = (&a[1..], &b[1..]);
    }
}

/// Of a digit, or of nothing left.
const END: i32 = 0;

/// `~` before the end, letters before all else.
fn weight(rest: &[u8]) -> i32 {
    match rest.first() {
        None | Some(b'0'..=b'9') => END,
        Some(b'~') => -1,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    }
}

/// The leading digits, taken off: as long as they are without zeros in front, then by their digits.
fn number<'a>(rest: &mut &'a [u8]) -> (usize, &'a [u8]) {
    let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
    let (number, behind) = rest.split_at(digits);
    *rest = behind;
    let zeros = number.iter().take_while(|c| **c == b'0').count();
    (digits - zeros, &number[zeros..])
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const SAMPLES: [&str; 22] = [
        "0",
        "1",
        "1.0",
        "1.0-0",
        "1.0-1",
        "1.0-1+b1",
        "1.0-1+b13",
        "1.0-1~deb12u1",
        "1.0~rc1-1",
        "1.0a-1",
        "1.0+dfsg-1",
        "1.00-1",
        "1.10-1",
        "1.9-1",
        "1:0.5-1",
        "6.1.192-2",
        "6.1.192-3",
        "6.1.20-1",
        "6.12.117-1~deb12u1",
        "6.12.117-1~deb12u2",
        "20230311+deb12u1",
        "2.36-9+deb12u14",
    ];

    #[test]
    fn u01_versions_are_ordered_as_the_archive_orders_them() {
        for (nth, a) in SAMPLES.iter().enumerate() {
            assert_eq!(compare(a, a), Ordering::Equal, "{a}");
            for b in &SAMPLES[nth + 1..] {
                assert_eq!(compare(a, b), compare(b, a).reverse(), "{a} {b}");
            }
        }
        assert_eq!(compare("6.1.192-2", "6.1.192-3"), Ordering::Less);
        assert_eq!(compare("1.0~rc1-1", "1.0-1"), Ordering::Less);
        assert_eq!(compare("1.9-1", "1.10-1"), Ordering::Less);
        assert_eq!(compare("9.9-1", "1:0.5-1"), Ordering::Less);
    }

    #[test]
    fn u01_versions_are_ordered_as_dpkg_orders_them() {
        if crate::host::find("dpkg").is_none() {
            return;
        }
        for a in SAMPLES {
            for b in SAMPLES {
                let order = ["lt", "eq", "gt"].into_iter().find(|relation| {
                    let args = ["--compare-versions", a, relation, b];
                    let run = Command::new("dpkg").args(args).status();
                    run.is_ok_and(|status| status.success())
                });
                let ours = match compare(a, b) {
                    Ordering::Less => "lt",
                    Ordering::Equal => "eq",
                    Ordering::Greater => "gt",
                };
                assert_eq!(order, Some(ours), "{a} {b}");
            }
        }
    }
}
