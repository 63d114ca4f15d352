//! The checklist of other implementations' scenarios names tests of ours: they must exist.

use std::{fs, path::Path};

fn sources(directory: &Path, all: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_test_that_the_checklist_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = String::new();
    sources(&root.join("src"), &mut all);
    sources(&root.join("tests"), &mut all);
    let table = fs::read_to_string(root.join("../../docs/raft-scenarios.md")).unwrap();
    let mut named = 0;
    for row in table
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'))
    {
        let ours = row.split('|').nth(2).unwrap();
        for name in ours.split('`').skip(1).step_by(2) {
            named += 1;
            let function = all.contains(&format!("fn {name}("));
            let transcript = root.join(format!("tests/scenarios/{name}.txt")).exists();
            assert!(
                function || transcript,
                "the checklist names `{name}`, which does not exist"
            );
        }
    }
    assert!(named > 100, "the table was read");
}
