//! What an input device is, by what it can do: the properties that udevd's `input_id` would give it, as far as libinput asks for them.

use std::os::fd::OwnedFd;

use evdev::raw_stream::RawDevice;
use evdev::{AbsoluteAxisCode as Abs, KeyCode as Key, PropType, RelativeAxisCode as Rel};

/// Below this number are keys, from there on buttons (`BTN_MISC`).
const BUTTONS: u16 = 0x100;
/// From escape to S: a device that has all of these is typed on.
const TYPED: std::ops::Range<u16> = 1..32;

/// The properties, each `1`.
///
/// # Errors
/// The device does not answer: it is revoked, or unplugged.
pub fn properties(device: OwnedFd) -> std::io::Result<Vec<&'static str>> {
    let device = RawDevice::from_fd(device)?;
    Ok(of(&Abilities {
        key: &|code| {
            device
                .supported_keys()
                .is_some_and(|it| it.contains(Key(code)))
        },
        abs: &|axis| {
            device
                .supported_absolute_axes()
                .is_some_and(|it| it.contains(axis))
        },
        rel: &|axis| {
            device
                .supported_relative_axes()
                .is_some_and(|it| it.contains(axis))
        },
        prop: &|prop| device.properties().contains(prop),
        switches: device
            .supported_switches()
            .is_some_and(|it| it.iter().next().is_some()),
    }))
}

/// What a device can do.
struct Abilities<'a> {
    key: &'a dyn Fn(u16) -> bool,
    abs: &'a dyn Fn(Abs) -> bool,
    rel: &'a dyn Fn(Rel) -> bool,
    prop: &'a dyn Fn(PropType) -> bool,
    switches: bool,
}

fn of(can: &Abilities<'_>) -> Vec<&'static str> {
    let key = |key: Key| (can.key)(key.0);
    let mut is = vec!["ID_INPUT"];
    let is_direct = (can.prop)(PropType::DIRECT);
    let absolute = (can.abs)(Abs::ABS_X) && (can.abs)(Abs::ABS_Y);
    let touches = (can.abs)(Abs::ABS_MT_POSITION_X) && (can.abs)(Abs::ABS_MT_POSITION_Y);
    let relative = (can.rel)(Rel::REL_X) && (can.rel)(Rel::REL_Y);
    let clicks = key(Key::BTN_LEFT);
    if absolute || touches {
        if key(Key::BTN_TOOL_PEN) || key(Key::BTN_STYLUS) {
            is.push("ID_INPUT_TABLET");
        } else if key(Key::BTN_TOOL_FINGER) && !is_direct {
            is.push("ID_INPUT_TOUCHPAD");
        } else if clicks {
            // A virtual machine's tablet: a pointer that is told where it is.
            is.push("ID_INPUT_MOUSE");
        } else if key(Key::BTN_TOUCH) || is_direct {
            is.push("ID_INPUT_TOUCHSCREEN");
        }
    } else if relative && clicks {
        let is_stick = (can.prop)(PropType::POINTING_STICK);
        is.extend(is_stick.then_some("ID_INPUT_POINTINGSTICK"));
        is.push("ID_INPUT_MOUSE");
    }
    if (1..BUTTONS).any(can.key) {
        is.push("ID_INPUT_KEY");
    }
    if TYPED.into_iter().all(can.key) {
        is.push("ID_INPUT_KEYBOARD");
    }
    if can.switches {
        is.push("ID_INPUT_SWITCH");
    }
    is
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The properties of a device with these keys and buttons, axes and properties, without the first.
    fn is(keys: &[u16], abs: &[Abs], rel: &[Rel], props: &[PropType]) -> Vec<&'static str> {
        let mut is = of(&Abilities {
            key: &|code| keys.contains(&code),
            abs: &|axis| abs.contains(&axis),
            rel: &|axis| rel.contains(&axis),
            prop: &|prop| props.contains(&prop),
            switches: false,
        });
        assert_eq!(is.remove(0), "ID_INPUT");
        is
    }

    #[test]
    fn t05_devices_are_what_udevd_would_call_them() {
        let typed: Vec<u16> = TYPED.collect();
        assert_eq!(
            is(&typed, &[], &[], &[]),
            ["ID_INPUT_KEY", "ID_INPUT_KEYBOARD"]
        );
        // A power button is one key, and not typed on.
        assert_eq!(is(&[116], &[], &[], &[]), ["ID_INPUT_KEY"]);
        let xy = [Abs::ABS_X, Abs::ABS_Y];
        let mouse = [Rel::REL_X, Rel::REL_Y];
        let left = Key::BTN_LEFT.0;
        assert_eq!(is(&[left], &[], &mouse, &[]), ["ID_INPUT_MOUSE"]);
        assert_eq!(is(&[left], &xy, &[], &[]), ["ID_INPUT_MOUSE"]);
        let stick = [PropType::POINTING_STICK];
        assert_eq!(
            is(&[left], &[], &mouse, &stick),
            ["ID_INPUT_POINTINGSTICK", "ID_INPUT_MOUSE"]
        );
        let [finger, touch, pen] = [Key::BTN_TOOL_FINGER, Key::BTN_TOUCH, Key::BTN_TOOL_PEN];
        let pad = [finger.0, touch.0, left];
        assert_eq!(is(&pad, &xy, &[], &[]), ["ID_INPUT_TOUCHPAD"]);
        let direct = [PropType::DIRECT];
        assert_eq!(is(&[touch.0], &xy, &[], &direct), ["ID_INPUT_TOUCHSCREEN"]);
        assert_eq!(is(&[pen.0, touch.0], &xy, &[], &[]), ["ID_INPUT_TABLET"]);
        assert_eq!(is(&[], &[], &[Rel::REL_X], &[]), Vec::<&str>::new());
    }
}
