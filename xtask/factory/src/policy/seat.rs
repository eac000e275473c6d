//! Who can have a screen (A14).

use bay0_persona::PersonaName;
use bay0_persona::policy::{KEYBOARD, POINTER, SCREEN};

use super::file::Policy;

const NEVER: &str = "devices has screen, which goes with the focus, and no room of sys:// has that; next: remove it";
const ALONE: &str = "devices has keyboard or pointer without screen, and they come with it; next: add screen, or remove them";

/// Who never comes forward, and who would have keys and see nothing.
pub fn ends(name: &PersonaName, policy: &Policy) -> Vec<String> {
    let has = |kind: u64| policy.grant.devices & kind != 0;
    let told = [
        (has(SCREEN) && name.is_system(), NEVER),
        (has(KEYBOARD | POINTER) && !has(SCREEN), ALONE),
    ];
    let told = told.into_iter().filter(|(is, _)| *is);
    told.map(|(_, why)| why.to_owned()).collect()
}
