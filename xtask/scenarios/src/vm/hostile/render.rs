//! A word that is no attack: `render` asks the room's render node what drives it, and whether the screen can be had from there.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;

use nix::libc::{self, c_long};

use crate::calls::{at, call};
use crate::told::errno;

/// Where programs look for one.
const FOLDER: &str = "/dev/dri";
/// Of the kernel's `drm.h`: `DRM_IOCTL_VERSION`, whose structure has three numbers, and then length and address of three texts; and
/// `DRM_IOCTL_SET_MASTER`.
const VERSION: c_long = 0xc040_6400;
const SET_MASTER: c_long = 0x641e;
/// Bytes of a driver's name.
const NAME: usize = 64;

/// Prints `render NODE: DRIVER, master ERRNO`.
pub fn render() -> u8 {
    match ask() {
        Ok(line) => {
            println!("render {line}");
            0
        }
        Err(why) => {
            println!("render: {}", errno(&why));
            1
        }
    }
}

fn ask() -> io::Result<String> {
    let node = fs::read_dir(FOLDER)?.next();
    let node = node.ok_or(io::ErrorKind::NotFound)??;
    let file = File::options().read(true).write(true).open(node.path())?;
    let fd = c_long::from(file.as_raw_fd());
    let mut name = [0u8; NAME];
    let mut version: [u64; 8] = [0; 8];
    version[2] = NAME as u64;
    version[3] = (&raw mut name).expose_provenance() as u64;
    call(libc::SYS_ioctl, &[fd, VERSION, at(&version)])?;
    let driver = String::from_utf8_lossy(&name);
    let driver = driver.trim_end_matches('\0');
    let master = call(libc::SYS_ioctl, &[fd, SET_MASTER]);
    let master = master.map_or_else(|why| errno(&why), |_| "taken".to_owned());
    Ok(format!(
        "{}: {driver}, master {master}",
        node.file_name().display()
    ))
}
