//! `COPY` and the build context.

use hypr_tests::World;

use crate::built;

#[test]
fn an_image_of_scratch_and_a_copy_holds_just_that() {
    let world = World::new();
    let project = world.project("FROM scratch\nCOPY hello /\n").file("hello", "hello\n");
    world.build(&project, ["-t", "hello"]).ok();
    let image = world.image("hello");
    let tree = image.tree();
    assert_eq!(tree.paths(), ["/hello"]);
    let file = tree.get("/hello");
    assert_eq!((file.kind, file.mode, file.uid, file.gid, file.size), ('-', 0o644, 0, 0, 6));
    assert_eq!(image.read("/hello"), b"hello\n");
    assert_eq!((tree.get("/").mode, tree.get("/").uid), (0o755, 0));
}

#[test]
fn owner_and_mode_are_those_of_the_flags() {
    let (_world, image) = built(
        "FROM busybox\nRUN echo app:x:70:71::/:/bin/sh >>/etc/passwd && echo team:x:90: >>/etc/group\n\
         COPY file /plain\nCOPY --chown=5:6 file /numbers\nCOPY --chown=app file /name\n\
         COPY --chown=app:team --chmod=4750 file /both\nCOPY --chmod=0600 file /new/folder/file\n",
    );
    let tree = image.tree();
    for (path, mode, uid, gid) in [
        ("/plain", 0o644, 0, 0),
        ("/numbers", 0o644, 5, 6),
        ("/name", 0o644, 70, 71),
        ("/both", 0o4750, 70, 90),
        // Directories that are made on the way can be entered.
        ("/new", 0o755, 0, 0),
        ("/new/folder/file", 0o600, 0, 0),
    ] {
        let entry = tree.get(path);
        assert_eq!((entry.mode, entry.uid, entry.gid), (mode, uid, gid), "{path}");
    }
}

#[test]
fn a_folder_gives_its_content_and_links_stay_links() {
    let world = World::new();
    let project = world
        .project("FROM scratch\nWORKDIR /app\nCOPY tree ./\nCOPY tree/run file* new/\n")
        .mode("tree/run", 0o755, "#!")
        .file("tree/deep/er/file", "x")
        .link("tree/link", "deep/er/file")
        .link("tree/dangling", "/nowhere")
        .file("file1", "1")
        .file("file2", "2")
        .file("other", "3");
    world.build(&project, ["-t", "a"]).ok();
    let tree = world.image("a").tree();
    assert_eq!(
        tree.paths(),
        [
            "/app",
            "/app/dangling",
            "/app/deep",
            "/app/deep/er",
            "/app/deep/er/file",
            "/app/link",
            "/app/new",
            "/app/new/file1",
            "/app/new/file2",
            "/app/new/run",
            "/app/run",
        ]
    );
    assert_eq!(tree.get("/app/link").target.as_deref(), Some("deep/er/file"));
    assert_eq!(tree.get("/app/dangling").target.as_deref(), Some("/nowhere"));
    assert_eq!(tree.get("/app/run").mode, 0o755);
}

#[test]
fn what_dockerignore_names_is_not_in_the_context() {
    let world = World::new();
    let project = world
        .project("FROM scratch\nCOPY . /\n")
        .file(".dockerignore", "# nothing but sources\n**/*.o\nsecret\n!keep.o\nDockerfile\n.dockerignore\n")
        .file("a.c", "")
        .file("a.o", "")
        .file("keep.o", "")
        .file("deep/b.o", "")
        .file("deep/b.c", "")
        .file("secret/key", "k");
    world.build(&project, ["-t", "a"]).ok();
    assert_eq!(world.image("a").tree().paths(), ["/a.c", "/deep", "/deep/b.c", "/keep.o"]);
    let project = project.dockerfile("FROM scratch\nCOPY secret/key /\n");
    world.build(&project, ["-t", "b"]).fails(1).says("secret/key");
}

#[test]
fn heredocs_become_files_and_expand_unless_quoted() {
    let (_world, image) = built(
        "FROM scratch\nENV NAME=hypr\nCOPY <<one <<\"two\" /d/\nI am $NAME\none\nI am $NAME\ntwo\n\
         COPY --chmod=0755 <<-END /script\n\t#!/bin/sh\n\tEND\n",
    );
    assert_eq!(image.text_of("/d/one"), "I am hypr\n");
    assert_eq!(image.text_of("/d/two"), "I am $NAME\n");
    assert_eq!(image.text_of("/script"), "#!/bin/sh\n");
    assert_eq!(image.tree().get("/script").mode, 0o755);
}

#[test]
fn links_in_the_image_are_followed_inside_the_image() {
    let (_world, image) = built(
        "FROM busybox\nRUN ln -s /var/old /absolute && ln -s ../../../../etc /var/relative\n\
         COPY file /absolute/\nCOPY file /var/relative/copied\n",
    );
    let tree = image.tree();
    assert_eq!(tree.get("/absolute").kind, 'l');
    assert_eq!(tree.get("/var/relative").kind, 'l');
    assert_eq!(image.text_of("/var/old/file"), "of the context\n");
    assert_eq!(image.text_of("/etc/copied"), "of the context\n");
}

#[test]
fn a_tar_stream_on_standard_input_is_a_context() {
    let world = World::new();
    let project = world.project("FROM scratch\nCOPY a b/ /\n").file("a", "A").file("b/c", "C");
    world.hypr(["build", "-t", "tar", "-"]).stdin(project.tar()).ok();
    assert_eq!(world.image("tar").tree().paths(), ["/a", "/c"]);
}

#[test]
fn a_dockerfile_comes_from_standard_input_or_another_file() {
    let world = World::new();
    let project = world
        .project("FROM scratch\nCOPY a /wrong\n")
        .file("a", "A")
        .file("sub/Other", "FROM scratch\nCOPY a /other\n");
    world.build(&project, ["-t", "stdin", "-f", "-"]).stdin("FROM scratch\nCOPY a /right\n").ok();
    assert_eq!(world.image("stdin").tree().paths(), ["/right"]);
    let other = project.path().join("sub/Other");
    world.hypr(["build", "-t", "file", "-f"]).args([&*other, project.path()]).ok();
    assert_eq!(world.image("file").tree().paths(), ["/other"]);
}

#[test]
fn a_file_can_take_the_place_of_a_file_but_not_of_a_folder() {
    let (_world, image) = built("FROM busybox\nCOPY file /etc/base\nCOPY file /var/old\n");
    let tree = image.tree();
    assert_eq!((tree.get("/etc/base").uid, tree.get("/etc/base").mode), (0, 0o644));
    assert_eq!(image.text_of("/etc/base"), "of the context\n");
    assert_eq!(image.text_of("/var/old/file"), "of the context\n", "a copy onto a folder goes into it");
    assert!(tree.has("/var/old/one"));
}
