//! The stack that is merged: four layers of files of this machine's Debian packages, as a build leaves them behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use crate::Result;

/// Packages beyond this size in KiB are left out, so that no single one decides what is measured.
const PACKAGE_MAX: u64 = 24 << 10;

/// Makes the directories `upper0` to `upper3` in overlayfs notation; about `bytes` of content in all.
///
/// The first two are what packages install; the third deletes, replaces and changes permissions as a cleaning step
/// does; the fourth adds the rest, a part of it equal to what lies below.
pub(crate) fn make(folder: &Path, bytes: u64) -> Result<Vec<PathBuf>> {
    let files = installed(bytes)?;
    let total: u64 = files.iter().map(|(_, size)| size).sum();
    let uppers: Vec<_> = (0..4).map(|layer| folder.join(format!("upper{layer}"))).collect();
    for upper in &uppers {
        fs::create_dir(upper)?;
    }
    let (mut seen, mut parts) = (0, [Vec::new(), Vec::new(), Vec::new()]);
    for (path, size) in &files {
        let place = if seen * 100 < total * 50 { 0 } else { usize::from(seen * 100 >= total * 85) + 1 };
        parts[place].push(path.as_path());
        seen += size;
    }
    copy(&parts[0], &uppers[0])?;
    copy(&parts[1], &uppers[1])?;
    clean(&parts[0], &uppers[2])?;
    copy(&parts[2], &uppers[3])?;
    // What an application brings along though the system has it: not single files, but the libraries it was built with.
    let again = uppers[3].join("opt/vendored");
    fs::create_dir_all(&again)?;
    for (number, path) in parts[0].iter().enumerate().filter(|(number, _)| (1000..1050).contains(&(number % 2000))) {
        if fs::symlink_metadata(Path::new("/").join(path))?.is_file() {
            fs::copy(Path::new("/").join(path), again.join(number.to_string()))?;
        }
    }
    Ok(uppers)
}

/// Paths below the root of what is installed, packages in the order of their names, with the sizes of the files.
fn installed(bytes: u64) -> Result<Vec<(PathBuf, u64)>> {
    let packages = output(Command::new("dpkg-query").args(["-W", "-f", "${Installed-Size} ${binary:Package}\n"]))?;
    let mut names: Vec<&str> = packages
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(size, _)| size.parse().is_ok_and(|size: u64| size <= PACKAGE_MAX))
        .map(|(_, name)| name)
        .collect();
    names.sort_unstable();
    let listed = output(Command::new("dpkg-query").arg("-L").args(names))?;
    let (mut seen, mut files, mut total) = (BTreeSet::new(), Vec::new(), 0);
    for path in listed.lines().filter_map(|line| line.strip_prefix('/')) {
        // Debian's /bin and its like are links into /usr.
        let is_link = ["bin/", "sbin/", "lib/", "lib64/"].iter().any(|top| path.starts_with(top));
        let path = if is_link { Path::new("usr").join(path) } else { PathBuf::from(path) };
        let Ok(stat) = fs::symlink_metadata(Path::new("/").join(&path)) else { continue };
        if stat.is_dir() || !seen.insert(path.clone()) {
            continue;
        }
        let size = if stat.is_file() { stat.size() } else { 0 };
        total += size;
        files.push((path, size));
        if total >= bytes {
            break;
        }
    }
    Ok(files)
}

/// Copies files of this machine with all that belongs to them.
fn copy(files: &[&Path], to: &Path) -> Result<()> {
    let list = to.with_extension("list");
    let mut bytes = Vec::new();
    for file in files {
        bytes.extend_from_slice(file.as_os_str().as_encoded_bytes());
        bytes.push(0);
    }
    fs::File::create(&list)?.write_all(&bytes)?;
    let script = "tar -C / --null --no-recursion -T \"$1\" --xattrs -cf - | tar -C \"$2\" --xattrs -xpf -";
    let status = Command::new("sh").args(["-c", script, "sh"]).arg(&list).arg(to).stderr(Stdio::null()).status()?;
    fs::remove_file(&list)?;
    if status.success() { Ok(()) } else { Err(format!("cannot copy files to {}", to.display()).into()) }
}

/// What a step like `apt-get clean` and some edits leave behind on top of `files`.
fn clean(files: &[&Path], upper: &Path) -> Result<()> {
    let opaque = upper.join("usr/share/doc-base");
    fs::create_dir_all(&opaque)?;
    rustix::fs::lsetxattr(&opaque, "trusted.overlay.opaque", b"y", XattrFlags::empty())?;
    for (number, path) in files.iter().enumerate() {
        let (source, target) = (Path::new("/").join(path), upper.join(path));
        if target.starts_with(&opaque) || !fs::symlink_metadata(&source)?.is_file() {
            continue;
        }
        match number % 2000 {
            // What is cleaned away lies together, as a cache or the documents of a package do.
            0..50 => {
                fs::create_dir_all(target.parent().unwrap_or(upper))?;
                rustix::fs::mknodat(CWD, &target, FileType::CharacterDevice, Mode::empty(), 0)?;
            }
            700 => {
                fs::create_dir_all(target.parent().unwrap_or(upper))?;
                fs::write(&target, format!("edited: {}\n", path.display()))?;
            }
            1300 => {
                // As after `chmod`: the same content, copied up.
                fs::create_dir_all(target.parent().unwrap_or(upper))?;
                fs::copy(&source, &target)?;
            }
            _ => {}
        }
    }
    symlink("doc-base", upper.join("usr/share/documents"))?;
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    Ok(String::from_utf8(output.stdout)?)
}
