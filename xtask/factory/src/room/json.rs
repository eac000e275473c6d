//! The documents of images, read as the engines read them: a key's case does not matter, and what is missing, null or empty is the
//! same. The types of the specification refuse what these engines take.

use std::fmt;

use crate::arch;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The annotation that names an image in a layout (OCI image specification, annotations).
const NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation by which buildkit tells what was found out about an image from the image.
const ATTESTATION: &str = "vnd.docker.reference.type";

/// A field of an object, spelled so, or else with other letters' case.
pub fn field<'a>(object: &'a Value, key: &str) -> Option<&'a Value> {
    let object = object.as_object()?;
    let exact = object.get(key);
    exact.or_else(|| {
        object
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|it| it.1)
    })
}

/// A text that is not empty.
pub fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    field(object, key)?.as_str().filter(|text| !text.is_empty())
}

/// The elements of a list; none if it is missing or null.
pub fn list<'a>(object: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    field(object, key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// The texts of a list, or one text alone.
pub fn strings(object: &Value, key: &str) -> Vec<String> {
    let all = list(object, key).filter_map(Value::as_str);
    let alone = text(object, key).into_iter();
    all.chain(alone).map(str::to_owned).collect()
}

/// What an image is for. What is not said is empty.
#[derive(Debug, Default)]
pub struct Platform {
    os: String,
    arch: String,
    /// `v1`, `v2`, …: the least processor of its kind that it needs.
    pub variant: String,
}

impl Platform {
    /// The platform that a platform's object, or a configuration, names.
    pub fn of(object: &Value) -> Platform {
        let word = |key| text(object, key).unwrap_or_default().to_ascii_lowercase();
        let arch = match word("architecture").as_str() {
            // As containerd takes them for the same.
            "x86_64" | "x86-64" => "amd64".to_owned(),
            "aarch64" => "arm64".to_owned(),
            other => other.to_owned(),
        };
        Platform {
            os: word("os"),
            arch,
            variant: word("variant"),
        }
    }

    /// Whether nothing that it says is against this machine.
    pub fn fits(&self) -> bool {
        matches!(self.os.as_str(), "" | "linux")
            && ["", arch::facts().debian].contains(&self.arch.as_str())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |text: &str, other: &str| {
            if text.is_empty() {
                other.to_owned()
            } else {
                text.to_owned()
            }
        };
        write!(
            f,
            "{}/{}",
            or(&self.os, "linux"),
            or(&self.arch, arch::facts().debian)
        )
    }
}

/// How a document names another one.
#[derive(Debug)]
pub struct Descriptor {
    /// `sha256:` or `sha512:` and hexadecimal digits.
    pub digest: String,
    /// Bytes, where they are said.
    pub size: Option<u64>,
    /// What it is for.
    pub platform: Platform,
    /// Its name in the archive.
    pub name: Option<String>,
    /// It is told apart as something else than an image.
    other: bool,
}

impl Descriptor {
    /// Reads one.
    ///
    /// # Errors
    /// It has no digest of a kind that is checked here: then it is no name of a file either.
    pub fn read(value: &Value) -> Result<Descriptor> {
        let digest = text(value, "digest").context("a descriptor without a digest")?;
        let (kind, hex) = digest.split_once(':').unwrap_or_default();
        let length = match kind {
            "sha256" => 64,
            "sha512" => 128,
            _ => 0,
        };
        ensure!(
            length > 0 && hex.len() == length && hex.bytes().all(|b| b.is_ascii_hexdigit()),
            "digest {digest:?} is neither SHA-256 nor SHA-512, the kinds that are checked here"
        );
        let empty = Value::Null;
        let annotations = field(value, "annotations").unwrap_or(&empty);
        let artifact = text(value, "artifactType").is_some();
        Ok(Descriptor {
            digest: digest.to_owned(),
            size: field(value, "size").and_then(Value::as_u64),
            platform: Platform::of(field(value, "platform").unwrap_or(&empty)),
            name: text(annotations, NAME).map(str::to_owned),
            other: artifact || text(annotations, ATTESTATION).is_some(),
        })
    }

    /// Whether it is not told to be something else.
    pub fn may_be_image(&self) -> bool {
        !self.other
    }
}
