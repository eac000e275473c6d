//! KVM or TCG. KVM is believed only after a guest really ran on it: `/dev/kvm` that opens proves nothing, some hosts start the
//! virtual processor and never run it.

use std::fs::{self, File};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use regex::Regex;

use crate::arch::Arch;
use crate::layout::{Layout, Spine};
use crate::machine::{Accel, Machine, MachineConfig};

/// A guest on working KVM is at bay0's first line in well under a second.
const PROBE_DEADLINE: Duration = Duration::from_secs(6);
const KVM: &str = "/dev/kvm";

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// KVM where a guest runs on it, else TCG.
    #[default]
    Auto,
    /// KVM, or QEMU's error.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

/// The accelerator and, for `auto`, why. The probe's answer is kept until the host reboots or the kernel image changes.
pub fn choose(layout: &Layout, choice: Choice, spine: &Spine) -> Result<(Accel, String)> {
    let arch = Arch::chosen();
    if arch != Arch::default() && choice != Choice::Kvm {
        return Ok((Accel::Tcg, format!("{arch} is not this host's processor")));
    }
    match choice {
        Choice::Kvm => return Ok((Accel::Kvm, "as asked".into())),
        Choice::Tcg => return Ok((Accel::Tcg, "as asked".into())),
        Choice::Auto => {}
    }
    if let Err(e) = File::options().read(true).write(true).open(KVM) {
        return Ok((Accel::Tcg, format!("{KVM}: {e}")));
    }
    let cache = layout.build().join("accel");
    let key = key(spine)?;
    let known = fs::read_to_string(&cache).unwrap_or_default();
    if let Some(answer) = remembered(&known, &key) {
        return Ok(answer);
    }
    eprintln!(
        "qemu: asking a guest whether KVM works here (at most {} s)",
        PROBE_DEADLINE.as_secs()
    );
    let (accel, why) = match probe(layout, spine) {
        Ok(()) => (Accel::Kvm, "a guest ran on it".to_owned()),
        Err(_) => (
            Accel::Tcg,
            format!(
                "KVM opens and a guest on it said nothing for {} s",
                PROBE_DEADLINE.as_secs()
            ),
        ),
    };
    fs::write(&cache, format!("{key}\n{}\n{why}\n", accel.as_str()))
        .with_context(|| format!("write {}", cache.display()))?;
    Ok((accel, why))
}

fn key(spine: &Spine) -> Result<String> {
    let boot =
        fs::read_to_string("/proc/sys/kernel/random/boot_id").context("read the host's boot id")?;
    let bytes = spine
        .kernel
        .metadata()
        .with_context(|| format!("stat {}", spine.kernel.display()))?
        .len();
    Ok(format!("{} {bytes}", boot.trim()))
}

fn remembered(cache: &str, key: &str) -> Option<(Accel, String)> {
    let mut lines = cache.lines();
    if lines.next() != Some(key) {
        return None;
    }
    let accel = match lines.next() {
        Some("kvm") => Accel::Kvm,
        Some("tcg") => Accel::Tcg,
        _ => return None,
    };
    Some((accel, lines.next().unwrap_or_default().to_owned()))
}

fn probe(layout: &Layout, spine: &Spine) -> Result<()> {
    let log = layout.build().join("accel.log");
    let mut cfg = MachineConfig::new(&spine.kernel, &spine.initrd, &log);
    cfg.accel = Accel::Kvm;
    let line = Machine::boot(&cfg)?.expect(&Regex::new(r"^bay0 \d")?, PROBE_DEADLINE)?;
    if line.is_empty() {
        bail!("empty line")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_remembered_for_this_host_boot_and_kernel_only() {
        let cache = "boot-1 100\ntcg\nno guest\n";
        assert_eq!(
            remembered(cache, "boot-1 100"),
            Some((Accel::Tcg, "no guest".into()))
        );
        assert_eq!(remembered(cache, "boot-2 100"), None);
        assert_eq!(remembered(cache, "boot-1 101"), None);
        assert_eq!(remembered("boot-1 100\nperhaps\n", "boot-1 100"), None);
        assert_eq!(remembered("", "boot-1 100"), None);
    }
}
