//! Whole imports and builds.

use super::Packed::{Gzip, Plain, Zstd};
use super::*;
use crate::room::pack::tests::{listing, names};

struct Place {
    dir: tempfile::TempDir,
    shelf: Shelf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf::open(&dir.path().join("rooms")).unwrap();
    Place { dir, shelf }
}

/// Three layers, each packed in another way: a base, one that deletes and hides, one that adds.
fn layers() -> Vec<(Vec<u8>, Packed)> {
    vec![
        (
            tar(&[
                ("etc/old", "old"),
                ("etc/kept", "kept"),
                ("var/a/b", "hidden"),
                ("bin -> /usr/bin", ""),
            ]),
            Plain,
        ),
        (
            tar(&[
                ("etc/.wh.old", ""),
                ("var/", ""),
                ("var/.wh..wh..opq", ""),
                ("var/c", "c"),
            ]),
            Gzip,
        ),
        (tar(&[("etc/old", "new")]), Zstd),
    ]
}

#[test]
fn t09_each_kind_of_archive_becomes_the_same_image() {
    let at = place();
    let (oci, saved) = (oci(&layers(), "amd64"), saved(&layers()));
    let file = |name: &str| at.dir.path().join(name);
    write_folder(&oci, &file("layout"));
    write_tar(&oci, &file("oci.tar"), Plain);
    write_tar(&oci, &file("oci.tar.gz"), Gzip);
    write_tar(&oci, &file("oci.tar.zst"), Zstd);
    write_tar(&saved, &file("saved.tar"), Plain);
    let mut images = Vec::new();
    for name in [
        "layout",
        "oci.tar",
        "oci.tar.gz",
        "oci.tar.zst",
        "saved.tar",
    ] {
        let row = import(&at.shelf, &file(name), "app").unwrap();
        assert!(row.from.starts_with("import:sha256:"), "{row:?}");
        images.push(fs::read(at.shelf.image("app")).unwrap());
    }
    assert!(images.windows(2).all(|two| two[0] == two[1]));
    let wanted = [
        "755 0:0 /",
        "777 0:0 /bin -> /usr/bin",
        "755 0:0 /dev",
        "755 0:0 /etc",
        "755 0:0 /etc/kept \"kept\"",
        "755 0:0 /etc/old \"new\"",
        "755 0:0 /proc",
        "755 0:0 /run",
        "755 0:0 /sys",
        "1777 0:0 /tmp",
        "755 0:0 /var",
        "755 0:0 /var/c \"c\"",
    ];
    assert_eq!(listing(&at.shelf.image("app")), wanted);
}

/// The whole text of a refusal, after which nothing is there that was not before.
fn refused(members: &Members) -> String {
    let at = place();
    let archive = at.dir.path().join("archive.tar");
    write_tar(members, &archive, Plain);
    let error = import(&at.shelf, &archive, "app").unwrap_err();
    assert_eq!(fs::read_dir(at.shelf.dir()).unwrap().count(), 0);
    format!("{error:#}")
}

#[test]
fn t09_a_hostile_layer_is_refused_whole_with_nothing_left() {
    let good = tar(&[("etc/passwd", "x")]);
    let through = tar(&[("etc/passwd/x", "x")]);
    let layers = [(good, Plain), (through.clone(), Gzip)];
    assert_eq!(
        refused(&oci(&layers, "amd64")),
        format!(
            "layer {}: /etc/passwd/x goes through /etc/passwd, which is a file",
            sha(&through)
        )
    );
}

#[test]
fn t09_a_truncated_layer_is_refused_whole_with_nothing_left() {
    let plain = tar(&[("a", &"text ".repeat(9999))]);
    let mut members = saved(&[(plain.clone(), Gzip)]);
    let layer = members.get_mut("0/layer.tar").unwrap();
    layer.truncate(layer.len() / 2);
    let error = refused(&members);
    let begins = format!("layer {}: ", sha(&plain));
    assert!(error.starts_with(&begins), "{error}");
    assert!(
        error.contains("deflate") || error.contains("EOF") || error.contains("eof"),
        "{error}"
    );
}

#[test]
fn t06_a_layer_that_is_not_the_named_one_is_refused_whole_with_nothing_left() {
    let (named, other) = (tar(&[("a", "1")]), tar(&[("a", "2")]));
    let mut members = saved(&[(named.clone(), Plain)]);
    members.insert("0/layer.tar".into(), other.clone());
    assert_eq!(
        refused(&members),
        format!(
            "check layer {} (found {}): mismatch; not used; next: export the image again",
            sha(&named),
            sha(&other)
        )
    );
    // As packed, even where it unpacks to the right bytes.
    let mut members = oci(&[(named.clone(), Gzip)], "amd64");
    let digest = sha(&packed(&named, Gzip));
    let (name, mut bytes) = (
        format!("blobs/{}", digest.replace(':', "/")),
        packed(&named, Gzip),
    );
    bytes[4] ^= 1;
    members.insert(name, bytes.clone());
    assert_eq!(
        refused(&members),
        format!(
            "check layer {digest} (found {}): mismatch; not used; next: export the image again",
            sha(&bytes)
        )
    );
}

#[test]
fn t06_a_changed_manifest_or_configuration_is_refused() {
    let layers = [(tar(&[("a", "1")]), Plain)];
    let config = config(&layers, "amd64");
    let name = format!("blobs/sha256/{}", stamp::sha256(&config));
    let mut members = oci(&layers, "amd64");
    members.insert(name.clone(), [&config[..], b" "].concat());
    assert_eq!(
        refused(&members),
        format!(
            "OCI layout: check {name} (found {}): mismatch; not used",
            sha(&[&config[..], b" "].concat())
        )
    );
}

#[test]
fn t09_an_archive_without_one_image_for_this_machine_is_refused() {
    let layers = [(tar(&[("a", "1")]), Plain)];
    assert_eq!(
        refused(&oci(&layers, "arm64")),
        "OCI layout: the image is for linux/arm64, this machine is linux/amd64; next: export that platform"
    );
    assert_eq!(
        refused(&Members::from([("etc/passwd".into(), vec![])])),
        "no image archive: neither index.json nor manifest.json inside; next: docker save, or an OCI layout"
    );
    let mut missing = saved(&layers);
    missing.remove("0/layer.tar");
    assert_eq!(
        refused(&missing),
        "0/layer.tar is not in the archive; next: export the whole image again"
    );
    let mut two = saved(&layers);
    let list: Vec<Value> = serde_json::from_slice(&two["manifest.json"]).unwrap();
    let list = json!([list[0], list[0]]).to_string().into_bytes();
    two.insert("manifest.json".into(), list);
    assert_eq!(
        refused(&two),
        "docker archive: 2 images inside; next: save one alone"
    );
}

#[test]
fn t09_an_import_replaces_nothing_unasked() {
    let at = place();
    let recipes = at.dir.path().join("recipes");
    fs::create_dir(&recipes).unwrap();
    fs::write(recipes.join("dev.toml"), "").unwrap();
    let places = Places {
        recipes,
        packages: at.dir.path().join("cache"),
        epoch: 0,
        layout: Layout::find(),
    };
    let archive = at.dir.path().join("app.tar.gz");
    write_tar(&saved(&layers()), &archive, Gzip);
    let name = |name, force| {
        import_name(&places, &at.shelf, &archive, name, force).map_err(|e| format!("{e:#}"))
    };
    assert_eq!(name(None, false).unwrap(), "app");
    import(&at.shelf, &archive, "app").unwrap();
    assert_eq!(
        name(None, false).unwrap_err(),
        "import: there is an image app; next: another --name, or --force to replace it"
    );
    assert_eq!(name(None, true).unwrap(), "app");
    assert_eq!(
        name(Some("dev"), true).unwrap_err(),
        "import: dev is a recipe; next: another --name"
    );
    assert_eq!(
        name(Some("../x"), true).unwrap_err(),
        "import: --name NAME: \"../x\" is no name of an image; next: 1 to 32 lower-case letters and digits"
    );
}

/// A clone with nothing in it, and an archive of an image that is meant so.
fn clone(config: &Value) -> (tempfile::TempDir, Layout, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_owned();
    let layout = Layout { root };
    for folder in [layout.policies(), layout.recipes(), layout.rooms()] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::copy(Layout::find().lock(), layout.lock()).unwrap();
    let plain = tar(&[
        ("bin -> /usr/bin", ""),
        ("usr/bin/serve", "x"),
        ("srv/run.sh", "x"),
    ]);
    let whole = json!({
        "architecture": "amd64", "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [sha(&plain)]},
    });
    let manifest = json!([{"Config": "config.json", "Layers": ["layer.tar"]}]);
    let archive = dir.path().join("app.tar");
    let members = Members::from([
        ("config.json".to_owned(), whole.to_string().into_bytes()),
        (
            "manifest.json".to_owned(),
            manifest.to_string().into_bytes(),
        ),
        ("layer.tar".to_owned(), plain),
    ]);
    write_tar(&members, &archive, Plain);
    (dir, layout, archive)
}

fn new(layout: &Layout, name: &str, from: &Path) -> Result<u8> {
    let (name, from) = (name.to_owned(), from.to_owned());
    command(layout, &Task::New { name, from })
}

#[test]
fn k06_a_new_room_has_the_images_command_environment_folder_and_ports() {
    let config = json!({
        "Entrypoint": ["serve"], "Cmd": ["-d", "a \"b\""], "WorkingDir": "/srv", "User": "me",
        "Env": ["PATH=/nowhere:/bin", "A=1=2", "A=2=3"], "ExposedPorts": {"80/tcp": {}},
    });
    let (_dir, layout, archive) = clone(&config);
    assert_eq!(new(&layout, "app", &archive).unwrap(), 0);
    let text = fs::read_to_string(layout.policies().join("p__app.toml")).unwrap();
    crate::policy::check_text("p__app.toml", &text).unwrap();
    for line in [
        r#"image = "app""#,
        r#"command = ["/bin/serve", "-d", "a \"b\""]"#,
        r#"environment = { "A" = "2=3", "HOME" = "/srv", "PATH" = "/nowhere:/bin", "TERM" = "linux" }"#,
        "# It was meant to serve 80/tcp.",
        r#"network = "via sys://net""#,
        r#"background = "run""#,
    ] {
        assert!(text.lines().any(|it| it == line), "no {line} in\n{text}");
    }
    assert!(!text.contains("exit = "));
    let set = crate::roomdisk::set(&layout).unwrap();
    assert_eq!(set.to_string(), "app,busybox");
    assert!(layout.rooms().join("app.sqfs").is_file());
}

#[test]
fn k06_a_new_room_replaces_nothing_and_is_made_whole_or_not_at_all() {
    let (_dir, layout, archive) = clone(&json!({"Cmd": ["./run.sh"], "WorkingDir": "/srv"}));
    let refused = |name: &str, from: &Path| format!("{:#}", new(&layout, name, from).unwrap_err());
    new(&layout, "app", &archive).unwrap();
    let policy = layout.policies().join("p__app.toml");
    let text = fs::read_to_string(&policy).unwrap();
    assert!(text.contains(r#"command = ["/srv/run.sh"]"#), "{text}");
    let there = format!(
        "new: there is a room p://app: {}; next: another NAME",
        policy.display()
    );
    assert_eq!(refused("app", &archive), there);
    fs::remove_file(&policy).unwrap();
    assert!(refused("app", &archive).starts_with("new: there is an image app; "));
    assert!(refused("../x", &archive).contains("is no name of an image"));
    // Nothing is left of one whose program is not there, or whose texts no policy takes.
    for config in [
        json!({"Cmd": ["gone"]}),
        json!({}),
        json!({"Cmd": ["/bin/serve", "a\tb"]}),
    ] {
        let (_dir, layout, archive) = clone(&config);
        let why = format!("{:#}", new(&layout, "app", &archive).unwrap_err());
        assert!(
            why.contains("nothing was made; next: cargo xtask room import "),
            "{why}"
        );
        assert_eq!(fs::read_dir(layout.policies()).unwrap().count(), 0);
        assert!(!layout.rooms().join("images").exists());
        assert_eq!(crate::roomdisk::set(&layout).unwrap().to_string(), "none");
    }
}

#[test]
#[ignore = "needs root: apt fetches the package"]
fn h01_busybox_built_in_two_folders_is_the_same_with_a_link_for_each_applet() {
    let layout = Layout::find();
    let (one, two) = (place(), place());
    let rows = [&one, &two].map(|at| {
        let places = Places {
            recipes: layout.recipes(),
            packages: at.dir.path().join("cache"),
            epoch: 1_795_132_800,
            layout: layout.clone(),
        };
        build(&places, &at.shelf, "busybox").unwrap()
    });
    assert_eq!(rows[0], rows[1]);
    let names = names(&one.shelf.image("busybox"));
    for name in ["/bin/busybox", "/bin/sh", "/usr/bin/wc", "/etc/passwd"] {
        assert!(names.iter().any(|n| n == name), "{name}: {names:?}");
    }
}

#[test]
fn t09_a_program_of_this_workspace_stands_in_usr_bin_and_can_be_run() {
    let at = place();
    let file = at.dir.path().join("made");
    fs::write(&file, "a program").unwrap();
    let (mut tree, mut spool) = (Tree::default(), Spool::new(at.shelf.dir()).unwrap());
    install(&file, "hostile", &mut tree, &mut spool).unwrap();
    finish(&at.shelf, "x", &mut tree, &mut spool, "recipe:x").unwrap();
    let lines = listing(&at.shelf.image("x"));
    let wanted = "755 0:0 /usr/bin/hostile \"a program\"";
    assert!(lines.iter().any(|line| line == wanted), "{lines:?}");
    let missing = install(Path::new("/nonexistent"), "x", &mut tree, &mut spool);
    assert_eq!(missing.unwrap_err().to_string(), "read /nonexistent");
}

#[test]
fn a06_what_an_image_goes_without_is_gone_with_all_below_it_or_an_error() {
    let text = |without: &str| {
        format!(
            "about = 'x'\nkind = 'busybox'\nrelease = 'x'\npackages = []\nwithout = ['{without}']\n"
        )
    };
    let mut tree = Tree::default();
    let place = |path: &str| tree::Place::parse(path.as_bytes()).unwrap();
    for path in ["usr/share/doc/a/b", "usr/share/docs"] {
        tree.add(place(path), Meta::PLAIN, Kind::Link(b"x".to_vec()))
            .unwrap();
    }
    let mut without = |path| leave_out(&toml::from_str(&text(path)).unwrap(), &mut tree);
    without("usr/share/doc").unwrap();
    for path in ["usr/share/doc", "/"] {
        assert_eq!(
            without(path).unwrap_err().to_string(),
            format!("without {path:?}: no package has it; next: take it out of the recipe")
        );
    }
    let has = |path| tree.get(&place(path)).is_some();
    assert!(!has("usr/share/doc/a/b") && !has("usr/share/doc") && has("usr/share/docs"));
}
