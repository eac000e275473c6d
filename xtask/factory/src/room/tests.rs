//! Imports and builds as a whole: archives of each kind made here, hostile ones refused with nothing left.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Value, json};
use sha2::Digest;

use super::*;
use crate::stamp;

mod engine;
mod forms;
mod peers;
mod ready;
mod whole;

/// Members of an archive.
type Members = BTreeMap<String, Vec<u8>>;

/// How a layer is packed.
#[derive(Clone, Copy)]
enum Packed {
    Plain,
    Gzip,
    Zstd,
}

/// A tar of files with these texts; `x/` is a folder, `x -> y` a link.
fn tar(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, text) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(9);
        header.set_size(0);
        if let Some((link, target)) = path.split_once(" -> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            archive.append_link(&mut header, link, target).unwrap();
        } else if path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
            archive.append_data(&mut header, path, &b""[..]).unwrap();
        } else {
            header.set_size(text.len() as u64);
            archive
                .append_data(&mut header, path, text.as_bytes())
                .unwrap();
        }
    }
    archive.into_inner().unwrap()
}

fn packed(plain: &[u8], how: Packed) -> Vec<u8> {
    match how {
        Packed::Plain => plain.to_vec(),
        Packed::Gzip => {
            let level = flate2::Compression::default();
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
            gzip.write_all(plain).unwrap();
            gzip.finish().unwrap()
        }
        Packed::Zstd => zstd::encode_all(plain, 3).unwrap(),
    }
}

fn sha(bytes: &[u8]) -> String {
    format!("sha256:{}", stamp::hex(&sha2::Sha256::digest(bytes)))
}

fn config(layers: &[(Vec<u8>, Packed)], arch: &str) -> Vec<u8> {
    let plain: Vec<String> = layers.iter().map(|(plain, _)| sha(plain)).collect();
    let config = json!({
        "architecture": arch, "os": "linux",
        "config": {"Cmd": ["/bin/true"], "User": "me"},
        "rootfs": {"type": "layers", "diff_ids": plain},
    });
    config.to_string().into_bytes()
}

fn blob(members: &mut Members, bytes: Vec<u8>, kind: &str) -> Value {
    let digest = sha(&bytes);
    let descriptor = json!({
        "mediaType": format!("application/vnd.oci.image.{kind}"),
        "digest": digest, "size": bytes.len(),
    });
    members.insert(format!("blobs/{}", digest.replace(':', "/")), bytes);
    descriptor
}

fn oci(layers: &[(Vec<u8>, Packed)], arch: &str) -> Members {
    let mut members = Members::new();
    let config = blob(&mut members, config(layers, arch), "config.v1+json");
    let layers: Vec<Value> = layers
        .iter()
        .map(|(plain, how)| blob(&mut members, packed(plain, *how), "layer.v1.tar"))
        .collect();
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
    let manifest = manifest.to_string().into_bytes();
    let manifest = blob(&mut members, manifest, "manifest.v1+json");
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    members.insert("index.json".into(), index.to_string().into_bytes());
    members.insert("oci-layout".into(), b"{}".to_vec());
    members
}

/// As `docker save` has it.
fn saved(layers: &[(Vec<u8>, Packed)]) -> Members {
    let config = config(layers, "amd64");
    let name = format!("{}.json", stamp::sha256(&config));
    let mut members = Members::from([(name.clone(), config)]);
    let mut paths = Vec::new();
    for (number, (plain, how)) in layers.iter().enumerate() {
        let path = format!("{number}/layer.tar");
        members.insert(path.clone(), packed(plain, *how));
        paths.push(path);
    }
    let manifest = json!([{"Config": name, "RepoTags": ["a:b"], "Layers": paths}]);
    members.insert("manifest.json".into(), manifest.to_string().into_bytes());
    members
}

fn write_folder(members: &Members, dir: &Path) {
    for (name, bytes) in members {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn write_tar(members: &Members, path: &Path, how: Packed) {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    fs::write(path, packed(&archive.into_inner().unwrap(), how)).unwrap();
}
