//! Debian's order of versions (deb-version(7)): dpkg's own, which is wherever apt is.

use std::cmp::Ordering;
use std::process::Command;

/// True if `a` stands so to `b`: one of the words of dpkg(1), `lt`, `<<`, `<=`, `eq`, `=`, `>=`, `>>`.
pub fn holds(a: &str, relation: &str, b: &str) -> bool {
    let mut dpkg = Command::new("dpkg");
    let status = dpkg.args(["--compare-versions", a, relation, b]).status();
    status.is_ok_and(|status| status.success())
}

/// Compares two versions.
pub fn compare(a: &str, b: &str) -> Ordering {
    match (holds(a, "lt", b), holds(a, "eq", b)) {
        (true, _) => Ordering::Less,
        (_, true) => Ordering::Equal,
        _ => Ordering::Greater,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u01_versions_are_ordered_as_the_archive_orders_them() {
        crate::host::need(&[crate::host::TOOL_DPKG]).unwrap();
        let ordered = [
            "0.5-1",
            "1.0~rc1-1",
            "1.0-1~deb12u1",
            "1.0-1",
            "1.0-1+b1",
            "1.9-1",
            "1.10-1",
            "6.1.20-1",
            "6.1.192-2",
            "1:0.5-1",
        ];
        for pair in ordered.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare("1.00-1", "1.0-1"), Ordering::Equal);
        assert!(holds("2", ">>", "1") && holds("1", "<=", "1") && !holds("1", ">=", "2"));
    }
}
