//! Tests of contexts: what a build sees of a folder, and that it sees nothing else.

use std::{
    fs::{self, File, FileTimes, Permissions},
    io::{Read, Write},
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use hypr_squash::{Kind, Special};
use rustix::fs::{FileType, Mode, mknodat};
use tempfile::TempDir;

use super::*;
use crate::{Digest, store::Store};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Files by path; a path that ends with `/` is a folder, a content that starts with `-> ` a link.
fn folder(files: &[(&str, &str)]) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().ok_or("no parent")?)?;
        match content.strip_prefix("-> ") {
            _ if path.as_os_str().as_encoded_bytes().ends_with(b"/") => fs::create_dir_all(path)?,
            Some(target) => symlink(target, path)?,
            None => fs::write(path, content)?,
        }
    }
    Ok(folder)
}

fn paths(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect()
}

fn found(tree: &dyn Tree, patterns: &[&str]) -> Result<Vec<String>> {
    let sources = select(tree, patterns)?;
    Ok(paths(&sources.into_iter().map(|source| source.entry).collect::<Vec<_>>()))
}

fn read(tree: &dyn Tree, path: &str) -> Result<String> {
    let entry = tree.lookup(path.as_bytes())?.ok_or("not there")?;
    let mut content = String::new();
    tree.open(&entry)?.read_to_string(&mut content)?;
    Ok(content)
}

/// Leaves out some paths with all beneath them, but for others.
#[derive(Debug)]
struct Without(&'static [&'static str], &'static [&'static str]);

impl Filter for Without {
    fn excludes(&self, path: &[u8]) -> bool {
        let within = |paths: &[&str]| paths.iter().any(|root| tree::is_beneath(path, root.as_bytes()));
        within(self.0) && !within(self.1)
    }

    fn reaches_into(&self, directory: &[u8]) -> bool {
        self.1.iter().any(|kept| tree::is_beneath(kept.as_bytes(), directory))
    }
}

#[test]
fn walk_finds_everything_once_in_order_and_follows_no_link() -> Result {
    let outside = folder(&[("secret", "s")])?;
    let context = folder(&[("b", "x"), ("a/z", "x"), ("a/b/c", "x"), ("a-b", "x"), ("a0/", ""), ("in", "-> a")])?;
    symlink(outside.path(), context.path().join("out"))?;
    let tree = Directory::open(context.path(), None)?;
    let all = ["", "a", "a/b", "a/b/c", "a/z", "a-b", "a0", "b", "in", "out"];
    assert_eq!(paths(&tree.walk(b"")?), all);
    assert_eq!(paths(&tree.walk(b"a")?), all[1..5]);
    assert_eq!(paths(&Directory::open(context.path(), None)?.walk(b"a")?), all[1..5]);
    assert_eq!(paths(&tree.walk(b"b")?), ["b"]);
    for path in ["none", "b/x", "out/secret", "in/z"] {
        assert!(tree.walk(path.as_bytes())?.is_empty(), "{path}");
        assert!(Directory::open(context.path(), None)?.lookup(path.as_bytes())?.is_none(), "{path}");
        assert!(Directory::open(context.path(), None)?.walk(path.as_bytes())?.is_empty(), "{path}");
    }
    Ok(())
}

#[test]
fn large_and_deep_folders_are_walked_completely() -> Result {
    let context = tempfile::tempdir()?;
    for number in 0..1500 {
        fs::write(context.path().join(format!("file-{number:04}")), "")?;
    }
    let deep = vec!["d"; 1500].join("/");
    fs::create_dir_all(context.path().join(&deep))?;
    let entries = Directory::open(context.path(), None)?.walk(b"")?;
    assert_eq!(entries.len(), 1 + 1500 + 1500);
    assert!(entries.get(deep.as_bytes()).is_some());
    Ok(())
}

#[test]
fn entries_have_mode_time_and_kind_and_belong_to_nobody() -> Result {
    let context = folder(&[("file", "content"), ("folder/", ""), ("link", "-> to/nowhere")])?;
    fs::set_permissions(context.path().join("file"), Permissions::from_mode(0o4751))?;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    File::options().write(true).open(context.path().join("file"))?.set_times(FileTimes::new().set_modified(time))?;
    let _socket = UnixListener::bind(context.path().join("socket"))?;
    mknodat(File::open(context.path())?, "pipe", FileType::Fifo, Mode::RUSR, 0)?;
    let tree = Directory::open(context.path(), None)?;
    assert_eq!(paths(&tree.walk(b"")?), ["", "file", "folder", "link", "pipe"], "no socket");
    let get = |path: &str| tree.lookup(path.as_bytes()).ok().flatten().ok_or("not there");
    let file = get("file")?;
    assert_eq!((file.mode, file.uid, file.gid, file.mtime), (0o4751, 0, 0, 1_000_000));
    assert_eq!(file.kind, Kind::File { size: 7 });
    assert_eq!(file.link_group(), None);
    assert_eq!(get("link")?.kind, Kind::Symlink { target: b"to/nowhere".to_vec() });
    assert_eq!(get("pipe")?.kind, Kind::Special(Special::Fifo));
    fs::hard_link(context.path().join("file"), context.path().join("name"))?;
    let tree = Directory::open(context.path(), None)?;
    let group = |path: &[u8]| tree.lookup(path).ok().flatten().and_then(|entry| entry.link_group());
    assert!(group(b"file").is_some());
    assert_eq!(group(b"file"), group(b"name"));
    Ok(())
}

#[test]
fn filter_leaves_out_trees_but_not_what_it_takes_back() -> Result {
    let context = folder(&[("a/b/c", ""), ("a/b/d", ""), ("a/e", ""), ("f/g/h", ""), ("i", "")])?;
    let tree =
        || Directory::open(context.path(), None).map(|tree| tree.filtered(Arc::new(Without(&["a", "f"], &["a/b/c"]))));
    let all = ["", "a", "a/b", "a/b/c", "i"];
    assert_eq!(paths(&tree()?.walk(b"")?), all);
    for (path, there) in [("a", true), ("a/b", true), ("a/b/d", false), ("f", false), ("f/g/h", false), ("i", true)] {
        let walked = tree()?;
        walked.walk(b"")?;
        assert_eq!(walked.lookup(path.as_bytes())?.is_some(), there, "{path}");
        assert_eq!(tree()?.lookup(path.as_bytes())?.is_some(), there, "{path}");
        assert_eq!(!tree()?.walk(path.as_bytes())?.is_empty(), there, "{path}");
    }
    // A folder that would only be there for files that do not exist is not there.
    let tree = Directory::open(context.path(), None)?.filtered(Arc::new(Without(&["f"], &["f/g/none"])));
    assert_eq!(found(&tree, &["*"])?, ["a", "i"]);
    Ok(())
}

#[test]
fn sources_are_found_as_docker_finds_them() -> Result {
    let context = folder(&[
        ("a.txt", ""),
        ("b.txt", ""),
        ("dir/c.txt", ""),
        ("dir/sub/d.txt", ""),
        ("other/c.txt", ""),
        ("[x]", ""),
        ("link.txt", "-> dir/c.txt"),
        ("linked", "-> dir"),
        ("absolute", "-> /dir/sub"),
        ("above", "-> ../../../dir/sub"),
        ("chain", "-> linked/sub/../../absolute"),
    ])?;
    let tree = Directory::open(context.path(), None)?;
    let rows: [(&str, &[&str]); 21] = [
        (".", &[""]),
        ("/", &[""]),
        ("a.txt", &["a.txt"]),
        ("/a.txt", &["a.txt"]),
        ("./dir/../a.txt", &["a.txt"]),
        ("../../a.txt", &["a.txt"]),
        ("dir/", &["dir"]),
        ("*.txt", &["a.txt", "b.txt", "dir/c.txt"]),
        ("?.txt", &["a.txt", "b.txt"]),
        ("[ac].txt", &["a.txt"]),
        ("*/c.txt", &["dir/c.txt", "other/c.txt"]),
        ("*/*", &["dir/c.txt", "dir/sub", "other/c.txt"]),
        ("di*/sub", &["dir/sub"]),
        ("none*", &[]),
        ("none/*", &[]),
        ("[[]x]", &["[x]"]),
        ("link.txt", &["dir/c.txt"]),
        ("linked/c.txt", &["dir/c.txt"]),
        ("linked/*.txt", &["dir/c.txt"]),
        ("above/d.txt", &["dir/sub/d.txt"]),
        ("chain", &["dir/sub"]),
    ];
    for (pattern, expected) in rows {
        assert_eq!(found(&tree, &[pattern])?, expected, "{pattern}");
    }
    assert_eq!(found(&tree, &["b.txt", "*.txt"])?, ["b.txt", "a.txt", "b.txt", "dir/c.txt"]);
    let sources = select(&tree, &["b.txt", "link.*"])?;
    assert_eq!(sources[1].name(), b"link.txt");
    Ok(())
}

#[test]
fn source_that_is_not_there_is_named_and_so_is_the_reason() -> Result {
    let outside = folder(&[("secret", "s")])?;
    let context = folder(&[("ignored", ""), ("a", "-> b"), ("b", "-> a"), ("dangling", "-> none")])?;
    symlink(outside.path(), context.path().join("out"))?;
    let tree = Directory::open(context.path(), None)?.filtered(Arc::new(Without(&["ignored"], &[])));
    let rows = [
        ("none", r#""none" not found"#),
        ("dir/none", r#""dir/none" not found"#),
        ("dangling", r#""dangling" not found"#),
        ("out", r#""out" not found"#),
        ("out/secret", r#""out/secret" not found"#),
        ("ignored", r#""ignored" not found: .dockerignore excludes it"#),
        ("a", r#"too many symbolic links in "a""#),
        ("[a", r#"invalid pattern "[a""#),
    ];
    for (pattern, expected) in rows {
        let error = select(&tree, &[pattern]).err().ok_or(pattern)?;
        assert_eq!(error.to_string(), expected, "{pattern}");
    }
    Ok(())
}

#[test]
fn contents_and_digests_are_those_of_the_files() -> Result {
    let large = "0123456789abcdef".repeat(50_000);
    let context = folder(&[("empty", ""), ("small", "x"), ("large", &large)])?;
    let tree = Directory::open(context.path(), None)?;
    let entries = tree.walk(b"")?;
    let files: Vec<&Entry> = entries.iter().filter(|entry| entry.file_size().is_some()).collect();
    let expected = [b"".as_slice(), large.as_bytes(), b"x"].map(Digest::of);
    assert_eq!(tree.digests(&files)?, expected);
    assert_eq!(tree.known_digest(files[1]), Some(expected[1]));
    assert_eq!(read(&tree, "large")?, large);
    Ok(())
}

#[test]
fn file_that_changes_during_the_build_is_noticed() -> Result {
    let context = folder(&[("file", "before"), ("gone", "x"), ("link", "x")])?;
    let path = context.path().join("file");
    let tree = Directory::open(context.path(), None)?;
    let entries = tree.walk(b"")?;
    let entry = |path: &str| entries.get(path.as_bytes()).ok_or("not there");
    let mut reader = tree.open(entry("file")?)?;
    File::options().append(true).open(&path)?.write_all(b"more")?;
    let error = reader.read_to_end(&mut Vec::new()).err().ok_or("read")?;
    assert_eq!(error.to_string(), r#""file" changed during the build; build again once nothing writes to it"#);
    fs::remove_file(context.path().join("gone"))?;
    fs::remove_file(context.path().join("link"))?;
    symlink("/etc/passwd", context.path().join("link"))?;
    for path in ["file", "gone", "link"] {
        assert!(matches!(tree.open(entry(path)?), Err(ContextError::Changed { .. })), "{path}");
        assert!(matches!(tree.digest(entry(path)?), Err(ContextError::Changed { .. })), "{path}");
    }
    Ok(())
}

/// Digests of a fresh look at the context, and which of them were known before any file was read.
fn look(context: &Path, store: &Store) -> Result<(Vec<Digest>, Vec<bool>)> {
    let tree = Directory::open(context, Some(store))?;
    let entries = tree.walk(b"")?;
    let files: Vec<&Entry> = entries.iter().filter(|entry| entry.file_size().is_some()).collect();
    let known = files.iter().map(|file| tree.known_digest(file).is_some()).collect();
    let digests = tree.digests(&files)?;
    tree.save()?;
    Ok((digests, known))
}

#[test]
fn second_build_reads_only_what_changed_and_content_is_what_counts() -> Result {
    let temporary = tempfile::tempdir()?;
    let store = Store::open(temporary.path())?;
    let context = folder(&[("a", "1"), ("b", "2"), ("c", "3")])?;
    thread::sleep(Duration::from_millis(30));
    let (first, known) = look(context.path(), &store)?;
    assert_eq!(known, [false; 3]);
    thread::sleep(Duration::from_millis(30));
    assert_eq!(look(context.path(), &store)?, (first.clone(), vec![true; 3]));
    // Same size and time, other content: the change time tells.
    let time = fs::metadata(context.path().join("b"))?.modified()?;
    fs::write(context.path().join("b"), "9")?;
    File::options().write(true).open(context.path().join("b"))?.set_times(FileTimes::new().set_modified(time))?;
    File::options().write(true).open(context.path().join("c"))?.set_times(FileTimes::new().set_modified(time))?;
    let (second, known) = look(context.path(), &store)?;
    assert_eq!(known, [true, false, false]);
    assert_eq!((second[0], second[1], second[2]), (first[0], Digest::of(b"9"), first[2]), "touched, not changed");
    Ok(())
}

#[test]
fn content_changed_within_one_tick_of_the_clock_is_noticed() -> Result {
    let temporary = tempfile::tempdir()?;
    let store = Store::open(temporary.path())?;
    let context = folder(&[("file", "0")])?;
    let mut file = File::options().write(true).open(context.path().join("file"))?;
    for round in 1..200_u32 {
        use std::io::Seek;
        let content = (round % 10).to_string();
        file.rewind()?;
        file.write_all(content.as_bytes())?;
        let (digests, _) = look(context.path(), &store)?;
        assert_eq!(digests, [Digest::of(content.as_bytes())], "round {round}");
    }
    Ok(())
}

#[test]
fn attributes_are_found_and_those_of_the_host_left_out() -> Result {
    let context = folder(&[("file", "x"), ("plain", "x"), ("folder/", "")])?;
    let set = |path: &str, name: &str| {
        rustix::fs::setxattr(context.path().join(path), name, b"value", rustix::fs::XattrFlags::empty())
    };
    if set("file", "user.mime").is_err() {
        return Ok(()); // The file system has none.
    }
    set("file", "user.overlay.opaque")?;
    set("folder", "user.a")?;
    let tree = Directory::open(context.path(), None)?;
    let names = |path: &str| -> Result<Vec<Vec<u8>>> {
        let entry = tree.lookup(path.as_bytes())?.ok_or("not there")?;
        let first = tree.xattrs(&entry)?;
        assert_eq!(first, tree.xattrs(&entry)?);
        Ok(first.keys().cloned().collect())
    };
    assert_eq!(names("file")?, [b"user.mime"]);
    assert_eq!(names("folder")?, [b"user.a"]);
    assert!(names("plain")?.is_empty());
    Ok(())
}

#[test]
fn path_of_a_source_is_cleaned_within_the_root() {
    for (path, expected) in [("", ""), ("/", ""), ("a//b/./c/", "a/b/c"), ("../a", "a"), ("a/../../b", "b"), (".", "")]
    {
        assert_eq!(clean(path.as_bytes()), expected.as_bytes(), "{path}");
    }
}

/// A tar stream of these entries: type flag, path, content or link target.
fn archive(entries: &[(u8, &str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, path, content) in entries {
        let mut header = [0; 512];
        header[..path.len()].copy_from_slice(path.as_bytes());
        let is_link = matches!(kind, b'1' | b'2');
        let size = if is_link { 0 } else { content.len() };
        if is_link {
            header[157..157 + content.len()].copy_from_slice(content.as_bytes());
        }
        for (at, value) in [(100, 0o644), (108, 1000), (116, 1000), (124, size), (136, 1_000_000)] {
            let width = if at >= 124 { 11 } else { 7 };
            header[at..at + width].copy_from_slice(format!("{value:0width$o}").as_bytes());
        }
        header[156] = *kind;
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend_from_slice(&header);
        if size > 0 {
            out.extend_from_slice(content.as_bytes());
            out.resize(out.len().next_multiple_of(512), 0);
        }
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn receive_archive(bytes: &[u8]) -> Result<(TempDir, Context)> {
    let temporary = tempfile::tempdir()?;
    let store = Store::open(temporary.path())?;
    match receive(bytes, &store)? {
        Streamed::Context(context) => Ok((temporary, context)),
        Streamed::Dockerfile(_) => Err("not an archive".into()),
    }
}

#[test]
fn piped_archive_is_a_context_as_a_folder_is() -> Result {
    let bytes = archive(&[
        (b'0', "Dockerfile", "FROM scratch"),
        (b'5', "./dir/", ""),
        (b'0', "./dir/file", "content"),
        (b'1', "dir/same", "dir/file"),
        (b'2', "link", "/dir"),
        (b'2', "out", "../../../etc"),
        (b'0', ".wh.file", "no deletion"),
    ]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&bytes)?;
    for bytes in [gzip.finish()?, zstd::encode_all(&bytes[..], 1)?, bytes] {
        let (_store, context) = receive_archive(&bytes)?;
        assert_eq!(context.read_file("Dockerfile", 100)?.as_deref(), Some(&b"FROM scratch"[..]));
        assert_eq!(context.read_file("link/file", 100)?.as_deref(), Some(&b"content"[..]));
        assert_eq!(context.read_file("none", 100)?, None);
        assert!(matches!(context.read_file("Dockerfile", 5), Err(ContextError::TooLarge { .. })));
        assert!(matches!(context.read_file("dir", 5), Err(ContextError::NotAFile { .. })));
        let tree = context.into_tree(Some(Arc::new(Without(&["Dockerfile"], &[]))));
        assert_eq!(paths(&tree.walk(b"")?), ["", ".wh.file", "dir", "dir/file", "dir/same", "link", "out"]);
        assert_eq!(found(&*tree, &["link", "link/f*"])?, ["dir", "dir/file"]);
        assert!(matches!(select(&*tree, &["out"]), Err(ContextError::NotFound { .. })), "stays inside");
        assert!(matches!(select(&*tree, &["Dockerfile"]), Err(ContextError::Ignored { .. })));
        let file = tree.lookup(b"dir/file")?.ok_or("not there")?;
        assert_eq!((file.mode, file.uid, file.gid, file.mtime), (0o644, 0, 0, 1_000_000));
        assert_eq!(tree.digest(&file)?, Digest::of(b"content"));
        assert!(file.link_group().is_some());
        assert_eq!(file.link_group(), tree.lookup(b"dir/same")?.and_then(|entry| entry.link_group()));
        assert_eq!(read(&*tree, "dir/same")?, "content");
    }
    Ok(())
}

#[test]
fn hostile_and_damaged_archives_are_errors_and_leave_nothing() -> Result {
    let whole = archive(&[(b'0', "Dockerfile", "FROM scratch"), (b'0', "file", "content")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&whole)?;
    let gzip = gzip.finish()?;
    let rows = [
        ("parent", archive(&[(b'0', "../escape", "x")])),
        ("parent inside", archive(&[(b'0', "a/../../escape", "x")])),
        ("link to nothing", archive(&[(b'1', "file", "none")])),
        ("link out", archive(&[(b'1', "file", "../../etc/passwd")])),
        ("whiteout", archive(&[(b'3', "null", "")])),
        ("cut off", whole[..700].to_vec()),
        ("cut off gzip", gzip[..gzip.len() / 2].to_vec()),
    ];
    for (name, bytes) in rows {
        let temporary = tempfile::tempdir()?;
        let store = Store::open(temporary.path())?;
        assert!(receive(&bytes[..], &store).is_err(), "{name}");
        drop(store);
        assert_eq!(fs::read_dir(temporary.path().join("tmp"))?.count(), 0, "{name}");
    }
    Ok(())
}

#[test]
fn archive_entry_behind_a_link_stays_inside() -> Result {
    let outside = folder(&[("dir/", "")])?;
    let target = outside.path().join("dir");
    let target = target.to_str().ok_or("not text")?;
    let bytes = archive(&[(b'2', "link", target), (b'0', "link/file", "x"), (b'0', "/absolute", "y")]);
    let (_store, context) = receive_archive(&bytes)?;
    assert_eq!(context.read_file("absolute", 10)?.as_deref(), Some(&b"y"[..]));
    assert_eq!(fs::read_dir(target)?.count(), 0);
    Ok(())
}

#[test]
fn stream_that_is_no_archive_is_a_dockerfile() -> Result {
    let temporary = tempfile::tempdir()?;
    let store = Store::open(temporary.path())?;
    let long = format!("FROM scratch\n{}", "# comment\n".repeat(200));
    for text in ["", "FROM scratch\n", &long] {
        match receive(text.as_bytes(), &store)? {
            Streamed::Dockerfile(found) => assert_eq!(found, text.as_bytes()),
            Streamed::Context(_) => return Err(text.into()),
        }
    }
    let error = receive(&b"PK\x03\x04xx"[..], &store).err().ok_or("received")?;
    assert!(matches!(error, ContextError::Compression("zip")), "{error:?}");
    for damaged in [&b"BZh91AY"[..], b"\xfd7zXZ\0\0"] {
        let error = receive(damaged, &store).err().ok_or("received")?;
        assert!(matches!(error, ContextError::Stream { .. }), "{error:?}");
    }
    let (_store, empty) = receive_archive(&[0; 10240])?;
    assert_eq!(empty.into_tree(None).walk(b"")?.len(), 1);
    Ok(())
}

#[test]
fn layers_and_folder_show_the_same_tree() -> Result {
    let entries = [(b'5', "a", ""), (b'0', "a/b", "1"), (b'0', "a-b", "2"), (b'2', "c", "a/b")];
    let (_store, context) = receive_archive(&archive(&entries))?;
    let layers = context.into_tree(None);
    let folder = folder(&[("a/b", "1"), ("a-b", "2"), ("c", "-> a/b")])?;
    for (path, mode) in [("", 0o755), ("a", 0o644), ("a/b", 0o644), ("a-b", 0o644)] {
        fs::set_permissions(folder.path().join(path), Permissions::from_mode(mode))?;
    }
    let folder: Arc<dyn Tree> = Context::directory(folder.path(), None)?.into_tree(None);
    let [of_layers, of_folder] = [&layers, &folder].map(|tree| -> Result<_> {
        let entries = tree.walk(b"")?;
        let files: Vec<&Entry> = entries.iter().filter(|entry| entry.file_size().is_some()).collect();
        let shown: Vec<_> = entries.iter().map(|entry| (entry.path.clone(), entry.kind.clone())).collect();
        Ok((shown, tree.digests(&files)?))
    });
    assert_eq!(of_layers?, of_folder?);
    Ok(())
}

#[test]
fn contents_of_a_source_are_what_is_not_excluded() -> Result {
    let context = folder(&[("dir/a", ""), ("dir/sub/b", ""), ("dir/sub/c", ""), ("file", ""), ("link", "-> dir")])?;
    let tree = Directory::open(context.path(), None)?;
    let relative = |pattern: &str, filter: Option<&dyn Filter>| -> Result<Vec<String>> {
        let sources = select(&tree, &[pattern])?;
        let items = contents(&tree, &sources[0], filter)?;
        Ok(items.iter().map(|(relative, _)| String::from_utf8_lossy(relative).into_owned()).collect())
    };
    let all = ["", "a", "sub", "sub/b", "sub/c"];
    assert_eq!(relative("dir", None)?, all);
    assert_eq!(relative("link", None)?, all);
    assert_eq!(relative("dir", Some(&Without(&["sub"], &["sub/c"])))?, ["", "a", "sub", "sub/c"]);
    assert_eq!(relative("dir", Some(&Without(&["dir", "a"], &[])))?, ["", "sub", "sub/b", "sub/c"]);
    assert_eq!(relative("file", Some(&Without(&["file"], &[])))?, [""; 0]);
    assert_eq!(relative("file", None)?, [""]);
    Ok(())
}
