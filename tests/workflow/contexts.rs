//! Build contexts from the network and from standard input.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hypr_tests::{Layer, Response, Run, Server, World};

/// `bytes` through a program that compresses its standard input.
fn packed(program: &str, bytes: &[u8]) -> Vec<u8> {
    Run::new(program).args(["--stdout"]).stdin(bytes).ok().stdout().to_vec()
}

#[test]
fn a_tar_is_a_context_however_it_is_compressed_and_wherever_it_comes_from() {
    let world = World::new();
    let project = world.project("FROM scratch\nCOPY . /all/\n").file("file", "f").file(".dockerignore", "hidden\n");
    let tar = project.file("hidden", "").file("Other", "FROM scratch\nCOPY file /other\n").tar();
    let mut forms =
        vec![("plain".to_owned(), tar.clone()), ("zstd".to_owned(), zstd::encode_all(&tar[..], 1).unwrap())];
    forms.extend(["gzip", "bzip2", "xz"].map(|program| (program.to_owned(), packed(program, &tar))));
    for (form, bytes) in forms {
        world.hypr(["build", "-t", &form, "-"]).stdin(bytes.clone()).ok();
        let server = Server::start(move |_| Response::ok(&bytes));
        world.hypr(["build", "-t", "remote", &server.url("/context")]).ok();
        for image in [&*form, "remote"] {
            let tree = world.image(image).tree();
            assert!(tree.has("/all/file") && !tree.has("/all/hidden"), "{form}: {:?}", tree.paths());
        }
        world.hypr(["build", "-t", "other", "-f", "Other", &server.url("/context")]).ok();
        assert_eq!(world.image("other").tree().paths(), ["/other"]);
    }
}

#[test]
fn a_url_of_a_text_is_a_dockerfile_without_a_context() {
    let world = World::new();
    let server = Server::start(|request| match &*request.target {
        "/copy" => Response::ok("FROM scratch\nCOPY file /\n"),
        _ => Response::ok("FROM scratch\nLABEL a=b\n"),
    });
    world.hypr(["build", "-t", "a", &server.url("/Dockerfile")]).ok();
    assert_eq!(world.image("a").config("Labels")["a"], "b");
    assert!(world.hypr(["build", &server.url("/copy")]).fails(1).error().contains("\"file\" not found"));
}

#[test]
fn a_remote_context_is_asked_for_anew_and_its_failures_name_it() {
    let world = World::new();
    let tar = world.project("FROM scratch\nCOPY file /\n").file("file", "f").tar();
    let cut = tar.len() / 2;
    let answers = Arc::new(AtomicUsize::new(0));
    let count = answers.clone();
    let server = Server::start(move |request| match &*request.target {
        "/missing" => Response::status(404),
        "/cut" => Response::ok(&tar).cut_after(cut),
        _ if request.header("if-none-match") == Some("\"1\"") => Response::status(304),
        _ => {
            count.fetch_add(1, Ordering::Relaxed);
            Response::ok(&tar).header("ETag", "\"1\"")
        }
    });
    world.hypr(["build", "-t", "a", &server.url("/x.tar")]).ok();
    world.hypr(["build", "-t", "a", &server.url("/x.tar")]).ok().says("CACHED");
    assert_eq!(answers.load(Ordering::Relaxed), 1, "sent once");
    for (path, part) in [("/missing", "404"), ("/cut", "broke off")] {
        let error = world.hypr(["build", &server.url(path)]).fails(1).error();
        assert!(error.contains(part) && error.contains(&server.url(path)), "{error}");
    }
    for address in ["https://[", "http://host:port/", "ssh://"] {
        assert!(world.hypr(["build", address]).fails(1).error().contains(address), "{address}");
    }
}

#[test]
fn a_named_context_may_be_a_directory_a_file_of_a_url_or_nothing_known() {
    let world = World::new();
    let server = Server::start(|_| Response::ok("from the network"));
    let folder = world.path("more");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "of more").unwrap();
    fs::write(folder.join("hidden"), "").unwrap();
    fs::write(folder.join(".dockerignore"), "hidden").unwrap();
    let project = world.project("FROM scratch\nCOPY --from=more . /more/\nCOPY --from=url name.txt /url/\n");
    let more = format!("more={}", folder.display());
    let url = format!("url={}", server.url("/dir/name.txt"));
    world.build(&project, ["-t", "a", "--build-context", &more, "--build-context", &url]).ok();
    let image = world.image("a");
    assert_eq!(image.text_of("/more/file"), "of more");
    assert!(!image.tree().has("/more/hidden"));
    assert_eq!(image.text_of("/url/name.txt"), "from the network");
    let error = world.build(&project, ["--build-context", "more=ftp://host/x"]).fails(1).error();
    assert!(error.contains("ftp://host/x"), "{error}");
}

#[test]
fn a_dockerfile_may_be_outside_of_the_context_and_a_link_out_of_it_is_told() {
    let world = World::new();
    let project = world.project("FROM scratch\n").file("file", "f").file("dir/inner", "i");
    fs::write(world.path("Elsewhere"), "FROM scratch\nCOPY . /\n").unwrap();
    fs::write(world.path("Elsewhere.dockerignore"), "dir\nDockerfile\n").unwrap();
    world.build(&project, ["-t", "a", "-f", world.path("Elsewhere").to_str().unwrap()]).ok();
    assert_eq!(world.image("a").tree().paths(), ["/file"]);
    world.build(&project, ["-t", "b", "-f", "-"]).stdin("FROM scratch\nCOPY file /given\n").ok();
    assert_eq!(world.image("b").tree().paths(), ["/given"]);
    fs::remove_file(project.path().join("Dockerfile")).unwrap();
    let project = project.link("Dockerfile", "../Elsewhere");
    let error = world.build(&project, ["-t", "c"]).fails(1).error();
    assert!(error.contains("symbolic link that leads out"), "{error}");
}

#[test]
fn hostile_archives_are_refused_as_contexts_and_by_add() {
    use tar::EntryType::{Char, Link, Regular, Symlink};
    let dockerfile = |layer: Layer| layer.file("Dockerfile", 0o644, (0, 0), b"FROM scratch\nCOPY . /\n");
    for (what, layer) in [
        ("..", Layer::new().raw("../outside", Regular, "", b"x")),
        ("below a link", Layer::new().raw("way", Symlink, "/etc", b"").raw("way/file", Regular, "", b"x")),
        ("a link to nothing", Layer::new().raw("link", Link, "../../etc/passwd", b"")),
        ("a whiteout", Layer::new().raw("device", Char, "", b"")),
    ] {
        let world = World::new();
        let tar = dockerfile(layer).tar();
        let project = world.project("FROM scratch\nADD a.tar /d/\n").file("a.tar", &tar);
        let server = Server::start(move |_| Response::ok(&tar));
        let url = server.url("/a.tar");
        for run in [world.hypr(["build", "-t", "a", &url]), world.build(&project, ["-t", "a"])] {
            let finished = run.run();
            assert!(!world.path("outside").exists() && !std::path::Path::new("/etc/file").exists(), "{what}");
            if finished.status.success() {
                let tree = world.image("a").tree();
                assert!(tree.paths().iter().all(|path| !path.contains("..")), "{what}: {:?}", tree.paths());
            } else {
                finished.error();
            }
        }
    }
}
