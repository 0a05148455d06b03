//! Paths inside an image, as text: absolute, `/`-separated, without `.` and `..`.

/// `path` seen from `base` (absolute), cleaned; `..` stops at the root. No trailing slash, save for the root itself.
pub(crate) fn absolute(base: &str, path: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    let base = if path.starts_with('/') { "" } else { base };
    for component in base.split('/').chain(path.split('/')) {
        match component {
            "" | "." => {}
            ".." => {
                components.pop();
            }
            name => components.push(name),
        }
    }
    format!("/{}", components.join("/"))
}

/// Like [`absolute`], but keeps what says that `path` is a directory: a trailing `/`, or `.` or `..` at its end.
pub(crate) fn destination(base: &str, path: &str) -> String {
    let names_directory = path.is_empty() || path.ends_with('/') || matches!(path.rsplit('/').next(), Some("." | ".."));
    let mut path = absolute(base, path);
    if names_directory && path != "/" {
        path.push('/');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_and_cleaned() {
        for (base, path, joined) in [
            ("/", "", "/"),
            ("/a/b", "c", "/a/b/c"),
            ("/a/b", "../c", "/a/c"),
            ("/a", "../../../c", "/c"),
            ("/a", "/b//./d/", "/b/d"),
            ("/", "..", "/"),
        ] {
            assert_eq!(absolute(base, path), joined, "{path:?} from {base:?}");
        }
    }

    #[test]
    fn a_destination_keeps_its_claim_to_be_a_directory() {
        for (base, path, joined) in [
            ("/app", ".", "/app/"),
            ("/app", "./", "/app/"),
            ("/app", "..", "/"),
            ("/app", "x/..", "/app/"),
            ("/app", "x", "/app/x"),
            ("/app", "/x/", "/x/"),
            ("/", ".", "/"),
        ] {
            assert_eq!(destination(base, path), joined, "{path:?} from {base:?}");
        }
    }
}
