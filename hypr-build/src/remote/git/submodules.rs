//! Repositories inside of repositories, at the commits that their parents pin.

use std::path::Path;

use gix::bstr::{BString, ByteSlice};
use reqwest::Url;

use super::{
    checkout::{Checkout, Gitlink, blob, root},
    repository::Repository,
};
use crate::remote::RemoteError;

/// Submodules within submodules at most.
const DEPTH: usize = 16;

/// Fetches what belongs to the links of a commit and writes it where they are; `work` is a folder for repositories.
///
/// A link that `.gitmodules` does not know stays an empty directory, as git leaves it.
pub(super) fn check_out(
    checkout: &mut Checkout<'_>,
    parent: &Repository,
    commit: &str,
    links: &[Gitlink],
    work: &Path,
    depth: usize,
) -> Result<(), RemoteError> {
    if links.is_empty() {
        return Ok(());
    }
    let refuse = |reason: String| RemoteError::Git { url: crate::remote::hide_password(&parent.url), reason };
    if depth > DEPTH {
        return Err(refuse(format!("its submodules are nested deeper than {DEPTH}")));
    }
    let urls = urls(parent, commit)?;
    for (number, link) in links.iter().enumerate() {
        let Some((_, url)) = urls.iter().find(|(path, _)| path.as_bytes() == link.in_repository) else { continue };
        let shown = String::from_utf8_lossy(&link.in_repository).into_owned();
        let url = absolute(&parent.url, url).map_err(|reason| refuse(format!("its submodule {shown}: {reason}")))?;
        let folder = work.join(format!("{depth}-{number}"));
        let mut repository = Repository::new(&folder, &url, &parent.ssh)?;
        repository.fetch(Some(&link.commit), checkout.interrupt, &|_| Ok(false))?;
        let inner = checkout.tree(&repository, &link.commit, "", &link.in_layer)?;
        check_out(checkout, &repository, &link.commit, &inner, &folder, depth + 1)?;
        // A repository may be large, and nobody needs it any more.
        drop(repository);
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

/// The submodules that the commit's `.gitmodules` tells of: path and address.
fn urls(repository: &Repository, commit: &str) -> Result<Vec<(BString, String)>, RemoteError> {
    let failed = |error: gix::Error| repository.failed(&error);
    let (root, _) = root(repository, commit)?;
    let tree = repository.inner.find_tree(root).map_err(failed)?;
    let entry = tree.lookup_entry_by_path(Path::new(".gitmodules")).map_err(failed)?;
    let Some(entry) = entry.filter(|entry| entry.mode().is_blob()) else { return Ok(Vec::new()) };
    let text = blob(repository, entry.object_id())?;
    let config = gix::config::File::try_from(text.as_bstr()).map_err(|error| repository.failed(&error))?;
    let sections = config.sections_by_name("submodule").into_iter().flatten();
    let pair = |section: gix::config::file::SectionRef<'_>| {
        let value = |name: &str| section.value(name);
        Some((value("path")?, value("url")?.to_string()))
    };
    Ok(sections.filter_map(pair).collect())
}

/// The address of a submodule, which may be relative to its parent's. Only what is on the network is one: a repository
/// must not make us read files of this machine.
fn absolute(parent: &str, url: &str) -> Result<String, String> {
    if url.starts_with("./") || url.starts_with("../") {
        let mut base = Url::parse(parent).map_err(|error| error.to_string())?;
        let mut parts: Vec<String> =
            base.path().split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        for part in url.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part.to_owned()),
            }
        }
        base.set_path(&parts.join("/"));
        return Ok(base.into());
    }
    match crate::remote::Location::repository(url)? {
        Some(url) => Ok(url),
        None => Err(format!("its address `{}` is not on the network", crate::remote::hide_password(url))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_relative_to_the_parent_and_on_the_network() {
        for (url, expected) in [
            ("../b.git", Some("http://h/x/b.git")),
            ("./b.git", Some("http://h/x/a.git/b.git")),
            ("../../../../b", Some("http://h/b")),
            ("https://o/b", Some("https://o/b")),
            ("git@o:b.git", Some("ssh://git@o/b.git")),
            ("/etc", None),
            ("file:///etc", None),
            ("ext::sh -c x", None),
            ("-oProxyCommand=x", None),
        ] {
            assert_eq!(absolute("http://h/x/a.git", url).ok().as_deref(), expected, "{url}");
        }
    }
}
