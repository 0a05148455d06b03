//! A file on one line, both in what a context holds and in what is expected of an image:
//!
//! ```text
//! drwxr-xr-x 0:0 /app/
//! -rw-r--r-- 0:0 /app/a "hello\n"
//! -rw-r--r-- 0:0 /app/b sha256:0123456789ab 4096 bytes
//! hrw-r--r-- 0:0 /app/c = /app/a
//! lrwxrwxrwx 0:0 /app/d -> a
//! prw-r--r-- 0:0 /app/e
//! ```
//!
//! In a context there is no owner, and a time may follow the path: `@1700000000`. A letter `s` there is a socket.

use std::{
    fs,
    io::{self, Error},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};

/// Contents that are longer are shown by their digest.
const SHOWN: usize = 120;

/// What a file of an image is.
pub(crate) enum Kind {
    Directory,
    File(Vec<u8>),
    /// Another name of a file that was listed before.
    Same(String),
    Symlink(String),
    Fifo,
    Other(&'static str),
}

/// The line of a file of an image.
pub(crate) fn line(path: &str, mode: u32, owner: (u32, u32), kind: &Kind) -> String {
    let (letter, rest) = match kind {
        Kind::Directory => ('d', if path == "/" { String::new() } else { "/".to_owned() }),
        Kind::File(content) => ('-', format!(" {}", shown(content))),
        Kind::Same(first) => ('h', format!(" = {first}")),
        Kind::Symlink(target) => ('l', format!(" -> {target}")),
        Kind::Fifo => ('p', String::new()),
        Kind::Other(what) => ('?', format!(" {what}")),
    };
    let mode = if letter == 'l' { 0o777 } else { mode };
    format!("{letter}{} {}:{} {path}{rest}", letters(mode), owner.0, owner.1)
}

fn shown(content: &[u8]) -> String {
    match std::str::from_utf8(content) {
        Ok(text) if text.len() <= SHOWN && !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) => {
            format!("{text:?}")
        }
        _ => {
            let digest: String = Sha256::digest(content).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
            format!("sha256:{digest} {} bytes", content.len())
        }
    }
}

fn letters(mode: u32) -> String {
    let special = [(0o4000, 's'), (0o2000, 's'), (0o1000, 't')];
    let mut text = String::new();
    for (shift, (bit, letter)) in [6, 3, 0].into_iter().zip(special) {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & bit != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// Makes the file of a line of `context.txt` below `root`.
pub(crate) fn make(line: &str, root: &Path) -> io::Result<()> {
    let malformed = || Error::other("not a line of a context");
    let (mode, rest) = line.split_once(' ').ok_or_else(malformed)?;
    let letter = mode.chars().next().ok_or_else(malformed)?;
    let bits = bits(&mode[1..]).ok_or_else(malformed)?;
    let (path, content) = rest.split_once(' ').unwrap_or((rest, ""));
    let (path, time) = path.split_once('@').map_or((path, None), |(path, time)| (path, time.parse::<u64>().ok()));
    let full = root.join(path.trim_end_matches('/'));
    if let Some(parent) = full.parent() {
        fs::create_dir_all(parent)?;
    }
    match letter {
        'd' => fs::create_dir_all(&full)?,
        'l' => return symlink(content.strip_prefix("-> ").ok_or_else(malformed)?, &full),
        'h' => return fs::hard_link(root.join(content.strip_prefix("= ").ok_or_else(malformed)?), &full),
        // Strings in JSON have the escapes that a content needs.
        'p' => {
            let mode = rustix::fs::Mode::from_raw_mode(bits);
            rustix::fs::mknodat(rustix::fs::CWD, &full, rustix::fs::FileType::Fifo, mode, 0)?;
        }
        // The name stays when nobody listens any more.
        's' => drop(std::os::unix::net::UnixListener::bind(&full)?),
        '-' if content.starts_with('"') => fs::write(&full, serde_json::from_str::<String>(content)?)?,
        '-' if content.starts_with("hex:") => fs::write(&full, hex(&content[4..]).ok_or_else(malformed)?)?,
        _ => return Err(malformed()),
    }
    fs::set_permissions(&full, fs::Permissions::from_mode(bits))?;
    if let Some(time) = time {
        fs::File::open(&full)?.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(time))?;
    }
    Ok(())
}

fn bits(text: &str) -> Option<u32> {
    let mut mode = 0;
    for (place, letter) in text.chars().enumerate() {
        let (plain, special) = (0o400 >> place, [0o4000, 0o2000, 0o1000].get(place / 3)?);
        mode |= match letter {
            '-' => 0,
            'r' | 'w' | 'x' => plain,
            's' | 't' => plain | special,
            'S' | 'T' => *special,
            _ => return None,
        };
    }
    (text.len() == 9).then_some(mode)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}
