//! The disk is made of its images alone, holds what it says, and is made again when they change and not otherwise.

use std::path::PathBuf;

use super::*;
use crate::verity::BLOCK;

/// A folder with these images, of which only the bytes matter.
struct Place {
    dir: tempfile::TempDir,
    layout: Layout,
}

fn place(images: &[(&str, &[u8])]) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout {
        root: dir.path().to_owned(),
    };
    let place = Place { dir, layout };
    fs::create_dir_all(place.layout.rooms()).unwrap();
    fs::create_dir_all(place.dir.path().join("xtask")).unwrap();
    fs::copy(Layout::find().lock(), place.layout.lock()).unwrap();
    place.have(images);
    place
}

impl Place {
    /// As if they had been imported.
    fn have(&self, images: &[(&str, &[u8])]) {
        let mut list = String::new();
        for (name, bytes) in images {
            fs::write(self.file(name), bytes).unwrap();
            let (len, sha256) = (bytes.len(), stamp::sha256(bytes));
            list += &format!("{name} {len} {sha256} import:sha256:0\n");
        }
        fs::write(self.layout.rooms().join("images"), list).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.layout.rooms().join(format!("{name}.sqfs"))
    }

    fn make(&self, rooms: &str) -> Result<Vec<Image>> {
        make(&self.layout, &Set::parse(rooms).unwrap())
    }

    fn disk(&self) -> Vec<u8> {
        fs::read(self.layout.rooms_disk()).unwrap()
    }
}

#[test]
fn t09_each_image_is_a_partition_of_its_name_with_its_hash_tree_behind_it() {
    let (web, dev) = (vec![1; 5000], vec![2; 130 * BLOCK]);
    let place = place(&[("web", &web), ("dev", &dev)]);
    let images = place.make("web,dev").unwrap();
    let bytes = place.disk();
    let disk = GptConfig::new().open(place.layout.rooms_disk()).unwrap();
    assert!(disk.primary_header().is_ok() && disk.backup_header().is_ok());
    let names: Vec<_> = disk.partitions().values().map(|p| &p.name[..]).collect();
    assert_eq!(names, ["dev", "web"]);
    for ((partition, image), data) in disk.partitions().values().zip(&images).zip([&dev, &web]) {
        let at = (partition.first_lba * SECTOR) as usize;
        assert_eq!(at % ALIGNED as usize, 0);
        let content = &bytes[at..((partition.last_lba + 1) * SECTOR) as usize];
        let (filled, tree) = content.split_at(image.data_blocks as usize * BLOCK);
        assert_eq!(&filled[..data.len()], &data[..]);
        assert!(filled[data.len()..].iter().all(|byte| *byte == 0));
        let salt = digest("salt", &stamp::sha256(data));
        let again = Tree::of(filled, &salt).unwrap();
        assert_eq!(image.salt, stamp::hex(&salt));
        assert_eq!(image.roothash, stamp::hex(&again.roothash));
        assert_eq!(tree, again.blocks);
    }
    assert_eq!(images[0].data_blocks, 130);
    assert_eq!(images[1].to_string().split(' ').nth(1), Some("2"));
}

#[test]
fn k05_the_same_images_make_the_same_bytes_whatever_the_order_and_the_folder() {
    let (web, dev) = ("web".as_bytes(), "dev".as_bytes());
    let (one, other) = (
        place(&[("web", web), ("dev", dev)]),
        place(&[("dev", dev), ("web", web), ("more", b"more")]),
    );
    let images = one.make("web,dev").unwrap();
    assert_eq!(other.make("dev,web").unwrap(), images);
    assert_eq!(one.disk(), other.disk());
    other.have(&[("dev", b"another"), ("web", web)]);
    assert_ne!(other.make("dev,web").unwrap(), images);
    assert_ne!(one.disk(), other.disk());
}

#[test]
fn k05_a_disk_that_is_up_to_date_is_left_alone_and_one_that_is_not_is_made_again() {
    let place = place(&[("web", b"web"), ("dev", b"dev")]);
    let images = place.make("web").unwrap();
    let changed = || fs::metadata(place.layout.rooms_disk()).unwrap().modified();
    let before = changed().unwrap();
    // Not even the image is needed: the disk has it.
    fs::remove_file(place.file("web")).unwrap();
    assert_eq!(place.make("web").unwrap(), images);
    assert_eq!(changed().unwrap(), before);
    let error = place.make("web,dev").unwrap_err().to_string();
    assert_eq!(
        error,
        "room web: MISSING; next: cargo xtask room import FILE --name web --force"
    );
    fs::write(place.file("web"), b"wob").unwrap();
    let error = place.make("web,dev").unwrap_err().to_string();
    assert!(error.starts_with("room web: CHANGED: sha256 "), "{error}");
    assert_eq!(changed().unwrap(), before, "what was there stays");
    fs::write(place.file("web"), b"web").unwrap();
    assert_eq!(place.make("web,dev").unwrap()[1], images[0]);
    fs::write(place.layout.rooms_disk(), "damaged").unwrap();
    assert_eq!(place.make("web,dev").unwrap().len(), 2);
    assert!(place.disk().len() > 7);
}

#[test]
fn k05_none_leaves_no_disk() {
    let place = place(&[("web", b"web")]);
    place.make("web").unwrap();
    assert_eq!(place.make("none").unwrap(), []);
    assert!(!place.layout.rooms_disk().exists());
    assert_eq!(place.make("none").unwrap(), []);
    assert_eq!(last(&place.layout), Some(Set::default()));
}

#[test]
fn k05_without_a_choice_the_disk_that_is_there_stays_if_it_has_enough() {
    let place = place(&[
        ("busybox", b"b"),
        ("dev", b"d"),
        ("web", b"w"),
        ("net", b"n"),
        ("outside", b"o"),
        ("stick", b"s"),
    ]);
    let chosen = |asked: Option<&str>, least: &str| {
        let asked = asked.map(|asked| Set::parse(asked).unwrap());
        let set = choose(&place.layout, asked.as_ref(), least).unwrap();
        set.to_string()
    };
    assert_eq!(
        chosen(None, SMALL),
        "busybox,net,outside,stick",
        "nothing was made yet"
    );
    place.make("web,busybox,net,outside,stick").unwrap();
    assert_eq!(chosen(None, SMALL), "busybox,net,outside,stick,web");
    assert_eq!(chosen(None, TESTED), "busybox,hostile,net,outside,stick");
    assert_eq!(chosen(Some("none"), SMALL), "none");
    // What a room has its network and the outside by is asked for by nobody, and comes with every other image.
    assert_eq!(chosen(Some("dev"), SMALL), "dev,net,outside,stick");
}

#[test]
fn k06_no_command_drops_an_image_of_the_set() {
    let place = place(&[
        ("busybox", b"b"),
        ("dev", b"d"),
        ("web", b"w"),
        ("hostile", b"h"),
        ("net", b"n"),
        ("outside", b"o"),
        ("stick", b"s"),
    ]);
    let chosen = |asked: Option<&str>, least: &str| {
        let asked = asked.map(|asked| Set::parse(asked).unwrap());
        let set = choose(&place.layout, asked.as_ref(), least);
        set.map(|set| set.to_string())
            .map_err(|why| why.to_string())
    };
    let is = |set: &str| Ok(set.to_owned());
    assert_eq!(
        chosen(Some("busybox,dev"), SMALL),
        is("busybox,dev,net,outside,stick")
    );
    // The tests and what is built for elsewhere make disks of their own choice, and the next command has the set again.
    assert_eq!(
        chosen(None, TESTED),
        is("busybox,dev,hostile,net,outside,stick")
    );
    place.make(SMALL).unwrap();
    assert_eq!(chosen(None, SMALL), is("busybox,dev,net,outside,stick"));
    let path = place.layout.rooms_set();
    let refused = format!(
        "--rooms busybox,net,outside,stick,web would drop dev, which the machines of this clone have; next: --rooms busybox,dev,net,outside,stick,web, or take it out of {} first",
        path.display()
    );
    assert_eq!(chosen(Some("busybox,web"), SMALL), Err(refused));
    assert_eq!(chosen(None, SMALL), is("busybox,dev,net,outside,stick"));
    assert_eq!(
        chosen(Some("busybox,dev,web"), SMALL),
        is("busybox,dev,net,outside,stick,web")
    );
    fs::write(&path, "busybox\n").unwrap();
    assert_eq!(
        chosen(Some("busybox,web"), SMALL),
        is("busybox,net,outside,stick,web")
    );
    fs::write(&path, "Dev").unwrap();
    assert!(chosen(None, SMALL).unwrap_err().contains("rooms.set"));
}

#[test]
fn k05_a_list_of_images_is_names_or_the_word_none() {
    let parsed = |text: &str| Set::parse(text).map(|set| set.to_string());
    assert_eq!(parsed("web,dev,web").unwrap(), "dev,web");
    assert_eq!(parsed("none").unwrap(), "none");
    let refused = |text| parsed(text).unwrap_err().to_string();
    assert_eq!(refused("web,none"), "none stands alone");
    let next = "is no name of an image; next: 1 to 32 lower-case letters and digits";
    assert_eq!(refused(""), format!("\"\" {next}"));
    assert_eq!(refused("web,../x"), format!("\"../x\" {next}"));
}
