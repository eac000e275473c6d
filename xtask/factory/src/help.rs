//! The refusal of a filter that names nothing.

use anyhow::{Result, bail};

/// What has `filter` in its name, of `all`; an error that lists the names if nothing has.
pub fn matching<'a, T>(
    what: &str,
    filter: Option<&str>,
    all: &'a [(&'static str, T)],
) -> Result<Vec<&'a (&'static str, T)>> {
    let chosen: Vec<_> = all
        .iter()
        .filter(|(name, _)| filter.is_none_or(|f| name.contains(f)))
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        bail!(
            "no {what} has {:?} in its name; next: one of {}",
            filter.unwrap_or_default(),
            names.join(", ")
        );
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_names_nothing_is_refused_with_the_names_there_are() {
        let all = [("boot", 1), ("size", 2)];
        assert_eq!(matching("group", None, &all).unwrap().len(), 2);
        assert_eq!(matching("group", Some("oo"), &all).unwrap(), [&("boot", 1)]);
        assert_eq!(
            matching("group", Some("nosuch"), &all)
                .unwrap_err()
                .to_string(),
            "no group has \"nosuch\" in its name; next: one of boot, size"
        );
    }
}
