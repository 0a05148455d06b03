//! `ADD` of files over HTTP.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use hypr_tests::{Layer, Mounted, Response, Run, Server, World, is_root};

const MODIFIED: &str = "Tue, 02 Jan 2024 03:04:05 GMT";

/// SHA-256 of `hello\n`.
const HELLO: &str = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

fn hello() -> Server {
    Server::start(|_| Response::ok("hello\n").header("Last-Modified", MODIFIED).header("ETag", "\"1\""))
}

#[test]
fn a_file_goes_where_the_destination_says_with_mode_600_and_the_servers_time() {
    let world = World::with_busybox();
    let server = hello();
    let url = server.url("/dir/name%20x.txt?query=/y");
    let plain = server.url("/plain");
    let project = world.project(&format!(
        "FROM busybox\nADD {plain} /etc\nADD {plain} /file\nADD [\"{url}\", \"/folder/\"]\nADD {plain} file /both/\n\
         WORKDIR /work\nADD {plain} .\nADD --chown=3:4 --chmod=755 {plain} /owned\n"
    ));
    let project = project.file("file", "f");
    world.build(&project, ["-t", "a"]).ok();
    let image = world.image("a");
    let tree = image.tree();
    for path in ["/etc/plain", "/file", "/folder/name x.txt", "/both/plain", "/work/plain"] {
        let file = tree.get(path);
        assert_eq!((file.mode, file.uid, file.gid, file.size), (0o600, 0, 0, 6), "{path}");
        assert_eq!(file.time, "2024-01-02 03:04", "{path}");
    }
    assert!(tree.has("/both/file"));
    let owned = tree.get("/owned");
    assert_eq!((owned.mode, owned.uid, owned.gid), (0o755, 3, 4));
    assert_eq!(image.read("/file"), b"hello\n");
}

#[test]
fn without_a_time_of_the_server_a_file_is_from_1970() {
    let world = World::new();
    let server = Server::start(|_| Response::ok("x"));
    let project = world.project(&format!("FROM scratch\nADD {} /x\n", server.url("/x")));
    world.build(&project, ["-t", "a"]).ok();
    assert_eq!(world.image("a").tree().get("/x").time, "1970-01-01 00:00");
}

#[test]
fn a_name_comes_from_the_url_then_from_the_server() {
    let world = World::new();
    let server = Server::start(|request| match &*request.target {
        "/" => Response::ok("x").header("Content-Disposition", "attachment; filename=\"../named.txt\""),
        _ => Response::ok("y").header("Content-Disposition", "attachment; filename=other"),
    });
    let project = world.project(&format!("FROM scratch\nADD {} {} /d/\n", server.url(""), server.url("/path")));
    world.build(&project, ["-t", "a"]).ok();
    assert_eq!(world.image("a").tree().paths(), ["/d", "/d/named.txt", "/d/path"]);
    let nameless = Server::start(|_| Response::ok("x"));
    let project = world.project(&format!("FROM scratch\nADD {} /d/\n", nameless.url("/")));
    let error = world.build(&project, ["-t", "b"]).fails(1).error();
    assert!(error.contains("what the file") && error.contains(&nameless.url("/")), "{error}");
    let project = world.project(&format!("FROM scratch\nADD {} /d\n", nameless.url("/")));
    world.build(&project, ["-t", "b"]).ok();
}

#[test]
fn a_file_is_fetched_again_only_when_the_server_has_another() {
    let world = World::new();
    let version = Arc::new(AtomicUsize::new(1));
    let served = version.clone();
    let server = Server::start(move |request| {
        let version = served.load(Ordering::Relaxed);
        let tag = format!("\"{version}\"");
        match request.header("if-none-match") {
            Some(known) if known == tag => Response::status(304),
            _ => Response::ok(format!("version {version}")).header("ETag", tag).header("Last-Modified", MODIFIED),
        }
    });
    let project = world.project(&format!("FROM scratch\nADD {} /file\n", server.url("/file")));
    for (content, conditional) in [("version 1", false), ("version 1", true)] {
        world.build(&project, ["-t", "a"]).ok();
        assert_eq!(world.image("a").text_of("/file"), content);
        assert_eq!(server.requests().last().unwrap().header("if-none-match").is_some(), conditional);
    }
    version.store(2, Ordering::Relaxed);
    world.build(&project, ["-t", "a"]).ok();
    assert_eq!(world.image("a").text_of("/file"), "version 2");
}

#[test]
fn without_a_tag_the_time_is_asked_for_and_without_both_the_content_decides() {
    let world = World::new();
    let server = Server::start(|request| match request.header("if-modified-since") {
        Some(MODIFIED) => Response::status(304),
        _ => Response::ok("x").header("Last-Modified", MODIFIED),
    });
    let project = world.project(&format!("FROM scratch\nADD {} /x\n", server.url("/x")));
    world.build(&project, ["-t", "a"]).ok();
    world.build(&project, ["-t", "a"]).ok().says("CACHED");
    assert_eq!(server.requests().len(), 2);
    let content = Arc::new(Mutex::new("one"));
    let served = content.clone();
    let server = Server::start(move |_| Response::ok(*served.lock().unwrap()));
    let project = world.project(&format!("FROM scratch\nADD {} /x\n", server.url("/x")));
    world.build(&project, ["-t", "a"]).ok();
    world.build(&project, ["-t", "a"]).ok().says("CACHED");
    *content.lock().unwrap() = "two";
    world.build(&project, ["-t", "a"]).ok();
    assert_eq!(world.image("a").text_of("/x"), "two");
}

#[test]
fn a_checksum_is_checked_and_spares_the_server() {
    let world = World::new();
    let server = hello();
    let url = server.url("/x");
    let project = world.project(&format!("FROM scratch\nADD --checksum={HELLO} {url} /x\n"));
    world.build(&project, ["-t", "a"]).ok();
    let asked = server.requests().len();
    world.build(&project, ["-t", "a"]).ok();
    assert_eq!(server.requests().len(), asked, "what is pinned is not asked for again");
    let wrong = format!("sha256:{}", "0".repeat(64));
    let error = world.build(&world.project(&format!("FROM scratch\nADD --checksum={wrong} {url} /x\n")), ["-t", "b"]);
    let error = error.fails(1).error();
    assert!(error.contains(&wrong) && error.contains(HELLO) && error.contains("Dockerfile:2"), "{error}");
    for (flag, part) in [("sha512:00", "sha512"), ("sha256:12", "64 digits"), ("12", "sha256:")] {
        let project = world.project(&format!("FROM scratch\nADD --checksum={flag} {url} /x\n"));
        let error = world.build(&project, ["-t", "b"]).fails(1).error();
        assert!(error.contains(part), "{flag}: {error}");
    }
    let project = world.project(&format!("FROM scratch\nADD --checksum={HELLO} {url} {url} /x/\n"));
    assert!(world.build(&project, ["-t", "b"]).fails(1).error().contains("one source"));
}

#[test]
fn an_archive_from_a_url_is_unpacked_only_when_asked_for() {
    let world = World::new();
    let tar = Layer::new().folder("d", 0o750).file("d/f", 0o640, (3, 4), b"in the archive").tar();
    let packed = Run::new("gzip").args(["--stdout"]).stdin(tar).ok().stdout().to_vec();
    let server = Server::start(move |_| Response::ok(&packed));
    let url = server.url("/a.tgz");
    let project = world.project(&format!(
        "FROM scratch\nADD {url} /kept/\nADD --unpack=true {url} /unpacked/\nADD --unpack=false local.tar /local/\n"
    ));
    let project = project.file("local.tar", Layer::new().file("x", 0o644, (0, 0), b"").tar());
    world.build(&project, ["-t", "a"]).ok();
    let tree = world.image("a").tree();
    assert_eq!(
        tree.paths(),
        ["/kept", "/kept/a.tgz", "/local", "/local/local.tar", "/unpacked", "/unpacked/d", "/unpacked/d/f"]
    );
    let file = tree.get("/unpacked/d/f");
    assert_eq!((file.mode, file.uid, file.gid), (0o640, 3, 4));
}

#[test]
fn redirects_are_followed_and_bounded() {
    let world = World::new();
    let server = Server::start(|request| match &*request.target {
        "/from" => Response::status(302).header("Location", "/to/other"),
        "/loop" => Response::status(302).header("Location", "/loop"),
        _ => Response::ok("x"),
    });
    let project = world.project(&format!("FROM scratch\nADD {} /d/\n", server.url("/from")));
    world.build(&project, ["-t", "a"]).ok();
    assert_eq!(world.image("a").tree().paths(), ["/d", "/d/from"]);
    let project = world.project(&format!("FROM scratch\nADD {} /d/\n", server.url("/loop")));
    let error = world.build(&project, ["-t", "b"]).fails(1).error();
    assert!(error.contains("redirects") && error.contains(&server.url("/loop")), "{error}");
    assert!(server.requests().len() < 20);
}

#[test]
fn what_cannot_be_fetched_names_url_and_line() {
    let world = World::new();
    let server = Server::start(|request| match &*request.target {
        "/missing" => Response::status(404),
        "/error" => Response::status(500),
        _ => Response::ok(vec![7; 100_000]).cut_after(50_000),
    });
    for (path, part) in [("/missing", "404"), ("/error", "500"), ("/cut", "broke off")] {
        let url = server.url(path);
        let project = world.project(&format!("FROM scratch\n\nADD {url} /x\n"));
        let error = world.build(&project, ["-t", "a"]).fails(1).error();
        assert!(error.contains(part) && error.contains(&url) && error.contains("Dockerfile:3"), "{error}");
    }
    let url = server.url("/x");
    drop(server);
    let project = world.project(&format!("FROM scratch\nADD {url} /x\n"));
    let error = world.build(&project, ["-t", "a"]).fails(1).error();
    assert!(error.contains("cannot reach") && error.contains(&url), "{error}");
}

#[test]
fn a_server_that_is_down_fails_the_build_whatever_the_store_has() {
    let world = World::new();
    let server = hello();
    let project = world.project(&format!("FROM scratch\nADD {} /x\n", server.url("/x")));
    let pinned = world.project(&format!("FROM scratch\nADD --checksum={HELLO} {} /x\n", server.url("/x")));
    world.build(&project, ["-t", "a"]).ok();
    drop(server);
    world.build(&project, ["-t", "b"]).fails(1).error();
    world.build(&pinned, ["-t", "b"]).ok();
}

#[test]
fn passwords_are_sent_and_not_shown() {
    let world = World::new();
    let server = Server::start(|request| match request.header("authorization") {
        // `user:secret` in base64.
        Some("Basic dXNlcjpzZWNyZXQ=") if request.target == "/x" => Response::ok("x"),
        Some(_) => Response::status(404),
        None => Response::status(401),
    });
    let url = |path: &str| format!("http://user:secret@{}{path}", server.address());
    let project = world.project(&format!("FROM scratch\nADD {} /x\n", url("/x")));
    let finished = world.build(&project, ["-t", "a", "--progress", "plain"]).ok();
    assert!(!finished.err().contains("secret"), "{finished}");
    let config = world.hypr(["image", "inspect", "a"]).ok();
    assert!(!config.out().contains("secret"), "{config}");
    let project = world.project(&format!("FROM scratch\nADD {} /x\n", url("/y")));
    let finished = world.build(&project, ["-t", "b", "--progress", "plain"]).fails(1);
    assert!(!finished.err().contains("secret") && finished.error().contains("404"), "{finished}");
    let found = Run::new("grep").args(["-rl", "secret"]).args([world.store().join("cache")]).run();
    assert_eq!(found.out(), "", "the store remembers the password");
}

#[test]
fn copy_takes_no_url() {
    let world = World::new();
    for source in ["https://example.invalid/x", "https://example.invalid/x.git", "git@example.invalid:x"] {
        let error = world.build(&world.project(&format!("FROM scratch\nCOPY {source} /x\n")), ["-t", "a"]).fails(1);
        assert!(error.error().contains("ADD does"), "{source}");
    }
}

#[test]
fn a_proxy_of_the_environment_is_asked_unless_the_host_is_excepted() {
    let world = World::new();
    let proxy = Server::start(|request| Response::ok(format!("{}\n", request.target)));
    let project = world.project("FROM scratch\nADD http://hypr.invalid/file /\n");
    world.build(&project, ["-t", "a"]).env("HTTP_PROXY", proxy.url("")).ok();
    assert_eq!(world.image("a").text_of("/file"), "http://hypr.invalid/file\n");
    let excepted = world.build(&project, ["-t", "b"]).env("HTTP_PROXY", proxy.url("")).env("NO_PROXY", "hypr.invalid");
    let error = excepted.fails(1).error();
    assert!(error.contains("cannot reach http://hypr.invalid/file"), "{error}");
    assert_eq!(proxy.requests().len(), 1);
    // This machine needs no proxy.
    let server = hello();
    let project = world.project(&format!("FROM scratch\nADD {} /\n", server.url("/file")));
    world.build(&project, ["-t", "c"]).env("HTTP_PROXY", proxy.url("")).ok();
    assert_eq!(world.image("c").text_of("/file"), "hello\n");
    assert_eq!(proxy.requests().len(), 1);
}

#[test]
fn a_disk_that_fills_up_during_a_download_is_told_and_nothing_is_left() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let disk = Mounted::tmpfs(&world.path("disk"), "3m");
    let server = Server::start(|_| Response::ok(vec![7; 6 << 20]));
    let project = world.project(&format!("FROM scratch\nADD {} /\n", server.url("/big")));
    let root = disk.path("store");
    let error = world.build(&project, ["-t", "a", "--root", root.to_str().unwrap()]).fails(1).error();
    assert!(error.to_lowercase().contains("no space left") && error.contains(&server.url("/big")), "{error}");
    let left = std::fs::read_dir(root.join("tmp")).into_iter().flatten().flatten();
    let left: Vec<_> = left.map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}
