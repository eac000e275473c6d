//! The archives of other tools: names, documents and packings as their writers have them.

use super::Packed::{Gzip, Plain, Zstd};
use super::*;
use crate::room::oci::find;
use crate::room::source::Source;
use sha2::Sha512;

/// The digest and the layers of the image that is found.
fn found(members: &Members) -> Result<(String, usize), String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("archive.tar");
    write_tar(members, &file, Plain);
    let source = Source::open(&file, dir.path()).map_err(|error| format!("{error:#}"))?;
    let image = find(&source).map_err(|error| format!("{error:#}"))?;
    Ok((image.id, image.layers.len()))
}

/// The paths of the image that is made.
fn imported(file: &Path) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf::open(&dir.path().join("rooms")).unwrap();
    import(&shelf, file, "app").unwrap();
    crate::room::pack::tests::names(&shelf.image("app"))
}

fn layer() -> Vec<(Vec<u8>, Packed)> {
    vec![(tar(&[("a", "1")]), Plain)]
}

fn config_with(change: impl Fn(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(&config(&layer(), "amd64")).unwrap();
    change(&mut value);
    value.to_string().into_bytes()
}

/// As `docker save`, with names as `named` says.
fn archive(config: Vec<u8>, named: &str, layer: &str) -> Members {
    let list = json!([{"Config": named, "RepoTags": null, "Layers": [layer]}]);
    Members::from([
        (named.to_owned(), config),
        (layer.to_owned(), self::layer().remove(0).0),
        ("manifest.json".into(), list.to_string().into_bytes()),
    ])
}

#[test]
fn t09_an_archive_is_read_whatever_its_writer_calls_the_members() {
    let id = stamp::sha256(&config(&layer(), "amd64"));
    let hex = sha(&layer()[0].0)[7..].to_owned();
    for (named, layer) in [
        (format!("{id}.json"), format!("{hex}/layer.tar")),
        (format!("sha256:{id}"), format!("{hex}.tar.gz")),
        ("config.json".into(), format!("{hex}.tar.gz")),
        (format!("blobs/sha256/{id}"), format!("blobs/sha256/{hex}")),
        (format!("./{id}.json"), "./layer.tar".into()),
        (id.to_uppercase(), "a b.tar".into()),
    ] {
        let members = archive(config(&self::layer(), "amd64"), &named, &layer);
        assert_eq!(found(&members), Ok((format!("sha256:{id}"), 1)), "{named}");
    }
    let other = archive(
        config(&self::layer(), "amd64"),
        &format!("{}.json", "0".repeat(64)),
        "x",
    );
    let error = found(&other).unwrap_err();
    assert!(error.ends_with("mismatch; not used"), "{error}");
}

#[test]
fn t09_a_configuration_may_say_less_and_spell_it_otherwise() {
    let set = |key: &'static str, value: Value| move |it: &mut Value| it[key] = value.clone();
    let drop =
        |key: &'static str| move |it: &mut Value| drop(it.as_object_mut().unwrap().remove(key));
    let rename = |it: &mut Value| {
        let all = it.as_object_mut().unwrap();
        let os = all.remove("os").unwrap();
        all.insert("OS".into(), os);
    };
    let id = |config: &[u8]| format!("sha256:{}", stamp::sha256(config));
    for config in [
        config_with(drop("os")),
        config_with(drop("architecture")),
        config_with(set("os", Value::Null)),
        config_with(set("os", json!("Linux"))),
        config_with(set("architecture", json!("x86_64"))),
        config_with(set("architecture", json!(""))),
        config_with(set("config", Value::Null)),
        config_with(set(
            "config",
            json!({"Entrypoint": "/bin/sh", "Cmd": null, "Env": null}),
        )),
        config_with(set("history", json!([{"created_by": null}]))),
        config_with(set("created", json!("yesterday"))),
        config_with(rename),
    ] {
        let wanted = Ok((id(&config), 1));
        assert_eq!(found(&archive(config, "config.json", "layer.tar")), wanted);
    }
    let other = archive(
        config_with(set("os", json!("windows"))),
        "config.json",
        "layer.tar",
    );
    assert_eq!(
        found(&other).unwrap_err(),
        "docker archive: the image is for windows/amd64, this machine is linux/amd64; next: export that platform"
    );
    // An image without a layer is one all the same.
    let empty = config_with(set("rootfs", json!({"type": "layers", "diff_ids": null})));
    let list = json!([{"Config": "config.json", "Layers": null}]);
    let members = Members::from([
        ("config.json".into(), empty.clone()),
        ("manifest.json".into(), list.to_string().into_bytes()),
    ]);
    assert_eq!(found(&members), Ok((id(&empty), 0)));
}

/// A layout of these manifests, each with what its descriptor says beside digest and size.
fn layout(images: &[(&str, Value)]) -> Members {
    let mut members = Members::new();
    let mut manifests = Vec::new();
    for (content, said) in images {
        let layers = vec![(tar(&[("a", content)]), Plain)];
        let arch = said["arch"].as_str().unwrap_or("amd64");
        let one = oci(&layers, arch);
        let index: Value = serde_json::from_slice(&one["index.json"]).unwrap();
        let mut descriptor = index["manifests"][0].clone();
        for (key, value) in said.as_object().unwrap().iter().filter(|it| it.0 != "arch") {
            descriptor[key] = value.clone();
        }
        manifests.push(descriptor);
        members.extend(one);
    }
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    members.insert("index.json".into(), index.to_string().into_bytes());
    members
}

fn id_of(content: &str) -> String {
    found(&layout(&[(content, json!({}))])).unwrap().0
}

#[test]
fn t09_of_several_manifests_the_one_that_is_meant_is_taken() {
    let named = |name: &str| json!({"annotations": {"org.opencontainers.image.ref.name": name}});
    let of = |platform: Value| json!({"platform": platform});
    let (one, two) = (|v: Value| ("1", v), |v: Value| ("2", v));
    for images in [
        // A tag was written twice; the old manifest has lost it.
        vec![one(json!({})), two(named("t"))],
        vec![two(named("t")), one(json!({}))],
        // Attestations, signatures, other machines.
        vec![
            two(of(json!({"os": "linux", "architecture": "amd64"}))),
            one(of(json!({"os": "unknown", "architecture": "unknown"}))),
        ],
        vec![
            two(json!({})),
            one(json!({"annotations": {"vnd.docker.reference.type": "attestation-manifest"}})),
        ],
        vec![
            two(json!({})),
            one(json!({"artifactType": "application/vnd.example.thing"})),
        ],
        vec![
            one(of(json!({"os": "linux", "architecture": "arm64"}))),
            two(of(json!({"os": "linux", "architecture": "x86_64"}))),
        ],
        // Nothing but the configuration says what it is for.
        vec![one(json!({"arch": "arm64"})), two(of(json!({})))],
        vec![
            one(json!({"arch": "s390x", "platform": null})),
            two(json!({"platform": null})),
        ],
        // What every machine of the kind runs.
        vec![
            one(of(
                json!({"os": "linux", "architecture": "amd64", "variant": "v3"}),
            )),
            two(of(json!({"os": "linux", "architecture": "amd64"}))),
        ],
        // Two names of one image.
        vec![two(named("a")), two(named("b"))],
    ] {
        assert_eq!(found(&layout(&images)), Ok((id_of("2"), 1)), "{images:?}");
    }
    assert_eq!(
        found(&layout(&[one(named("a")), two(named("b"))])).unwrap_err(),
        "OCI layout: 2 images inside (a, b); next: export one alone"
    );
}

#[test]
fn t09_lists_in_lists_and_digests_of_both_kinds_are_followed() {
    let inner = layout(&[("2", json!({}))]);
    let list = inner["index.json"].clone();
    let mut members = inner.clone();
    let mut descriptor = blob(&mut members, list, "index.v1+json");
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": "t"});
    let index = json!({"schemaVersion": 2, "manifests": [descriptor]});
    members.insert("index.json".into(), index.to_string().into_bytes());
    assert_eq!(found(&members), Ok((id_of("2"), 1)));

    let long = |bytes: &[u8]| stamp::hex(&Sha512::digest(bytes));
    let mut members = Members::new();
    let mut put = |bytes: Vec<u8>| {
        let hex = long(&bytes);
        members.insert(format!("blobs/sha512/{hex}"), bytes.clone());
        json!({"digest": format!("sha512:{hex}"), "size": bytes.len()})
    };
    let plain = tar(&[("a", "1")]);
    let diff = format!("sha512:{}", long(&plain));
    let config = put(config_with(move |it| {
        it["rootfs"]["diff_ids"] = json!([diff])
    }));
    let layer = put(packed(&plain, Gzip));
    let manifest = json!({"config": config, "layers": [layer]});
    let manifest = put(manifest.to_string().into_bytes());
    let index = json!({"manifests": [manifest]});
    members.insert("index.json".into(), index.to_string().into_bytes());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("archive.tar");
    write_tar(&members, &file, Plain);
    assert!(imported(&file).contains(&"/a".to_owned()));
    // And they are compared.
    for (name, bytes) in members.clone() {
        if name.starts_with("blobs/") {
            let mut changed = members.clone();
            let last = bytes.len() - 1;
            changed.get_mut(&name).unwrap()[last] ^= 1;
            write_tar(&changed, &file, Plain);
            let shelf = Shelf::open(&dir.path().join("rooms")).unwrap();
            let error = format!("{:#}", import(&shelf, &file, "app").unwrap_err());
            assert!(
                error.contains("mismatch") || error.contains("layer"),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn t09_a_folder_of_skopeo_is_an_image() {
    let layout = oci(&layer(), "amd64");
    let mut members = Members::from([(
        "version".into(),
        b"Directory Transport Version: 1.1".to_vec(),
    )]);
    for (name, bytes) in &layout {
        if let Some(hex) = name.strip_prefix("blobs/sha256/") {
            let is_manifest = bytes.starts_with(b"{\"config\":{\"digest\"");
            members.insert(
                if is_manifest {
                    "manifest.json".into()
                } else {
                    hex.into()
                },
                bytes.clone(),
            );
        }
    }
    let dir = tempfile::tempdir().unwrap();
    write_folder(&members, dir.path());
    assert_eq!(
        imported(dir.path())
            .iter()
            .filter(|name| *name == "/a")
            .count(),
        1
    );
}

#[test]
fn t09_an_archive_packed_in_any_promised_way_is_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("archive");
    write_tar(&oci(&layer(), "amd64"), &file, Plain);
    let plain = fs::read(&file).unwrap();
    let (first, rest) = plain.split_at(2000);
    let zstd = |bytes| packed(bytes, Zstd);
    // pzstd begins with a frame that says how long the next one is.
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], &[1, 2, 3, 4]].concat();
    let xz = |bytes: &[u8]| {
        let mut from = liblzma::read::XzEncoder::new(bytes, 1);
        let mut to = Vec::new();
        std::io::Read::read_to_end(&mut from, &mut to).unwrap();
        to
    };
    for (what, bytes) in [
        (
            "gzip, two members",
            [packed(first, Gzip), packed(rest, Gzip)].concat(),
        ),
        ("zstd, two frames", [zstd(first), zstd(rest)].concat()),
        ("zstd, skipped", [skipped.clone(), zstd(&plain)].concat()),
        (
            "zstd, skipped at the end",
            [zstd(&plain), skipped.clone()].concat(),
        ),
        ("xz", xz(&plain)),
        ("xz, two streams", [xz(first), xz(rest)].concat()),
    ] {
        fs::write(&file, bytes).unwrap();
        assert!(imported(&file).contains(&"/a".to_owned()), "{what}");
    }
    fs::write(&file, b"BZh91AY&SY").unwrap();
    let shelf = Shelf::open(&dir.path().join("rooms")).unwrap();
    let error = format!("{:#}", import(&shelf, &file, "app").unwrap_err());
    assert!(
        error.ends_with("packed by bzip2, which is not unpacked here; next: bunzip2 it first"),
        "{error}"
    );
}

#[test]
fn t09_what_is_no_archive_is_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("README.md");
    fs::write(&file, "# A text\n".repeat(200)).unwrap();
    let shelf = Shelf::open(&dir.path().join("rooms")).unwrap();
    let error = format!("{:#}", import(&shelf, &file, "app").unwrap_err());
    let wanted = "README.md: no image archive; next: a tar file that docker save, podman save, skopeo or umoci wrote";
    assert!(
        error.contains(wanted) && !error.contains("A text"),
        "{error}"
    );
    for (bytes, is) in [
        (&b"# A text\n"[..], "a text"),
        (b"", "empty"),
        (b"\x7fELF\x02", "a program"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\0\x01\x02", "of a kind that is not known here"),
    ] {
        fs::write(&file, bytes).unwrap();
        let error = crate::room::source::look(&file).unwrap_err().to_string();
        assert!(
            error.contains(&format!("README.md is {is}: no image archive; next: ")),
            "{error}"
        );
    }
    write_tar(&oci(&layer(), "amd64"), &file, Gzip);
    crate::room::source::look(&file).unwrap();
    write_tar(&oci(&layer(), "amd64"), &file, Plain);
    crate::room::source::look(&file).unwrap();
    crate::room::source::look(dir.path()).unwrap();
    let old = Members::from([("repositories".into(), b"{}".to_vec())]);
    let error = found(&old).unwrap_err();
    assert!(
        error.starts_with("an archive of docker before 1.10"),
        "{error}"
    );
}

#[test]
fn t09_a_member_may_be_a_link_to_another_one() {
    let id = stamp::sha256(&config(&layer(), "amd64"));
    let mut archive = tar::Builder::new(Vec::new());
    let list = json!([{"Config": format!("{id}.json"), "Layers": ["two/layer.tar"]}]).to_string();
    for (name, bytes) in [
        (format!("{id}.json"), config(&layer(), "amd64")),
        ("one/layer.tar".into(), layer()[0].0.clone()),
        ("manifest.json".into(), list.into_bytes()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    for (kind, target) in [
        (tar::EntryType::Symlink, "../one/layer.tar"),
        (tar::EntryType::Link, "one/layer.tar"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        let mut whole = tar::Builder::new(archive.get_ref().clone());
        whole
            .append_link(&mut header, "two/layer.tar", target)
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("archive.tar");
        fs::write(&file, whole.into_inner().unwrap()).unwrap();
        assert!(imported(&file).contains(&"/a".to_owned()), "{kind:?}");
    }
}
