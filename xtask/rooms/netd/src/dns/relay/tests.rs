use super::*;
use crate::links::MAX_CARDS;

/// What else is open: three of the start, the kernel's links, four that listen, a report, a connection that is not yet counted.
const OTHERS: usize = 3 + 1 + 4 + 1 + 1;

#[test]
fn t07_the_policy_of_sys_net_lets_all_that_is_held_at_once_be_open() {
    let policy = include_str!("../../../../../../bay0-persona/policies/sys__net.toml");
    let line = policy
        .lines()
        .find_map(|it| it.strip_prefix("open_files = "));
    let files: usize = line.unwrap().parse().unwrap();
    let held = MAX_ASKS + MAX_CONNECTIONS + MAX_CARDS + OTHERS;
    assert!(
        held <= files,
        "{held} descriptors at once, and {files} may be open"
    );
}
