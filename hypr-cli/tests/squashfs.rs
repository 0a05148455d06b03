//! `hypr squashfs` as its users see it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn hypr(directory: &Path, arguments: &[&str]) -> Output {
    hypr_with_input(directory, arguments, b"")
}

fn hypr_with_input(directory: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hypr"))
        .arg("squashfs")
        .args(arguments)
        .current_dir(directory)
        .env_remove("SOURCE_DATE_EPOCH")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may end without reading.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> &str {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::str::from_utf8(&output.stdout).unwrap()
}

/// Packs a small tree into `a.img`.
fn packed() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::write(tree.join("etc/motd"), "hello\n").unwrap();
    fs::set_permissions(tree.join("etc/motd"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("/etc/motd", tree.join("link")).unwrap();
    fs::write(tree.join("odd\nname"), "").unwrap();
    stdout(&hypr(directory.path(), &["pack", "tree", "-o", "a.img"]));
    directory
}

#[test]
fn a_directory_is_packed_listed_read_and_extracted() {
    let directory = packed();
    let run = |arguments: &[&str]| stdout(&hypr(directory.path(), arguments)).to_owned();
    assert_eq!(run(&["ls", "a.img"]), "etc\netc/motd\nlink\nodd\\nname\n");
    assert_eq!(run(&["ls", "a.img", "/etc"]), "etc/motd\n");
    let long = run(&["ls", "-l", "a.img"]);
    assert!(long.contains("-rw-r----- ") && long.contains(" link -> /etc/motd\n"), "{long}");
    for path in ["etc/motd", "/etc/motd", "link"] {
        assert_eq!(run(&["cat", "a.img", path]), "hello\n");
    }
    assert!(run(&["verify", "a.img"]).contains("no fault"));
    run(&["extract", "a.img", "-d", "out"]);
    assert_eq!(fs::read(directory.path().join("out/etc/motd")).unwrap(), b"hello\n");
    assert_eq!(fs::read_link(directory.path().join("out/link")).unwrap(), Path::new("/etc/motd"));
    let info: serde_json::Value = serde_json::from_str(&run(&["info", "a.img", "--format", "json"])).unwrap();
    assert_eq!((&info["compression"], &info["block_size"]), (&"zstd".into(), &131_072.into()));
    assert!(run(&["info", "a.img"]).contains("compression: zstd\n"));
}

#[test]
fn encodings_can_be_chosen_and_threads_change_nothing() {
    let directory = packed();
    let at = |name: &str| fs::read(directory.path().join(name)).unwrap();
    for (number, threads) in ["1", "2", "7"].into_iter().enumerate() {
        let name = format!("t{number}.img");
        stdout(&hypr(directory.path(), &["pack", "tree", "-o", &name, "--threads", threads]));
        assert!(at(&name) == at("a.img"));
    }
    let arguments = ["pack", "tree", "-o", "g.img", "--codec", "gzip", "--level", "9", "--block-size", "4K"];
    stdout(&hypr(directory.path(), &arguments));
    let info = stdout(&hypr(directory.path(), &["info", "g.img"])).to_owned();
    assert!(info.contains("block size: 4096\n") && info.contains("compression: gzip\n"), "{info}");
    stdout(&hypr(directory.path(), &["merge", "a.img", "g.img", "-o", "m.img"]));
    assert_eq!(stdout(&hypr(directory.path(), &["cat", "m.img", "etc/motd"])), "hello\n");
}

#[test]
fn an_archive_on_standard_input_deletes_what_its_whiteouts_name() {
    let directory = packed();
    let layer = directory.path().join("layer");
    fs::create_dir_all(layer.join("etc")).unwrap();
    fs::write(layer.join("etc/.wh.motd"), "").unwrap();
    fs::write(layer.join("new"), "new").unwrap();
    let archive = Command::new("tar").args(["-C", "layer", "-cf", "-", "."]).current_dir(&directory).output().unwrap();
    let pack = ["pack", "-", "--whiteouts", "oci", "-o", "b.img"];
    stdout(&hypr_with_input(directory.path(), &pack, &archive.stdout));
    stdout(&hypr(directory.path(), &["merge", "a.img", "b.img", "-o", "m.img"]));
    assert_eq!(stdout(&hypr(directory.path(), &["ls", "m.img"])), "etc\nlink\nnew\nodd\\nname\n");
}

#[test]
fn failures_are_one_error_with_causes_and_leave_no_file() {
    let directory = packed();
    fs::write(directory.path().join("junk"), [0; 5000]).unwrap();
    let mut cut = fs::read(directory.path().join("a.img")).unwrap();
    cut.truncate(150);
    fs::write(directory.path().join("cut.img"), cut).unwrap();
    let before = fs::read_dir(directory.path()).unwrap().count();
    for arguments in [
        &["pack", "missing", "-o", "x.img"][..],
        &["pack", "-", "-o", "x.img"],
        &["merge", "a.img", "junk", "-o", "x.img"],
        &["merge", "a.img", "missing.img", "-o", "x.img"],
        &["pack", "tree", "-o", "no/such/directory"],
        &["pack", "tree", "-o", "tree"],
        &["ls", "junk"],
        &["verify", "cut.img"],
        &["cat", "a.img", "/etc"],
        &["cat", "a.img", "/etc/none"],
        &["ls", "a.img", "a\u{1b}b"],
        &["info", "tree"],
    ] {
        let output = hypr_with_input(directory.path(), arguments, b"this is no archive");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.starts_with("error: ") && text.lines().skip(1).all(|line| line.starts_with("  caused by: ")));
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), before);
    for arguments in [
        &["pack", "tree"][..],
        &["merge", "-o", "x"],
        &["pack", "tree", "-o", "x", "--block-size", "5K"],
        &["pack", "tree", "-o", "x", "--codec", "gzip", "--level", "10"],
        &["pack", "tree", "-o", "x", "--codec", "lz4", "--level", "1"],
        &["pack", "tree", "-o", "x", "--whiteouts", "oci"],
        &[],
    ] {
        assert_eq!(hypr(directory.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let directory = packed();
    let mut child = Command::new(env!("CARGO_BIN_EXE_hypr"))
        .args(["squashfs", "ls", "a.img"])
        .current_dir(&directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
