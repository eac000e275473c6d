//! `cargo xtask repin builder SOURCE`: the image `scripts/mkspine.sh` assembles in, by the digest of its linux/amd64 manifest. An
//! index moves while architectures are added to it, so a file with one gives the digest of the manifest it names for us.

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{quoted, write};
use crate::layout::Layout;
use crate::lock::Lock;
use crate::stamp;

/// Pins a digest, or what a file says or is.
pub fn pin(layout: &Layout, source: &str, version: &str, image: Option<&str>) -> Result<()> {
    let old = Lock::read(&layout.lock())?.builder;
    let digest = if source.starts_with("sha256:") {
        source.to_owned()
    } else {
        let bytes = fs::read(source).with_context(|| format!("read {source}"))?;
        of(&bytes).with_context(|| format!("repin builder: {source}"))?
    };
    check(&digest)?;
    let image = image.unwrap_or(&old.image);
    let values = [
        ("image", quoted(image)),
        ("version", quoted(version)),
        ("digest", quoted(&digest)),
    ];
    write(layout, &[("builder", &values)])?;
    println!(
        "repin: builder {image} {version} {digest}, was {} {} {}",
        old.image, old.version, old.digest
    );
    Ok(())
}

/// The digest of the linux/amd64 manifest: named by an index, or of the manifest that the bytes are.
fn of(bytes: &[u8]) -> Result<String> {
    let json: Value = serde_json::from_slice(bytes)
        .context("not JSON; next: skopeo inspect --raw docker://IMAGE > FILE")?;
    if json.get("config").is_some() && json.get("layers").is_some() {
        return Ok(format!("sha256:{}", stamp::sha256(bytes)));
    }
    let ours = |entry: &&Value| {
        entry["platform"]["os"] == "linux" && entry["platform"]["architecture"] == "amd64"
    };
    let Some(entries) = json.get("manifests").and_then(Value::as_array) else {
        bail!("neither an index nor a manifest; next: skopeo inspect --raw docker://IMAGE > FILE");
    };
    let entry = entries
        .iter()
        .find(ours)
        .context("no linux/amd64 in the index")?;
    let digest = entry["digest"]
        .as_str()
        .context("its linux/amd64 entry has no digest")?;
    Ok(digest.to_owned())
}

fn check(digest: &str) -> Result<()> {
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if hex.len() != 64 || !hex.bytes().all(digit) {
        bail!("repin builder: {digest:?} is no digest; next: sha256: and 64 lower-case hex digits");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    const MANIFEST: &str = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;

    fn index(digest: &str) -> String {
        format!(
            r#"{{"manifests":[{{"digest":"sha256:00","platform":{{"os":"linux","architecture":"arm64"}}}},
                {{"digest":"{digest}","platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#
        )
    }

    #[test]
    fn h01_the_builder_is_pinned_by_the_digest_of_its_amd64_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let layout = tree(dir.path());
        let pinned = || Lock::read(&layout.lock()).unwrap().builder;
        let digest = format!("sha256:{}", "ab".repeat(32));
        let file = dir.path().join("index.json");
        fs::write(&file, index(&digest)).unwrap();
        pin(&layout, file.to_str().unwrap(), "3.99.1", None).unwrap();
        assert_eq!(
            (pinned().digest, pinned().version.as_str()),
            (digest, "3.99.1")
        );
        assert_eq!(pinned().image, "alpine");
        fs::write(&file, MANIFEST).unwrap();
        pin(&layout, file.to_str().unwrap(), "1", Some("mirror/alpine")).unwrap();
        let hash = stamp::sha256(MANIFEST.as_bytes());
        assert_eq!(pinned().digest, format!("sha256:{hash}"));
        assert_eq!(pinned().image, "mirror/alpine");
        let digest = format!("sha256:{}", "cd".repeat(32));
        pin(&layout, &digest, "2", None).unwrap();
        assert_eq!(pinned().digest, digest);
    }

    #[test]
    fn h01_what_is_no_digest_is_refused() {
        let error = |bytes: &str| of(bytes.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            error("{"),
            "not JSON; next: skopeo inspect --raw docker://IMAGE > FILE"
        );
        assert_eq!(
            error("{}"),
            "neither an index nor a manifest; next: skopeo inspect --raw docker://IMAGE > FILE"
        );
        assert_eq!(error(r#"{"manifests":[]}"#), "no linux/amd64 in the index");
        assert_eq!(
            check("sha256:AB").unwrap_err().to_string(),
            "repin builder: \"sha256:AB\" is no digest; next: sha256: and 64 lower-case hex digits"
        );
    }
}
