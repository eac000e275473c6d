//! Image archives, as an OCI layout or as `docker save` writes them: which image is inside, and its layers, each checked against the
//! digests that the image names. Documents are read as the engines read them, which write less than the specification wants (`json`).

use std::io::{self, Read};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::json::{Descriptor, Platform, field, list, strings, text};
use super::layer::{self, LeftOut};
use super::new::Meant;
use super::source::Source;
use super::spool::{Hashed, Passed, Spool, unpacked};
use super::tree::Tree;
use crate::arch;

/// Lists in lists, as some exporters make them.
const MAX_NESTING: u32 = 4;

/// The image in an archive.
#[derive(Debug)]
pub struct Image {
    /// The digest of its manifest, or of its configuration where there is no manifest.
    pub id: String,
    /// From the lowest up.
    pub layers: Vec<Layer>,
    /// What its maker meant it to run: a room's policy says what runs.
    pub meant: Meant,
}

/// What the archive names of a layer as it is packed.
#[derive(Debug)]
struct Packed {
    digest: String,
    bytes: Option<u64>,
}

/// A layer's member, before it is known what it unpacks to.
struct Part {
    member: String,
    packed: Option<Packed>,
}

/// One layer.
#[derive(Debug)]
pub struct Layer {
    member: String,
    packed: Option<Packed>,
    /// Digest of the tar stream.
    plain: String,
}

/// How an archive names its blobs.
#[derive(Clone, Copy)]
enum Form {
    /// `blobs/sha256/HEX`.
    Layout,
    /// `HEX`, as skopeo writes into a folder (`containers-transports(5)`, `dir:`).
    Dir,
}

/// A manifest that may be the image's.
struct Candidate {
    digest: String,
    manifest: Value,
    /// The archive gives it a name.
    name: Option<String>,
    variant: String,
}

/// Finds the one image for this machine.
pub fn find(source: &Source) -> Result<Image> {
    if source.has("index.json") {
        let index =
            read(&source.json("index.json", None)?).context("OCI layout: read the index")?;
        return layout(source, Form::Layout, &index).context("OCI layout");
    }
    if source.has("manifest.json") {
        let bytes = source.json("manifest.json", None)?;
        let manifest = read(&bytes).context("read manifest.json")?;
        return match &manifest {
            Value::Array(images) => saved(source, images).context("docker archive"),
            _ => folder(source, &bytes, manifest).context("folder of skopeo"),
        };
    }
    if source.has("repositories") {
        bail!(
            "an archive of docker before 1.10, which names no layers; next: docker load it and docker save it again"
        );
    }
    bail!(
        "no image archive: neither index.json nor manifest.json inside; next: docker save, or an OCI layout"
    )
}

fn layout(source: &Source, form: Form, index: &Value) -> Result<Image> {
    let mut found = Vec::new();
    candidates(source, form, index, None, 0, &mut found)?;
    chosen(source, form, found)
}

/// What `skopeo copy … dir:` writes: one manifest, or with `--all` a list.
fn folder(source: &Source, bytes: &[u8], manifest: Value) -> Result<Image> {
    if field(&manifest, "manifests").is_some() {
        return layout(source, Form::Dir, &manifest);
    }
    let candidate = Candidate {
        digest: format!("sha256:{}", crate::stamp::sha256(bytes)),
        manifest,
        name: None,
        variant: String::new(),
    };
    chosen(source, Form::Dir, vec![candidate])
}

/// Manifests for this machine or for none by name; attestations, artifacts and other platforms are not.
fn candidates(
    source: &Source,
    form: Form,
    index: &Value,
    name: Option<&str>,
    depth: u32,
    found: &mut Vec<Candidate>,
) -> Result<()> {
    ensure!(
        depth < MAX_NESTING,
        "more than {MAX_NESTING} lists in each other"
    );
    for entry in list(index, "manifests") {
        let descriptor = Descriptor::read(entry)?;
        if !descriptor.may_be_image() || !descriptor.platform.fits() {
            continue;
        }
        let name = descriptor.name.as_deref().or(name);
        let document = document(source, form, &descriptor)?;
        if field(&document, "manifests").is_some() {
            candidates(source, form, &document, name, depth + 1, found)?;
            continue;
        }
        let name = name.map(str::to_owned);
        match found.iter_mut().find(|it| it.digest == descriptor.digest) {
            Some(known) => known.name = known.name.take().or(name),
            None => found.push(Candidate {
                digest: descriptor.digest,
                manifest: document,
                name,
                variant: descriptor.platform.variant,
            }),
        }
    }
    Ok(())
}

/// The one of these that is meant: by its name where an old one has lost it, by what its configuration is for where nothing else
/// says that, by the variant that every machine runs.
fn chosen(source: &Source, form: Form, mut found: Vec<Candidate>) -> Result<Image> {
    if found.iter().any(|it| it.name.is_some()) {
        found.retain(|it| it.name.is_some());
    }
    if found.len() > 1 {
        let mut kept = Vec::new();
        for candidate in found {
            let config = configuration(source, form, &candidate.manifest)?;
            if Platform::of(&config).fits() {
                kept.push(candidate);
            }
        }
        found = kept;
    }
    let names = |found: &[Candidate]| {
        let mut names: Vec<_> = found.iter().map(|it| it.name.clone()).collect();
        names.dedup();
        names.len()
    };
    if found.len() > 1 && names(&found) == 1 {
        let baseline = |it: &Candidate| matches!(it.variant.as_str(), "" | "v1");
        if found.iter().filter(|it| baseline(it)).count() == 1 {
            found.retain(baseline);
        }
    }
    let candidate = match &found[..] {
        [one] => one,
        [] => bail!(
            "no image for linux/{} inside; next: export that platform",
            arch::facts().debian
        ),
        more => bail!(
            "{} images inside{}; next: export one alone",
            more.len(),
            tags(more)
        ),
    };
    let config = configuration(source, form, &candidate.manifest)?;
    let packed = list(&candidate.manifest, "layers").map(|layer| {
        let layer = Descriptor::read(layer)?;
        let member = form.blob(source, &layer.digest);
        let packed = Some(Packed {
            digest: layer.digest,
            bytes: layer.size,
        });
        Ok(Part { member, packed })
    });
    image(
        candidate.digest.clone(),
        &config,
        packed.collect::<Result<_>>()?,
    )
}

/// The names of these, where they have any.
fn tags(found: &[Candidate]) -> String {
    let names: Vec<&str> = found.iter().filter_map(|it| it.name.as_deref()).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(" ({})", names.join(", "))
}

fn configuration(source: &Source, form: Form, manifest: &Value) -> Result<Value> {
    let version = field(manifest, "schemaVersion").and_then(Value::as_u64);
    ensure!(
        version != Some(1),
        "a manifest of version 1, which names no configuration; next: pull and save it with a newer tool"
    );
    let config = field(manifest, "config").context("the manifest names no configuration")?;
    document(source, form, &Descriptor::read(config)?)
}

fn saved(source: &Source, images: &[Value]) -> Result<Image> {
    ensure!(
        images.len() == 1,
        "{} images inside; next: save one alone",
        images.len()
    );
    let name = text(&images[0], "Config").context("manifest.json names no configuration")?;
    let config = source.json(name, None)?;
    let id = crate::stamp::sha256(&config);
    // Where it is named by its digest, it is checked; some writers call it `config.json`.
    let named = name.rsplit('/').next().unwrap_or_default();
    let named = named.strip_prefix("sha256:").unwrap_or(named);
    let named = named.strip_suffix(".json").unwrap_or(named);
    let is_digest = named.len() == 64 && named.bytes().all(|b| b.is_ascii_hexdigit());
    ensure!(
        !is_digest || named.eq_ignore_ascii_case(&id),
        "check {name} (found sha256:{id}): mismatch; not used"
    );
    let config = read(&config).context("read the configuration")?;
    let layers = strings(&images[0], "Layers");
    let layers = layers.into_iter().map(|member| Part {
        member,
        packed: None,
    });
    image(format!("sha256:{id}"), &config, layers.collect())
}

fn image(id: String, config: &Value, layers: Vec<Part>) -> Result<Image> {
    let platform = Platform::of(config);
    ensure!(
        platform.fits(),
        "the image is for {platform}, this machine is linux/{}; next: export that platform",
        arch::facts().debian
    );
    let rootfs = field(config, "rootfs").unwrap_or(&Value::Null);
    let plain = strings(rootfs, "diff_ids");
    ensure!(
        plain.len() == layers.len(),
        "{} layers inside, {} in the configuration",
        layers.len(),
        plain.len()
    );
    let layers = layers.into_iter().zip(plain);
    let layers = layers.map(|(Part { member, packed }, plain)| Layer {
        member,
        packed,
        plain,
    });
    Ok(Image {
        id,
        layers: layers.collect(),
        meant: Meant::of(config),
    })
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
        let digest = self.packed.as_ref().map_or("", |packed| &packed.digest);
        if let Some(bytes) = self.packed.as_ref().and_then(|packed| packed.bytes) {
            let found = source.size(&self.member)?;
            ensure!(
                found == bytes,
                "check {digest} (named {bytes} bytes, found {found}): mismatch; not used"
            );
        }
        let (packed, plain) = (Passed::like(digest), Passed::like(&self.plain));
        let mut outer = Hashed::new(source.read(&self.member)?, &packed);
        {
            let mut inner = Hashed::new(unpacked(&mut outer)?, &plain);
            tree.next_layer();
            layer::read(&mut inner, tree, spool, left_out)
                .with_context(|| format!("layer {}", self.plain))?;
            drain(&mut inner).with_context(|| format!("layer {}", self.plain))?;
        }
        drain(&mut outer)?;
        if self.packed.is_some() {
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

impl Form {
    /// The member that holds a blob.
    fn blob(self, source: &Source, digest: &str) -> String {
        let (kind, hex) = digest.split_once(':').unwrap_or(("", digest));
        match self {
            Form::Layout => format!("blobs/{kind}/{hex}"),
            Form::Dir => {
                let names = [
                    hex.to_owned(),
                    format!("{kind}-{hex}"),
                    format!("{hex}.manifest.json"),
                ];
                let there = names.iter().find(|name| source.has(name));
                there.unwrap_or(&names[0]).clone()
            }
        }
    }
}

fn read(bytes: &[u8]) -> Result<Value> {
    Ok(serde_json::from_slice(bytes)?)
}

fn document(source: &Source, form: Form, descriptor: &Descriptor) -> Result<Value> {
    let name = form.blob(source, &descriptor.digest);
    let bytes = source.json(&name, Some(&descriptor.digest))?;
    read(&bytes).with_context(|| format!("read {name}"))
}
