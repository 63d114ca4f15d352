//! Names: opening, making, listing, renaming, removing.

use std::io::ErrorKind;

use trilith_env::OpenMode;

use super::{Place, kind_naming, read_all};

pub fn opening_follows_its_mode(p: &Place<'_>) {
    let path = p.path("a");
    let open = |mode| p.disk.open(&path, mode);
    assert_eq!(
        kind_naming(&path, open(OpenMode::Existing)),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind_naming(&path, open(OpenMode::ReadOnly)),
        ErrorKind::NotFound
    );
    assert!(open(OpenMode::CreateIfMissing).unwrap().is_empty().unwrap());
    super::write(&*open(OpenMode::Existing).unwrap(), 0, b"kept");
    assert_eq!(
        read_all(&*open(OpenMode::CreateIfMissing).unwrap()),
        b"kept"
    );
    assert_eq!(
        kind_naming(&path, open(OpenMode::CreateNew)),
        ErrorKind::AlreadyExists
    );
    let lost = p.path("no/such/dir");
    let made = p.disk.open(&lost, OpenMode::CreateNew);
    assert_eq!(kind_naming(&lost, made), ErrorKind::NotFound);
    let opened = p.disk.open(&p.root, OpenMode::Existing);
    assert_eq!(kind_naming(&p.root, opened), ErrorKind::IsADirectory);
}

pub fn directories_are_made_with_their_parents(p: &Place<'_>) {
    p.disk.create_dir_all(&p.path("x/y/z")).unwrap();
    p.disk.create_dir_all(&p.path("x/y/z")).unwrap();
    p.disk.create_dir_all(&p.path("x/w")).unwrap();
    assert_eq!(
        p.names("x"),
        [("w".to_owned(), true), ("y".to_owned(), true)]
    );
    p.filled("x/y/z/f", b"1");
    assert_eq!(p.content("x/y/z/f"), b"1");
    let over_file = p.path("x/y/z/f/g");
    let made = p.disk.create_dir_all(&over_file);
    assert!(made.is_err());
    let at_file = p.path("x/y/z/f");
    let made = p.disk.create_dir_all(&at_file);
    assert_eq!(kind_naming(&at_file, made), ErrorKind::AlreadyExists);
}

pub fn a_listing_is_sorted_and_has_whole_paths(p: &Place<'_>) {
    for name in ["b", "c", "a"] {
        p.create(name);
    }
    p.disk.create_dir_all(&p.path("bb")).unwrap();
    let names = p.names("");
    let expected = [("a", false), ("b", false), ("bb", true), ("c", false)];
    assert_eq!(names, expected.map(|(n, d)| (n.to_owned(), d)));
    assert_eq!(p.disk.list(&p.root).unwrap()[0].path, p.path("a"));
    let missing = p.path("missing");
    assert_eq!(
        kind_naming(&missing, p.disk.list(&missing)),
        ErrorKind::NotFound
    );
}

pub fn a_rename_replaces_what_stands_there(p: &Place<'_>) {
    let new = p.filled("new", b"new");
    let old = p.filled("old", b"old");
    p.disk.rename(&p.path("new"), &p.path("old")).unwrap();
    assert_eq!(p.names(""), [("old".to_owned(), false)]);
    assert_eq!(p.content("old"), b"new");
    assert_eq!(
        (read_all(&*new), read_all(&*old)),
        (b"new".to_vec(), b"old".to_vec())
    );
    p.disk.rename(&p.path("old"), &p.path("old")).unwrap();
    assert_eq!(p.content("old"), b"new");
}

pub fn a_rename_of_nothing_or_onto_a_directory_fails(p: &Place<'_>) {
    let (missing, dir) = (p.path("missing"), p.path("dir"));
    assert_eq!(
        kind_naming(&missing, p.disk.rename(&missing, &p.path("to"))),
        ErrorKind::NotFound
    );
    let error = p
        .disk
        .rename(&missing, &p.path("to"))
        .unwrap_err()
        .to_string();
    assert!(error.contains(p.path("to").to_str().unwrap()), "{error}");
    p.filled("f", b"1");
    p.disk.create_dir_all(&dir).unwrap();
    let file = p.path("f");
    assert_eq!(
        kind_naming(&file, p.disk.rename(&file, &dir)),
        ErrorKind::IsADirectory
    );
    assert_eq!(
        kind_naming(&dir, p.disk.rename(&dir, &file)),
        ErrorKind::NotADirectory
    );
    let inside = dir.join("inside");
    assert_eq!(
        kind_naming(&dir, p.disk.rename(&dir, &inside)),
        ErrorKind::InvalidInput
    );
    let nowhere = p.path("no/dir");
    assert_eq!(
        kind_naming(&file, p.disk.rename(&file, &nowhere)),
        ErrorKind::NotFound
    );
    assert_eq!(p.content("f"), b"1");
}

pub fn directories_can_be_renamed(p: &Place<'_>) {
    p.disk.create_dir_all(&p.path("a")).unwrap();
    p.disk.create_dir_all(&p.path("full")).unwrap();
    p.disk.create_dir_all(&p.path("empty")).unwrap();
    p.filled("a/f", b"1");
    p.create("full/f");
    let onto_full = p.disk.rename(&p.path("a"), &p.path("full"));
    assert_eq!(
        kind_naming(&p.path("a"), onto_full),
        ErrorKind::DirectoryNotEmpty
    );
    p.disk.rename(&p.path("a"), &p.path("empty")).unwrap();
    p.disk.rename(&p.path("empty"), &p.path("b")).unwrap();
    assert_eq!(p.content("b/f"), b"1");
    assert_eq!(p.names("").len(), 2);
}

pub fn a_removed_file_is_still_read_by_who_has_it(p: &Place<'_>) {
    let file = p.filled("f", b"still here");
    p.disk.remove_file(&p.path("f")).unwrap();
    assert!(p.names("").is_empty());
    assert_eq!(read_all(&*file), b"still here");
    super::write(&*file, 0, b"S");
    file.sync().unwrap();
    assert_eq!(read_all(&*file), b"Still here");
    let again = p.disk.remove_file(&p.path("f"));
    assert_eq!(kind_naming(&p.path("f"), again), ErrorKind::NotFound);
    p.disk.create_dir_all(&p.path("d")).unwrap();
    assert!(p.disk.remove_file(&p.path("d")).is_err());
}

pub fn only_empty_directories_are_removed(p: &Place<'_>) {
    let dir = p.path("d");
    p.disk.create_dir_all(&dir).unwrap();
    p.create("d/f");
    assert_eq!(
        kind_naming(&dir, p.disk.remove_dir(&dir)),
        ErrorKind::DirectoryNotEmpty
    );
    let file = p.path("d/f");
    assert_eq!(
        kind_naming(&file, p.disk.remove_dir(&file)),
        ErrorKind::NotADirectory
    );
    p.disk.remove_file(&file).unwrap();
    p.disk.remove_dir(&dir).unwrap();
    assert_eq!(
        kind_naming(&dir, p.disk.remove_dir(&dir)),
        ErrorKind::NotFound
    );
}

pub fn synced_directories_must_be_there(p: &Place<'_>) {
    p.create("f");
    p.disk.sync_dir(&p.root).unwrap();
    let missing = p.path("missing");
    assert_eq!(
        kind_naming(&missing, p.disk.sync_dir(&missing)),
        ErrorKind::NotFound
    );
}

pub fn a_file_is_no_directory(p: &Place<'_>) {
    p.create("f");
    let below = p.path("f/g");
    let opened = p.disk.open(&below, OpenMode::CreateIfMissing);
    assert_eq!(kind_naming(&below, opened), ErrorKind::NotADirectory);
    let file = p.path("f");
    assert_eq!(
        kind_naming(&file, p.disk.list(&file)),
        ErrorKind::NotADirectory
    );
}

pub fn space_is_known(p: &Place<'_>) {
    let space = p.disk.space(&p.root).unwrap();
    assert!(
        space.available > 0 && space.available <= space.total,
        "{space:?}"
    );
    let missing = p.path("missing");
    assert_eq!(
        kind_naming(&missing, p.disk.space(&missing)),
        ErrorKind::NotFound
    );
}
