use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

const OLD: &str = "000102030405060708090a0b0c0d0e0f";
const NEW: &str = "EBESExQVFhcYGRobHB0eHw==";

fn ids(text: &str) -> Vec<KeyId> {
    Keyring::parse(text).unwrap().ids().collect()
}

#[test]
fn reads_hex_base64_and_comments() {
    let both = ids(&format!("# mesh one\n\n  {OLD}  # since May\n{NEW}\n"));

    assert_eq!(both, [ids(OLD), ids(NEW)].concat());
    assert_eq!(ids(&OLD.to_uppercase()), ids(OLD));
    assert_eq!(ids("EBESExQVFhcYGRobHB0eHw=="), ids("101112131415161718191a1b1c1d1e1f"));
    assert_eq!(Keyring::parse(&format!("{NEW}\n{OLD}")).unwrap().signing(), ids(NEW)[0]);
}

#[test]
fn names_the_line_and_never_the_key() {
    let table = [
        ("", "the key file holds no key"),
        ("# nothing\n\n", "the key file holds no key"),
        ("0011", "line 1 of the key file is shorter than 16 bytes"),
        ("# first\nnot a key!", "line 2 of the key file is neither hex nor base64"),
        (&"ab".repeat(65), "line 1 of the key file is longer than 64 bytes"),
    ];
    for (text, message) in table {
        let error = Keyring::parse(text).unwrap_err();
        assert_eq!(error.to_string(), message, "{text}");
    }

    let shown = format!("{:?}", Keyring::parse(OLD).unwrap());
    assert!(shown.starts_with("[KeyId(") && !shown.contains("0c0d"), "{shown}");
}

/// Kubernetes mounts a Secret as `key -> ..data/key`, `..data -> ..<time>/`, and swaps `..data`.
fn swap(mount: &Path, generation: &str, text: &str) {
    std::fs::create_dir(mount.join(generation)).unwrap();
    std::fs::write(mount.join(generation).join("key"), text).unwrap();
    symlink(generation, mount.join("..tmp")).unwrap();
    std::fs::rename(mount.join("..tmp"), mount.join("..data")).unwrap();
}

#[tokio::test(start_paused = true)]
async fn follows_the_file_and_keeps_the_old_keys_when_it_is_broken() {
    let mount = tempfile::tempdir().unwrap();
    let path = mount.path().join("key");
    swap(mount.path(), "..1", OLD);
    symlink("..data/key", &path).unwrap();

    let mut keys = KeyFile::new(path.clone()).watch(KeyFile::POLL).unwrap();
    assert_eq!(keys.borrow().signing(), ids(OLD)[0]);

    swap(mount.path(), "..2", &format!("{OLD}\n{NEW}"));
    keys.changed().await.unwrap();
    assert_eq!(keys.borrow_and_update().ids().collect::<Vec<_>>(), [ids(OLD), ids(NEW)].concat());

    for broken in ["..3", "..4"] {
        swap(mount.path(), broken, "oops");
        tokio::time::sleep(KeyFile::POLL * 3).await;
        assert!(!keys.has_changed().unwrap());
    }
    std::fs::remove_file(mount.path().join("..data")).unwrap();
    tokio::time::sleep(KeyFile::POLL * 3).await;
    assert!(!keys.has_changed().unwrap());

    swap(mount.path(), "..5", NEW);
    keys.changed().await.unwrap();
    assert_eq!(keys.borrow().signing(), ids(NEW)[0]);
}

#[tokio::test]
async fn names_the_file_that_cannot_be_read() {
    let error = KeyFile::new("/nowhere/key".into()).watch(KeyFile::POLL).unwrap_err();
    assert_eq!(error.to_string(), "read key file /nowhere/key");
}
