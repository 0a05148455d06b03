//! `COPY --parents` and `--exclude`, and archives of every compression.

use hypr_tests::{Layer, Run, World};

#[test]
fn parents_are_kept_from_the_pivot_on() {
    let world = World::new();
    let project = world
        .project(
            "FROM scratch\nCOPY --parents ./x/a.txt ./y/a.txt /one/\nCOPY --parents x/./sub/*.c /two/\n\
             COPY --parents ./**/*.c /three/\nCOPY --parents --exclude=*/sub/b.c x /four/\nCOPY --parents */./a.txt /five/\n\
             COPY --parents --chown=5:6 y/a.txt /six\n",
        )
        .file("x/a.txt", "xa")
        .file("x/sub/a.c", "a")
        .file("x/sub/b.c", "b")
        .file("x/sub/b.h", "h")
        .file("y/a.txt", "ya");
    Run::new("chmod").args(["750"]).args([project.path().join("x")]).ok();
    world.build(&project, ["-t", "a"]).ok();
    let tree = world.image("a").tree();
    let below = |folder: &str| {
        let inside = tree.paths().into_iter().filter_map(|path| path.strip_prefix(folder)?.strip_prefix('/'));
        inside.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(below("/one"), ["x", "x/a.txt", "y", "y/a.txt"]);
    assert_eq!(below("/two"), ["sub", "sub/a.c", "sub/b.c"]);
    assert_eq!(below("/three"), ["x", "x/sub", "x/sub/a.c", "x/sub/b.c"]);
    assert_eq!(below("/four"), ["x", "x/a.txt", "x/sub", "x/sub/a.c", "x/sub/b.h"]);
    assert_eq!(below("/five"), ["a.txt"]);
    assert_eq!(tree.get("/one/x").mode, 0o750, "a directory on the way keeps its mode");
    assert_eq!((tree.get("/six/y").uid, tree.get("/six/y/a.txt").gid), (5, 6));
    let error = world.build(&world.project("FROM scratch\nCOPY --parents x/none /y/\n"), ["-t", "b"]).fails(1).error();
    assert!(error.contains("x/none"), "{error}");
    world.build(&world.project("FROM scratch\nCOPY --parents **/*.none /y/\n"), ["-t", "b"]).ok();
}

#[test]
fn parents_of_another_stage_are_kept_too() {
    let world = World::with_busybox();
    let project = world.project(
        "FROM busybox AS one\nRUN mkdir -p /a/b/c && echo x >/a/b/c/file && ln -s file /a/b/c/link\n\
         FROM scratch\nCOPY --from=one --parents /a/b/c/ /out/\nCOPY --from=one --parents /a/b/./c/link /linked/\n",
    );
    world.build(&project, ["-t", "a"]).ok();
    let tree = world.image("a").tree();
    assert!(tree.has("/out/a/b/c/file"));
    assert_eq!(tree.get("/linked/c/link").target.as_deref(), Some("file"));
}

#[test]
fn archives_of_every_compression_are_unpacked_and_what_is_none_is_copied() {
    let world = World::new();
    let tar = Layer::new().file("inside", 0o640, (3, 4), b"x").tar();
    let mut project = world.project(
        "FROM scratch\nADD a.gzip /gzip/\nADD a.bzip2 /bzip2/\nADD a.xz /xz/\nADD named.tar.gz text.xz empty.tar /copied/\n\
         ADD ustar /copied/\n",
    );
    for program in ["gzip", "bzip2", "xz"] {
        let packed = |bytes: &[u8]| Run::new(program).args(["--stdout"]).stdin(bytes).ok().stdout().to_vec();
        project = project.file(&format!("a.{program}"), packed(&tar));
        if program == "xz" {
            project = project.file("text.xz", packed(b"no archive"));
        }
    }
    let mut ustar = vec![b'x'; 1024];
    ustar[257..262].copy_from_slice(b"ustar");
    let project = project.file("named.tar.gz", "no archive").file("empty.tar", [0; 1024]).file("ustar", ustar);
    world.build(&project, ["-t", "a"]).ok();
    let tree = world.image("a").tree();
    for folder in ["gzip", "bzip2", "xz"] {
        let file = tree.get(&format!("/{folder}/inside"));
        assert_eq!((file.mode, file.uid, file.gid), (0o640, 3, 4), "{folder}");
    }
    for file in ["named.tar.gz", "text.xz", "empty.tar", "ustar"] {
        assert_eq!(tree.get(&format!("/copied/{file}")).kind, '-', "{file}");
    }
}
