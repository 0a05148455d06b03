//! SSH agents: what steps and git may ask of them, and what stays of that.

use std::{fs, path::PathBuf};

use hypr_tests::{Layer, Layout, Project, Run, Running, World};

/// OpenSSH's agent with one key.
struct Agent {
    socket: PathBuf,
    /// The key as `ssh-add -l` shows it.
    key: String,
    _running: Running,
}

impl Agent {
    fn start(world: &World) -> Self {
        let (socket, file) = (world.path("agent socket"), world.path("key"));
        Run::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "of the test", "-f"]).args([&file]).ok();
        let running = Run::new("ssh-agent").args(["-D", "-a"]).args([&socket]).start();
        let ask = |flag: &str| Run::new("ssh-add").env("SSH_AUTH_SOCK", &socket).args([flag]);
        while !socket.exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        ask("-q").args([&file]).ok();
        let key = ask("-l").ok().out();
        assert!(key.contains("of the test"), "{key}");
        Self { socket, key, _running: running }
    }

    fn option(&self, id: &str) -> String {
        format!("{id}={}", self.socket.display())
    }
}

/// A base image with `ssh-add` and the libraries that it needs.
fn with_ssh_add(world: &World) {
    let mut layer = Layer::busybox();
    let libraries = Run::new("ldd").args(["/usr/bin/ssh-add"]).ok().out();
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    for path in ["/usr/bin/ssh-add"].into_iter().chain(libraries) {
        layer = layer.file(path.trim_start_matches('/'), 0o755, (0, 0), &fs::read(path).unwrap());
    }
    world.load("ssh", &Layout::new().layer(layer));
}

fn build(world: &World, project: &Project, flags: &[&str]) -> Run {
    world.build(project, ["-t", "a"]).without_env("SSH_AUTH_SOCK").args(flags)
}

#[test]
fn a_step_uses_the_keys_of_an_agent_and_cannot_change_it() {
    let world = World::new();
    with_ssh_add(&world);
    let agent = Agent::start(&world);
    let project = world.project(
        "FROM ssh\nRUN --mount=type=ssh ssh-add -l >/keys && echo $SSH_AUTH_SOCK >/where && ! ssh-add -D && ssh-add -l\n\
         RUN --mount=type=ssh,id=work,target=/agent,uid=65534,mode=0700,required --mount=type=ssh \
         stat -c '%F %u %a' $SSH_AUTH_SOCK /run/buildkit/ssh_agent.1 >/two\n\
         USER nobody\nRUN --mount=type=ssh,uid=65534 ssh-add -l\nRUN test -z \"$SSH_AUTH_SOCK\"\n",
    );
    let built = build(&world, &project, &["--ssh", &agent.option("work"), "--ssh", "default"])
        .env("SSH_AUTH_SOCK", &agent.socket)
        .ok();
    let image = world.image("a");
    assert_eq!(image.text_of("/keys"), agent.key);
    assert_eq!(image.text_of("/where"), "/run/buildkit/ssh_agent.0\n");
    assert_eq!(image.text_of("/two"), "socket 65534 700\nsocket 0 600\n");
    assert!(!image.tree().has("/agent") && !image.tree().has("/run"), "mount points stay out of the layer");
    assert!(!image.manifest().to_string().contains("agent socket"), "{}", image.manifest());
    assert!(!built.err().contains("agent socket"), "{built}");
    // Which agent it is, or that there is none, is in no key.
    let again = build(&world, &project, &["--ssh", &agent.option("default"), "--ssh", &agent.option("work")]).ok();
    assert_eq!(world.image("a").id(), image.id(), "{again}");
    build(&world, &project, &[]).ok();
    assert_eq!(world.image("a").id(), image.id());
}

#[test]
fn without_an_agent_a_mount_that_is_not_required_is_left_out() {
    let world = World::with_busybox();
    let project =
        world.project("FROM busybox\nRUN --mount=type=ssh test -n \"$SSH_AUTH_SOCK\" && ! test -e $SSH_AUTH_SOCK\n");
    build(&world, &project, &[]).ok();
    let project = world.project("FROM busybox\nRUN --mount=type=ssh,required,id=work true\n");
    let error = build(&world, &project, &[]).fails(1).error();
    assert!(error.contains(":2") && error.contains("`--ssh work`"), "{error}");
}

#[test]
fn what_is_no_agent_is_refused_before_the_first_step() {
    let world = World::with_busybox();
    let project = world.project("FROM busybox\nRUN false\n").file("id_ed25519", "");
    let key = format!("work={}", project.path().join("id_ed25519").display());
    for (option, part) in [
        ("default", "SSH_AUTH_SOCK is not set"),
        ("work=/no/such/socket", "/no/such/socket"),
        (key.as_str(), "ssh-add"),
    ] {
        let error = build(&world, &project, &["--ssh", option]).fails(1).error();
        assert!(error.contains(part) && error.contains("cannot use the SSH agent"), "{error}");
    }
    let usage = build(&world, &project, &["--ssh", "=x"]).fails(2).err();
    assert!(usage.contains("--ssh"), "{usage}");
}

/// A program in place of `ssh` that writes its arguments down and serves repositories of this machine. The user
/// `nobody` it lets in nowhere.
fn fake_ssh(world: &World) -> PathBuf {
    let folder = world.path("bin");
    fs::create_dir_all(&folder).unwrap();
    let script = format!(
        r#"#!/bin/sh
printf '%s\n' "$@" >>'{}'
while [ "$1" = -o ]; do shift 2; done
case $1 in
    -*) exit 1 ;;
    nobody@*) echo "$1: Permission denied (publickey)." >&2; exit 255 ;;
esac
shift
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
exec sh -c "$*"
"#,
        world.path("said").display()
    );
    let path = folder.join("ssh");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

#[test]
fn git_over_ssh_asks_the_default_agent() {
    let world = World::new();
    let repository = world.path("repository");
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=A", "-c", "user.email=a@example.invalid"];
        Run::new("git").directory(&repository).env("HOME", world.path("home")).args(identity).args(args).ok()
    };
    fs::create_dir(&repository).unwrap();
    git(&["init", "--quiet"]);
    fs::write(repository.join("file"), "content\n").unwrap();
    git(&["add", "file"]);
    git(&["commit", "--quiet", "--message", "one"]);
    let socket = world.path("agent's socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let option = format!("default={}", socket.display());
    let path = format!("{}:{}", fake_ssh(&world).display(), std::env::var("PATH").unwrap());
    let project = world.project(&format!("FROM scratch\nADD ssh://git@host{} /r/\n", repository.display()));
    let said = |flags: &[&str]| {
        let _ = fs::remove_file(world.path("said"));
        let build = world.build(&project, ["-t", "a", "--no-cache"]).env("PATH", &path).args(flags).ok();
        fs::read_to_string(world.path("said")).unwrap_or_else(|_| panic!("ssh was not run\n{build}"))
    };
    assert!(!said(&[]).contains("IdentityAgent"), "the user's own settings count");
    assert_eq!(world.image("a").text_of("/r/file"), "content\n");
    let said = said(&["--ssh", &option]);
    assert!(said.contains(&format!("IdentityAgent=\"{}\"\n", socket.display())), "{said}");
    let refused = project.dockerfile("FROM scratch\nADD ssh://nobody@host/r /r/\n");
    let error = world.build(&refused, ["-t", "b"]).env("PATH", &path).fails(1).error();
    assert!(error.contains("ssh://nobody@host/r") && error.contains("--ssh"), "{error}");
}
