//! `install` puts everything where DESTDIR and PREFIX say.

#![allow(clippy::expect_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn everything_is_installed_below_destdir_and_prefix() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("install");
    let _ = fs::remove_dir_all(&place);
    let built = Path::new(env!("CARGO_BIN_EXE_starttls-wrapper")).parent().expect("a directory");
    let mut install = Command::new(root.join("install"));
    install.env("DESTDIR", &place).env("PREFIX", "/usr").env("BUILT", built).current_dir("/");
    assert!(install.status().expect("it runs").success());

    let mode = |path: PathBuf| fs::metadata(&path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(place.join("usr/bin/starttls-wrapper")), 0o755);
    assert_eq!(mode(place.join("usr/bin/tlsify")), 0o755);
    assert_eq!(mode(place.join("usr/bin/proxy-env")), 0o755);
    for page in files(&root.join("man")) {
        let section = page.extension().and_then(|section| section.to_str()).expect("a section");
        let name = page.file_name().expect("a name");
        assert_eq!(mode(place.join("usr/share/man").join(format!("man{section}")).join(name)), 0o644);
    }
    for example in files(&root.join("examples")) {
        let name = example.strip_prefix(root).expect("below");
        let runs = mode(example.clone()) & 0o100 != 0;
        let expected = if runs { 0o755 } else { 0o644 };
        assert_eq!(mode(place.join("usr/share/doc/starttls-wrapper").join(name)), expected, "{}", name.display());
    }
}

#[test]
fn nothing_is_installed_that_was_not_built() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output =
        Command::new(root.join("install")).env("DESTDIR", "/nonexistent").env("BUILT", "/nonexistent").output();
    let output = output.expect("it runs");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("run cargo build --release"));
}

/// As packaging/target says, whose programs ./install takes first.
#[test]
fn packages_are_built_for_musl_where_it_is_installed_and_else_for_this_machine() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packaging");
    let _ = fs::remove_dir_all(&place);
    let (tools, sysroot) = (place.join("tools"), place.join("sysroot"));
    let tool = |name: &str, text: String| {
        fs::create_dir_all(&tools).expect("a directory");
        fs::write(tools.join(name), format!("#!/bin/sh\n{text}\n")).expect("a file");
        fs::set_permissions(tools.join(name), fs::Permissions::from_mode(0o755)).expect("it is there");
    };
    let host = "riscv64gc-unknown-linux-gnu";
    tool("rustc", format!("case $1 in -vV) echo host: {host} ;; --print) echo {} ;; esac", sysroot.display()));
    tool("sed", "exec /bin/sed \"$@\"".into());
    let says = || {
        let output = Command::new("/bin/sh").arg(root.join("packaging/target")).env("PATH", &tools).output();
        String::from_utf8(output.expect("it runs").stdout).expect("a triple")
    };
    assert_eq!(says(), format!("{host}\n"), "the target is not there");
    fs::create_dir_all(sysroot.join("lib/rustlib/riscv64gc-unknown-linux-musl/lib")).expect("a directory");
    assert_eq!(says(), format!("{host}\n"), "its C compiler is not there");
    tool("musl-gcc", String::new());
    assert_eq!(says(), "riscv64gc-unknown-linux-musl\n");
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
