//! What is in a squashfs file, as `unsquashfs -lln` lists it.

use std::{collections::BTreeMap, path::Path};

use super::process::Run;

/// One file of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As `ls` has it: `-`, `d`, `l`, `c`, `b`, `p` or `s`.
    pub kind: char,
    /// The mode's twelve bits.
    pub mode: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes; 0 for a device.
    pub size: u64,
    /// Major and minor number of a device.
    pub device: Option<(u32, u32)>,
    /// `YYYY-MM-DD HH:MM`, in UTC.
    pub time: String,
    /// Where a symbolic link leads.
    pub target: Option<String>,
}

/// The files of an image by path; the root is `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree(BTreeMap<String, Entry>);

impl Tree {
    /// Lists a squashfs file.
    pub fn of(squashfs: &Path) -> Self {
        let listing = Run::new("unsquashfs").args(["-UTC", "-d", "", "-lln"]).args([squashfs]).ok().out();
        let entries = listing
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| entry(line).unwrap_or_else(|| panic!("unsquashfs lists what the tests cannot read: {line:?}")));
        Self(entries.collect())
    }

    /// The file at `path`.
    #[track_caller]
    pub fn get(&self, path: &str) -> &Entry {
        self.0.get(path).unwrap_or_else(|| panic!("no {path} in {:?}", self.paths()))
    }

    /// Whether there is a file at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// All paths but that of the root.
    pub fn paths(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).filter(|path| *path != "/").collect()
    }

    /// Files and their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_str(), entry))
    }
}

/// `-rw-r--r-- 0/0     3 2026-11-21 00:02 /a`, with `1,  3` for the size of a device.
fn entry(line: &str) -> Option<(String, Entry)> {
    let (mode, rest) = line.split_once(' ')?;
    let (owner, rest) = rest.trim_start().split_once(' ')?;
    let (uid, gid) = owner.split_once('/')?;
    let (mut size, mut rest) = rest.trim_start().split_once(' ')?;
    let mut device = None;
    if let Some(major) = size.strip_suffix(',') {
        let (minor, more) = rest.trim_start().split_once(' ')?;
        device = Some((major.parse().ok()?, minor.parse().ok()?));
        (size, rest) = ("0", more);
    }
    let (time, path) = rest.split_at_checked("YYYY-MM-DD HH:MM".len())?;
    let path = path.strip_prefix(' ')?;
    let kind = mode.chars().next()?;
    let (path, target) = match path.split_once(" -> ") {
        Some((path, target)) if kind == 'l' => (path, Some(target.to_owned())),
        _ => (path, None),
    };
    let path = if path.is_empty() { "/" } else { path };
    let entry = Entry {
        kind,
        mode: bits(mode.get(1..10)?)?,
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        size: size.parse().ok()?,
        device,
        time: time.to_owned(),
        target,
    };
    Some((path.to_owned(), entry))
}

/// `rwxr-sr-t` as a number.
fn bits(text: &str) -> Option<u32> {
    let mut mode = 0;
    for (place, letter) in text.chars().enumerate() {
        let plain = 0o400 >> place;
        // Set-user-id, set-group-id and sticky show in place of the three execute bits.
        let special = [0o4000, 0o2000, 0o1000][place / 3];
        mode |= match letter {
            '-' => 0,
            'r' | 'w' | 'x' => plain,
            's' | 't' => plain | special,
            'S' | 'T' => special,
            _ => return None,
        };
    }
    Some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_of_every_kind_are_understood() {
        for (line, path, kind, mode, size, device, target) in [
            ("drwxrwxrwt 0/0                      56 2026-11-21 00:02 ", "/", 'd', 0o1777, 56, None, None),
            ("-rwsr-S--- 1/22                      3 2026-11-21 00:02 /a/b c", "/a/b c", '-', 0o6740, 3, None, None),
            (
                "lrwxrwxrwx 0/0                       3 2026-11-21 00:02 /l -> b c",
                "/l",
                'l',
                0o777,
                3,
                None,
                Some("b c"),
            ),
            ("crw-r--r-- 0/0                   1,  3 2026-11-21 00:02 /n", "/n", 'c', 0o644, 0, Some((1, 3)), None),
        ] {
            let (found, entry) = entry(line).expect(line);
            assert_eq!((found.as_str(), entry.kind, entry.mode, entry.size), (path, kind, mode, size), "{line}");
            assert_eq!((entry.device, entry.target.as_deref()), (device, target), "{line}");
            assert_eq!(entry.time, "2026-11-21 00:02", "{line}");
        }
    }
}
