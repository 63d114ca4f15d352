//! Locks.

use trilith_env::LockError;

use super::Place;

pub fn a_lock_has_one_holder(p: &Place<'_>) {
    let path = p.path("lock");
    let first = p.disk.lock(&path, "pid 1").unwrap();
    let error = p.disk.lock(&path, "pid 2").unwrap_err();
    let text = error.to_string();
    assert!(text.ends_with("is locked by pid 1"), "{text}");
    assert!(matches!(error, LockError::Held { path: held, .. } if held == path));
    drop(first);
    let second = p.disk.lock(&path, "pid 3").unwrap();
    assert!(
        p.disk
            .lock(&path, "x")
            .unwrap_err()
            .to_string()
            .ends_with("pid 3")
    );
    drop(second);
    p.disk.lock(&path, "").unwrap();
}

pub fn a_lock_needs_a_directory(p: &Place<'_>) {
    let path = p.path("no/lock");
    let error = p.disk.lock(&path, "pid 1").unwrap_err();
    assert!(matches!(&error, LockError::Io { .. }), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()));
    let error = p.disk.lock(&p.root, "pid 1").unwrap_err();
    assert!(matches!(&error, LockError::Io { .. }), "{error}");
}

pub fn a_lock_file_keeps_no_stale_name(p: &Place<'_>) {
    let held = p.disk.lock(&p.path("lock"), "a name that is long").unwrap();
    assert_eq!(p.content("lock"), b"a name that is long");
    drop(held);
    assert_eq!(p.content("lock"), b"");
    let held = p.disk.lock(&p.path("lock"), "short").unwrap();
    assert_eq!(p.content("lock"), b"short");
    drop(held);
    let unnamed = p.disk.lock(&p.path("lock"), "").unwrap();
    let refused = p.disk.lock(&p.path("lock"), "x").unwrap_err();
    assert!(
        refused
            .to_string()
            .ends_with("a process that has not given its name"),
        "{refused}"
    );
    drop(unnamed);
}
