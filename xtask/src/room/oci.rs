//! Image archives, as an OCI layout or as `docker save` writes them: which image is inside, and its layers, each checked against the
//! digests that the image names.

use std::io::{self, Read};

use anyhow::{Context, Result, bail, ensure};
use oci_spec::image::{Arch, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, Os};
use serde::Deserialize;

use super::layer::{self, LeftOut};
use super::source::Source;
use super::spool::{Hashed, Passed, Spool, unpacked};
use super::tree::Tree;

/// Lists in lists, as some exporters make them.
const MAX_NESTING: u32 = 4;

/// The image in an archive.
#[derive(Debug)]
pub struct Image {
    /// `sha256:…` of its manifest, or of its configuration where there is no manifest.
    pub id: String,
    /// From the lowest up.
    pub layers: Vec<Layer>,
    /// What its maker meant it to run, for people: a room's policy says what runs.
    pub meant: String,
}

/// One layer.
#[derive(Debug)]
pub struct Layer {
    member: String,
    /// Digest and size as packed, where the archive names them.
    packed: Option<(String, u64)>,
    /// Digest of the tar stream.
    plain: String,
}

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

/// Finds the one image for this machine.
pub fn find(source: &Source) -> Result<Image> {
    if source.has("index.json") {
        let text = source.json("index.json", None)?;
        return layout(source, &text).context("OCI layout");
    }
    if source.has("manifest.json") {
        return saved(source).context("docker archive");
    }
    bail!(
        "no image archive: neither index.json nor manifest.json inside; next: docker save, or an OCI layout"
    )
}

fn layout(source: &Source, index: &[u8]) -> Result<Image> {
    let mut found = Vec::new();
    candidates(source, index, 0, &mut found)?;
    let descriptor = match &found[..] {
        [one] => one,
        [] => bail!("no image for linux/amd64 inside; next: export that platform"),
        more => bail!("{} images inside; next: export one alone", more.len()),
    };
    let manifest = document(source, descriptor)?;
    let manifest = ImageManifest::from_reader(&manifest[..]).context("read the manifest")?;
    let config = document(source, manifest.config())?;
    let config = ImageConfiguration::from_reader(&config[..]).context("read the configuration")?;
    let packed = manifest.layers().iter().map(|layer| {
        let digest = digest(layer)?;
        Ok((blob(&digest), Some((digest, layer.size()))))
    });
    image(digest(descriptor)?, &config, packed.collect::<Result<_>>()?)
}

/// Manifests for this machine or for none by name; attestations and other platforms are not.
fn candidates(
    source: &Source,
    index: &[u8],
    depth: u32,
    found: &mut Vec<Descriptor>,
) -> Result<()> {
    ensure!(
        depth < MAX_NESTING,
        "more than {MAX_NESTING} lists in each other"
    );
    let index = ImageIndex::from_reader(index).context("read the index")?;
    for descriptor in index.manifests() {
        let fits = descriptor
            .platform()
            .as_ref()
            .is_none_or(|p| *p.os() == Os::Linux && *p.architecture() == Arch::Amd64);
        let kind = descriptor.media_type().to_string();
        if !fits {
            continue;
        }
        if kind.contains("index") || kind.contains("manifest.list") {
            candidates(source, &document(source, descriptor)?, depth + 1, found)?;
        } else if !found.iter().any(|d| d.digest() == descriptor.digest()) {
            found.push(descriptor.clone());
        }
    }
    Ok(())
}

fn saved(source: &Source) -> Result<Image> {
    let text = source.json("manifest.json", None)?;
    let mut images: Vec<Saved> = serde_json::from_slice(&text).context("read manifest.json")?;
    ensure!(
        images.len() == 1,
        "{} images inside; next: save one alone",
        images.len()
    );
    let saved = images.remove(0);
    let config = source.json(&saved.config, None)?;
    let id = crate::stamp::sha256(&config);
    let named = saved.config.rsplit('/').next().unwrap_or_default();
    let named = named.strip_suffix(".json").unwrap_or(named);
    ensure!(
        named == id,
        "check {} (found sha256:{id}): mismatch; not used",
        saved.config
    );
    let config = ImageConfiguration::from_reader(&config[..]).context("read the configuration")?;
    let layers = saved.layers.into_iter().map(|member| (member, None));
    image(format!("sha256:{id}"), &config, layers.collect())
}

fn image(
    id: String,
    config: &ImageConfiguration,
    layers: Vec<(String, Option<(String, u64)>)>,
) -> Result<Image> {
    let (os, arch) = (config.os(), config.architecture());
    ensure!(
        *os == Os::Linux && *arch == Arch::Amd64,
        "the image is for {os}/{arch}, this machine is linux/amd64; next: export that platform"
    );
    let plain = config.rootfs().diff_ids();
    ensure!(
        plain.len() == layers.len(),
        "{} layers inside, {} in the configuration",
        layers.len(),
        plain.len()
    );
    let layers = layers.into_iter().zip(plain);
    let layers = layers.map(|((member, packed), plain)| Layer {
        member,
        packed,
        plain: plain.clone(),
    });
    Ok(Image {
        id,
        layers: layers.collect(),
        meant: meant(config),
    })
}

fn meant(config: &ImageConfiguration) -> String {
    let Some(config) = config.config() else {
        return "nothing".to_owned();
    };
    let words = [config.entrypoint(), config.cmd()];
    let words: Vec<&String> = words.into_iter().flatten().flatten().collect();
    let user = config.user().as_deref().unwrap_or_default();
    let folder = config.working_dir().as_deref().unwrap_or_default();
    let env = config.env().as_deref().unwrap_or_default();
    format!("{words:?} as {user:?} in {folder:?} with {env:?}")
}

impl Layer {
    /// Adds the layer on top of a tree.
    pub fn read(
        &self,
        source: &Source,
        tree: &mut Tree,
        spool: &mut Spool,
        left_out: &mut LeftOut,
    ) -> Result<()> {
        if let Some((digest, bytes)) = &self.packed {
            let found = source.size(&self.member)?;
            ensure!(
                found == *bytes,
                "check {digest} (named {bytes} bytes, found {found}): mismatch; not used"
            );
        }
        let (packed, plain) = (Passed::default(), Passed::default());
        let mut outer = Hashed::new(source.read(&self.member)?, &packed);
        {
            let mut inner = Hashed::new(unpacked(&mut outer)?, &plain);
            tree.next_layer();
            layer::read(&mut inner, tree, spool, left_out)
                .with_context(|| format!("layer {}", self.plain))?;
            drain(&mut inner).with_context(|| format!("layer {}", self.plain))?;
        }
        drain(&mut outer)?;
        if let Some((digest, _)) = &self.packed {
            same(digest, &packed)?;
        }
        same(&self.plain, &plain)
    }
}

/// What is behind the end of the archive belongs to its digest.
fn drain(from: &mut impl Read) -> Result<()> {
    io::copy(from, &mut io::sink()).context("read to the end")?;
    Ok(())
}

fn same(named: &str, found: &Passed) -> Result<()> {
    let found = found.digest();
    ensure!(
        named == found,
        "check layer {named} (found {found}): mismatch; not used; next: export the image again"
    );
    Ok(())
}

/// `sha256:` and 64 hex digits, or it is no name of a file.
fn digest(descriptor: &Descriptor) -> Result<String> {
    let digest = descriptor.digest().to_string();
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    ensure!(
        hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()),
        "digest {digest:?} is no SHA-256, the only kind that is checked here"
    );
    Ok(digest)
}

fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

fn document(source: &Source, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let digest = digest(descriptor)?;
    source.json(&blob(&digest), Some(&digest))
}
