//! `ls`: a line an entry.

use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use hypr_squash::overlay::Node;
use hypr_squash::{Kind, Overlay, Special};
use jiff::Timestamp;

use super::make::open;
use super::{LsArgs, SquashfsError, StdoutError};

/// Prints the paths of everything below a path, or that path itself when it is no directory.
pub(super) fn list(arguments: &LsArgs) -> Result<(), SquashfsError> {
    let image = &arguments.image.image;
    let failed = || SquashfsError::image("read", image);
    // A layer is listed with its deletions.
    let overlay = Overlay::part(vec![Arc::new(open(image)?)]);
    let missing = || SquashfsError::Missing { image: image.clone(), path: arguments.path.clone() };
    let start = overlay.resolve_parent(arguments.path.as_os_str().as_bytes(), b"").map_err(failed())?;
    let node = start.node.ok_or_else(missing)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let is_directory = node.is_directory();
    for (visited, visit) in node.walk(&start.path).enumerate() {
        let (path, node) = visit.map_err(failed())?;
        if visited > 0 || !is_directory {
            let line = if arguments.long { long(&path, &node).map_err(failed())? } else { escape(&path) };
            out.write_all(&line).and_then(|()| out.write_all(b"\n")).map_err(StdoutError)?;
        }
    }
    out.flush().map_err(StdoutError)?;
    Ok(())
}

/// Type and permissions, owner and group, size or device numbers, time, path, and where a link points.
fn long(path: &[u8], node: &Node) -> Result<Vec<u8>, hypr_squash::Error> {
    let metadata = node.metadata()?;
    let (letter, size, target) = match node.kind()? {
        Kind::Directory => ('d', String::from("0"), None),
        Kind::File { size } => ('-', size.to_string(), None),
        Kind::Symlink { target } => ('l', target.len().to_string(), Some(target)),
        Kind::Special(Special::CharDevice { major, minor }) => ('c', format!("{major},{minor}"), None),
        Kind::Special(Special::BlockDevice { major, minor }) => ('b', format!("{major},{minor}"), None),
        Kind::Special(Special::Fifo) => ('p', String::from("0"), None),
        Kind::Special(Special::Socket) => ('s', String::from("0"), None),
    };
    let owner = format!("{}/{}", metadata.uid, metadata.gid);
    let time = Timestamp::from_second(metadata.mtime).map_or_else(|_| metadata.mtime.to_string(), |t| t.to_string());
    let mode = permissions(metadata.mode);
    let mut line = format!("{letter}{mode} {owner:<11} {size:>10} {time} ").into_bytes();
    line.extend(escape(path));
    if let Some(target) = target {
        line.extend_from_slice(b" -> ");
        line.extend(escape(&target));
    }
    Ok(line)
}

/// The nine letters of `ls -l`.
fn permissions(mode: u16) -> String {
    let special = [(0o4000, 's', 'S'), (0o2000, 's', 'S'), (0o1000, 't', 'T')];
    let mut text = String::with_capacity(9);
    for (shift, (bit, with, without)) in [6, 3, 0].into_iter().zip(special) {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & bit != 0, bits & 1 != 0) {
            (true, true) => with,
            (true, false) => without,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// A name on one line: control bytes and backslashes are escaped, everything else is as it is.
fn escape(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'\\' | b'\n' | b'\t' | b'\r' => out.extend(byte.escape_ascii()),
            byte if byte.is_ascii_control() => out.extend(byte.escape_ascii()),
            byte => out.push(*byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_read_as_in_ls() {
        for (mode, text) in [
            (0o755, "rwxr-xr-x"),
            (0o4755, "rwsr-xr-x"),
            (0o1777, "rwxrwxrwt"),
            (0o7000, "--S--S--T"),
            (0o2111, "--x--s--x"),
        ] {
            assert_eq!(permissions(mode), text);
        }
    }

    #[test]
    fn names_stay_on_their_line() {
        assert_eq!(escape(b"a\nb\x1b\\\xff"), b"a\\nb\\x1b\\\\\xff");
    }
}
