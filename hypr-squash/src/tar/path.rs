//! Names in an archive become paths of the image.

use super::error::Fault;

/// Bytes of a whole path or link target.
pub(super) const LIMIT: usize = 4096;
/// Bytes of one component, as every Linux file system has it.
const COMPONENT_LIMIT: usize = 255;

/// `name` without leading slashes, `.` components and doubled slashes. `..` takes the component before it away, whatever
/// that is, as others unpack; where there is none, the name leads out and is refused.
///
/// An absolute name means the same file as a relative one, since the archive is the image's root.
pub(super) fn normalise(name: &[u8], what: &'static str) -> Result<Vec<u8>, Fault> {
    if name.is_empty() || name.contains(&0) {
        return Err(Fault::Name(what));
    }
    if name.len() > LIMIT {
        return Err(Fault::TooLong { what, limit: LIMIT as u64 });
    }
    let mut path = Vec::with_capacity(name.len());
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => continue,
            b".." if path.is_empty() => return Err(Fault::ParentReference(what)),
            b".." => path.truncate(path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            component if component.len() > COMPONENT_LIMIT => {
                return Err(Fault::TooLong { what: "name of a file", limit: COMPONENT_LIMIT as u64 });
            }
            component => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(component);
            }
        }
    }
    Ok(path)
}

/// The target of a symbolic link, which is kept as it is.
pub(super) fn target(target: Vec<u8>) -> Result<Vec<u8>, Fault> {
    // The kernel's PATH_MAX counts a NUL at the end.
    const LIMIT: usize = self::LIMIT - 1;
    if target.is_empty() || target.contains(&0) {
        Err(Fault::Name("link target"))
    } else if target.len() > LIMIT {
        Err(Fault::TooLong { what: "link target", limit: LIMIT as u64 })
    } else {
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_relative_paths() {
        for (name, path) in [
            (&b"a/b"[..], &b"a/b"[..]),
            (b"./a", b"a"),
            (b"/etc/passwd", b"etc/passwd"),
            (b"///a//./b/", b"a/b"),
            (b"./", b""),
            (b"/", b""),
            (b"..a/b..", b"..a/b.."),
            (b"\xff", b"\xff"),
            (b"a/../b", b"b"),
            (b"/a/b/../c", b"a/c"),
            (b"a/..", b""),
        ] {
            assert_eq!(normalise(name, "name").unwrap(), path, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn names_that_lead_out_or_do_not_fit_are_refused() {
        for name in [&b""[..], b"..", b"a/../../b", b"/..", b"a\0b", &[b'a'; 256], &b"a/".repeat(2049)] {
            assert!(normalise(name, "name").is_err(), "{}", name.escape_ascii());
        }
    }
}
