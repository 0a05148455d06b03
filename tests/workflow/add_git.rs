//! Git repositories as sources of `ADD` and as build contexts.

use std::path::{Path, PathBuf};

use hypr_tests::{Run, Server, World};

/// A repository with a working tree, and a bare one beside it that is served.
struct Repository {
    folder: PathBuf,
    home: PathBuf,
}

impl Repository {
    fn new(world: &World, name: &str) -> Self {
        let folder = world.path("repositories").join(format!("{name}.git"));
        std::fs::create_dir_all(&folder).unwrap();
        let repository = Self { folder, home: world.path("home") };
        repository.git(["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    fn git<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let run = Run::new("git").directory(&self.folder).env("HOME", &self.home).env("GIT_CONFIG_NOSYSTEM", "1");
        let run = run.env("GIT_AUTHOR_DATE", "2024-01-02T03:04:05Z").env("GIT_COMMITTER_DATE", "2024-01-02T03:04:05Z");
        let run =
            run.args(["-c", "user.name=A", "-c", "user.email=a@example.invalid", "-c", "protocol.file.allow=always"]);
        run.args(args).ok().out().trim().to_owned()
    }

    fn file(&self, name: &str, content: &str) -> &Self {
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// Commits everything and returns the commit.
    fn commit(&self) -> String {
        self.git(["add", "--all"]);
        self.git(["commit", "--quiet", "--message", "a commit"]);
        self.git(["rev-parse", "HEAD"])
    }
}

fn server(world: &World) -> Server {
    Server::git(&world.path("repositories"))
}

/// `/name.git/.git` is what a repository with a working tree has.
fn url(server: &Server, name: &str) -> String {
    server.url(&format!("/{name}.git/.git"))
}

#[test]
fn a_repository_is_copied_at_branch_tag_and_commit_without_its_git_directory() {
    let world = World::new();
    let repository = Repository::new(&world, "r");
    let first = repository.file("file", "one\n").file("dir/inner", "i").commit();
    repository.git(["tag", "--annotate", "--message", "t", "v1"]);
    repository.git(["branch", "old"]);
    std::os::unix::fs::symlink("file", repository.folder.join("link")).unwrap();
    repository.file("file", "two\n").file("program", "#!/bin/sh\n");
    Run::new("chmod").args(["755"]).args([repository.folder.join("program")]).ok();
    let second = repository.commit();
    let server = server(&world);
    let base = url(&server, "r");
    let project = world.project(&format!(
        "FROM scratch\nADD {base} /head/\nADD {base}#old /branch\nADD {base}#v1 /tag/\nADD {base}#{first} /commit\n\
         ADD {base}?ref=refs/heads/main&subdir=dir /sub/\nADD {base}#:dir /sub2/\n\
         ADD --chown=3:4 --exclude=file {base} /owned/\n"
    ));
    world.build(&project, ["-t", "a"]).ok();
    let image = world.image("a");
    let tree = image.tree();
    assert_eq!(image.text_of("/head/file"), "two\n");
    for folder in ["/branch", "/tag", "/commit"] {
        assert_eq!(image.text_of(&format!("{folder}/file")), "one\n", "{folder}");
        assert!(tree.has(&format!("{folder}/dir/inner")) && !tree.has(&format!("{folder}/program")));
    }
    assert!(tree.has("/sub/inner") && tree.has("/sub2/inner") && !tree.has("/sub/dir"));
    assert_eq!((tree.get("/head/program").mode, tree.get("/head/file").mode), (0o755, 0o644));
    assert_eq!(tree.get("/head/link").target.as_deref(), Some("file"));
    assert_eq!(tree.get("/head/file").time, "2024-01-02 03:04");
    assert_eq!((tree.get("/owned/program").uid, tree.get("/owned/program").gid), (3, 4));
    assert!(!tree.has("/owned/file"));
    assert!(tree.paths().iter().all(|path| !path.contains(".git")), "{:?}", tree.paths());
    // Short and long commits as checksums, right and wrong ones.
    for (checksum, is_right) in [(&*second, true), (&second[..8], true), (&*first, false)] {
        let project = world.project(&format!("FROM scratch\nADD --checksum={checksum} {base} /x/\n"));
        let finished = world.build(&project, ["-t", "b"]).run();
        assert_eq!(finished.status.success(), is_right, "{finished}");
    }
}

#[test]
fn a_commit_that_is_known_is_not_fetched_again_and_a_branch_that_moved_is() {
    let world = World::new();
    let repository = Repository::new(&world, "r");
    let first = repository.file("file", "one").commit();
    let server = server(&world);
    let base = url(&server, "r");
    let project = world.project(&format!("FROM scratch\nADD {base}#main /x/\n"));
    world.build(&project, ["-t", "a"]).ok();
    let packs = || server.requests().iter().filter(|request| request.body.windows(4).any(|w| w == b"want")).count();
    let (before, asked) = (packs(), server.requests().len());
    world.build(&project, ["-t", "a"]).ok().says("CACHED");
    assert_eq!(packs(), before, "the commit is known");
    assert!(server.requests().len() > asked, "the branch was asked for");
    let asked = server.requests().len();
    world.build(&world.project(&format!("FROM scratch\nADD {base}#{first} /x/\n")), ["-t", "a"]).ok();
    assert_eq!(server.requests().len(), asked, "a commit needs no server");
    repository.file("file", "two").commit();
    world.build(&project, ["-t", "a"]).ok();
    assert_eq!(world.image("a").text_of("/x/file"), "two");
}

#[test]
fn the_git_directory_is_kept_when_asked_for() {
    let world = World::new();
    let repository = Repository::new(&world, "r");
    repository.file("file", "one").commit();
    let commit = repository.file("file", "two").commit();
    let server = server(&world);
    let project = world.project(&format!("FROM scratch\nADD --keep-git-dir=true {} /\n", url(&server, "r")));
    world.build(&project, ["-t", "a"]).ok();
    let copy = world.path("copy");
    Run::new("unsquashfs").args(["-quiet", "-no-progress", "-dest"]).args([&copy, &world.image("a").squashfs()]).ok();
    let git = |args: &[&str]| {
        let run = Run::new("git").directory(&copy).env("HOME", world.path("home")).args(["-c", "safe.directory=*"]);
        run.args(args).ok().out()
    };
    assert_eq!(git(&["rev-parse", "HEAD"]).trim(), commit);
    assert_eq!(git(&["status", "--porcelain"]), "");
    assert_eq!(git(&["rev-list", "--count", "HEAD"]).trim(), "1");
    git(&["fsck"]);
}

#[test]
fn submodules_come_along() {
    let world = World::new();
    let inner = Repository::new(&world, "inner");
    inner.file("inside", "first").commit();
    let outer = Repository::new(&world, "outer");
    outer.file("file", "f");
    outer.git(["submodule", "--quiet", "add", inner.folder.to_str().unwrap(), "lib/inner"]);
    // On the server, it is beside its parent.
    outer.git(["config", "--file", ".gitmodules", "submodule.lib/inner.url", "../../inner.git/.git"]);
    outer.commit();
    inner.file("inside", "second").commit();
    let server = server(&world);
    let base = url(&server, "outer");
    let project = world.project(&format!("FROM scratch\nADD {base} /with/\nADD {base}?submodules=0 /without/\n"));
    world.build(&project, ["-t", "a"]).ok();
    let image = world.image("a");
    assert_eq!(image.text_of("/with/lib/inner/inside"), "first", "the pinned commit counts");
    assert_eq!(image.tree().get("/without/lib/inner").kind, 'd');
    assert!(!image.tree().has("/without/lib/inner/inside"));
    // A repository cannot make us read what is on this machine.
    outer.git(["config", "--file", ".gitmodules", "submodule.lib/inner.url", inner.folder.to_str().unwrap()]);
    outer.commit();
    let error = world.build(&world.project(&format!("FROM scratch\nADD {base} /x/\n")), ["-t", "b"]).fails(1).error();
    assert!(error.contains("lib/inner") && error.contains("not on the network"), "{error}");
}

#[test]
fn what_a_repository_does_not_have_is_named() {
    let world = World::new();
    let repository = Repository::new(&world, "r");
    repository.file("file", "one").commit();
    let server = server(&world);
    let base = url(&server, "r");
    let none = "0123456789012345678901234567890123456789";
    for (source, part) in [
        (format!("{base}#nothing"), "`nothing`"),
        (format!("{base}#{none}"), none),
        (format!("{base}#a..b"), "`a..b`"),
        (format!("{base}#:nowhere"), "`nowhere`"),
        (format!("{base}#:file"), "`file`"),
        (format!("{base}#:../x"), "leads out"),
        (format!("{base}?what=x"), "`what`"),
        (server.url("/missing.git"), "missing.git"),
    ] {
        let project = world.project(&format!("FROM scratch\nADD {source} /x/\n"));
        let error = world.build(&project, ["-t", "a"]).fails(1).error();
        assert!(error.contains(part) && error.contains("Dockerfile:2"), "{source}: {error}");
    }
}

#[test]
fn a_repository_is_a_build_context() {
    let world = World::new();
    let repository = Repository::new(&world, "r");
    repository
        .file("Dockerfile", "FROM scratch\nCOPY . /all/\n")
        .file("file", "root")
        .file(".dockerignore", "hidden\n");
    repository.file("hidden", "").file("app/Dockerfile", "FROM scratch\nCOPY file /\n").file("app/file", "of app");
    let commit = repository.file("app/Other", "FROM scratch\nCOPY file /other\n").commit();
    let server = server(&world);
    let base = url(&server, "r");
    world.hypr(["build", "-t", "a", &base]).ok();
    let tree = world.image("a").tree();
    assert!(tree.has("/all/file") && tree.has("/all/app/file") && !tree.has("/all/hidden"), "{:?}", tree.paths());
    assert!(!tree.has("/all/.git"));
    world.hypr(["build", "-t", "b", &format!("{base}#main:app")]).ok();
    assert_eq!(world.image("b").text_of("/file"), "of app");
    world.hypr(["build", "-t", "c", "-f", "Other", &format!("{base}#:app")]).ok();
    assert_eq!(world.image("c").text_of("/other"), "of app");
    // Its history comes along when asked for, as with BuildKit.
    world.hypr(["build", "-t", "e", "--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1", &base]).ok();
    assert_eq!(world.image("e").text_of("/all/.git/HEAD").trim(), commit);
    // And a named one.
    let project = world.project("FROM scratch\nCOPY --from=code app/file /\n");
    world.build(&project, ["-t", "d", "--build-context", &format!("code={base}#main")]).ok();
    assert_eq!(world.image("d").text_of("/file"), "of app");
    let error = world.hypr(["build", &format!("{base}#none")]).fails(1).error();
    assert!(error.contains("`none`") && error.contains(&base), "{error}");
}

#[test]
fn nothing_of_the_machine_is_read_as_a_repository() {
    let world = World::new();
    let repository = Repository::new(&world, "r");
    repository.file("Dockerfile", "FROM scratch\n").commit();
    let address = format!("file://{}", Path::new(&repository.folder).join(".git").display());
    let error = world.hypr(["build", &address]).fails(1).error();
    assert!(error.contains("file://"), "{error}");
}

#[test]
fn gits_own_protocol_is_spoken() {
    let world = World::new();
    let repository = Repository::new(&world, "r");
    repository.file("file", "one\n").commit();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("git://{}/r.git/.git", listener.local_addr().unwrap());
    let folder = world.path("repositories");
    let serving = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let connection = || std::os::fd::OwnedFd::from(stream.try_clone().unwrap());
        // What a super-server would start.
        let status = std::process::Command::new("git")
            .args(["daemon", "--inetd", "--export-all"])
            .arg(format!("--base-path={}", folder.display()))
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "safe.directory")
            .env("GIT_CONFIG_VALUE_0", "*")
            .stdin(connection())
            .stdout(connection())
            .status();
        status.unwrap()
    });
    let project = world.project(&format!("FROM scratch\nADD {url}#main /r/\n"));
    world.build(&project, ["-t", "a"]).ok();
    assert_eq!(world.image("a").text_of("/r/file"), "one\n");
    serving.join().unwrap();
}
