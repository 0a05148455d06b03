//! How a Dockerfile or a command line names something on the network.
//!
//! ```text
//! https://host/path/file.tar.gz                  a file
//! https://host/path/repository.git#ref:folder    a git repository: the path ends in `.git`
//! https://host/repository.git?ref=r&subdir=d     the same as a query
//! git://... ssh://... git@host:path...           git repositories, whatever their path
//! ```

use reqwest::Url;

/// Something on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// A file.
    Http(Url),
    /// The files of a commit.
    Git(GitLocation),
}

/// A commit of a git repository, or a directory of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GitLocation {
    /// The repository alone.
    pub(crate) url: String,
    /// Branch, tag, full reference or commit; the repository's `HEAD` if there is none.
    pub(crate) reference: Option<String>,
    /// The directory, without slashes at its ends; empty for all.
    pub(crate) directory: String,
    /// The commit that it has to be.
    pub(crate) checksum: Option<String>,
    /// Whether `.git` is kept, where the location says.
    pub(crate) keep_git_dir: Option<bool>,
    /// Whether submodules are fetched too.
    pub(crate) submodules: bool,
}

impl Location {
    /// What `text` names; `None` for what is a path.
    ///
    /// # Errors
    /// Says what is wrong with an address that was meant to be one.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, String> {
        if let Some((user, path)) = scp_form(text) {
            return GitLocation::parse(&format!("ssh://{user}/{path}")).map(Self::Git).map(Some);
        }
        let Some((scheme, _)) = text.split_once("://") else { return Ok(None) };
        match scheme.to_ascii_lowercase().as_str() {
            "git" | "ssh" => GitLocation::parse(text).map(Self::Git).map(Some),
            "http" | "https" => {
                let url = Url::parse(text).map_err(|error| format!("it is not a URL: {error}"))?;
                if url.path().ends_with(".git") {
                    return GitLocation::parse(text).map(Self::Git).map(Some);
                }
                Ok(Some(Self::Http(url)))
            }
            _ => Ok(None),
        }
    }

    /// The address of a repository, whatever its path ends in; `None` for what is not on the network.
    #[cfg(feature = "git")]
    pub(super) fn repository(text: &str) -> Result<Option<String>, String> {
        if let Some((user, path)) = scp_form(text) {
            return GitLocation::parse(&format!("ssh://{user}/{path}")).map(|location| Some(location.url));
        }
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("http" | "https" | "git" | "ssh") => GitLocation::parse(text).map(|location| Some(location.url)),
            _ => Ok(None),
        }
    }

    /// For messages, without a password.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Http(url) => hide_password(url.as_str()),
            Self::Git(location) => location.shown(),
        }
    }
}

impl GitLocation {
    fn parse(text: &str) -> Result<Self, String> {
        let mut url = Url::parse(text).map_err(|error| format!("it is not a URL: {error}"))?;
        if url.host_str().is_none_or(str::is_empty) {
            return Err("it names no host".to_owned());
        }
        let mut location = Self {
            url: String::new(),
            reference: None,
            directory: String::new(),
            checksum: None,
            keep_git_dir: None,
            submodules: true,
        };
        let mut directory = None;
        for (key, value) in url.query_pairs() {
            let mut refer = |prefix: &str| match location.reference.replace(format!("{prefix}{value}")) {
                None => Ok(()),
                Some(_) => Err("it names more than one of ref, branch and tag".to_owned()),
            };
            match &*key {
                "ref" => refer("")?,
                "branch" => refer("refs/heads/")?,
                "tag" => refer("refs/tags/")?,
                "subdir" => directory = Some(value.into_owned()),
                "checksum" | "commit" => location.checksum = Some(value.into_owned()),
                "keep-git-dir" => location.keep_git_dir = Some(truth(&key, &value)?),
                "submodules" => location.submodules = truth(&key, &value)?,
                _ => {
                    return Err(format!(
                        "`{key}` is none of ref, branch, tag, subdir, checksum, keep-git-dir, submodules"
                    ));
                }
            }
        }
        if let Some(fragment) = url.fragment() {
            let fragment = percent_decoded(fragment);
            let (reference, folder) = fragment.split_once(':').unwrap_or((&fragment, ""));
            if !reference.is_empty() && location.reference.replace(reference.to_owned()).is_some() {
                return Err("it names a reference both after ? and after #".to_owned());
            }
            if !folder.is_empty() && directory.replace(folder.to_owned()).is_some() {
                return Err("it names a directory both after ? and after #".to_owned());
            }
        }
        let directory = directory.unwrap_or_default();
        let parts: Vec<&str> = directory.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.contains(&"..") {
            return Err(format!("the directory `{directory}` leads out of the repository"));
        }
        location.directory = parts.join("/");
        if let Some(commit) = &location.checksum {
            check_commit(commit)?;
        }
        url.set_query(None);
        url.set_fragment(None);
        location.url = url.into();
        Ok(location)
    }

    /// For messages, without a password.
    pub(crate) fn shown(&self) -> String {
        hide_password(&self.url)
    }
}

/// Whether `text` is a commit, or the first seven digits of one and more.
pub(crate) fn check_commit(text: &str) -> Result<(), String> {
    let is_commit = (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_commit.then_some(()).ok_or_else(|| format!("`{text}` is not a commit"))
}

/// `user@host:path`, which is short for SSH: host with user, and path.
fn scp_form(text: &str) -> Option<(&str, &str)> {
    let (host, path) = text.split_once(':')?;
    let (user, name) = host.split_once('@')?;
    let is_plain = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    (is_plain(user, "-_") && is_plain(name, "-.") && !path.starts_with("//")).then_some((host, path))
}

fn truth(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(format!("`{key}={value}` is neither true nor false")),
    }
}

/// What percent signs stand for in a URL; what is not UTF-8 then is replaced.
pub(super) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let decoded =
            digits.filter(|digits| !digits.starts_with('+')).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, decoded) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `text` with the password of every URL in it made unreadable.
pub(crate) fn hide_password(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let end = after.find(|c: char| c == '/' || c.is_whitespace() || matches!(c, '"' | '\'' | '?' | '#'));
        let authority = &after[..end.unwrap_or(after.len())];
        rest = after;
        if let Some((user, _)) = authority.rsplit_once('@') {
            if let Some((name, _)) = user.split_once(':') {
                shown.push_str(name);
                shown.push_str(":xxxxx");
            } else {
                shown.push_str(user);
            }
            rest = &after[user.len()..];
        }
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(text: &str) -> GitLocation {
        match Location::parse(text) {
            Ok(Some(Location::Git(location))) => location,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn repositories_are_told_from_files_and_paths() {
        for text in ["a", "a/b.git", "./x:y", "a:b", "C:/x", "file:///x.git", "docker-image://x", "a@b", "@a:b"] {
            assert_eq!(Location::parse(text), Ok(None), "{text}");
        }
        for text in ["http://h/a.tgz", "https://h/a.git/info", "HTTP://h", "http://h/x?y=.git", "http://h/a#b.git"] {
            assert!(matches!(Location::parse(text), Ok(Some(Location::Http(_)))), "{text}");
        }
        for text in ["http://h", "ftp://h/x"] {
            assert!(!matches!(Location::parse(text), Ok(Some(Location::Git(_)))), "{text}");
        }
        for text in ["http://", "https://h:port/x", "http://[/x", "ssh://"] {
            assert!(Location::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn references_and_directories_come_from_fragment_or_query() {
        for (text, url, reference, directory) in [
            ("https://h/r.git", "https://h/r.git", None, ""),
            ("https://h/r.git#main", "https://h/r.git", Some("main"), ""),
            ("https://h/r.git#main:a/./b/", "https://h/r.git", Some("main"), "a/b"),
            ("https://h/r.git#:/a", "https://h/r.git", None, "a"),
            ("http://u:p@h:8/r.git#v1", "http://u:p@h:8/r.git", Some("v1"), ""),
            ("git://h/r#x", "git://h/r", Some("x"), ""),
            ("ssh://git@h:22/r", "ssh://git@h:22/r", None, ""),
            ("git@h:a/r.git#b:c", "ssh://git@h/a/r.git", Some("b"), "c"),
            ("https://h/r.git?ref=x&subdir=d", "https://h/r.git", Some("x"), "d"),
            ("https://h/r.git?branch=x", "https://h/r.git", Some("refs/heads/x"), ""),
            ("https://h/r.git?tag=x", "https://h/r.git", Some("refs/tags/x"), ""),
            ("https://h/r.git#feature%2Fa", "https://h/r.git", Some("feature/a"), ""),
        ] {
            let location = git(text);
            assert_eq!(
                (&*location.url, location.reference.as_deref(), &*location.directory),
                (url, reference, directory)
            );
        }
        let location = git("https://h/r.git?checksum=0123abc&keep-git-dir=1&submodules=false");
        assert_eq!(location.checksum.as_deref(), Some("0123abc"));
        assert_eq!((location.keep_git_dir, location.submodules), (Some(true), false));
        for text in [
            "https://h/r.git#a:../b",
            "https://h/r.git?ref=a#b",
            "https://h/r.git?ref=a&tag=b",
            "https://h/r.git?unknown=1",
            "https://h/r.git?checksum=xyz",
            "https://h/r.git?submodules=maybe",
        ] {
            assert!(Location::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        for (text, shown) in [
            ("ADD http://u:secret@h/x /y", "ADD http://u:xxxxx@h/x /y"),
            ("https://token@h/x", "https://token@h/x"),
            ("http://u:p@ss@h http://a:b@c/d@e", "http://u:xxxxx@h http://a:xxxxx@c/d@e"),
            ("http://h/a:b@c", "http://h/a:b@c"),
            ("COPY a b", "COPY a b"),
        ] {
            assert_eq!(hide_password(text), shown);
        }
    }
}
