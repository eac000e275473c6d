//! What is measured of the rooms' network, on the host's kernel: `peers/net.rs` and `peers/names.rs` make it, with bay0's own code and
//! the rule set that the factory compiles.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::report::Figure;
use super::rooms::furnish;
use super::{BenchArgs, HOST_SAMPLES, optional, peers, rows};
use crate::layout::Layout;
use crate::lock::Lock;
use crate::{host, spine};

/// Policies of a room that publishes a port, and of the one that it goes through.
const POLICIES: [(&str, &str); 2] = [
    ("p__bench.toml", include_str!("peers/p__bench.toml")),
    (
        "sys__net.toml",
        include_str!("../../../bay0-persona/policies/sys__net.toml"),
    ),
];
/// The profile of `sys://net`.
const STRICT: usize = 0;
const TOOLS: [host::Tool; 8] = [
    host::TOOL_BUSYBOX,
    host::TOOL_IP,
    host::TOOL_NFT,
    host::TOOL_PODMAN,
    host::TOOL_RUNC,
    host::TOOL_NETAVARK,
    host::TOOL_PASTA,
    host::TOOL_DNSMASQ,
];

/// Streams, connections and names. Without root nothing of it can be measured.
pub fn net(layout: &Layout, args: &BenchArgs) -> Result<Vec<Figure>> {
    let root = nix::unistd::geteuid().is_root();
    if root {
        for tool in TOOLS {
            optional(host::need(&[tool]));
        }
    }
    let mut figures = Vec::new();
    for (task, times) in [("net", 2 * HOST_SAMPLES), ("names", 1)] {
        let text = if root {
            optional(measured(layout, args, task, args.runs * times)).unwrap_or_default()
        } else {
            eprintln!("bench: not measured, needs root: {task}");
            String::new()
        };
        figures.extend(rows(task).map(|row| row.figure(&text)));
    }
    Ok(figures)
}

fn measured(layout: &Layout, args: &BenchArgs, task: &str, samples: usize) -> Result<String> {
    let dir = args.dir(layout);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let dir = tempfile::tempdir_in(&dir)?;
    furnish(dir.path(), STRICT)?;
    fs::write(dir.path().join("rules"), rules(dir.path())?).context("write rules")?;
    let lock = Lock::read(&layout.lock())?;
    let netd = spine::compile(layout, &lock, "netd", false)?;
    fs::copy(netd, dir.path().join("netd")).context("copy netd")?;
    peers(layout, task, dir.path(), &[&samples.to_string()])
}

/// The rule set of a machine with such a room.
fn rules(dir: &Path) -> Result<Vec<u8>> {
    let dir = dir.join("policies");
    fs::create_dir(&dir)?;
    for (name, text) in POLICIES {
        fs::write(dir.join(name), text)?;
    }
    factory::policy::rules_of(&dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h20_the_policies_that_are_measured_are_in_order_and_each_row_has_its_samples() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!rules(dir.path()).unwrap().is_empty());
        let text =
            "stream-out-bare 250000 200000\nconnect-in-passt 50000 100000\ntrip 90000 60000\n";
        let of = |task: &str, key: &str| {
            let row = rows(task).find(|row| row.key == key).unwrap();
            let figure = row.figure(text);
            (figure.ours, figure.peer, figure.unit)
        };
        assert_eq!(
            of("net", "stream-out-bare"),
            (vec![4000.0], vec![5000.0], "MB/s")
        );
        assert_eq!(of("net", "stream-out-podman"), (vec![], vec![], "MB/s"));
        assert_eq!(
            of("net", "connect-in-passt"),
            (vec![20_000.0], vec![10_000.0], "/s")
        );
        assert_eq!(of("names", "trip"), (vec![90.0], vec![60.0], "us"));
    }
}
