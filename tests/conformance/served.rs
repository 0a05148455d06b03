//! Servers for the cases whose sources are on the network: the test's own, on the loopback interface.

use std::path::Path;

use hypr_tests::{Response, Run, Server};

use crate::case::Case;

/// When the files of a server were last changed.
const LAST_MODIFIED: &str = "Tue, 02 Jan 2024 03:04:05 GMT";

/// What serves the files of a case, as long as this lives.
pub(crate) struct Served {
    /// By the name of the build argument that has the address.
    servers: Vec<(&'static str, Server, &'static str)>,
}

impl Served {
    /// Serves what `served.txt` and `repository.txt` list; they are kept below `folder`.
    pub(crate) fn start(case: &Case, folder: &Path) -> Self {
        let mut servers = Vec::new();
        let files = folder.join("served");
        if case.write_files("served.txt", &files) {
            let server =
                Server::start(move |request| match std::fs::read(files.join(request.target.trim_matches('/'))) {
                    Ok(content) => Response::ok(content).header("Last-Modified", LAST_MODIFIED),
                    Err(_) => Response::status(404),
                });
            servers.push(("SERVER", server, ""));
        }
        let repository = folder.join("repository.git");
        if case.write_files("repository.txt", &repository) {
            commit(&repository);
            servers.push(("REPOSITORY", Server::git(folder), "/repository.git/.git"));
        }
        Self { servers }
    }

    /// The build arguments that say where the servers are.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.servers.iter().map(|(name, server, path)| (*name, server.url(path)))
    }
}

/// Makes a repository of a folder: all files in one commit with the tag `v1`, on the branch `main`.
fn commit(folder: &Path) {
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=A", "-c", "user.email=a@example.invalid"];
        let time = "2024-01-02T03:04:05Z";
        let run = Run::new("git").directory(folder).env("HOME", folder).env("GIT_CONFIG_NOSYSTEM", "1");
        let run = run.env("GIT_AUTHOR_DATE", time).env("GIT_COMMITTER_DATE", time);
        run.args(identity).args(args).ok();
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--message", "all files"]);
    git(&["tag", "v1"]);
}
